//! What becomes of containers: images, tars, files outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::containers::{Foreground, sandbox, users};
use crate::support::{Need, Sandbox, User, comes_true, ran, require};

/// What a container does to the files of its image.
const CHANGES: &str = "echo a > /new; rm /bin/vi; mkdir -p /d/e; echo z > /d/e/z; ln -s /new /d/l; ln /d/e/z /d/hard; \
                       chmod 4711 /d/e/z; rm -r /work; mkdir /work; echo w > /work/w; mkdir -p /etc; echo h > /etc/mine";

impl Sandbox {
    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

#[test]
fn changes_become_a_layer_over_the_image() {
    for user in users() {
        let sandbox = sandbox(user);
        sandbox.sh(&["--name", "c1", "-e", "B=2"], CHANGES).ok();
        let base = sandbox.image("test");
        let id = sandbox.kiln(&["commit", "-m", "why", "-a", "me", "-c", "CMD cat /new", "c1", "made:1"]).ok();
        let image = sandbox.image("made:1");
        image.validate();
        assert_eq!(image.id().to_string(), id.trim(), "{user:?}");
        let layers = base.layers().len();
        assert_eq!(image.layers().len(), layers + 1, "{user:?}");
        assert_eq!(image.config().rootfs.diff_ids[..layers], base.config().rootfs.diff_ids[..], "{user:?}");
        assert_eq!(
            image.last().paths(),
            ["bin", "bin/.wh.vi", "d", "d/e", "d/e/z", "d/hard", "d/l", "etc", "etc/mine", "new", "work", "work/w"],
            "{user:?}"
        );
        assert_eq!(image.last().entry("/d/e/z").owner(), (0, 0), "{user:?}");
        let history = image.config().history.last().unwrap();
        assert_eq!((history.comment.as_deref(), history.author.as_deref()), (Some("why"), Some("me")));
        assert!(history.created_by.as_ref().unwrap().starts_with("sh -c echo a > /new"), "{user:?}");
        let config = &image.config().config;
        assert_eq!(config.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "cat /new"]);
        assert!(config.env.contains(&"B=2".to_owned()) && config.env.contains(&"FROM_IMAGE=1".to_owned()));
        assert!(!config.env.iter().any(|item| item.starts_with("HOSTNAME=")), "{user:?}");
        assert_eq!((&*config.working_dir, image.config().author.as_deref()), ("/work", Some("me")));
        assert_eq!(sandbox.kiln(&["run", "--rm", "made:1"]).ok(), "a\n", "{user:?}");
    }
}

#[test]
fn the_container_goes_on_over_what_it_has_become() {
    for user in users() {
        let sandbox = sandbox(user);
        let script = "echo x >> /lines; wc -l < /lines; head -c 3000000 /dev/zero > /big; sync";
        sandbox.sh(&["--name", "c1"], script).ok();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let before = find(&sandbox.path("root/trees"), "big");
        let inodes: Vec<u64> = before.iter().map(|path| inode(path)).collect();
        sandbox.kiln(&["commit", "c1", "made:1"]).ok();
        let after = find(&sandbox.path("root/trees"), "big");
        // Nothing was copied: it is the very file.
        assert_eq!(after.iter().map(|path| inode(path)).collect::<Vec<_>>(), inodes, "{user:?}");
        assert_eq!(inodes.len(), 1, "{user:?}");
        assert_eq!(sandbox.kiln(&["start", "-a", "c1"]).ok(), "2\n", "{user:?}");
        sandbox.kiln(&["commit", "c1", "made:2"]).ok();
        let (first, second) = (sandbox.image("made:1"), sandbox.image("made:2"));
        second.validate();
        let layers = first.layers().len();
        assert_eq!(second.config().rootfs.diff_ids[..layers], first.config().rootfs.diff_ids[..], "{user:?}");
        assert_eq!(second.file("/lines"), "x\nx\n", "{user:?}");
        assert!(second.last().has("/lines"), "{user:?}");
        // Without a change there is no layer, and the image is one all the same.
        sandbox.kiln(&["commit", "c1", "made:3"]).ok();
        let third = sandbox.image("made:3");
        third.validate();
        assert_eq!(third.config().rootfs.diff_ids, second.config().rootfs.diff_ids, "{user:?}");
        assert!(third.config().history.last().unwrap().empty_layer, "{user:?}");
        // The images go, what the container stands on stays.
        sandbox.kiln(&["rmi", "made:1", "made:2", "made:3"]).ok();
        assert_eq!(sandbox.kiln(&["start", "-a", "c1"]).ok(), "3\n", "{user:?}");
    }
}

fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(directory).into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.file_name().is_some_and(|found| found == name)).collect()
}

#[test]
fn other_tools_see_the_files_that_the_container_had() {
    if !(require(Need::Busybox) && require(Need::Umoci) && require(Need::Root)) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.sh(&["--name", "c1"], CHANGES).ok();
    sandbox.kiln(&["commit", "c1", "made"]).ok();
    let target = tempfile::tempdir().unwrap();
    let rootfs = sandbox.image("made").unpack_with_umoci(target.path()).join("rootfs");
    let exported = target.path().join("exported");
    fs::create_dir(&exported).unwrap();
    sandbox.kiln(&["export", "-o", &sandbox.text("c1.tar"), "c1"]).ok();
    ran(Command::new("tar").arg("-xpf").arg(sandbox.path("c1.tar")).arg("-C").arg(&exported)).ok();
    ran(Command::new("diff").args(["-r", "--no-dereference"]).arg(&rootfs).arg(&exported)).ok();
    let mode = |root: &Path| fs::metadata(root.join("d/e/z")).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&rootfs), mode(&exported)), (0o4711, 0o4711));
    let links = |root: &Path| fs::metadata(root.join("d/hard")).unwrap().nlink();
    assert_eq!((links(&rootfs), links(&exported)), (2, 2));
}

#[test]
fn a_running_container_is_committed_without_what_its_start_has_put_there() {
    for user in users() {
        let sandbox = sandbox(user);
        let running = sandbox.waiting("runs");
        sandbox.kiln(&["exec", "runs", "sh", "-c", "echo 1 > /made"]).ok();
        sandbox.kiln(&["commit", "runs", "made"]).ok();
        let image = sandbox.image("made");
        image.validate();
        // Not /proc, /sys, /dev, /etc/hosts and /etc/resolv.conf, which the image does not have.
        assert_eq!(image.last().paths(), ["made"], "{user:?}");
        assert_eq!(sandbox.kiln(&["diff", "runs"]).ok(), "A /made\n", "{user:?}");
        // The container stays as it is.
        sandbox.kiln(&["exec", "runs", "sh", "-c", "echo 2 > /made2"]).ok();
        sandbox.kiln(&["commit", "runs", "made"]).ok();
        assert_eq!(sandbox.image("made").last().paths(), ["made", "made2"], "{user:?}");
        sandbox.kiln(&["stop", "runs"]).ok();
        drop(running);
        assert_eq!(sandbox.kiln(&["diff", "runs"]).ok(), "A /made\nA /made2\n", "{user:?}");
    }
}

#[test]
fn a_running_container_stands_still_while_it_is_committed() {
    for user in users() {
        let sandbox = sandbox(user);
        let running = sandbox.waiting("runs");
        sandbox.kiln(&["exec", "runs", "sh", "-c", "head -c 60000000 /dev/zero > /big"]).ok();
        let pid = sandbox.containers()[0]["Pid"].clone();
        let stopped = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
        };
        for (flag, expected) in [("--pause", true), ("--pause=false", false)] {
            let mut commit = sandbox.start(&["commit", flag, "runs", "made"]);
            let mut seen = false;
            while commit.try_wait().unwrap().is_none() {
                seen |= stopped();
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(commit.wait().unwrap().success(), "{user:?}");
            assert_eq!(seen, expected, "{user:?} {flag}");
            assert!(!stopped(), "{user:?} {flag}");
        }
        // Whoever stopped it can be killed before it goes on.
        let mut commit = sandbox.start(&["commit", "runs", "made"]);
        assert!(comes_true(stopped), "{user:?}");
        commit.kill().unwrap();
        commit.wait().unwrap();
        assert!(comes_true(|| !stopped()), "{user:?}");
        sandbox.kiln(&["stop", "runs"]).ok();
        assert_eq!(running.code(), Some(9), "{user:?}");
    }
}

