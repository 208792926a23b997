use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::layer::{Entry, EntryPath, Index, IndexBytes, Kind, Metadata, Mtime, View};
use crate::oci::{DiffId, Digest};

/// Returns an entry from `path:kind`, as in `a/b:file=content`, `a:dir`, `a:link=b`, `a:hard=b`, `a:gone`, `a:opaque`.
fn entry(text: &str) -> Entry {
    let (path, what) = text.split_once(':').unwrap();
    let (word, value) = what.split_once('=').unwrap_or((what, ""));
    let kind = match word {
        "file" => Kind::File { size: value.len() as u64, digest: Digest::of(value.as_bytes()), offset: 0 },
        "dir" => Kind::Directory,
        "link" => Kind::Symlink { target: value.into() },
        "hard" => Kind::Hardlink { target: value.into() },
        "fifo" => Kind::Fifo,
        "gone" => Kind::Whiteout,
        "opaque" => Kind::Opaque,
        _ => panic!("{text}"),
    };
    Entry { path: path.into(), kind, metadata: Metadata { mode: 0o644, ..Metadata::default() } }
}

fn layer(entries: Vec<Entry>) -> Layer {
    let bytes = Index::from_iter(entries).to_bytes();
    Layer { diff_id: DiffId::new(Digest::of(&bytes)), index: Some(IndexBytes::new(bytes)) }
}

fn layers(texts: &[&str]) -> Vec<Layer> {
    texts.iter().map(|text| layer(text.split_whitespace().map(entry).collect())).collect()
}

/// Returns changes as `A path`, `M path:classes`, `D path`.
fn told(comparison: &Comparison) -> Vec<String> {
    let tell = |change: &Change| {
        let path = String::from_utf8_lossy(&change.path);
        let classes: Vec<&str> = change.classes.iter().map(Class::as_str).collect();
        match change.kind {
            ChangeKind::Added => format!("A {path}"),
            ChangeKind::Removed => format!("D {path}"),
            ChangeKind::Modified => format!("M {path}:{}", classes.join("+")),
        }
    };
    comparison.changes.iter().map(tell).collect()
}

/// What the comparison of two merged trees finds, path by path.
fn naive(before: &[Layer], after: &[Layer]) -> Vec<Change> {
    let view = |layers: &[Layer]| {
        let index = |layer: &Layer| Index::from_bytes(layer.index.as_ref().unwrap().as_ref()).unwrap();
        View::of(&layers.iter().map(index).collect::<Vec<_>>())
    };
    let (before, after) = (view(before), view(after));
    let files = |view: &View| {
        let mut files: BTreeMap<EntryPath, File> = view.walk(b"").map(|(path, node)| (path, File::of(node))).collect();
        files.insert(Vec::new(), File::of(view.root()));
        files
    };
    let (before, after) = (files(&before), files(&after));
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let state = |file: Option<&File>| file.map_or(change::State::Absent, |file| change::State::Present(file.clone()));
    let change = |path: EntryPath| Change::between(&path, state(before.get(&path)), state(after.get(&path)));
    let mut changes: Vec<Change> = paths.into_iter().filter_map(change).collect();
    changes.sort_by(|a, b| stream::in_tree_order(&a.path, &b.path));
    changes
}

const ALL: Options<'static> = Options { paths: None, times: true, most: None, cancelled: &|| false };

#[track_caller]
fn check(base: &str, before: &[&str], after: &[&str], expected: &[&str]) {
    let stack = |own: &[&str]| layers(&[&[base], own].concat());
    let (before, after) = (stack(before), stack(after));
    let found = compare(&before, &after, &ALL).unwrap();
    assert_eq!(told(&found), expected);
    assert!(equal(&found.changes, &naive(&before, &after)), "{:?}", naive(&before, &after));
}

/// Compares changes but for the layer of the root directory, of which merged trees keep none.
fn equal(found: &[Change], expected: &[Change]) -> bool {
    let rootless = |change: &Change| {
        let mut change = change.clone();
        if change.path.is_empty() {
            for file in [&mut change.before, &mut change.after].into_iter().flatten() {
                file.layer = None;
            }
        }
        change
    };
    found.iter().map(rootless).eq(expected.iter().map(rootless))
}

