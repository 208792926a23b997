//! Where the files of a build come from: directories, archives, stdin.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Image, Ran, Sandbox, ran};

/// Builds with `input` on stdin.
fn build_from(sandbox: &Sandbox, input: &[u8], arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(&[&["build", "-t", "test"], arguments].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln starts");
    // A kiln that gives up early does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn image(sandbox: &Sandbox) -> Image {
    let image = sandbox.image("test");
    image.validate();
    image
}

/// Packs the sandbox's context.
fn packed(sandbox: &Sandbox, flag: &str) -> Vec<u8> {
    let archive = sandbox.path("context.tar");
    let mut tar = Command::new("tar");
    ran(tar.args(["--owner=7", "--group=8", flag, "-cf"]).arg(&archive).arg("-C").arg(sandbox.context("")).arg("."))
        .ok();
    fs::read(archive).unwrap()
}

/// Asserts that no build has left its files in the store.
fn left_nothing(sandbox: &Sandbox) {
    let trees = fs::read_dir(sandbox.path("root/trees")).unwrap().count();
    assert_eq!(trees, 0);
}

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";

#[test]
fn an_archive_on_stdin_is_the_context_however_it_is_compressed() {
    for flag in ["--no-auto-compress", "-z", "-j", "-J", "--zstd"] {
        let sandbox =
            Sandbox::new().file("d/a", "1").program("b", "2").symlink("l", "/etc/passwd").dockerfile(COPY_ALL);
        let archive = packed(&sandbox, flag);
        build_from(&sandbox, &archive, &["-"]).ok();
        let image = image(&sandbox);
        assert_eq!((image.file("/d/a"), image.layer(0).entry("b").mode()), ("1".into(), 0o755));
        // Owners of an archive mean something, other than those of a directory.
        assert_eq!((image.layer(0).entry("b").owner(), image.layer(0).entry("l").link()), ((7, 8), "/etc/passwd"));
        left_nothing(&sandbox);
    }
}

#[test]
fn a_dockerfile_on_stdin_needs_no_files() {
    let sandbox = Sandbox::new();
    build_from(&sandbox, b"FROM scratch\nCOPY <<a /a\nx\na\n", &["-"]).ok();
    assert_eq!(image(&sandbox).file("/a"), "x\n");
    let stderr = build_from(&sandbox, b"FROM scratch\nCOPY a /a\n", &["-"]).fails(1);
    assert!(stderr.contains("Dockerfile:2:") && stderr.contains("not found"), "{stderr}");
}

#[test]
fn a_file_may_be_the_context() {
    let sandbox = Sandbox::new().file("sub/Other", "FROM scratch\nCOPY a /x\n").file("a", "1");
    packed(&sandbox, "-z");
    sandbox.kiln(&["build", "-t", "test", "-f", "sub/Other", "context.tar"]).ok();
    assert_eq!(image(&sandbox).file("/x"), "1");
    fs::write(sandbox.path("text"), "FROM scratch\n").unwrap();
    let stderr = sandbox.kiln(&["build", "text"]).fails(1);
    assert!(stderr.contains("neither a directory nor a tar archive"), "{stderr}");
}

#[test]
fn an_archive_has_been_chosen_already() {
    let sandbox = Sandbox::new().file("a", "1").file(".dockerignore", "a\n").dockerfile(COPY_ALL);
    build_from(&sandbox, &packed(&sandbox, "-z"), &["-"]).ok();
    assert!(image(&sandbox).layer(0).has("a") && image(&sandbox).layer(0).has(".dockerignore"));
}

#[test]
fn the_dockerfile_may_come_beside_the_archive() {
    let sandbox = Sandbox::new().file("a", "1");
    packed(&sandbox, "-z");
    build_from(&sandbox, b"FROM scratch\nCOPY a /from-stdin\n", &["-f", "-", "context.tar"]).ok();
    assert_eq!(image(&sandbox).file("/from-stdin"), "1");
    let stderr = build_from(&sandbox, b"FROM scratch\n", &["-f", "-", "-"]).fails(2);
    assert!(stderr.contains("stdin can be either"), "{stderr}");
    let stderr = build_from(&sandbox, b"FROM scratch\n", &["-f", "Other", "-"]).fails(1);
    assert!(stderr.contains("`-f` names another one"), "{stderr}");
}

#[test]
fn a_hostile_archive_reads_and_writes_nothing_outside() {
    let sandbox = Sandbox::new().symlink("Dockerfile", "../../../../../../../../etc/hostname");
    let stderr = build_from(&sandbox, &packed(&sandbox, "-z"), &["-"]).fails(1);
    assert!(stderr.contains("there is no Dockerfile in -"), "{stderr}");
    let sandbox = Sandbox::new().file("a", "x").dockerfile(COPY_ALL);
    let mut tar = Command::new("tar");
    let archive = sandbox.path("evil.tar");
    let evil = ["--absolute-names", "--transform=s,^a$,../../../kiln-escaped,", "-cf"];
    ran(tar.args(evil).arg(&archive).arg("-C").arg(sandbox.context("")).args(["Dockerfile", "a"])).ok();
    let stderr = build_from(&sandbox, &fs::read(archive).unwrap(), &["-"]).fails(1);
    assert!(stderr.contains("leads out of it: ../../../kiln-escaped"), "{stderr}");
    left_nothing(&sandbox);
}

#[test]
fn a_broken_archive_is_told() {
    let sandbox = Sandbox::new().file("a", "x".repeat(5000)).dockerfile(COPY_ALL);
    let archive = packed(&sandbox, "--no-auto-compress");
    let stderr = build_from(&sandbox, &archive[..3000], &["-"]).fails(1);
    assert!(stderr.contains("cannot unpack the build context") && stderr.contains("truncated"), "{stderr}");
    let stderr = build_from(&sandbox, b"\x1f\x8b\x08\0 not gzip", &["-"]).fails(1);
    assert!(stderr.contains("cannot unpack the build context"), "{stderr}");
    left_nothing(&sandbox);
}

#[test]
fn what_is_no_dockerfile_is_told() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.context("Dockerfile")).unwrap();
    let stderr = sandbox.kiln(&["build", "context"]).fails(1);
    assert!(stderr.contains("cannot read context/Dockerfile") && stderr.contains("directory"), "{stderr}");
    let stderr = sandbox.kiln(&["build", "-f", "/dev/zero", "context"]).fails(1);
    assert!(stderr.contains("cannot read /dev/zero"), "{stderr}");
    let stderr = sandbox.kiln(&["build", "-f", "context/none", "context"]).fails(1);
    assert!(stderr.contains("cannot read context/none") && stderr.contains("No such file"), "{stderr}");
}

#[test]
fn the_name_may_be_in_lower_case() {
    let sandbox = Sandbox::new().file("sub/dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    assert_eq!(sandbox.build_with(&["-f", "context/sub/Dockerfile"]).unwrap().file("/a"), "1");
}

#[test]
fn files_that_are_no_text_are_copied_under_their_names() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new().dockerfile(COPY_ALL);
    File::create(sandbox.context("").join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.context("socket")).unwrap();
    let image = sandbox.build().unwrap();
    image.validate();
    assert_eq!(image.layer(0).paths().len(), 2, "{:?}", image.layer(0).paths());
}