#[test]
fn instructions_that_are_about_files_are_refused_where_they_stand() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.sh(&["--name", "c1"], "echo 1 > /x").ok();
    let error = sandbox.kiln(&["commit", "-c", "ENV A=1", "-c", "RUN make", "c1", "made"]).fails(1);
    assert!(error.contains("--change:3:1") && error.contains("`RUN` cannot change"), "{error}");
    assert!(sandbox.kiln(&["images", "made", "-q"]).ok().is_empty());
    assert_eq!(sandbox.kiln(&["diff", "c1"]).ok(), "A /x\n");
}

#[test]
fn what_a_killed_kiln_left_is_committed_by_one_at_a_time() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    for round in 0..3 {
        let victim = format!("victim-{round}");
        let running = sandbox.waiting(&victim);
        sandbox.kiln(&["exec", &victim, "sh", "-c", "head -c 20000000 /dev/urandom > /big"]).ok();
        drop(running);
        let commits = ["a", "b"].map(|name| sandbox.start(&["commit", &victim, &format!("{name}-{round}")]));
        let images = commits.map(|commit| commit.wait_with_output().unwrap());
        let failed: Vec<_> = images.iter().filter(|output| !output.status.success()).collect();
        assert!(failed.len() < 2, "{failed:?}");
        let expected = format!("error: another kiln is at work on container {victim}\n");
        assert!(failed.iter().all(|output| String::from_utf8_lossy(&output.stderr) == expected), "{failed:?}");
        for (name, output) in ["a", "b"].iter().zip(&images).filter(|(_, output)| output.status.success()) {
            let image = sandbox.image(&format!("{name}-{round}"));
            let layers = image.layers();
            assert!(layers.iter().any(|layer| layer.paths().contains(&"big")), "{name}: {output:?}");
        }
        sandbox.kiln(&["rm", "-f", &victim]).ok();
    }
}

#[test]
fn a_killed_commit_leaves_the_container() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let expected = sandbox.sh(&["--name", "c1"], "head -c 60000000 /dev/urandom > /big; sha256sum < /big").ok();
    let sum = |image: &str| sandbox.kiln(&["run", "--rm", image, "sh", "-c", "sha256sum < /big"]).ok();
    for milliseconds in [0, 20, 60, 120, 200, 320, 480] {
        let commit = Foreground(sandbox.start(&["commit", "c1", "killed"]));
        std::thread::sleep(Duration::from_millis(milliseconds));
        drop(commit);
        assert_eq!(sandbox.containers().len(), 1, "after {milliseconds} ms");
        // Whether there is an image by then or not, there is either all of it or nothing.
        if !sandbox.kiln(&["images", "-q", "killed"]).ok().is_empty() {
            sandbox.image("killed").validate();
        }
    }
    sandbox.kiln(&["commit", "c1", "whole"]).ok();
    sandbox.image("whole").validate();
    assert_eq!(sum("whole"), expected);
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    for user in users() {
        let sandbox = sandbox(user);
        sandbox.sh(&["--name", "c1"], CHANGES).ok();
        let expected = "C /bin\nD /bin/vi\nA /d\nA /d/e\nA /d/e/z\nA /d/hard\nA /d/l\nA /etc\nA /etc/mine\nA /new\nC /work\nA /work/w\n";
        assert_eq!(sandbox.kiln(&["diff", "c1"]).ok(), expected, "{user:?}");
        // They are those from the image, whatever was committed meanwhile.
        sandbox.kiln(&["commit", "c1", "made"]).ok();
        assert_eq!(sandbox.kiln(&["diff", "c1"]).ok(), expected, "{user:?}");
        assert_eq!(sandbox.kiln(&["diff", "container:c1"]).ok(), expected, "{user:?}");
        sandbox.kiln(&["diff", "--only=files", "--exit-code", "made", "c1"]).ok();
        let shown = sandbox.kiln(&["diff", "--patch", "test", "c1"]).ok();
        assert!(shown.contains("+++ c1") && shown.contains("D /bin/vi") && shown.contains("+a\n"), "{user:?}: {shown}");
        sandbox.kiln(&["diff", "--exit-code", "c1"]).fails(1);
    }
}