#[test]
fn what_each_kind_of_layer_does_is_told() {
    let base = "a:dir a/x:file=1 a/y:file=2 b:file=3 d:dir d/e:dir d/e/f:file=4";
    for (before, after, expected) in [
        (&[][..], &[][..], &[][..]),
        (&[], &["c:file=new"], &["A c"]),
        (&[], &["a/x:file=changed"], &["M a/x:content"]),
        (&[], &["a/x:file=1"], &[]),
        (&["a/x:file=z"], &["a/x:file=z", "q:file=1"], &["A q"]),
        (&[], &["b:gone"], &["D b"]),
        (&[], &["d:gone"], &["D d", "D d/e", "D d/e/f"]),
        // What is deleted and made again is compared with what it was.
        (&[], &["d:gone d:dir"], &["D d/e", "D d/e/f"]),
        (&[], &["d:gone", "d/e/f:file=4"], &["M d:mode", "M d/e:mode"]),
        (&[], &["d:dir d:opaque d/g:file=5"], &["D d/e", "D d/e/f", "A d/g"]),
        (&[], &["d:dir d:opaque", "d/e/f:file=4"], &["M d/e:mode"]),
        // A file takes the place of a directory, and the other way.
        (&[], &["d:file=x"], &["M d:type", "D d/e", "D d/e/f"]),
        (&[], &["b:dir b/c:file=x"], &["M b:type", "A b/c"]),
        (&["d:file=x"], &["d:gone"], &["D d"]),
        // Both sides go their own ways.
        (&["c:file=1", "e:file=2"], &["e:file=3", "f:file=4"], &["D c", "M e:content", "A f"]),
        (&["b:gone"], &["a/y:gone"], &["D a/y", "A b"]),
        // Directories that are only implied come and go with what is in them.
        (&[], &["n/e/w:file=1"], &["A n", "A n/e", "A n/e/w"]),
        (&["n/e/w:file=1"], &["n/o:file=1"], &["D n/e", "D n/e/w", "A n/o"]),
        (&[], &["n/e:file=1", "n/e:gone"], &["A n"]),
        // Links.
        (&[], &["b:link=a"], &["M b:type"]),
        (&["l:link=a"], &["l:link=b"], &["M l:link"]),
        (&[], &["z:file=3 zz:hard=z"], &["A z", "A zz"]),
        (&["z:file=3 zz:hard=z"], &["z:file=3 zz:file=3"], &[]),
        (&["z:file=3 zz:hard=z"], &["z:file=4 zz:hard=z"], &["M z:content", "M zz:content"]),
        (&["z:file=3 zz:hard=z"], &["z:file=3 zz:hard=z", "z:gone"], &["D z"]),
        // In another order than a walk's.
        (&[], &["z:file=1 c/d:file=2 c:dir"], &["A c", "A c/d", "A z"]),
        (&[], &["c:dir c-d:file=1 c/e:file=2"], &["A c", "A c/e", "A c-d"]),
        // Through a link.
        (&["l:link=d"], &["l:link=d", "l/e/f:file=5"], &["M d/e/f:content"]),
        (&["l:link=d"], &["l:link=d", "l/e:gone"], &["D d/e", "D d/e/f"]),
        (&[], &["b/in/a/file:file=1"], &["M b:type+mode", "A b/in", "A b/in/a", "A b/in/a/file"]),
        (&[], &["c:dir c:dir c/d:file=1"], &["A c", "A c/d"]),
        (&[], &["c:file=1 c:file=2"], &["A c"]),
        (&[], &["c:file=1 d2:hard=c c:file=2"], &["A c", "A d2"]),
    ] {
        check(base, before, after, expected);
    }
}

#[test]
fn ordinary_layers_are_merged_and_not_loaded() {
    let base = "a:dir a/x:file=1 a/y:link=x b:file=3 d:dir d/e:dir d/e/f:file=4 lib:link=usr/lib usr:dir usr/lib:dir";
    for own in [
        "a:dir a/x:gone b:file=2 d:gone usr:dir usr/lib:dir usr/lib/z:file=1",
        "b:gone d:dir d:opaque d/e:file=2 usr:dir usr/local:file=1 usr/local2:hard=usr/local",
        "a:gone a:dir a/new:file=1 b:dir b/c:file=1 lib:gone lib:dir lib/x:file=1",
    ] {
        let (before, after) = (layers(&[base]), layers(&[base, own, "d:gone"]));
        assert!(merge::merge(&Sides::of(&before, &after).unwrap(), &[], &ALL).is_ok(), "{own}");
    }
}

