//! Archives to trees and back, and archives that mean harm.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tar::{EntryType, Header};

use super::*;
use crate::fs::{set_xattr, xattrs};

/// Builds archives that no writer would.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn entry(self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Raw {
        self.entry_with(kind, path.as_bytes(), link.as_bytes(), content, |_| {})
    }

    fn entry_with(
        mut self,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Raw {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        change(&mut header);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Raw {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn paths(index: &Index) -> Vec<String> {
    let shown = |entry: &Entry| {
        let mark = match entry.kind {
            Kind::Whiteout => "-",
            Kind::Opaque => "!",
            _ => "",
        };
        format!("{mark}{}", String::from_utf8_lossy(&entry.path))
    };
    index.entries().map(|entry| shown(&entry)).collect()
}

/// Unpacks one archive after the other into one directory.
fn unpacked(archives: &[Vec<u8>]) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let options = TreeOptions { ownership: Ownership::AsPermitted, ..TreeOptions::default() };
    for archive in archives {
        unpack(&archive[..], target.path(), &options).unwrap();
    }
    target
}

fn overlay(archive: &[u8]) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let form = TreeForm::Overlay(OverlayXattrs::User);
    let options = TreeOptions { form, ownership: Ownership::AsPermitted, ..TreeOptions::default() };
    unpack(archive, target.path(), &options).unwrap();
    target
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.mode() & 0o170000 == 0o020000 && file.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    xattrs(rustix::fs::CWD, path.as_os_str().as_encoded_bytes()).unwrap().contains_key(&b"user.overlay.opaque"[..])
}

#[test]
fn names_are_cleaned_and_marks_understood() {
    let archive = Raw::default()
        .entry(EntryType::Directory, "./", "", b"")
        .entry_with(EntryType::Directory, b"./a/", b"", b"", |header| {
            header.as_old_mut().mtime = [0xff; 12];
            header.as_old_mut().mtime[11] = 0xfb;
        })
        .file("/a//b", "x")
        .file("a/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        .file(".wh..wh.plnk/1.2", "left over")
        .file("c/../d", "y")
        .end();
    let finished = read(&archive[..], &Limits::default()).unwrap();
    assert_eq!(paths(&finished.index), ["", "a", "a/b", "-a/gone", "!a", "d"]);
    assert_eq!(finished.diff_id.digest(), crate::oci::Digest::of(&archive));
    assert_eq!(finished.index.entries().nth(1).unwrap().metadata.mtime.seconds, -5);
    let Kind::File { size: 1, offset, digest } = finished.index.entries().nth(2).unwrap().kind else { panic!() };
    assert_eq!((archive[offset as usize], digest), (b'x', crate::oci::Digest::of(b"x")));
}

#[test]
fn hostile_archives_are_refused_for_what_they_are() {
    let file = |path: &str| Raw::default().file(path, "x").end();
    let link = |kind, path: &str, target: &str| Raw::default().file("a", "x").entry(kind, path, target, b"").end();
    let huge = Raw::default().entry_with(EntryType::Regular, b"a", b"", b"", |header| header.set_size(1 << 40)).end();
    let mut flipped = file("a");
    flipped[0] ^= 1;
    let pax =
        |records: &str| Raw::default().entry(EntryType::XHeader, "pax", "", records.as_bytes()).file("a", "x").end();
    for (name, archive, expected) in [
        ("a path above", file("../a"), "leads out"),
        ("a path that climbs", file("a/../../b"), "leads out"),
        ("a link above", link(EntryType::Link, "b", "../../etc/passwd"), "leads out"),
        ("a link to nothing", link(EntryType::Link, "b", "c"), "links b to c"),
        ("an empty link", link(EntryType::Symlink, "b", ""), "leads to nothing"),
        ("a file without a name", file("/"), "it is empty"),
        ("a deletion of nothing", file("a/.wh."), "invalid whiteout"),
        ("a deletion of the directory above", file("a/.wh..."), "invalid whiteout"),
        ("something in a deletion", file(".wh.a/b"), "invalid whiteout"),
        (
            "a deletion that is a directory",
            Raw::default().entry(EntryType::Directory, ".wh.a", "", b"").end(),
            "invalid whiteout",
        ),
        ("a name that cannot be", pax(&format!("266 path={}\n", "n".repeat(256))), "too long"),
        ("a wrong checksum", flipped, "checksum"),
        ("an absurd size", huge, "truncated"),
        ("no content", file("a")[..600].to_vec(), "truncated"),
        ("half a header", file("a")[..100].to_vec(), "truncated"),
        ("an unknown type", Raw::default().entry(EntryType::new(b'Z'), "a", "", b"").end(), "unknown type, 'Z'"),
        ("a sparse file", pax("22 GNU.sparse.major=1\n"), "sparse"),
        ("a bad record", pax("99 path=x\n"), "malformed"),
        ("a bad number", pax("8 uid=x\n"), "malformed"),
        ("a NUL in a name", pax("12 path=a\0b\n"), "NUL"),
        ("more after the end", [file("a")[..1536].to_vec(), file("b")].concat(), "something follows"),
    ] {
        match read(&archive[..], &Limits::default()) {
            Ok(_) => panic!("{name} was accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
    let limits = |bytes, entries| Limits { bytes, entries };
    for limits in [limits(1024, 10), limits(1 << 20, 0)] {
        assert!(matches!(read(&file("a")[..], &limits), Err(Error::Limit { .. })));
    }
}

#[test]
fn links_of_a_layer_lead_nowhere_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "untouched").unwrap();
    let outer = outside.path().to_str().unwrap();
    let archive = Raw::default()
        .entry(EntryType::Symlink, "absolute", outer, b"")
        .entry(EntryType::Symlink, "climbing", "../../../../../..", b"")
        .file("absolute/file", "inside")
        .file(&format!("climbing{outer}/file"), "inside")
        .file("climbing/.wh.etc", "")
        .end();
    let tree = unpacked(&[archive]);
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(tree.path().join(&outer[1..]).join("file")).unwrap(), "inside");
}

#[test]
fn something_below_a_file_is_refused() {
    let archive = Raw::default().file("a", "x").file("a/b", "y").end();
    let target = tempfile::tempdir().unwrap();
    let error = unpack(&archive[..], target.path(), &TreeOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotADirectory { .. } | Error::File(_)), "{error}");
}

#[test]
fn overlayfs_own_attributes_do_not_come_from_a_layer() {
    let record = "44 SCHILY.xattr.trusted.overlay.redirect=/x\n";
    assert_eq!(record.len(), 44);
    let archive = Raw::default().entry(EntryType::XHeader, "pax", "", record.as_bytes()).file("a", "x").end();
    assert!(read(&archive[..], &Limits::default()).unwrap().index.entries().next().unwrap().metadata.xattrs.is_empty());
}

#[test]
fn deletions_concern_what_lies_below_alone() {
    let below = Raw::default().file("d/old", "1").file("d/both", "1").file("e/old", "1").file("f", "1").end();
    // New files before and after the marks that would take them away.
    let above = Raw::default()
        .file("d/new", "2")
        .file("d/.wh..wh..opq", "")
        .file("d/both", "2")
        .file("e/new", "2")
        .file(".wh.e", "")
        .file("f", "2")
        .file(".wh.f", "")
        .end();
    let tree = unpacked(&[below.clone(), above.clone()]);
    let there = |path: &str| fs::read_to_string(tree.path().join(path)).ok();
    let found = ["d/old", "d/new", "d/both", "e/old", "e/new", "f"].map(there);
    assert_eq!(found.map(|text| text.unwrap_or_default()), ["", "2", "2", "", "2", "2"]);

    let view = View::of(&[below, above.clone()].map(|archive| read(&archive[..], &Limits::default()).unwrap().index));
    let merged: Vec<_> = view.walk(b"").map(|(path, _)| String::from_utf8(path).unwrap()).collect();
    assert_eq!(merged, ["d", "d/both", "d/new", "e", "e/new", "f"]);

    let lower = overlay(&above);
    assert!(is_opaque(&lower.path().join("d")) && is_opaque(&lower.path().join("e")));
    assert_eq!(fs::read_to_string(lower.path().join("f")).unwrap(), "2");
}

#[test]
fn a_deleted_name_that_comes_back_as_a_directory_is_new() {
    let lower =
        overlay(&Raw::default().file(".wh.a", "").file(".wh.b", "").file("b/c", "x").file("gone/.wh.x", "").end());
    assert!(is_whiteout(&lower.path().join("a")) && is_whiteout(&lower.path().join("gone/x")));
    assert!(is_opaque(&lower.path().join("b")) && !is_opaque(&lower.path().join("gone")));
}

/// Returns the paths that `diff` writes, and the finished layer.
fn layer_of(tree: &Path, kind: TreeKind, parent: &View) -> (Vec<String>, Vec<u8>, Finished) {
    let mut writer = Writer::new(Vec::new());
    diff(tree, kind, parent, &mut writer).unwrap();
    let (bytes, finished) = writer.finish().unwrap();
    (paths(&finished.index), bytes, finished)
}

/// Files of every kind that needs no privilege.
fn zoo() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let path = |name: &str| tree.path().join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    fs::write(path("d/file"), "content").unwrap();
    fs::set_permissions(path("d/file"), Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(path("d/file"), path("link")).unwrap();
    symlink("d/file", path("symlink")).unwrap();
    fs::write(path("d/e").join("n".repeat(200)), "long").unwrap();
    fs::write(path("é"), "odd").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    fs::File::create(path("sparse")).unwrap().set_len(8 << 20).unwrap();
    set_xattr(rustix::fs::CWD, path("d").as_os_str().as_encoded_bytes(), b"user.note", b"kept").unwrap();
    fs::set_permissions(path("d"), Permissions::from_mode(0o1777)).unwrap();
    tree
}

#[test]
fn a_tree_goes_into_a_layer_and_comes_back() {
    let tree = zoo();
    let (names, bytes, finished) = layer_of(tree.path(), TreeKind::Whole, &View::empty());
    let long = format!("d/e/{}", "n".repeat(200));
    assert_eq!(names, ["d", "d/e", &long, "d/file", "link", "pipe", "sparse", "symlink", "é"]);
    assert_eq!(finished, Finished { index: finished.index.clone(), ..read(&bytes[..], &Limits::default()).unwrap() });

    let mut archive = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut archive, &bytes).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let options = TreeOptions { ownership: Ownership::AsPermitted, ..TreeOptions::default() };
    materialize(&finished.index, &archive, copy.path(), &options).unwrap();
    let view = View::of([&finished.index]);
    // Nanoseconds and attributes included: nothing differs.
    assert_eq!(layer_of(copy.path(), TreeKind::Whole, &view).0, Vec::<String>::new());
    let metadata = |name: &str| fs::symlink_metadata(copy.path().join(name)).unwrap();
    assert_eq!(metadata("d/file").ino(), metadata("link").ino());
    assert_eq!((metadata("d/file").mode() & 0o7777, metadata("d").mode() & 0o7777), (0o6755, 0o1777));
    assert_eq!(metadata("d").mtime_nsec(), fs::metadata(tree.path().join("d")).unwrap().mtime_nsec());
    assert!(metadata("sparse").blocks() < 100, "{}", metadata("sparse").blocks());
    assert!(
        xattrs(rustix::fs::CWD, copy.path().join("d").as_os_str().as_encoded_bytes())
            .unwrap()
            .contains_key(&b"user.note"[..])
    );

    // From the archive alone, times are whole seconds, and files are compared by content.
    let read_back = unpacked(std::slice::from_ref(&bytes));
    let view = View::of([&read(&bytes[..], &Limits::default()).unwrap().index]);
    assert_eq!(layer_of(read_back.path(), TreeKind::Whole, &view).0, Vec::<String>::new());
}

