//! What copies and archives do to trees. One file, because every test speaks the small language below, and a case is
//! found by what it says and not by where it stands.
//!
//! Trees are written one entry a line: `f 644 7:8 path content`, `d 755 0:0 path`, `l path target`; mtimes are 1 in bases
//! and sources, and 9 is now. Results have `w path` for whiteouts and `h path target` for hard links besides.

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

mod properties {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const BASE_LINES: &str = "
        d 755 0:0 d
        d 700 1:1 d/sub
        f 644 0:0 d/a old
        l d/l /e
        l dang nowhere/x
        d 755 0:0 e
        f 600 0:0 e/f old
    ";

    fn action() -> impl Strategy<Value = FileAction> {
        let path = select(vec!["f1.txt", "f*", "dir", "dir/*", "tofile", "todir", "dir/sub/."]);
        let destination = select(vec!["/", "/d", "/d/", "/d/l", "/dang", "/n", "/n/m/", "/e/f", "/e/../n"]);
        let options = select(vec![CopyOptions::default(), owned("7"), moded("600"), moded("a+X")]);
        (path, destination, options).prop_map(|(path, destination, options)| copy_with(path, destination, options))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn layers_are_in_order_and_doing_it_again_changes_nothing(actions in proptest::collection::vec(action(), 1..4)) {
            let directory = on_disk(FILES);
            let context = context(directory.path(), "");
            let mut base = Layer::of(BASE_LINES);
            let first = base.entries.clone();
            if let Ok(layer) = entries(Source::Context(&context), &base, actions.clone()) {
                let places: Vec<staged::Place> = layer.iter().map(|entry| staged::Place::new(&entry.path)).collect();
                prop_assert!(places.is_sorted_by(|a, b| a < b));
                for entry in &layer {
                    let (parent, _) = resolve::split(&entry.path);
                    let above = |other: &Entry| other.path == parent && other.kind == Kind::Directory;
                    prop_assert!(parent.is_empty() || layer.iter().any(above), "{entry:?}");
                }
                base.view = View::of([&Index::from_iter(first), &Index::from_iter(layer)]);
                let again = entries(Source::Context(&context), &base, actions).unwrap();
                prop_assert!(again.is_empty(), "{again:?}");
            }
        }
    }
}

mod archives {
    use super::*;

    /// One member: type flag, name, mode, ids, and link target or content.
    type Line<'a> = (u8, &'a str, u32, u64, &'a str);

    fn tar(members: &[Line<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for &(kind, name, mode, id, text) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(kind));
            // Not `set_path`, which refuses what hostile archives have.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_mode(mode);
            header.set_uid(id);
            header.set_gid(id);
            header.set_mtime(1);
            let content = if kind == b'0' { text } else { "" };
            header.as_mut_bytes()[157..][..text.len() - content.len()]
                .copy_from_slice(&text.as_bytes()[content.len()..]);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn added(archive: &[u8], base: &str, destination: &str, options: CopyOptions) -> Result<Vec<String>, Error> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.tar"), archive).unwrap();
        let context = context(directory.path(), "");
        let base = Layer::of(base);
        let action = copy_with("a.tar", destination, options);
        let entries = entries(Source::Context(&context), &base, vec![action])?;
        let mut bytes = base.bytes;
        let texts = [archive, b"x", b"y", b"z", b""].map(|text| (Digest::of(text), text.to_vec()));
        bytes.extend(texts);
        Ok(entries.iter().map(|entry| shown_entry(entry, &bytes)).collect())
    }

    const PLAIN: &[Line<'_>] = &[
        (b'5', "./", 0o700, 9, ""),
        (b'0', "./b", 0o4755, 7, "x"),
        (b'5', "a/", 0o750, 8, ""),
        (b'0', "a/f", 0o600, 8, "y"),
        (b'2', "a/l", 0, 8, "f"),
        (b'1', "a/h", 0o600, 8, "b"),
        (b'0', "/abs/f", 0o644, 0, "z"),
    ];