#[test]
fn metadata_has_classes() {
    let file = |change: &dyn Fn(&mut Metadata)| {
        let mut made = entry("a:file=1");
        change(&mut made.metadata);
        vec![layer(vec![made])]
    };
    let plain = file(&|_| {});
    for (change, expected) in [
        (&(|metadata: &mut Metadata| metadata.mode = 0o4755) as &dyn Fn(&mut Metadata), "M a:mode"),
        (&|metadata| metadata.gid = 7, "M a:owner"),
        (&|metadata| drop(metadata.xattrs.insert(b"user.x".to_vec(), vec![])), "M a:xattr"),
        (&|metadata| metadata.mtime = Mtime { seconds: 5, nanoseconds: 0 }, "M a:mtime"),
        (&|metadata| (metadata.uid, metadata.mode) = (1, 0), "M a:mode+owner"),
    ] {
        assert_eq!(told(&compare(&plain, &file(change), &ALL).unwrap()), [expected]);
    }
    // Layers keep whole seconds.
    let finer = file(&|metadata| metadata.mtime.nanoseconds = 1);
    assert_eq!(compare(&plain, &finer, &ALL).unwrap(), Comparison::default());
}

#[test]
fn times_alone_are_counted_and_left_out() {
    let mut later = entry("a:file=1");
    later.metadata.mtime.seconds = 1;
    let (before, after) = (layers(&["a:file=1"]), vec![layer(vec![later, entry("b:file=1")])]);
    let found = compare(&before, &after, &Options::default()).unwrap();
    assert_eq!((told(&found), found.only_times), (vec!["A b".to_owned()], 1));
}

#[test]
fn paths_choose_what_matters() {
    let matter = |path: &[u8]| path.starts_with(b"b");
    let options = Options { paths: Some(&matter), ..ALL };
    let found = compare(&[], &layers(&["a:dir a/b:file=1 b:dir b/a:file=1"]), &options).unwrap();
    assert_eq!(told(&found), ["A b", "A b/a"]);
}

#[test]
fn the_first_changes_are_kept_and_all_are_counted() {
    // More than are held at once, each directory compared after what is in it.
    let entries = (0..SPARE_CHANGES + 50).map(|n| entry(&format!("d{:03}/{n:05}:file=1", n / 10))).collect();
    let (before, after) = (layers(&["d000/00000:file=2 z:file=1"]), vec![layer(entries)]);
    let all = compare(&before, &after, &ALL).unwrap();
    for most in [0, 3, 5000] {
        let found = compare(&before, &after, &Options { most: Some(most), ..ALL }).unwrap();
        assert_eq!(found.changes[..], all.changes[..most.min(all.changes.len())]);
        assert_eq!(found.counts, all.counts);
    }
    let added = (SPARE_CHANGES + 50 + (SPARE_CHANGES + 50).div_ceil(10) - 2) as u64;
    assert_eq!(all.counts, Counts { added, modified: 1, removed: 1 });
    assert_eq!(all.counts.total(), all.changes.len() as u64);
}

#[test]
fn what_shared_layers_hold_may_be_unknown() {
    let unseen = |own: &[&str]| {
        let mut stack = layers(&[&["a:file=1"], own].concat());
        stack[0].index = None;
        stack
    };
    let found = compare(&unseen(&["b:file=1 d:dir d/x:file=1"]), &unseen(&["c:gone d:dir d/x:file=2 n:file=1"]), &ALL);
    let found = found.unwrap();
    assert!(found.blind);
    assert_eq!(told(&found), ["M b:", "D c", "M d/x:content", "M n:"]);
    assert!(matches!(compare(&unseen(&[]), &unseen(&["l:link=a", "l/x:file=1"]), &ALL), Err(Error::SharedNeeded)));
    let mut own = unseen(&["b:file=1"]);
    own[1].index = None;
    assert!(matches!(compare(&unseen(&[]), &own, &ALL), Err(Error::MissingIndex(_))));
}

#[test]
fn a_damaged_index_is_an_error() {
    let mut stack = layers(&["a:file=1"]);
    let mut bytes = stack[0].index.as_ref().unwrap().as_ref().to_vec();
    bytes.truncate(bytes.len() - 4);
    stack[0].index = Some(IndexBytes::new(bytes));
    assert!(matches!(compare(&[], &stack, &ALL), Err(Error::Layer { .. })));
}

#[test]
fn five_hundred_layers_are_compared() {
    let stack: Vec<Layer> = (0..500).map(|n| layer(vec![entry(&format!("f{}:file={n}", n % 7))])).collect();
    let mut other = stack.clone();
    other[0] = layer(vec![entry("g:file=1")]);
    assert_eq!(told(&compare(&stack, &other, &ALL).unwrap()), ["A g"]);
}

