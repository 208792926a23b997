//! What copies and archives do to trees. One file, because every test speaks the small language below, and a case is
//! found by what it says and not by where it stands.
//!
//! Trees are written one entry a line: `f 644 7:8 path content`, `d 755 0:0 path`, `l path target`; mtimes are 1 in bases
//! and sources, and 9 is now. Results have `w path` for whiteouts and `h path target` for hard links besides.

mod archives;
mod keys;
mod properties;

use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::context::{Absence, Ignore};
use crate::diagnostic;
use crate::graph::{self, Add, CopyOptions, CopySource, FileAction, Input, Mode, Owner};
use crate::layer::{Entry, Index, Kind, Metadata};
use crate::oci::Digest;

const BASE: Input = Input(0);
const SOURCE: Input = Input(1);

/// A stack of one layer with the bytes of its files.
struct Layer {
    entries: Vec<Entry>,
    view: View,
    bytes: HashMap<Digest, Vec<u8>>,
}

impl Layer {
    fn of(lines: &str) -> Layer {
        let mut bytes = HashMap::new();
        let entries = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let entries: Vec<Entry> = entries.map(|line| entry(line, &mut bytes)).collect();
        let view = View::of([&entries.iter().cloned().collect::<Index>()]);
        Layer { entries, view, bytes }
    }
}

fn entry(line: &str, bytes: &mut HashMap<Digest, Vec<u8>>) -> Entry {
    let words: Vec<&str> = line.split(' ').collect();
    let mtime = Mtime { seconds: 1, nanoseconds: 0 };
    let link = |kind| (words[1], kind, Metadata { mode: 0o777, mtime, ..Metadata::default() });
    let (path, kind, metadata) = match words[0] {
        "l" => link(Kind::Symlink { target: words[2].into() }),
        "h" => link(Kind::Hardlink { target: words[2].into() }),
        letter => {
            let (uid, gid) = words[2].split_once(':').unwrap();
            let (uid, gid) = (uid.parse().unwrap(), gid.parse().unwrap());
            let mode = u32::from_str_radix(words[1], 8).unwrap();
            let text = words[4..].join(" ").replace("\\n", "\n");
            let digest = Digest::of(text.as_bytes());
            let file = Kind::File { size: text.len() as u64, digest, offset: 0 };
            bytes.insert(digest, text.into());
            let kind = if letter == "d" { Kind::Directory } else { file };
            (words[3], kind, Metadata { mode, uid, gid, mtime, ..Metadata::default() })
        }
    };
    Entry { path: path.into(), kind, metadata }
}

fn shown_entry(entry: &Entry, bytes: &HashMap<Digest, Vec<u8>>) -> String {
    let path = String::from_utf8_lossy(&entry.path);
    let Metadata { mode, uid, gid, .. } = entry.metadata;
    match &entry.kind {
        Kind::File { digest, .. } => {
            format!("f {mode:o} {uid}:{gid} {path} {}", String::from_utf8_lossy(&bytes[digest])).trim_end().to_owned()
        }
        Kind::Directory => format!("d {mode:o} {uid}:{gid} {path}"),
        Kind::Symlink { target } => format!("l {path} {}", String::from_utf8_lossy(target)),
        Kind::Hardlink { target } => format!("h {path} {}", String::from_utf8_lossy(target)),
        Kind::Whiteout => format!("w {path}"),
        other => format!("{other:?} {path}"),
    }
}

/// Makes the tree on disk; owners do not matter there.
fn on_disk(lines: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut bytes = HashMap::new();
        let entry = entry(line, &mut bytes);
        let path = directory.path().join(str::from_utf8(&entry.path).unwrap());
        let text = |target: &[u8]| String::from_utf8(target.to_vec()).unwrap();
        match &entry.kind {
            Kind::File { digest, .. } => fs::write(&path, &bytes[digest]).unwrap(),
            Kind::Directory => fs::create_dir(&path).unwrap(),
            Kind::Symlink { target } => symlink(text(target), &path).unwrap(),
            Kind::Hardlink { target } => fs::hard_link(directory.path().join(text(target)), &path).unwrap(),
            other => panic!("{other:?}"),
        }
        if matches!(entry.kind, Kind::File { .. } | Kind::Directory) {
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.metadata.mode)).unwrap();
            paths.push(path);
        }
    }
    // Last, since what is made in a directory changes its time.
    for path in paths {
        fs::File::open(&path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    }
    directory
}

