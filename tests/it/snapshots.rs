//! Trees on hosts of every kind.

use std::process::Command;

use crate::support::{Need, Sandbox, ran, require};

const STEPS: &str = "RUN mkdir /d && echo 1 > /d/a && echo 1 > /d/b && ln /d/a /d/link && mkfifo /d/pipe\n\
                     RUN rm /d/a && echo 2 > /d/b && chmod 700 /d/pipe\n\
                     RUN rm -r /d && mkdir /d && echo 3 > /d/new\n";

/// Where overlayfs cannot be mounted, as over another overlay in a container without volumes, kiln copies: the layers
/// are the same.
#[test]
fn without_overlayfs_the_layers_are_the_same() {
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox(STEPS);
    let usual = sandbox.build().unwrap();

    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(sandbox.path(name)).unwrap();
    }
    let kiln = sandbox.command(&["build", "-t", "copied", "-o", "type=oci,dest=copied.tar", "context"]);
    let program = kiln.get_program().to_owned();
    let script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(program).args(kiln.get_args());
    command
        .current_dir(sandbox.path(""))
        .env("KILN_ROOT", sandbox.path("merged/root"))
        .env("KILN_LOG", "kiln::snapshot=debug");
    let built = ran(&mut command);
    assert!(built.stderr.contains("overlayfs does not work here"), "{}", built.stderr);
    built.ok();
    let copied = crate::support::Image::from_archive(&sandbox.path("copied.tar"));
    copied.validate();
    let layers = |image: &crate::support::Image| -> Vec<Vec<String>> {
        image.layers().iter().map(|layer| layer.paths().into_iter().map(str::to_owned).collect()).collect()
    };
    assert_eq!(layers(&copied), layers(&usual));
    assert_eq!(copied.file("/d/new"), "3\n");
}

/// overlayfs takes 500 directories.
#[test]
fn a_step_may_have_more_layers_below_it_than_overlayfs_takes() {
    if !(require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let copies: String = (0..500).map(|number| format!("COPY <<E /f{number}\n{number}\nE\n")).collect();
    let sandbox =
        Sandbox::new().busybox(&format!("{copies}RUN rm /f0 && cat /f1 /f499 > /f2\nRUN test ! -e /f0 && rm /f1\n"));
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    assert_eq!((image.layers().len(), image.file("/f2").as_str()), (504, "1\n499\n"));
    assert_eq!(image.layer(503).paths(), [".wh.f1"]);
    image.validate();
}

/// Equal layers are one tree, and may stand in a stack more than once.
#[test]
fn equal_layers_in_one_stack_are_no_obstacle() {
    if !(require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let toggle = "RUN rm -f /b; touch -d @1 /a; touch -d @2 /\nRUN rm -f /a; touch -d @1 /b; touch -d @2 /\n";
    let text = format!("RUN true\nRUN : again\n{toggle}{}", toggle.replace("rm", "rm ").replace("RUN", "RUN  "));
    let sandbox = Sandbox::new().busybox(&text);
    let first = sandbox.build().unwrap();
    let equal = |a: usize, b: usize| first.layer(a).diff_id() == first.layer(b).diff_id();
    assert!(equal(2, 3) && equal(5, 7), "{:?}", first.layers().len());
    // Now the trees are those of earlier steps.
    let sandbox = sandbox.busybox(&(text + "RUN test ! -e /a && test -e /b && echo x > /x\n"));
    assert_eq!(sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text)).file("/x"), "x\n");
}

/// A layer of many files is a tree without files where the kernel takes it as an image; on a file system that has no
/// such images it is unpacked. What steps see, and the layers they make, are the same.
#[test]
fn an_image_of_a_layer_is_as_good_as_its_files() {
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let text = "FROM base AS work\nCOPY --chown=7:8 many /many\n\
                RUN stat -c '%n %a %u %g %s %h' /many /many/* > /list && cat /many/* > /all\n\
                RUN rm /many/f1 && echo new > /many/f2 && chmod 600 /many/f3 && ln /many/f4 /many/hard && mv /many /moved\n\
                FROM base\nCOPY --from=work /moved/f5* /some/\n\
                RUN --mount=from=work,source=/moved,target=/m cat /m/* > /list\n";
    let built = |mount: &str| {
        let sandbox = files(Sandbox::new()).busybox(text);
        let built = ran(&mut under(&sandbox, mount));
        let has_none = built.stderr.contains("EROFS images cannot be mounted here");
        built.ok();
        // What is mounted over the store's place is gone with the command.
        assert!(has_none || has_images(&sandbox), "no layer became an image");
        let image = crate::support::Image::from_archive(&sandbox.path("built.tar"));
        image.validate();
        let layers: Vec<Vec<String>> =
            image.layers().iter().map(|layer| layer.entries().iter().map(shown).collect()).collect();
        (layers, has_none)
    };
    let (usual, has_none) = built("");
    let (unpacked, has_none_there) = built("mount -t tmpfs -o mode=755 tmpfs root");
    assert!(has_none || has_none_there, "no file system without images was found to compare with");
    assert_eq!(usual, unpacked);
    let list = usual.last().unwrap();
    assert!(list.iter().any(|entry| entry.starts_with("list ")), "{list:?}");
}

/// A store whose trees are images may find itself where the kernel does not mount them.
#[test]
fn a_store_that_has_moved_makes_its_trees_anew() {
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let text = "COPY many /many\nRUN cat /many/f7 > /seven\n";
    let sandbox = files(Sandbox::new()).busybox(text);
    sandbox.build().unwrap();
    if !has_images(&sandbox) {
        // Then there is nothing to lose by moving.
        return;
    }
    let sandbox = sandbox.busybox(&format!("{text}RUN cat /many/f8 > /eight\n"));
    let moved = "mkdir moved && mount -t tmpfs tmpfs moved && cp -a root/. moved && mount --bind moved root";
    ran(&mut under(&sandbox, moved)).ok();
    let image = crate::support::Image::from_archive(&sandbox.path("built.tar"));
    assert_eq!((image.file("/seven"), image.file("/eight")), ("7".to_owned(), "8".to_owned()));
}

fn has_images(sandbox: &Sandbox) -> bool {
    let trees = std::fs::read_dir(sandbox.path("root/trees")).unwrap();
    trees.into_iter().any(|tree| tree.unwrap().path().join("image").exists())
}

fn files(sandbox: Sandbox) -> Sandbox {
    (0..300).fold(sandbox, |sandbox, n| sandbox.file(&format!("many/f{n}"), n.to_string()))
}

/// Returns the command that builds where `mounts`, a shell command, has changed what the store lies on.
fn under(sandbox: &Sandbox, mounts: &str) -> Command {
    let kiln = sandbox.command(&["build", "-o", "type=oci,dest=built.tar", "context"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{mounts}\nexec \"$@\""), "sh"]);
    command.arg(kiln.get_program()).args(kiln.get_args()).current_dir(sandbox.path(""));
    command.envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("KILN_LOG", "kiln::snapshot=debug");
    command
}

/// Returns all of an entry but the times of what steps make, and of large files but their size.
fn shown(entry: &crate::support::Entry) -> String {
    let content = match entry.content() {
        large if large.len() > 100_000 => large.len().to_string(),
        small => String::from_utf8_lossy(small).into_owned(),
    };
    format!("{} {:?} {:o} {:?} {content}", entry.path(), entry.kind(), entry.mode(), entry.owner())
}