#[test]
fn a_whole_tree_is_compared_with_what_was_there() {
    let tree = zoo();
    let (_, _, finished) = layer_of(tree.path(), TreeKind::Whole, &View::empty());
    let view = View::of([&finished.index]);
    let path = |name: &str| tree.path().join(name);
    fs::remove_file(path("symlink")).unwrap();
    fs::remove_dir_all(path("d/e")).unwrap();
    fs::write(path("d/new"), "").unwrap();
    fs::remove_file(path("pipe")).unwrap();
    fs::create_dir(path("pipe")).unwrap();
    fs::set_permissions(path("sparse"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(layer_of(tree.path(), TreeKind::Whole, &view).0, ["d", "-d/e", "d/new", "pipe", "sparse", "-symlink"]);
}

#[test]
fn an_upper_directory_is_the_change() {
    let below = zoo();
    let view = View::of([&layer_of(below.path(), TreeKind::Whole, &View::empty()).2.index]);
    let upper = tempfile::tempdir().unwrap();
    let path = |name: &str| upper.path().join(name);
    let whiteout = |name: &str| {
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, path(name), kind, rustix::fs::Mode::empty(), 0).unwrap();
    };
    // As a copy-up leaves it: nothing changed, and so nothing is written, not even for `d`, were there not a change.
    fs::create_dir(path("d")).unwrap();
    fs::set_permissions(path("d"), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(layer_of(upper.path(), TreeKind::Upper(OverlayXattrs::User), &view).0, Vec::<String>::new());
    whiteout("d/file");
    whiteout("never-there");
    fs::create_dir(path("d/e")).unwrap();
    set_xattr(rustix::fs::CWD, path("d/e").as_os_str().as_encoded_bytes(), b"user.overlay.opaque", b"y").unwrap();
    fs::write(path("d/e/new"), "x").unwrap();
    fs::hard_link(path("d/e/new"), path("z")).unwrap();
    let (names, bytes, finished) = layer_of(upper.path(), TreeKind::Upper(OverlayXattrs::User), &view);
    let long = format!("-d/e/{}", "n".repeat(200));
    assert_eq!(names, ["d", "d/e", "d/e/new", &long, "-d/file", "z"]);
    assert!(
        matches!(&finished.index.entries().last().unwrap().kind, Kind::Hardlink { target } if target == b"d/e/new")
    );
    let again = read(&bytes[..], &Limits::default()).unwrap();
    assert_eq!(again.diff_id, finished.diff_id);
}

#[test]
fn directories_made_again_inside_of_an_opaque_one_hide_what_was_there() {
    let below = tempfile::tempdir().unwrap();
    fs::create_dir_all(below.path().join("opt/keep/sub")).unwrap();
    fs::write(below.path().join("opt/keep/k"), "k").unwrap();
    let view = View::of([&layer_of(below.path(), TreeKind::Whole, &View::empty()).2.index]);
    let upper = tempfile::tempdir().unwrap();
    let opt = upper.path().join("opt");
    fs::create_dir_all(opt.join("keep")).unwrap();
    set_xattr(rustix::fs::CWD, opt.as_os_str().as_encoded_bytes(), b"user.overlay.opaque", b"y").unwrap();
    let names = layer_of(upper.path(), TreeKind::Upper(OverlayXattrs::User), &view).0;
    assert_eq!(names, ["opt", "opt/keep", "-opt/keep/k", "-opt/keep/sub"]);
}

#[test]
fn features_a_layer_cannot_express_are_refused() {
    let upper = tempfile::tempdir().unwrap();
    let directory = upper.path().join("d");
    fs::create_dir(&directory).unwrap();
    set_xattr(rustix::fs::CWD, directory.as_os_str().as_encoded_bytes(), b"user.overlay.redirect", b"/x").unwrap();
    let mut writer = Writer::new(Vec::new());
    let error = diff(upper.path(), TreeKind::Upper(OverlayXattrs::User), &View::empty(), &mut writer).unwrap_err();
    assert!(matches!(error, Error::Overlay { .. }), "{error}");
}

#[test]
fn deep_trees_need_no_stack() {
    let tree = tempfile::tempdir().unwrap();
    let mut deep = rustix::fs::open(tree.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..400 {
        rustix::fs::mkdirat(&deep, "d", rustix::fs::Mode::RWXU).unwrap();
        deep = rustix::fs::openat(&deep, "d", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    }
    let (names, bytes, _) = layer_of(tree.path(), TreeKind::Whole, &View::empty());
    assert_eq!(names.len(), 400);
    unpacked(&[bytes]);
}