fn context(directory: &Path, ignore: &str) -> Context {
    let ignore = Ignore::parse(&diagnostic::Source::new(".dockerignore", ignore)).unwrap();
    Context::open(directory, ignore, None).unwrap()
}

fn copy(path: &str, destination: &str) -> FileAction {
    copy_with(path, destination, CopyOptions::default())
}

fn copy_with(path: &str, destination: &str, options: CopyOptions) -> FileAction {
    let source = CopySource::Path { from: SOURCE, path: path.into() };
    FileAction::Copy { source, destination: destination.into(), options }
}

fn owned(text: &str) -> CopyOptions {
    CopyOptions { owner: Some(Owner { text: text.into() }), ..CopyOptions::default() }
}

fn moded(text: &str) -> CopyOptions {
    CopyOptions { mode: Some(Mode::parse(text).unwrap()), ..CopyOptions::default() }
}

fn unpacked() -> CopyOptions {
    CopyOptions { add: Add::Unpack, ..CopyOptions::default() }
}

fn excluding(patterns: &[&str]) -> CopyOptions {
    CopyOptions { exclude: patterns.iter().map(ToString::to_string).collect(), ..CopyOptions::default() }
}

fn with_parents(exclude: &[&str]) -> CopyOptions {
    CopyOptions { parents: true, ..excluding(exclude) }
}

fn entries(source: Source<'_>, base: &Layer, actions: Vec<FileAction>) -> Result<Vec<Entry>, Error> {
    let op = graph::File { base: Some(BASE), actions };
    let sources = [None, Some(source)];
    let selection = select(&op, &sources)?;
    let content = |node: &Node| base.read(node);
    let base = Stack { view: &base.view, content: &content };
    let now = Mtime { seconds: 9, nanoseconds: 0 };
    let options = WriteOptions { now, scratch: std::env::temp_dir(), cancel: Cancel::new() };
    let writer = write(selection, &sources, base, &options, Writer::new(Vec::new()))?;
    Ok(writer.finish()?.1.index.entries().collect())
}

impl Layer {
    fn read(&self, node: &Node) -> io::Result<Box<dyn Read + Send>> {
        let Kind::File { digest, .. } = node.kind else { panic!("{node:?}") };
        Ok(Box::new(Cursor::new(self.bytes[&digest].clone())))
    }
}

/// Copies out of a context, and returns the layer.
fn built(files: &str, base: &str, actions: Vec<FileAction>) -> Result<Vec<String>, Error> {
    let directory = on_disk(files);
    let context = context(directory.path(), "");
    let base = Layer::of(base);
    let entries = entries(Source::Context(&context), &base, actions)?;
    let mut bytes = Layer::of(files).bytes;
    bytes.extend(base.bytes);
    bytes.extend(["inline", "one", "two"].map(|text| (Digest::of(text.as_bytes()), text.into())));
    Ok(entries.iter().map(|entry| shown_entry(entry, &bytes)).collect())
}

/// Copies out of another stack.
fn built_from(stage: &str, base: &str, actions: Vec<FileAction>) -> Result<Vec<String>, Error> {
    let (stage, base) = (Layer::of(stage), Layer::of(base));
    let content = |node: &Node| stage.read(node);
    let entries = entries(Source::Stack(Stack { view: &stage.view, content: &content }), &base, actions)?;
    Ok(entries.iter().map(|entry| shown_entry(entry, &stage.bytes)).collect())
}

const FILES: &str = "
    f 644 0:0 f1.txt one
    f 755 0:0 f2.txt two
    f 600 0:0 .hidden h
    f 644 0:0 [x] x
    d 711 0:0 dir
    f 640 0:0 dir/a a
    d 700 0:0 dir/sub
    f 4755 0:0 dir/sub/b b
    l dir/sub/link ../a
    l tofile f1.txt
    l todir /dir/sub
    l dangling nowhere
    l escape ../../../f1.txt
";