#[test]
fn files_are_copied_both_ways() {
    for user in users() {
        let sandbox = sandbox(user);
        sandbox
            .sh(&["--name", "stopped"], "mkdir /d; echo inside > /d/file; chmod 640 /d/file; ln -s file /d/link")
            .ok();
        let running = sandbox.waiting("running");
        sandbox
            .kiln(&[
                "exec",
                "running",
                "sh",
                "-c",
                "mkdir /d; echo inside > /d/file; chmod 640 /d/file; ln -s file /d/link",
            ])
            .ok();
        for container in ["stopped", "running"] {
            let (name, at) = (format!("{user:?} {container}"), |path: &str| format!("{container}:{path}"));
            let out = sandbox.text(&format!("out-{container}"));
            sandbox.kiln(&["cp", &at("/d"), &out]).ok();
            assert_eq!(fs::read_to_string(format!("{out}/file")).unwrap(), "inside\n", "{name}");
            let file = fs::metadata(format!("{out}/file")).unwrap();
            assert_eq!(
                (file.mode() & 0o7777, file.uid()),
                (0o640, fs::metadata(sandbox.path("root")).unwrap().uid()),
                "{name}"
            );
            assert_eq!(fs::read_link(format!("{out}/link")).unwrap(), Path::new("file"), "{name}");
            sandbox.kiln(&["cp", "-L", &at("d/link"), &format!("{out}/followed")]).ok();
            assert_eq!(fs::read_to_string(format!("{out}/followed")).unwrap(), "inside\n", "{name}");
            fs::write(sandbox.path("outside"), "outside\n").unwrap();
            sandbox.kiln(&["cp", "outside", &at("/d/")]).ok();
            sandbox.kiln(&["cp", &sandbox.text("outside"), &at("/d/file")]).ok();
            assert_eq!(sandbox.kiln(&["cp", &at("/d/outside"), "-"]).code, Some(0), "{name}");
            let mut tar = sandbox.command(&["cp", &at("/d"), "-"]).output().unwrap().stdout;
            let mut archive = tar::Archive::new(&*tar);
            let names: Vec<_> =
                archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
            assert_eq!(names, ["d/", "d/file", "d/link", "d/outside"], "{name}");
            let mut child = sandbox.command(&["cp", "-", &at("/work")]).stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(&std::mem::take(&mut tar)).unwrap();
            assert!(child.wait().unwrap().success(), "{name}");
            sandbox.kiln(&["cp", &at("/work/d/outside"), &format!("{out}/back")]).ok();
            assert_eq!(fs::read_to_string(format!("{out}/back")).unwrap(), "outside\n", "{name}");
            for (from, to, word) in [
                (at("/none"), out.clone(), "there is no /none in the container"),
                (sandbox.text("none"), at("/"), "on this machine"),
                (at("/d"), sandbox.text("outside"), "cannot copy a directory"),
                (at("/d/file/"), out.clone(), "not a directory"),
                (sandbox.text("outside"), at("/none/"), "not a directory"),
            ] {
                let error = sandbox.kiln(&["cp", &from, &to]).fails(1);
                assert!(error.contains(word), "{name}: {from} {to}: {error}");
            }
        }
        // What a process of the container sees.
        let seen =
            sandbox.kiln(&["exec", "running", "sh", "-c", "cat /d/file /d/outside; stat -c %u:%g /d/outside"]).ok();
        assert_eq!(seen, "outside\noutside\n0:0\n", "{user:?}");
        drop(running);
        assert!(sandbox.kiln(&["cp", "a", "b"]).fails(2).contains("must be in a container"), "{user:?}");
    }
}

