use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::diagnostic::Source;

/// A directory with files that contain their own names.
fn directory(files: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
    directory
}

fn context(directory: &TempDir, ignore: &str) -> Context {
    let ignore = Ignore::parse(&Source::new(".dockerignore", ignore)).unwrap();
    Context::open(directory.path(), ignore, None).unwrap()
}

fn paths(entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| String::from_utf8(entry.path).unwrap()).collect()
}

/// Returns everything in the context.
fn listed(context: &Context) -> Vec<Entry> {
    context.list(b"").unwrap().into_iter().collect()
}

#[test]
fn a_listing_is_depth_first_in_byte_order() {
    let directory = directory(&["b", "a/z", "a/b/c", "a.x", "B"]);
    let context = context(&directory, "");
    assert_eq!(paths(context.list(b"").unwrap()), ["B", "a", "a/b", "a/b/c", "a/z", "a.x", "b"]);
    assert_eq!(paths(context.list(b"a/b").unwrap()), ["a/b/c"]);
    assert_eq!(paths(context.children(b"a").unwrap()), ["a/b", "a/z"]);
}

#[test]
fn what_is_seen_again_brings_its_directories_and_no_more() {
    let directory = directory(&["a/b/c", "a/x", "d/e", "f"]);
    assert_eq!(paths(context(&directory, "*\n!a/b\n").list(b"").unwrap()), ["a", "a/b", "a/b/c"]);
    assert_eq!(paths(context(&directory, "*\n!**/e\n").list(b"").unwrap()), ["d", "d/e"]);
    assert_eq!(paths(context(&directory, "a/**\n").list(b"").unwrap()), ["a", "d", "d/e", "f"]);
    assert!(context(&directory, "*\n").list(b"").unwrap().is_empty());
}

#[test]
fn ignored_paths_are_not_found() {
    let directory = directory(&["a/b", "a/c"]);
    let context = context(&directory, "a\n!a/b\n");
    assert!(context.lookup(b"a/c").unwrap().is_none());
    assert!(context.lookup(b"a/b").unwrap().is_some());
    assert!(context.lookup(b"a").unwrap().unwrap().ignored);
}

#[test]
fn links_are_entries_and_never_followed() {
    let directory = directory(&["d/f"]);
    symlink("d", directory.path().join("l")).unwrap();
    symlink("/etc/passwd", directory.path().join("out")).unwrap();
    let context = context(&directory, "");
    assert_eq!(context.lookup(b"l").unwrap().unwrap().kind, Kind::Symlink { target: b"d".to_vec() });
    assert_eq!(context.lookup(b"l/f").unwrap(), None);
    assert_eq!(context.lookup(b"../x").unwrap(), None);
    let key = context.lookup(b"d/f").unwrap().unwrap().key;
    assert!(context.open_file(b"d/f", &key).is_ok());
    assert!(context.open_file(b"out", &key).is_err() && context.open_file(b"l/f", &key).is_err());
}

#[test]
fn sockets_are_nothing_and_owners_are_root() {
    let directory = directory(&["f"]);
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    // Only root can, and for everybody else the owner is another one already.
    rustix::fs::chown(directory.path().join("f"), rustix::fs::Uid::from_raw(7).into(), None).ok();
    let entries = context(&directory, "").list(b"").unwrap();
    assert_eq!(paths(&entries), ["f"]);
    let metadata = entries.iter().next().unwrap().metadata;
    assert_eq!((metadata.uid, metadata.gid), (0, 0));
}

/// Returns what a walk says, one line a path: `+` what is kept, `-` what is dropped, and the line of the rule.
fn walked(context: &Context, path: &str) -> Vec<String> {
    let line = |rule: usize| context.ignore.rule(rule).unwrap().1;
    let shown = |listed: Listed| {
        let fate = match listed.fate {
            Fate::Kept(None) => "+".to_owned(),
            Fate::Kept(Some(rule)) => format!("+{}", line(rule)),
            Fate::Around(rule) => format!("+({})", line(rule)),
            Fate::Dropped(rule) => format!("-{}", line(rule)),
            Fate::Socket => "-socket".to_owned(),
        };
        let Tally { files, directories, unknown, .. } = listed.below;
        let below =
            if listed.below == Tally::default() { String::new() } else { format!(" {files} {directories} {unknown}") };
        format!("{fate} {}{below}", str::from_utf8(&listed.path).unwrap())
    };
    context.walk_from(path.as_bytes(), Listing::All).unwrap().map(|listed| shown(listed.unwrap())).collect()
}