#[test]
fn sources_are_found() {
    for (path, destination, expected) in [
        ("f1.txt", "/x", "f 644 0:0 x one"),
        ("/f1.txt", "/x", "f 644 0:0 x one"),
        ("../../f1.txt", "/x", "f 644 0:0 x one"),
        ("dir/../f1.txt", "/d/", "d 755 0:0 d, f 644 0:0 d/f1.txt one"),
        ("f1.txt/.", "/x", "f 644 0:0 x one"),
        // Links are followed, and keep their name.
        ("tofile", "/d/", "d 755 0:0 d, f 644 0:0 d/tofile one"),
        ("escape", "/x", "f 644 0:0 x one"),
        ("todir", "/d", "d 755 0:0 d, f 4755 0:0 d/b b, l d/link ../a"),
        ("todir/b", "/x", "f 4755 0:0 x b"),
        // A directory is its contents.
        ("dir", "/d", "d 755 0:0 d, f 640 0:0 d/a a, d 700 0:0 d/sub, f 4755 0:0 d/sub/b b, l d/sub/link ../a"),
        ("dir/", "/", "f 640 0:0 a a, d 700 0:0 sub, f 4755 0:0 sub/b b, l sub/link ../a"),
        ("dir/sub/.", "/d/", "d 755 0:0 d, f 4755 0:0 d/b b, l d/link ../a"),
        // Wildcards.
        ("f*", "/d/", "d 755 0:0 d, f 644 0:0 d/f1.txt one, f 755 0:0 d/f2.txt two"),
        ("f[^1].txt", "/d/", "d 755 0:0 d, f 755 0:0 d/f2.txt two"),
        ("f?.txt", "/d/", "d 755 0:0 d, f 644 0:0 d/f1.txt one, f 755 0:0 d/f2.txt two"),
        (".h*", "/d/", "d 755 0:0 d, f 600 0:0 d/.hidden h"),
        ("*hidden", "/d/", "d 755 0:0 d, f 600 0:0 d/.hidden h"),
        ("[[]x]", "/d/", "d 755 0:0 d, f 644 0:0 d/[x] x"),
        ("di*/a", "/d/", "d 755 0:0 d, f 640 0:0 d/a a"),
        ("dir/*", "/d/", "d 755 0:0 d, f 640 0:0 d/a a, f 4755 0:0 d/b b, l d/link ../a"),
        ("tof*", "/d/", "d 755 0:0 d, f 644 0:0 d/tofile one"),
        ("todir/*b", "/d/", "d 755 0:0 d, f 4755 0:0 d/b b"),
        // A walk behind a wildcard enters no link.
        ("tod*/b", "/d/", ""),
        // No match is no error, and makes nothing.
        ("no*", "/d/", ""),
    ] {
        assert_eq!(
            built(FILES, "", vec![copy(path, destination)]).unwrap().join(", "),
            expected,
            "{path} {destination}"
        );
    }
}

#[test]
fn sources_that_are_not_there_are_errors() {
    for path in ["nope", "dir/nope", "f1.txt/x", "dangling", "dang*"] {
        let error = built(FILES, "", vec![copy(path, "/d/")]).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{path}: {error}");
    }
    let error = built(FILES, "", vec![copy("f1.tx", "/d/")]).unwrap_err();
    assert_eq!(
        (error.to_string(), error.help()),
        ("\"f1.tx\": not found".into(), Some("did you mean `f1.txt`?".into()))
    );
    assert!(matches!(built(FILES, "", vec![copy("f[", "/")]).unwrap_err(), Error::Pattern { .. }));
    let error = built_from("d 755 0:0 etc\nf 644 0:0 etc/hosts x", "", vec![copy("etc/host", "/")]).unwrap_err();
    assert_eq!(error.help(), Some("did you mean `etc/hosts`?".into()));
}

#[test]
fn what_is_excluded_is_not_copied() {
    for (path, exclude, expected) in [
        ("dir", &["sub"][..], "d 755 0:0 d, f 640 0:0 d/a a"),
        ("dir", &["sub/"], "d 755 0:0 d, f 640 0:0 d/a a"),
        ("dir", &["b"], "d 755 0:0 d, f 640 0:0 d/a a, d 700 0:0 d/sub, f 4755 0:0 d/sub/b b, l d/sub/link ../a"),
        ("dir", &["**/b"], "d 755 0:0 d, f 640 0:0 d/a a, d 700 0:0 d/sub, l d/sub/link ../a"),
        ("dir", &["*", "!sub/b"], "d 755 0:0 d, d 700 0:0 d/sub, f 4755 0:0 d/sub/b b"),
        ("dir", &["*"], "d 755 0:0 d"),
        ("dir", &["/a", "sub"], "d 755 0:0 d, f 640 0:0 d/a a"),
        // What is named, or matched, itself is never excluded.
        ("f1.txt", &["f1.txt"], "d 755 0:0 d, f 644 0:0 d/f1.txt one"),
        ("f*", &["*.txt"], "d 755 0:0 d, f 644 0:0 d/f1.txt one, f 755 0:0 d/f2.txt two"),
        ("di*", &["dir", "dir/**", "sub"], "d 755 0:0 d, f 640 0:0 d/a a"),
        // A link that leads nowhere is like any other.
        (".", &["f*", "dir", "t*", "e*", ".*", "[[]x]"], "d 755 0:0 d, l d/dangling nowhere"),
    ] {
        let found = built(FILES, "", vec![copy_with(path, "/d/", excluding(exclude))]).unwrap();
        assert_eq!(found.join(", "), expected, "{path} {exclude:?}");
    }
    assert!(built(FILES, "", vec![copy_with("nope", "/d/", excluding(&["nope"]))]).is_err());
}