#[test]
fn no_link_in_a_container_leads_out_of_it() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let secret = sandbox.text("secret");
    fs::write(&secret, "of the host").unwrap();
    fs::create_dir(sandbox.path("victim")).unwrap();
    let script = format!(
        "ln -s {secret} /file; ln -s {} /directory; ln -s ../../../../../..{} /dots; ln -s /proc/self/root /root; ln -s /proc/1/cwd /cwd",
        sandbox.text("victim"),
        sandbox.text("victim"),
    );
    sandbox.sh(&["--name", "stopped"], &script).ok();
    let running = sandbox.waiting("running");
    sandbox.kiln(&["exec", "running", "sh", "-c", &script]).ok();
    fs::write(sandbox.path("mine"), "copied in").unwrap();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/x"), "copied in").unwrap();
    for container in ["stopped", "running"] {
        let at = |path: &str| format!("{container}:{path}");
        for path in [
            "/file",
            "/directory",
            "/dots",
            &format!("/root{secret}"),
            &format!("/cwd/../..{secret}"),
            &format!("/../..{secret}"),
        ] {
            let ran = sandbox.kiln(&["cp", "-L", &at(path), &sandbox.text("got")]);
            let got = fs::read_to_string(sandbox.path("got")).unwrap_or_default();
            assert!(ran.code != Some(0) && !got.contains("of the host"), "{container} {path}");
        }
        for path in ["/file", "/directory/", "/dots/", "/directory/new", "/dots/new", "/root/new", "/cwd/new"] {
            // Some of these are places in the container, and the others are none.
            sandbox.kiln(&["cp", "mine", &at(path)]);
            sandbox.kiln(&["cp", "tree", &at(path)]);
            sandbox.kiln(&["cp", "tree/.", &at(path)]);
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host", "{container}");
        assert_eq!(fs::read_dir(sandbox.path("victim")).unwrap().count(), 0, "{container}");
        assert!(!Path::new("/new").exists(), "{container}");
    }
    drop(running);
    // A tar that would lead out does not get in, through its names or through links it brings itself.
    let victim = sandbox.path("victim");
    for kind in ["../../../../escaped", "link/escaped"] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "link", &victim).unwrap();
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..kind.len()].copy_from_slice(kind.as_bytes());
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        fs::write(sandbox.path("evil.tar"), tar.into_inner().unwrap()).unwrap();
        let mut command = sandbox.command(&["cp", "-", "stopped:/work"]);
        ran(command.stdin(File::open(sandbox.path("evil.tar")).unwrap()));
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{kind}");
        assert!(!sandbox.path("escaped").exists() && !Path::new("/escaped").exists(), "{kind}");
    }
}

#[test]
fn what_is_copied_into_a_container_is_in_the_image_of_it() {
    if !(require(Need::Busybox) && require(Need::Root)) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.sh(&["--name", "c1"], "true").ok();
    fs::write(sandbox.path("file"), "1").unwrap();
    std::os::unix::fs::chown(sandbox.path("file"), Some(77), Some(78)).unwrap();
    symlink("file", sandbox.path("link")).unwrap();
    sandbox.kiln(&["cp", "file", "c1:/roots"]).ok();
    sandbox.kiln(&["cp", "-a", "file", "c1:/owned"]).ok();
    sandbox.kiln(&["cp", "link", "c1:/link"]).ok();
    sandbox.kiln(&["commit", "c1", "made"]).ok();
    let image = sandbox.image("made");
    image.validate();
    assert_eq!(image.find("/roots").unwrap().owner(), (0, 0));
    assert_eq!(image.find("/owned").unwrap().owner(), (77, 78));
    assert_eq!(image.last().paths(), ["link", "owned", "roots"]);
}

