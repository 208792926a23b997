//! RUN.

use crate::support::{Image, Need, Sandbox, require};

/// Builds `text` over busybox and validates the image.
fn built(text: &str) -> Option<Image> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    let image = Sandbox::new().busybox(text).build().unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    Some(image)
}

#[test]
fn every_form_runs() {
    let Some(image) = built(
        "RUN echo $((1+1)) > /shell\nRUN [\"/bin/touch\", \"/exec $x\"]\nRUN <<EOF\necho a > /a\necho b > /b\nEOF\n",
    ) else {
        return;
    };
    assert_eq!((image.file("/shell"), image.file("/a"), image.file("/b")), ("2\n".into(), "a\n".into(), "b\n".into()));
    assert!(image.find("/exec $x").is_some());
}

#[test]
fn the_layer_holds_what_changed_and_nothing_else() {
    let Some(image) =
        built("RUN mkdir /d && echo 1 > /d/a && echo 1 > /d/b\nRUN rm /d/a && echo 2 > /d/b && chmod 600 /d/b\n")
    else {
        return;
    };
    let mut paths = image.last().paths();
    paths.sort_unstable();
    assert_eq!(paths, ["d", "d/.wh.a", "d/b"]);
    assert_eq!((image.file("/d/b"), image.find("/d/b").unwrap().mode()), ("2\n".into(), 0o600));
    assert!(image.find("/d/a").is_none());
}

#[test]
fn a_directory_that_was_made_again_has_only_its_new_files() {
    let Some(image) = built("RUN mkdir /d && touch /d/old\nRUN rm -r /d && mkdir /d && touch /d/new\n") else { return };
    assert!(image.find("/d/new").is_some() && image.find("/d/old").is_none());
}

#[test]
fn mount_points_leave_nothing_behind() {
    let Some(image) =
        built("RUN test -s /etc/resolv.conf && test -s /etc/hosts && test -c /dev/null && test -d /proc/self\n")
    else {
        return;
    };
    for path in ["etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/null", "dev/shm", "proc/self"] {
        assert!(image.find(path).is_none(), "{path}");
    }
}

#[test]
fn hard_links_modes_and_odd_files_are_kept() {
    let Some(image) = built(
        "RUN umask 0 && cd /tmp 2>/dev/null || mkdir -m 1777 /tmp; cd /tmp; echo x > a; ln a b; mkfifo p; ln -s a l; chown 3:4 a; chmod 6755 a\n",
    ) else {
        return;
    };
    let layer = image.last();
    assert_eq!(layer.entry("tmp").mode(), 0o1777);
    let links = [layer.entry("tmp/a"), layer.entry("tmp/b")];
    assert_eq!(links.iter().filter(|entry| entry.kind() == tar::EntryType::Link).count(), 1);
    assert_eq!((layer.entry("tmp/a").mode(), layer.entry("tmp/a").owner()), (0o6755, (3, 4)));
    assert_eq!(layer.entry("tmp/p").kind(), tar::EntryType::Fifo);
    assert_eq!(layer.entry("tmp/l").link(), "a");
}

#[test]
fn a_new_name_of_an_old_file_is_a_link_to_it() {
    let text = "RUN echo one > /m; echo two > /n\nRUN ln /m /a; ln /n /z; ln /n /gone; rm /gone\nRUN test /m -ef /a && test /n -ef /z\n";
    let Some(image) = built(text) else { return };
    let layer = image.layer(image.layers().len() - 2);
    let (a, z) = (layer.entry("a"), layer.entry("z"));
    assert_eq!((a.content(), layer.entry("m").link()), (&b"one\n"[..], "a"));
    assert_eq!((layer.entry("n").content(), z.link()), (&b"two\n"[..], "n"));
    assert!(!layer.has("gone"));
}

#[test]
fn user_directory_and_environment_apply() {
    let text = "RUN echo app:x:12:34::/home/app:/bin/sh > /etc/passwd; mkdir -m 777 /out\nENV A=1\nARG B=2\nUSER app\nWORKDIR /w\n\
                RUN echo $(id -u):$(id -g) $(pwd) $A$B $HOME > /out/facts\n";
    let Some(image) = built(&format!("RUN mkdir -p /etc\n{text}")) else { return };
    assert_eq!(image.file("/out/facts"), "12:34 /w 12 /home/app\n");
}

#[test]
fn isolated_steps_see_one_another_only_through_the_root() {
    let Some(image) = built(
        "RUN sleep 1000 & echo $$ > /pid\nRUN hostname > /host; ls /proc | grep -c '^[0-9]' > /count; touch /tmp 2>/dev/null; true\n",
    ) else {
        return;
    };
    assert_eq!(image.file("/pid"), "1\n");
    assert_eq!(image.file("/host"), "buildkitsandbox\n");
    assert!(image.file("/count").trim().parse::<u32>().unwrap() < 8);
}

#[test]
fn without_a_network_there_is_only_the_loopback() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox =
        Sandbox::new().busybox("RUN ls /sys/class/net > /interfaces; ip addr show lo | grep -c 127.0.0.1 > /lo\n");
    let image = sandbox.build_with(&["--network=none"]).unwrap();
    assert_eq!((image.file("/interfaces"), image.file("/lo")), ("lo\n".into(), "1\n".into()));
}

#[test]
fn privileges_stay_outside() {
    let Some(image) = built(
        "RUN grep CapEff /proc/self/status > /caps; (mount -t tmpfs x /mnt || mknod /n b 8 0 && cat /n || echo refused) > /m 2>/dev/null; echo > /proc/sys/kernel/x 2>/dev/null && echo open > /sys-open; true\n",
    ) else {
        return;
    };
    assert_eq!(image.file("/caps"), "CapEff:\t00000000a80425fb\n");
    assert_eq!(image.file("/m"), "refused\n");
    assert!(image.find("/sys-open").is_none());
}

#[test]
fn a_step_that_changes_nothing_has_an_empty_layer() {
    let Some(image) = built("RUN true\n") else { return };
    assert_eq!(image.last().paths(), Vec::<&str>::new());
}

#[test]
fn a_shell_of_the_file_is_used() {
    let Some(image) = built("SHELL [\"/bin/sh\", \"-exc\"]\nRUN echo $- > /flags\n") else { return };
    assert!(image.file("/flags").contains('x'));
}