#[test]
fn what_is_excluded_is_not_read() {
    let directory = on_disk("f 644 0:0 kept 1\nf 644 0:0 secret 2\n");
    let context = context(directory.path(), "");
    let op = graph::File { base: Some(BASE), actions: vec![copy_with(".", "/", excluding(&["secret"]))] };
    let selection = select(&op, &[None, Some(Source::Context(&context))]).unwrap();
    let read: Vec<_> = selection.inputs().map(|input| String::from_utf8(input.path).unwrap()).collect();
    assert_eq!(read, ["kept"]);
}

#[test]
fn parents_are_kept() {
    let below = "d 711 0:0 d/dir";
    for (path, exclude, expected) in [
        ("dir/a", &[][..], format!("d 755 0:0 d, {below}, f 640 0:0 d/dir/a a")),
        ("./dir//a", &[], format!("d 755 0:0 d, {below}, f 640 0:0 d/dir/a a")),
        ("dir/./a", &[], "d 755 0:0 d, f 640 0:0 d/a a".to_owned()),
        ("dir/./sub/b", &[], "d 755 0:0 d, d 700 0:0 d/sub, f 4755 0:0 d/sub/b b".to_owned()),
        ("/./dir/a", &[], format!("d 755 0:0 d, {below}, f 640 0:0 d/dir/a a")),
        (
            "dir/sub",
            &[],
            format!("d 755 0:0 d, {below}, d 700 0:0 d/dir/sub, f 4755 0:0 d/dir/sub/b b, l d/dir/sub/link ../a"),
        ),
        ("**/b", &[], format!("d 755 0:0 d, {below}, d 700 0:0 d/dir/sub, f 4755 0:0 d/dir/sub/b b")),
        ("d*/*/l*", &[], format!("d 755 0:0 d, {below}, d 700 0:0 d/dir/sub, l d/dir/sub/link ../a")),
        ("dir/./*", &["sub"], "d 755 0:0 d, f 640 0:0 d/a a".to_owned()),
        // Wildcards may match nothing.
        ("no*/x", &[], "d 755 0:0 d".to_owned()),
        ("nope/*", &[], "d 755 0:0 d".to_owned()),
        ("f1.txt/*", &[], "d 755 0:0 d".to_owned()),
        // The pivot is like any source: its links are followed, and it may have wildcards.
        ("todir/./b", &[], "d 755 0:0 d, f 4755 0:0 d/b b".to_owned()),
        ("di*/./sub/b", &[], "d 755 0:0 d, d 700 0:0 d/sub, f 4755 0:0 d/sub/b b".to_owned()),
        ("no*/./sub", &[], String::new()),
        // Behind it a link is a link.
        ("tofile", &[], "d 755 0:0 d, l d/tofile f1.txt".to_owned()),
        // What is excluded is named from the pivot on.
        (
            "dir",
            &["sub", "a"],
            format!(
                "d 755 0:0 d, {below}, d 700 0:0 d/dir/sub, f 4755 0:0 d/dir/sub/b b, l d/dir/sub/link ../a, f 640 0:0 d/dir/a a"
            ),
        ),
        ("dir", &["dir/sub"], format!("d 755 0:0 d, {below}, f 640 0:0 d/dir/a a")),
        ("f1.txt", &["*.txt"], "d 755 0:0 d".to_owned()),
    ] {
        let found = built(FILES, "", vec![copy_with(path, "/d", with_parents(exclude))]).unwrap();
        let (mut found, mut expected): (Vec<&str>, Vec<&str>) = (
            found.iter().map(String::as_str).collect(),
            expected.split(", ").filter(|line| !line.is_empty()).collect(),
        );
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{path} {exclude:?}");
    }
}