#[test]
fn a_container_goes_through_a_tar_and_back() {
    for user in users() {
        let sandbox = sandbox(user);
        sandbox.sh(&["--name", "c1"], CHANGES).ok();
        let first = sandbox.command(&["export", "c1"]).output().unwrap().stdout;
        fs::write(sandbox.path("c1.tar"), &first).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&first).unwrap();
        fs::write(sandbox.path("c1.tar.gz"), gzip.finish().unwrap()).unwrap();
        let ids: Vec<_> = [("c1.tar", "flat:1"), ("c1.tar.gz", "flat:2")]
            .map(|(file, name)| {
                sandbox.kiln(&["import", "-c", "CMD [\"cat\", \"/new\"]", "-m", "from afar", file, name]).ok();
                let image = sandbox.image(name);
                image.validate();
                assert_eq!(image.layers().len(), 1, "{user:?}");
                assert_eq!(image.config().history[0].comment.as_deref(), Some("from afar"), "{user:?}");
                image.config().rootfs.diff_ids.clone()
            })
            .into();
        // The layer is the very tar, compressed or not.
        assert_eq!(ids[0], ids[1], "{user:?}");
        assert_eq!(ids[0][0].digest(), kiln::oci::Digest::of(&first), "{user:?}");
        assert_eq!(sandbox.kiln(&["run", "--name", "c2", "flat:1"]).ok(), "a\n", "{user:?}");
        let second = sandbox.command(&["export", "c2"]).output().unwrap().stdout;
        assert!(first == second, "{user:?}");
        let mut command = sandbox.command(&["import", "-", "flat:3"]);
        ran(command.stdin(File::open(sandbox.path("c1.tar")).unwrap())).ok();
        let history = sandbox.image("flat:3").config().history[0].comment.clone();
        assert_eq!(history.as_deref(), Some("Imported from -"), "{user:?}");
    }
}

#[test]
fn an_import_that_is_no_tar_leaves_nothing() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("text"), "no tar at all".repeat(100)).unwrap();
    assert!(sandbox.kiln(&["import", "text", "made"]).fails(1).contains("tar"));
    assert!(sandbox.kiln(&["import", "none", "made"]).fails(1).contains("cannot open none"));
    assert!(sandbox.kiln(&["import", "https://example.com/a.tar"]).fails(2).contains("kiln imports files"));
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    assert_eq!(fs::read_dir(sandbox.path("root/blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn a_running_container_is_exported_without_what_is_mounted() {
    for user in users() {
        let sandbox = sandbox(user);
        let running = sandbox.waiting("runs");
        sandbox.kiln(&["exec", "runs", "sh", "-c", "echo 1 > /made; rm /bin/vi"]).ok();
        let tar = sandbox.command(&["export", "runs"]).output().unwrap().stdout;
        let mut archive = tar::Archive::new(&*tar);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let found: BTreeMap<String, u64> =
            entries.map(|entry| (entry.path().unwrap().display().to_string(), entry.size())).collect();
        assert!(found.contains_key("made") && found.contains_key("bin/busybox"), "{user:?}");
        assert!(!found.contains_key("bin/vi") && !found.contains_key("etc/hosts"), "{user:?}");
        assert!(!found.keys().any(|name| name.starts_with("proc/") && name != "proc/"), "{user:?}");
        drop(running);
    }
}

/// Where overlayfs cannot be mounted, as over another overlay, a container has a copy of all files.
#[test]
fn without_overlayfs_everything_is_the_same() {
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("CMD [\"true\"]\n");
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(sandbox.path(name)).unwrap();
    }
    let script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && set -e
        $K build -q -t test context > /dev/null
        $K run --name c1 test sh -c 'echo x >> /lines; rm -f /bin/vi; wc -l < /lines'
        $K diff c1
        $K commit c1 made:1 > /dev/null
        $K start -a c1
        echo in > in && $K cp in c1:/in && $K cp c1:/in out && cat out
        $K commit c1 made:2 > /dev/null
        $K diff made:1 made:2 --only=files --stat | grep ^files
        $K run --rm made:2 cat /lines
        $K export c1 | tar t | grep -cE '^(lines|in|bin/vi)$'
        $K rm c1";
    let program = sandbox.command(&[]).get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).env("K", program).current_dir(sandbox.path(""));
    command.env("KILN_ROOT", sandbox.path("merged/root")).env("KILN_LOG", "kiln::snapshot=debug");
    let done = ran(&mut command);
    assert!(done.stderr.contains("overlayfs does not work here"), "{}", done.stderr);
    let expected = "1\nC /bin\nD /bin/vi\nA /lines\n2\nin\nfiles  1 added, 1 changed, 0 deleted\nx\nx\n2\nc1\n";
    assert_eq!(done.ok(), expected);
}
