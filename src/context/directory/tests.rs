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

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| str::from_utf8(&entry.path).unwrap()).collect()
}

#[test]
fn a_listing_is_depth_first_in_byte_order() {
    let directory = directory(&["b", "a/z", "a/b/c", "a.x", "B"]);
    let context = context(&directory, "");
    assert_eq!(paths(&context.list(b"").unwrap()), ["B", "a", "a/b", "a/b/c", "a/z", "a.x", "b"]);
    assert_eq!(paths(&context.list(b"a/b").unwrap()), ["a/b/c"]);
    assert_eq!(paths(&context.children(b"a").unwrap()), ["a/b", "a/z"]);
}

#[test]
fn what_is_seen_again_brings_its_directories_and_no_more() {
    let directory = directory(&["a/b/c", "a/x", "d/e", "f"]);
    assert_eq!(paths(&context(&directory, "*\n!a/b\n").list(b"").unwrap()), ["a", "a/b", "a/b/c"]);
    assert_eq!(paths(&context(&directory, "*\n!**/e\n").list(b"").unwrap()), ["d", "d/e"]);
    assert_eq!(paths(&context(&directory, "a/**\n").list(b"").unwrap()), ["a", "d", "d/e", "f"]);
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
    assert_eq!((entries[0].metadata.uid, entries[0].metadata.gid), (0, 0));
}

#[derive(Default)]
struct Memory(Mutex<HashMap<StatKey, Digest>>);

impl DigestCache for Memory {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        self.0.lock().unwrap().get(key).copied()
    }

    fn put(&self, key: StatKey, digest: Digest) {
        self.0.lock().unwrap().insert(key, digest);
    }
}

#[test]
fn digests_are_of_content_and_remembered_once_settled() {
    let directory = directory(&["a", "b"]);
    let memory = Arc::new(Memory::default());
    let context = Context::open(directory.path(), Ignore::none(), Some(memory.clone())).unwrap();
    thread::sleep(Duration::from_millis(100));
    let entries = context.list(b"").unwrap();
    assert_eq!(context.digests(&entries).unwrap(), [Digest::of(b"a"), Digest::of(b"b")]);
    assert_eq!(memory.0.lock().unwrap().len(), 2);
    for digest in memory.0.lock().unwrap().values_mut() {
        *digest = Digest::of(b"remembered");
    }
    assert_eq!(context.digests(&entries).unwrap(), [Digest::of(b"remembered"); 2]);

    std::fs::write(directory.path().join("a"), "new").unwrap();
    let entries = context.list(b"").unwrap();
    assert_eq!(context.digests(&entries).unwrap(), [Digest::of(b"new"), Digest::of(b"remembered")]);
    assert_eq!(memory.0.lock().unwrap().len(), 2, "what was just written is not remembered");
}

#[test]
fn a_file_that_changed_after_the_listing_is_an_error() {
    let directory = directory(&["a"]);
    let context = context(&directory, "");
    let entries = context.list(b"").unwrap();
    std::fs::write(directory.path().join("a"), "longer").unwrap();
    assert!(matches!(context.digests(&entries), Err(Error::Changed { .. })));
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