#[test]
fn a_path_to_keep_must_be_there() {
    for path in ["nope", "dir/nope", "dir/./nope", "nope/./a", "f1.txt/x", "f1.txt/./x", "todir/b", "dir/sub/link/x"] {
        let error = built(FILES, "", vec![copy_with(path, "/d/", with_parents(&[]))]).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{path}: {error}");
    }
    let error = built(FILES, "", vec![copy_with("d[/x", "/d/", with_parents(&[]))]).unwrap_err();
    assert!(matches!(error, Error::Pattern { .. }), "{error}");
}

#[test]
fn parents_that_are_there_keep_their_owner() {
    let stage = "d 711 7:8 a\nd 700 7:8 a/b\nf 600 7:8 a/b/c x\nf 600 7:8 a/d y\n";
    let base = "d 777 1:2 a\n";
    let found = built_from(stage, base, vec![copy_with("a/b/c", "/", with_parents(&[]))]).unwrap();
    assert_eq!(found, ["d 711 1:2 a", "d 700 7:8 a/b", "f 600 7:8 a/b/c x"]);
    let options = CopyOptions { owner: Some(Owner { text: "5".into() }), ..with_parents(&["**/d"]) };
    let found = built_from(stage, "", vec![copy_with("a", "/x", options)]).unwrap();
    assert_eq!(found, ["d 755 5:5 x", "d 711 5:5 x/a", "d 700 5:5 x/a/b", "f 600 5:5 x/a/b/c x"]);
    let error = built_from(stage, "f 644 0:0 a x", vec![copy_with("a/b", "/", with_parents(&[]))]).unwrap_err();
    assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
}

#[test]
fn ignored_sources_name_the_rule() {
    let directory = on_disk(FILES);
    let context = context(directory.path(), "*.md\n\nf1.*\ndir\n!dir/nothing\n");
    for (path, line, pattern) in
        [("f1.txt", 3, "f1.*"), ("tofile", 3, "f1.*"), ("nope", 0, ""), ("dir", 4, "dir"), ("dir/a", 4, "dir")]
    {
        let error = entries(Source::Context(&context), &Layer::of(""), vec![copy(path, "/x")]).unwrap_err();
        let Error::NotFound { absence, .. } = &error else { panic!("{error}") };
        let ignored = Absence::Ignored { file: ".dockerignore".into(), line, pattern: pattern.into() };
        assert_eq!(*absence == ignored, line > 0, "{path}: {absence:?}");
    }
}

#[test]
fn destinations_are_where_they_should_be() {
    let base = "
        d 1777 0:0 tmp
        d 700 5:6 home
        f 644 0:0 home/file old
        d 750 5:6 home/sub
        l link home
        l dang nowhere
        l deep /home/../new/x
        l up ../../home
        f 644 0:0 target old
        l tofile target
    ";
    for (path, destination, expected) in [
        ("f1.txt", "/new", "f 644 0:0 new one"),
        ("f1.txt", "/new/", "d 755 0:0 new, f 644 0:0 new/f1.txt one"),
        ("f1.txt", "/new/.", "d 755 0:0 new, f 644 0:0 new/f1.txt one"),
        ("f1.txt", "/", "f 644 0:0 f1.txt one"),
        ("f1.txt", "/a/b/c", "d 755 0:0 a, d 755 0:0 a/b, f 644 0:0 a/b/c one"),
        ("f1.txt", "/tmp", "d 1777 0:0 tmp, f 644 0:0 tmp/f1.txt one"),
        ("f1.txt", "/home/file", "d 700 5:6 home, f 644 0:0 home/file one"),
        ("f1.txt", "/home/../tmp", "d 1777 0:0 tmp, f 644 0:0 tmp/f1.txt one"),
        // Links of the destination.
        ("f1.txt", "/link", "d 700 5:6 home, f 644 0:0 home/f1.txt one"),
        ("f1.txt", "/link/new", "d 700 5:6 home, f 644 0:0 home/new one"),
        ("f1.txt", "/up/new", "d 700 5:6 home, f 644 0:0 home/new one"),
        ("f1.txt", "/dang", "f 644 0:0 nowhere one"),
        ("f1.txt", "/dang/", "d 755 0:0 nowhere, f 644 0:0 nowhere/f1.txt one"),
        ("f1.txt", "/deep", "d 755 0:0 new, f 644 0:0 new/x one"),
        ("f1.txt", "/tofile", "f 644 0:0 target one"),
        // Directories merge.
        ("dir/sub", "/tmp", "d 1777 0:0 tmp, f 4755 0:0 tmp/b b, l tmp/link ../a"),
        (
            "dir",
            "/home",
            "d 700 5:6 home, f 640 0:0 home/a a, d 700 0:0 home/sub, f 4755 0:0 home/sub/b b, l home/sub/link ../a",
        ),
    ] {
        let layer = built(FILES, base, vec![copy(path, destination)]).unwrap().join(", ");
        assert_eq!(layer, expected, "{path} {destination}");
    }
}

