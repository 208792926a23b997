//! COPY and ADD.

use std::process::Command;

use crate::support::{Image, Need, Sandbox, ran, require};

fn built(sandbox: Sandbox) -> Image {
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

#[test]
fn copy_with_chown_sets_owner_in_the_layer() {
    let image = built(Sandbox::new().file("app", "#!").dockerfile("FROM scratch\nCOPY --chown=7:8 app /app\n"));
    assert_eq!(image.layer(0).entry("/app").owner(), (7, 8));
}

#[test]
fn copied_files_belong_to_root_and_keep_their_mode() {
    let sandbox = Sandbox::new().file("data", "d").program("tool", "t");
    let image = built(sandbox.dockerfile("FROM scratch\nCOPY data tool /opt/\n"));
    let layer = image.layer(0);
    assert_eq!((layer.entry("opt/data").mode(), layer.entry("opt/tool").mode()), (0o644, 0o755));
    assert_eq!((layer.entry("opt").mode(), layer.entry("opt/data").owner()), (0o755, (0, 0)));
}

#[test]
fn chmod_sets_the_mode() {
    let image = built(Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY --chmod=4711 a /a\n"));
    assert_eq!(image.layer(0).entry("a").mode(), 0o4711);
}

#[test]
fn a_directory_is_copied_as_its_contents() {
    let sandbox = Sandbox::new().file("src/a", "1").file("src/sub/b", "2").dockerfile("FROM scratch\nCOPY src /dst\n");
    let image = built(sandbox);
    assert_eq!((image.file("/dst/a"), image.file("/dst/sub/b")), ("1".into(), "2".into()));
    assert!(image.find("/dst/src").is_none());
}

#[test]
fn wildcards_choose_files() {
    let sandbox = Sandbox::new().file("a.txt", "").file("b.txt", "").file("c.md", "");
    let image = built(sandbox.dockerfile("FROM scratch\nCOPY [ab].txt *.md /d/\n"));
    assert_eq!(image.layer(0).paths(), ["d", "d/a.txt", "d/b.txt", "d/c.md"]);
}

#[test]
fn links_are_copied_as_links() {
    let sandbox = Sandbox::new().file("d/a", "1").symlink("d/link", "../elsewhere");
    assert_eq!(built(sandbox.dockerfile("FROM scratch\nCOPY d /d\n")).layer(0).entry("d/link").link(), "../elsewhere");
}

#[test]
fn heredocs_become_files() {
    let image = built(Sandbox::new().dockerfile("FROM scratch\nARG A=x\nCOPY <<one <<\"two\" /d/\n$A\none\n$A\ntwo\n"));
    assert_eq!((image.file("d/one"), image.file("d/two")), ("x\n".into(), "$A\n".into()));
}

#[test]
fn a_relative_destination_is_in_the_working_directory() {
    let image = built(Sandbox::new().file("a", "1").dockerfile("FROM scratch\nWORKDIR /w/x\nCOPY a .\nCOPY a b/\n"));
    assert_eq!((image.file("/w/x/a"), image.file("/w/x/b/a")), ("1".into(), "1".into()));
}

#[test]
fn copy_does_not_follow_links_out_of_the_root() {
    let sandbox = Sandbox::new().file("secret", "s").file("links/a", "").symlink("links/out", "/");
    let image = built(sandbox.dockerfile("FROM scratch\nCOPY links /\nCOPY secret /out/kiln-escaped\n"));
    assert_eq!(image.file("/kiln-escaped"), "s");
    assert!(!std::path::Path::new("/kiln-escaped").exists());
}

#[test]
fn add_unpacks_archives_of_every_compression_and_copy_does_not() {
    for (suffix, flag) in
        [("tar", "-c"), ("tar.gz", "-cz"), ("tar.bz2", "-cj"), ("tar.xz", "-cJ"), ("tar.zst", "--zstd")]
    {
        let sandbox = Sandbox::new().file("tree/d/a", "1");
        let archive = sandbox.context(&format!("x.{suffix}"));
        let mut tar = Command::new("tar");
        tar.arg(flag).args(if flag == "--zstd" { vec!["-c"] } else { vec![] });
        ran(tar.arg("-f").arg(&archive).arg("-C").arg(sandbox.context("tree")).arg("d")).ok();
        let image = built(sandbox.dockerfile(&format!("FROM scratch\nADD x.{suffix} /add/\nCOPY x.{suffix} /copy/\n")));
        assert_eq!(image.file("/add/d/a"), "1", "{suffix}");
        assert!(image.find(&format!("/copy/x.{suffix}")).is_some(), "{suffix}");
    }
}

#[test]
fn copy_over_a_file_replaces_it_and_keeps_the_rest() {
    let sandbox = Sandbox::new().file("a", "1").file("b", "2");
    let image = built(sandbox.dockerfile("FROM scratch\nCOPY a b /d/\nCOPY a /d/b\n"));
    assert_eq!((image.file("/d/a"), image.file("/d/b")), ("1".into(), "1".into()));
    assert!(!image.layer(1).has("d/a"));
}

#[test]
fn owners_are_looked_up_in_the_image() {
    let sandbox =
        Sandbox::new().file("a", "").file("passwd", "app:x:12:34::/:/bin/sh\n").file("group", "staff:x:56:\n");
    let image = built(sandbox.dockerfile(
        "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=app a /1\nCOPY --chown=app:staff a /2\nCOPY --chown=9 a /3\n",
    ));
    let owner = |path: &str| image.find(path).unwrap().owner();
    assert_eq!((owner("1"), owner("2"), owner("3")), ((12, 34), (12, 56), (9, 9)));
}

#[test]
fn odd_names_survive() {
    let long = "n".repeat(200);
    let sandbox = Sandbox::new().file(&format!("d/{long}/{long}"), "1").file("d/ü \\ \"x\"", "2");
    let image = built(sandbox.dockerfile("FROM scratch\nCOPY d /d\n"));
    assert_eq!((image.file(&format!("d/{long}/{long}")), image.file("d/ü \\ \"x\"")), ("1".into(), "2".into()));
}

#[test]
fn other_tools_see_the_same_files() {
    if !(require(Need::Root) && require(Need::Skopeo) && require(Need::Umoci)) {
        return;
    }
    let sandbox = Sandbox::new().file("d/a", "1").dockerfile("FROM scratch\nCOPY d /d\nCOPY d/a /b\n");
    let bundle = sandbox.build().unwrap().unpack_with_umoci(&sandbox.path(""));
    assert_eq!(std::fs::read_to_string(bundle.join("rootfs/d/a")).unwrap(), "1");
    assert_eq!(std::fs::read_to_string(bundle.join("rootfs/b")).unwrap(), "1");
}

#[test]
fn a_sparse_file_takes_no_room_in_the_store() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new().file("big", "x").dockerfile("FROM scratch\nCOPY big /big\n");
    let size = 64 << 20;
    std::fs::File::options().write(true).open(sandbox.context("big")).unwrap().set_len(size).unwrap();
    let image = sandbox.build().unwrap();
    assert_eq!(image.layer(0).entry("big").content().len() as u64, size);
    let blobs = std::fs::read_dir(sandbox.path("root/blobs/sha256")).unwrap();
    let bytes: u64 = blobs.map(|blob| blob.unwrap().metadata().unwrap().blocks() * 512).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes on disk");
}