#[test]
fn deep_trees_need_no_stack() {
    let path = ["d"; 2000].join("/");
    let found = compare(&[], &[layer(vec![entry(&format!("{path}:file=1"))])], &ALL).unwrap();
    assert_eq!(found.changes.len(), 2000);
    // The same through merged trees.
    let odd = layers(&["l:link=x", &format!("l/{path}:file=1")]);
    assert_eq!(compare(&[], &odd, &ALL).unwrap().changes.len(), 2002);
}

#[test]
fn a_comparison_can_be_stopped() {
    let cancelled = || true;
    let entries = (0..10_000).map(|n| entry(&format!("f{n:05}:file=1"))).collect();
    let options = Options { cancelled: &cancelled, ..ALL };
    assert!(matches!(compare(&[], &[layer(entries)], &options), Err(Error::Cancelled)));
}

/// Returns all that is needed to understand a difference.
fn shown(before: &[Layer], after: &[Layer]) -> String {
    let layer = |layer: &Layer| {
        let index = Index::from_bytes(layer.index.as_ref().unwrap().as_ref()).unwrap();
        let entry = |entry: &Entry| format!("{}:{:?}", String::from_utf8_lossy(&entry.path), entry.kind);
        index.entries().map(|found| entry(&found)).collect::<Vec<_>>()
    };
    let stack = |layers: &[Layer]| layers.iter().map(layer).collect::<Vec<_>>();
    let changes = naive(before, after);
    let expected = told(&Comparison { changes, ..Comparison::default() });
    format!("{:#?}\n{:#?}\nexpected {expected:?}", stack(before), stack(after))
}

/// Any entry, its path from few names so that layers meet.
fn any_entry(kinds: &'static [&'static str]) -> impl Strategy<Value = Entry> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "a-", "c"]), 1..4);
    (path, prop::sample::select(kinds), 0..3_i64).prop_map(|(path, kind, seconds)| {
        let mut made = entry(&format!("{}:{kind}", path.join("/")));
        if !matches!(made.kind, Kind::Whiteout | Kind::Opaque) {
            made.metadata.mtime.seconds = seconds;
        }
        made
    })
}

fn any_layer(kinds: &'static [&'static str]) -> impl Strategy<Value = Layer> {
    prop::collection::vec(any_entry(kinds), 0..7).prop_map(|mut entries| {
        // No layer has a link to nothing, or to a directory.
        let mut files = std::collections::BTreeSet::new();
        entries.retain(|entry| match &entry.kind {
            Kind::Hardlink { target } => files.contains(target) && *target != entry.path,
            Kind::Directory | Kind::Whiteout | Kind::Opaque => true,
            _ => {
                files.insert(entry.path.clone());
                true
            }
        });
        layer(entries)
    })
}

fn any_sides(kinds: &'static [&'static str]) -> impl Strategy<Value = (Vec<Layer>, Vec<Layer>)> {
    let stack = || prop::collection::vec(any_layer(kinds), 0..4);
    (stack(), stack(), stack())
        .prop_map(|(base, before, after)| ([base.clone(), before].concat(), [base, after].concat()))
}

const PLAIN: &[&str] = &["file=1", "file=2", "dir", "dir", "dir", "gone", "opaque"];
const EVERYTHING: &[&str] = &[
    "file=1",
    "file=2",
    "dir",
    "dir",
    "gone",
    "opaque",
    "link=a",
    "link=../b",
    "link=/a/b",
    "hard=a",
    "hard=a/b",
    "hard=b",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        // What once failed is tried again each time.
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel("testdata/regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn merging_finds_what_comparing_trees_finds((before, after) in any_sides(PLAIN)) {
        let found = compare(&before, &after, &ALL).unwrap();
        prop_assert!(equal(&found.changes, &naive(&before, &after)), "{}", shown(&before, &after));
    }

    #[test]
    fn whatever_layers_hold((before, after) in any_sides(EVERYTHING)) {
        let found = compare(&before, &after, &ALL).unwrap();
        prop_assert!(equal(&found.changes, &naive(&before, &after)), "{}", shown(&before, &after));
    }

    #[test]
    fn an_index_is_read_one_by_one_as_at_once(layer in any_layer(EVERYTHING)) {
        let bytes = layer.index.unwrap();
        let mut reader = crate::layer::IndexReader::new(bytes.clone()).unwrap();
        let (mut entry, mut entries) = (Entry::blank(), Vec::new());
        while reader.read(&mut entry).unwrap() {
            entries.push(entry.clone());
        }
        prop_assert_eq!(Index::from_iter(entries), Index::from_bytes(bytes.as_ref()).unwrap());
    }
}