#[test]
fn a_file_below_the_destination_replaces_a_link() {
    let base = "d 755 0:0 d\nl d/f1.txt /etc\nl d/a b";
    let layer = built(FILES, base, vec![copy("f1.txt", "/d/"), copy("dir/a", "/d/")]).unwrap();
    assert_eq!(layer, ["d 755 0:0 d", "f 640 0:0 d/a a", "f 644 0:0 d/f1.txt one"]);
}

#[test]
fn files_and_directories_do_not_replace_each_other() {
    let base = "
        d 755 0:0 d
        f 644 0:0 d/sub file
        d 755 0:0 e
        l e/sub /d
        d 755 0:0 g
        d 755 0:0 g/a
        f 644 0:0 file x
    ";
    for (path, destination, expected) in [
        ("dir", "/d", "cannot copy to non-directory: /d/sub"),
        ("dir", "/e", "cannot copy to non-directory: /e/sub"),
        ("dir", "/g", "cannot replace to directory /g/a with file"),
        ("dir", "/file", "cannot copy to non-directory: /file"),
        ("f1.txt", "/file/", "cannot copy to non-directory: /file"),
        ("f1.txt", "/file/x", "cannot copy to non-directory: /file"),
    ] {
        let error = built(FILES, base, vec![copy(path, destination)]).unwrap_err();
        assert_eq!(error.to_string(), expected, "{path} {destination}");
    }
}

#[test]
fn the_last_of_several_sources_wins() {
    let layer = built(FILES, "", vec![copy("f1.txt", "/x"), copy("f2.txt", "/x")]).unwrap();
    assert_eq!(layer, ["f 755 0:0 x two"]);
    let error = built(FILES, "", vec![copy("f1.txt", "/x"), copy("dir", "/x")]).unwrap_err();
    assert_eq!(error.to_string(), "cannot copy to non-directory: /x");
    let layer = built(FILES, "", vec![copy("dir/sub", "/x"), copy("f1.txt", "/x")]).unwrap();
    assert_eq!(layer, ["d 755 0:0 x", "f 4755 0:0 x/b b", "f 644 0:0 x/f1.txt one", "l x/link ../a"]);
}

#[test]
fn entries_come_in_the_order_of_a_walk() {
    let actions = vec![copy("f1.txt", "/b.x"), copy("f1.txt", "/b/z"), copy("f1.txt", "/a"), copy("f1.txt", "/b/a")];
    let layer = built(FILES, "", actions).unwrap();
    assert_eq!(
        layer,
        ["f 644 0:0 a one", "d 755 0:0 b", "f 644 0:0 b/a one", "f 644 0:0 b/z one", "f 644 0:0 b.x one"]
    );
}

#[test]
fn a_copy_from_a_stack_keeps_owners_but_not_those_of_the_directory_itself() {
    let stage = "
        d 711 77:88 d
        f 640 7:8 d/f x
        d 700 9:9 d/e
        l d/l f
    ";
    let layer = built_from(stage, "", vec![copy("/d", "/d")]).unwrap();
    assert_eq!(layer, ["d 755 0:0 d", "d 700 9:9 d/e", "f 640 7:8 d/f x", "l d/l f"]);
    let layer = built_from(stage, "", vec![copy("/", "/all/")]).unwrap();
    assert_eq!(layer[..2], ["d 755 0:0 all", "d 711 77:88 all/d"]);
}

#[test]
fn the_destination_takes_the_time_of_a_directory() {
    let directory = on_disk(FILES);
    let context = context(directory.path(), "");
    let times = |base: &str, action| -> Vec<i64> {
        let entries = entries(Source::Context(&context), &Layer::of(base), vec![action]).unwrap();
        entries.iter().map(|entry| entry.metadata.mtime.seconds).collect()
    };
    // What is made is of now; the directory, what it holds and its link are of then.
    assert_eq!(times("", copy("f1.txt", "/x/y")), [9, 1]);
    assert_eq!(times("", copy("dir", "/x/y"))[..3], [9, 1, 1]);
    assert_eq!(times("d 755 0:0 x", copy("dir", "/x"))[..2], [1, 1]);
    // A directory that gets a name is of now, and so is one that has the contents of a root.
    assert_eq!(times("d 755 0:0 x", copy("f1.txt", "/x/")), [9, 1]);
    assert_eq!(times("d 755 0:0 x", copy("dir/sub", "/x/y"))[..2], [9, 1]);
    assert_eq!(times("d 755 0:0 x", copy(".", "/x"))[..2], [9, 1]);
}