#[test]
fn a_walk_tells_which_rule_decides() {
    let directory = directory(&["a/b/c", "a/x", "d/e", "d/f/g", "n/m/o", "z.md"]);
    for (rules, expected) in [
        (
            "",
            &[
                "+ a", "+ a/b", "+ a/b/c", "+ a/x", "+ d", "+ d/e", "+ d/f", "+ d/f/g", "+ n", "+ n/m", "+ n/m/o",
                "+ z.md",
            ][..],
        ),
        (
            "n\nz*\nd/*\n",
            &["+ a", "+ a/b", "+ a/b/c", "+ a/x", "+ d", "-3 d/e", "-3 d/f 0 0 1", "-1 n 0 0 1", "-2 z.md"],
        ),
        // The directory above what is kept comes with it, however late that is found.
        ("*\n!a/x\n", &["+(1) a", "-1 a/b 0 0 1", "+2 a/x", "-1 d 0 0 1", "-1 n 0 0 1", "-1 z.md"]),
        // Where an exception may match anywhere all is entered, and what has nothing to keep is one line.
        ("*\n!**/g\n", &["-1 a 2 1 0", "+(1) d", "-1 d/e", "+(1) d/f", "+2 d/f/g", "-1 n 1 1 0", "-1 z.md"]),
        // An exception that brings nothing back is no reason.
        ("!a\nd\nn\n!z.md\n", &["+ a", "+ a/b", "+ a/b/c", "+ a/x", "-2 d 0 0 1", "-3 n 0 0 1", "+ z.md"]),
    ] {
        assert_eq!(walked(&context(&directory, rules), ""), expected, "{rules:?}");
    }
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("d/s")).unwrap();
    let context = context(&directory, "*\n!d/f\n!d/s\n");
    assert_eq!(walked(&context, "d"), ["+(1) d", "-1 d/e", "+2 d/f", "+2 d/f/g", "-socket d/s"]);
    assert_eq!(
        (walked(&context, "d/f/g"), walked(&context, "n/m/o")),
        (vec!["+2 d/f/g".into()], vec!["-1 n/m/o".into()])
    );
    for nowhere in ["q", "d/e/f", "d/q/f", "../x"] {
        assert!(walked(&context, nowhere).is_empty(), "{nowhere}");
    }
}

#[test]
fn a_walk_finds_what_a_listing_finds() {
    let directory = directory(&["a/b/c", "a/x", "ab/c/d", "ab/c/e", "d", "e/f/g/h", "e/f/g.x", "e/x"]);
    for rules in
        ["", "*\n", "a\n!a/b\n", "**/x\n", "*\n!**/c\n", "*\n!*/*/g*\n", "e\n!e/f/g\nab\n!ab/c/e\n", "e/**\n!e/x\n"]
    {
        let context = context(&directory, rules);
        let listed: Vec<Vec<u8>> = context.list(b"").unwrap().into_iter().map(|entry| entry.path).collect();
        let kept: Vec<Vec<u8>> = context.walk(Listing::Kept).unwrap().map(|listed| listed.unwrap().path).collect();
        let all = context.walk(Listing::All).unwrap().map(Result::unwrap);
        let of_all: Vec<Vec<u8>> = all
            .filter(|listed| matches!(listed.fate, Fate::Kept(_) | Fate::Around(_)))
            .map(|listed| listed.path)
            .collect();
        assert_eq!((&kept, &of_all), (&listed, &listed), "{rules:?}");
    }
}

#[derive(Default)]
struct Memory(Mutex<HashMap<StatKey, Digest>>);

impl DigestCache for Memory {
    fn get(&self, keys: &[StatKey]) -> Vec<Option<Digest>> {
        let digests = self.0.lock().unwrap();
        keys.iter().map(|key| digests.get(key).copied()).collect()
    }

    fn put(&self, digests: &[(StatKey, Digest)]) {
        self.0.lock().unwrap().extend(digests.iter().copied());
    }
}

#[test]
fn a_file_of_many_names_is_read_once() {
    let directory = directory(&["a", "c"]);
    std::fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
    let context = context(&directory, "");
    let mut entries = listed(&context);
    // Whoever opened it under this name would fail.
    entries[1].path = b"nowhere".to_vec();
    assert_eq!(context.digests().of(&entries).unwrap(), [Digest::of(b"a"), Digest::of(b"a"), Digest::of(b"c")]);
}

#[test]
fn digests_are_of_content_and_remembered_once_settled() {
    let directory = directory(&["a", "b"]);
    let memory = Arc::new(Memory::default());
    let context = Context::open(directory.path(), Ignore::none(), Some(memory.clone())).unwrap();
    thread::sleep(Duration::from_millis(100));
    let entries = listed(&context);
    assert_eq!(context.digests().of(&entries).unwrap(), [Digest::of(b"a"), Digest::of(b"b")]);
    assert_eq!(memory.0.lock().unwrap().len(), 2);
    for digest in memory.0.lock().unwrap().values_mut() {
        *digest = Digest::of(b"remembered");
    }
    assert_eq!(context.digests().of(&entries).unwrap(), [Digest::of(b"remembered"); 2]);

    std::fs::write(directory.path().join("a"), "new").unwrap();
    let entries = listed(&context);
    assert_eq!(context.digests().of(&entries).unwrap(), [Digest::of(b"new"), Digest::of(b"remembered")]);
    assert_eq!(memory.0.lock().unwrap().len(), 2, "what was just written is not remembered");
}

#[test]
fn a_file_that_changed_after_the_listing_is_an_error() {
    let directory = directory(&["a"]);
    let context = context(&directory, "");
    let entries = listed(&context);
    std::fs::write(directory.path().join("a"), "longer").unwrap();
    assert!(matches!(context.digests().of(&entries), Err(Error::Changed { .. })));
}

#[test]
fn an_absence_is_explained() {
    let directory = directory(&["src/main.c", "run.sh"]);
    let context = context(&directory, "*.md\n\n*.sh\n");
    let hidden = Absence::Ignored { file: ".dockerignore".into(), line: 3, pattern: "*.sh".into() };
    assert_eq!(context.explain(b"run.sh"), hidden);
    for (path, nearest) in [
        ("src/mian.c", Some("src/main.c")),
        ("scr/main.c", Some("src/main.c")),
        ("scr/nothing", None),
        ("readme.md", None),
        ("run.hs", None),
    ] {
        let nearest = nearest.map(|path: &str| path.as_bytes().to_vec());
        assert_eq!(context.explain(path.as_bytes()), Absence::Missing { nearest }, "{path}");
    }
}