    #[test]
    fn members_keep_modes_and_owners() {
        let expected = [
            "d 755 0:0 d",
            "d 750 8:8 d/a",
            "f 600 8:8 d/a/f y",
            "f 4755 7:7 d/a/h x",
            "l d/a/l f",
            "d 755 0:0 d/abs",
            "f 644 0:0 d/abs/f z",
            "h d/b d/a/h",
        ];
        for destination in ["/d", "/d/"] {
            assert_eq!(added(&tar(PLAIN), "", destination, unpacked()).unwrap(), expected);
        }
        let owned = CopyOptions { add: Add::Unpack, mode: Some(Mode::Octal(0o777)), ..owned("5:6") };
        let layer = added(&tar(PLAIN), "", "/d", owned).unwrap();
        assert_eq!(layer[..3], ["d 755 5:6 d", "d 750 5:6 d/a", "f 600 5:6 d/a/f y"]);
    }

    #[test]
    fn what_is_no_archive_is_copied() {
        for bytes in [&b""[..], b"x", &tar(PLAIN)[..300], &[0; 1024], &[0x1f, 0x8b, 8, 0, 0, 0, 0]] {
            let layer = added(bytes, "", "/d/", unpacked()).unwrap();
            assert!(layer[1].starts_with("f 644 0:0 d/a.tar"), "{layer:?}");
        }
        let layer = added(&tar(PLAIN), "", "/d/", CopyOptions::default()).unwrap();
        assert!(layer[1].starts_with("f 644 0:0 d/a.tar"), "{layer:?}");
    }

    #[test]
    fn every_compression_is_unpacked() {
        let plain = tar(PLAIN);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&plain).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip2.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        for bytes in [gzip.finish().unwrap(), bzip2.finish().unwrap(), xz.finish().unwrap(), zstd] {
            assert_eq!(added(&bytes, "", "/d", unpacked()).unwrap().len(), 8);
        }
    }

    #[test]
    fn members_replace_what_is_there_and_directories_merge() {
        let base = "
            d 755 0:0 d
            d 700 1:1 d/dir
            f 644 0:0 d/dir/kept k
            f 644 0:0 d/file old
            d 755 0:0 d/gone
            f 644 0:0 d/gone/x old
            d 755 0:0 d/new
            f 644 0:0 d/new/old old
            l d/link /etc
        ";
        let members = tar(&[
            (b'5', "dir", 0o750, 2, ""),
            (b'0', "file", 0o600, 0, "x"),
            (b'0', "gone", 0o600, 0, "x"),
            (b'0', "new", 0o600, 0, "x"),
            (b'5', "new", 0o755, 0, ""),
            (b'0', "new/f", 0o600, 0, "y"),
            (b'5', "link", 0o755, 0, ""),
        ]);
        let expected = [
            "d 755 0:0 d",
            "d 750 2:2 d/dir",
            "f 600 0:0 d/file x",
            "f 600 0:0 d/gone x",
            "d 755 0:0 d/link",
            "d 755 0:0 d/new",
            "f 600 0:0 d/new/f y",
            "w d/new/old",
        ];
        assert_eq!(added(&members, base, "/d", unpacked()).unwrap(), expected);
    }

    #[test]
    fn links_of_members_stay_below_the_destination() {
        let members = tar(&[
            (b'2', "out", 0, 0, "/etc"),
            (b'0', "out/f", 0o600, 0, "x"),
            (b'2', "up", 0, 0, "../../.."),
            (b'0', "up/g", 0o600, 0, "y"),
        ]);
        let layer = added(&members, "d 755 0:0 etc", "/d", unpacked()).unwrap();
        let expected = [
            "d 755 0:0 d",
            "d 755 0:0 d/etc",
            "f 600 0:0 d/etc/f x",
            "f 600 0:0 d/g y",
            "l d/out /etc",
            "l d/up ../../..",
        ];
        assert_eq!(layer, expected);
    }

    #[test]
    fn a_hard_link_to_what_was_there_has_its_data() {
        let base = "d 755 0:0 d\nf 640 3:4 d/old text";
        let layer = added(&tar(&[(b'1', "new", 0, 0, "old")]), base, "/d", unpacked()).unwrap();
        assert_eq!(layer, ["d 755 0:0 d", "f 640 3:4 d/new text"]);
    }

    #[test]
    fn hostile_archives_are_refused() {
        let mut cut = tar(&[(b'0', "f", 0o644, 0, "x"), (b'0', "g", 0o644, 0, "y")]);
        cut.truncate(1500);
        let huge = {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::GNULongName);
            header.set_size(1 << 33);
            header.set_cksum();
            [&tar(&[(b'0', "f", 0o644, 0, "x")])[..1024], header.as_bytes(), &vec![b'a'; 9 << 20]].concat()
        };
        for (bytes, expected) in [
            (tar(&[(b'0', "../f", 0o644, 0, "x")]), "../f is outside of the destination"),
            (tar(&[(b'0', "a/../../f", 0o644, 0, "x")]), "a/../../f is outside of the destination"),
            (tar(&[(b'1', "f", 0o644, 0, "../etc/passwd")]), "../etc/passwd is outside of the destination"),
            (tar(&[(b'1', "f", 0o644, 0, "gone")]), "/f is a hard link to /gone, which is not there"),
            (tar(&[(b'5', "d", 0o755, 0, ""), (b'1', "f", 0, 0, "d")]), "/f is a hard link to /d, which is not there"),
            (tar(&[(b'Z', "f", 0, 0, "")]), "/f is of unknown type 'Z'"),
            (cut, "the archive is damaged"),
            (huge, "the archive is damaged"),
        ] {
            let error = added(&bytes, "", "/d", unpacked()).unwrap_err();
            let Error::Archive { path, source } = &error else { panic!("{error}") };
            assert_eq!((&path[..], source.to_string()), ("/a.tar", expected.to_owned()));
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.123456789123", Some((1, 123_456_789))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("x", None),
            ("1.x", None),
        ] {
            let mtime = archive::mtime(text).map(|mtime| (mtime.seconds, mtime.nanoseconds));
            assert_eq!(mtime, expected, "{text}");
        }
    }
}