#[test]
fn chown_sets_everything_that_is_made() {
    let base = "
        d 755 0:0 etc
        f 644 0:0 etc/passwd root:x:0:0::/:/bin/sh\\nada:x:1000:1001::/:\\nbad\\nodd:x:y:z
        f 644 0:0 etc/group wheel:x:10:\\nada:x:7:
        d 700 5:6 old
    ";
    for (owner, expected) in [
        ("7", "7:7"),
        ("7:8", "7:8"),
        (":8", "0:8"),
        ("7:", "7:0"),
        ("7:nogroup", "7:7"),
        ("7:", "7:0"),
        ("ada:", "1000:0"),
        ("ada:nogroup", "1000:1001"),
        ("root", "0:0"),
        ("root:root", "0:0"),
        ("ada", "1000:1001"),
        ("ada:wheel", "1000:10"),
        ("ada:ada", "1000:7"),
        ("7:wheel", "7:10"),
        ("nobody", "0:0"),
        ("nobody:nogroup", "0:0"),
        ("bad", "0:0"),
        ("odd", "0:0"),
        ("4294967296", "0:0"),
    ] {
        let layer = built(FILES, base, vec![copy_with("dir/sub", "/n/x", owned(owner))]).unwrap();
        let expected = ["d 755 {} n", "d 755 {} n/x", "f 4755 {} n/x/b b"].map(|line| line.replace("{}", expected));
        assert_eq!(layer[..3], expected, "{owner}");
        let layer = built(FILES, base, vec![copy_with("f1.txt", "/old/", owned(owner))]).unwrap();
        assert_eq!(layer[0], "d 700 5:6 old", "{owner}");
    }
    let layer = built(FILES, "", vec![copy_with("f1.txt", "/x", owned("ada:wheel"))]).unwrap();
    assert_eq!(layer, ["f 644 0:0 x one"]);
}

#[test]
fn names_are_looked_up_inside_the_base() {
    let base = "d 755 0:0 etc\nl etc/passwd /usr/passwd\nd 755 0:0 usr\nf 644 0:0 usr/passwd ada:x:5:6";
    let layer = built(FILES, base, vec![copy_with("f1.txt", "/x", owned("ada"))]).unwrap();
    assert_eq!(layer, ["f 644 5:6 x one"]);
}

#[test]
fn chmod_sets_files_and_directories() {
    for (mode, expected) in [
        ("640", "d 640 0:0 n, d 640 0:0 n/x, f 640 0:0 n/x/b b, l n/x/link ../a"),
        ("4711", "d 711 0:0 n, d 711 0:0 n/x, f 4711 0:0 n/x/b b, l n/x/link ../a"),
        ("go-rx", "d 755 0:0 n, d 755 0:0 n/x, f 4700 0:0 n/x/b b, l n/x/link ../a"),
    ] {
        let layer = built(FILES, "", vec![copy_with("dir/sub", "/n/x", moded(mode))]).unwrap();
        assert_eq!(layer.join(", "), expected, "{mode}");
    }
    let layer = built(FILES, "", vec![copy_with("dir", "/d", moded("600"))]).unwrap();
    assert_eq!(layer[2], "d 600 0:0 d/sub");
    let layer = built(FILES, "d 1777 0:0 tmp", vec![copy_with("dir/sub", "/tmp", moded("600"))]).unwrap();
    assert_eq!(layer[0], "d 1777 0:0 tmp");
}

#[test]
fn hard_links_stay_within_one_copy() {
    let files = "d 755 0:0 d\nf 644 0:0 d/a x\nh d/b d/a\nh c d/a";
    let layer = built(files, "", vec![copy("d", "/d"), copy("c", "/c")]).unwrap();
    assert_eq!(layer, ["f 644 0:0 c x", "d 755 0:0 d", "f 644 0:0 d/a x", "h d/b d/a"]);
    // The first name is there already: the second has the data.
    let layer = built(files, "d 755 0:0 d\nf 644 0:0 d/a x", vec![copy("d", "/d")]).unwrap();
    assert_eq!(layer, ["d 755 0:0 d", "f 644 0:0 d/b x"]);
}

#[test]
fn what_is_there_already_is_not_written() {
    let base = "d 711 0:0 dir\nf 640 0:0 dir/a a\nd 700 0:0 dir/sub\nf 4755 0:0 dir/sub/b b\nl dir/sub/link ../a";
    let files = FILES.lines().filter(|line| !line.contains("l dir")).collect::<Vec<_>>().join("\n");
    assert_eq!(built(&files, base, vec![copy("dir", "/dir")]).unwrap(), [""; 0]);
    let layer = built(&files, base, vec![copy_with("dir", "/dir", moded("g+w"))]).unwrap();
    assert_eq!(layer.len(), 4, "{layer:?}");
}

#[test]
fn directories_are_made_with_their_owner() {
    let make = |path: &str, owner: Option<&str>| FileAction::MakeDirectory {
        path: path.into(),
        owner: owner.map(|text| Owner { text: text.into() }),
    };
    for (path, owner, expected) in [
        ("/a/b", None, "d 755 0:0 a, d 755 0:0 a/b"),
        ("/a", Some("1000"), "d 755 1000:1000 a"),
        ("/old", Some("1000"), ""),
        ("/old/x", Some("1000"), "d 700 5:6 old, d 755 1000:1000 old/x"),
        ("/link/x", None, "d 700 5:6 old, d 755 0:0 old/x"),
        ("/dang", None, "d 755 0:0 new"),
        ("/", None, ""),
    ] {
        let base = "d 700 5:6 old\nl link old\nl dang new\nf 644 0:0 file x";
        assert_eq!(built("", base, vec![make(path, owner)]).unwrap().join(", "), expected, "{path}");
    }
    let error = built("", "f 644 0:0 file x", vec![make("/file/x", None)]).unwrap_err();
    assert_eq!(error.to_string(), "cannot copy to non-directory: /file");
}

#[test]
fn inline_files_are_files() {
    let inline = |destination: &str| FileAction::Copy {
        source: CopySource::Inline { name: "EOF.txt".into(), data: "inline".into() },
        destination: destination.into(),
        options: CopyOptions::default(),
    };
    assert_eq!(built("", "", vec![inline("/d/")]).unwrap(), ["d 755 0:0 d", "f 644 0:0 d/EOF.txt inline"]);
    assert_eq!(built("", "", vec![inline("/x")]).unwrap(), ["f 644 0:0 x inline"]);
}

#[test]
fn names_of_whiteouts_are_refused() {
    let error = built("f 644 0:0 .wh.x y", "", vec![copy(".wh.x", "/")]).unwrap_err();
    assert!(matches!(error, Error::Layer(crate::layer::Error::NotStorable { .. })), "{error}");
}

#[test]
fn an_interrupted_copy_says_so() {
    let directory = on_disk(FILES);
    let context = context(directory.path(), "");
    let op = graph::File { base: None, actions: vec![copy("f1.txt", "/x")] };
    let sources = [None, Some(Source::Context(&context))];
    let selection = select(&op, &sources).unwrap();
    let empty = Layer::of("");
    let content = |node: &Node| empty.read(node);
    let options = WriteOptions { now: Mtime::default(), scratch: std::env::temp_dir(), cancel: Cancel::new() };
    options.cancel.cancel();
    let base = Stack { view: &empty.view, content: &content };
    let written = write(selection, &sources, base, &options, Writer::new(Vec::new()));
    assert!(matches!(written, Err(Error::Cancelled(_))));
    let context = context.cancelled_by(options.cancel);
    assert!(matches!(context.list(b""), Err(crate::context::Error::Cancelled(_))));
}

#[test]
fn a_file_that_changes_between_selecting_and_writing_is_an_error() {
    let directory = on_disk(FILES);
    let context = context(directory.path(), "");
    let op = graph::File { base: None, actions: vec![copy("f1.txt", "/x")] };
    let sources = [None, Some(Source::Context(&context))];
    let selection = select(&op, &sources).unwrap();
    fs::write(directory.path().join("f1.txt"), "two").unwrap();
    let empty = Layer::of("");
    let content = |node: &Node| empty.read(node);
    let options = WriteOptions { now: Mtime::default(), scratch: std::env::temp_dir(), cancel: Cancel::new() };
    let base = Stack { view: &empty.view, content: &content };
    let written = write(selection, &sources, base, &options, Writer::new(Vec::new()));
    assert!(matches!(written, Err(Error::Context(crate::context::Error::Changed { .. }))));
}