mod keys {
    use super::*;

    fn recipe(directory: &TempDir, action: FileAction) -> String {
        let context = context(directory.path(), "");
        let op = graph::File { base: Some(BASE), actions: vec![action] };
        select(&op, &[None, Some(Source::Context(&context))]).unwrap().recipe().to_string()
    }

    fn of(files: &str, action: FileAction) -> String {
        recipe(&on_disk(files), action)
    }

    #[test]
    fn content_mode_and_names_matter() {
        let same = of(FILES, copy("dir", "/d"));
        for (before, after) in [
            ("dir/a a", "dir/a b"),
            ("640 0:0 dir/a", "644 0:0 dir/a"),
            ("700 0:0 dir/sub", "755 0:0 dir/sub"),
            ("link ../a", "link ../b"),
            ("dir/sub/b b", "dir/sub/c b"),
        ] {
            assert_ne!(of(&FILES.replace(before, after), copy("dir", "/d")), same, "{before}");
        }
        assert_ne!(of(FILES, copy("dir", "/e")), same);
        assert_ne!(of(FILES, copy_with("dir", "/d", owned("7"))), same);
        assert_ne!(
            of(FILES, copy("f1.txt", "/d/")),
            of(&FILES.replace("f1.txt one", "f3.txt one"), copy("f3.txt", "/d/"))
        );
    }

    #[test]
    fn times_places_and_the_directory_itself_do_not() {
        let directory = on_disk(FILES);
        let before = recipe(&directory, copy("dir", "/d"));
        fs::write(directory.path().join("dir/a"), "a").unwrap();
        fs::set_permissions(directory.path().join("dir"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(recipe(&directory, copy("dir", "/d")), before);
        fs::rename(directory.path().join("dir"), directory.path().join("moved")).unwrap();
        assert_eq!(recipe(&directory, copy("moved/", "/d")), before);
        assert_eq!(of(FILES, copy("dir", "/d")), before);
    }

    #[test]
    fn hard_links_matter() {
        let linked = of("d 755 0:0 d\nf 644 0:0 d/a x\nh d/b d/a", copy("d", "/d"));
        assert_ne!(of("d 755 0:0 d\nf 644 0:0 d/a x\nf 644 0:0 d/b x", copy("d", "/d")), linked);
    }

    #[test]
    fn inputs_are_listed_in_order_wherever_they_are_copied() {
        let directory = on_disk(FILES);
        let context = context(directory.path(), "");
        let op =
            graph::File { base: None, actions: vec![copy("f1.txt", "/d/"), copy("dir", "/d"), copy("dir/a", "/")] };
        let selection = select(&op, &[None, Some(Source::Context(&context))]).unwrap();
        let paths: Vec<String> = selection.inputs().map(|input| String::from_utf8(input.path).unwrap()).collect();
        assert_eq!(paths, ["dir/a", "dir/a", "dir/sub", "dir/sub/b", "dir/sub/link", "f1.txt"]);
    }
}
