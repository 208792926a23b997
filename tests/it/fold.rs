//! `kiln build --compact` and `--squash`: fewer bytes, and the same files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln::oci::Digest;

use crate::support::{Entry, Image, Need, Sandbox, require};

/// Every step but the first hides something of one before it, or something of the base image.
const STEPS: &str = "\
COPY big /srv/big
RUN chmod 600 /srv/big && chown 5:6 /srv/big
RUN head -c 300000 /dev/urandom > /tmp/waste
RUN rm /tmp/waste
ENV A=1
RUN ln /srv/big /srv/link && rm /etc/conf
RUN mkdir -p /opt/app && cp /srv/big /opt/app/copy && ln -s copy /opt/app/name
RUN chown -R 7:8 /opt/app && chmod 700 /opt/app
RUN rm -rf /etc/old && mkdir /etc/old && echo new > /etc/old/new
";

fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    let base =
        "RUN mkdir -p /etc/old/deep /tmp && echo 1 > /etc/conf && echo 2 > /etc/old/deep/file && echo 3 > /etc/stays\n";
    let sandbox = Sandbox::new().file("big", "x".repeat(200_000)).busybox(base);
    sandbox.build().unwrap();
    sandbox.kiln(&["tag", "test", "base"]).ok();
    sandbox.write("Dockerfile", format!("FROM base\n{STEPS}"));
    Some(sandbox)
}

/// What can be told of a file from within a container, but for its name.
type Seen = (tar::EntryType, (u64, u64), u32, u64, String, Vec<u8>);

/// Applies the layers by the rules of the image-spec; names of one file share a number.
fn files(image: &Image) -> BTreeMap<String, (Seen, usize)> {
    let mut files: BTreeMap<String, (Seen, usize)> = BTreeMap::new();
    let mut count = 0;
    for layer in image.layers() {
        files.retain(|path, _| !layer.entries().iter().any(|entry| entry.hides(path)));
        for entry in layer.entries().iter().filter(|entry| !is_whiteout(entry)) {
            let path = entry.path().to_owned();
            if entry.kind() != tar::EntryType::Directory {
                files.retain(|other, _| !other.starts_with(&format!("{path}/")));
            }
            count += 1;
            let new = match entry.kind() {
                tar::EntryType::Link => files[entry.link()].clone(),
                _ => (seen(entry), if entry.kind() == tar::EntryType::Directory { 0 } else { count }),
            };
            files.insert(path, new);
        }
    }
    let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
    for (_, number) in files.values_mut() {
        let next = numbers.len();
        *number = *numbers.entry(*number).or_insert(next);
    }
    files
}

/// The contents are too much to print.
#[track_caller]
fn same(one: &BTreeMap<String, (Seen, usize)>, other: &BTreeMap<String, (Seen, usize)>, flag: &str) {
    assert!(one.keys().eq(other.keys()), "{flag}: {:?} and {:?}", one.keys(), other.keys());
    for (path, (seen, number)) in one {
        let (known, file) = &other[path];
        assert_eq!(
            (seen.0, seen.1, seen.2, seen.3, &seen.4, number),
            (known.0, known.1, known.2, known.3, &known.4, file),
            "{flag}: {path}"
        );
        assert!(seen.5 == known.5, "{flag}: the content of {path}");
    }
}

fn seen(entry: &Entry) -> Seen {
    let link = if entry.kind() == tar::EntryType::Symlink { entry.link() } else { "" };
    (entry.kind(), entry.owner(), entry.mode(), entry.modified(), link.to_owned(), entry.content().to_vec())
}

fn is_whiteout(entry: &Entry) -> bool {
    entry.path().rsplit('/').next().unwrap().starts_with(".wh.")
}

fn bytes(image: &Image) -> usize {
    image.layers().iter().flat_map(|layer| layer.entries()).map(|entry| entry.content().len()).sum()
}

#[test]
fn the_files_stay_the_same_and_what_is_hidden_goes() {
    let Some(sandbox) = sandbox() else { return };
    let plain = sandbox.build().unwrap();
    let all = files(&plain);
    assert!(all.contains_key("opt/app/copy") && !all.contains_key("etc/conf") && !all.contains_key("etc/old/deep"));
    assert_eq!(all["srv/big"].1, all["srv/link"].1);
    let base = bytes(&sandbox.image("base"));
    for (flag, layers) in [("--compact", 8), ("--squash", 4), ("--squash=user", 4), ("--squash=all", 1)] {
        let folded = sandbox.build_with(&[flag]).unwrap();
        folded.validate();
        assert_eq!(
            folded.layers().len(),
            layers,
            "{flag}: {:?}",
            folded.layers().iter().map(|l| l.paths()).collect::<Vec<_>>()
        );
        same(&files(&folded), &all, flag);
        assert!(folded.executed().is_empty(), "{flag}: {:?}", folded.executed());
        // Once the big file and its copy, and some text.
        let own = bytes(&folded) - if flag == "--squash=all" { 0 } else { base };
        let expected = if flag == "--squash=all" { base + 400_000 } else { 400_000 };
        assert!((expected - 100..expected + 100).contains(&own), "{flag}: {own}");
        if flag != "--squash=all" {
            assert_eq!(folded.layer(0).diff_id(), plain.layer(0).diff_id(), "{flag}");
        }
        let diff =
            sandbox.kiln(&["diff", "--only=files", "--mtime", "--exit-code", &plain.id().to_string(), "test"]).ok();
        assert!(diff.contains("no differences"), "{flag}: {diff}");
    }
}

#[test]
fn others_unpack_the_same_files() {
    if !(require(Need::Root) && require(Need::Skopeo) && require(Need::Umoci)) {
        return;
    }
    let Some(sandbox) = sandbox() else { return };
    let unpacked = |flags: &[&str]| {
        let target = tempfile::tempdir().unwrap();
        let rootfs = sandbox.build_with(flags).unwrap().unpack_with_umoci(target.path()).join("rootfs");
        let told = |entry: walkdir::DirEntry| {
            let stat = entry.metadata().unwrap();
            let content = if stat.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            let path = entry.path().strip_prefix(&rootfs).unwrap().to_owned();
            (path, (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.nlink(), Digest::of(&content)))
        };
        walkdir::WalkDir::new(&rootfs).into_iter().map(|entry| told(entry.unwrap())).collect::<BTreeMap<_, _>>()
    };
    let plain = unpacked(&[]);
    assert!(plain.contains_key(Path::new("opt/app/copy")));
    for flag in ["--compact", "--squash", "--squash=all"] {
        assert_eq!(unpacked(&[flag]), plain, "{flag}");
    }
}

#[test]
fn a_mode_and_an_owner_come_to_the_layer_with_the_bytes() {
    let Some(sandbox) = sandbox() else { return };
    let folded = sandbox.build_with(&["--compact"]).unwrap();
    let copy = folded.layer(3).entry("srv/big");
    assert_eq!((copy.mode() & 0o7777, copy.owner(), copy.content().len()), (0o600, (5, 6), 200_000));
    let history = &folded.config().history;
    let has_layer = |text: &str| {
        let item = history.iter().find(|item| item.created_by.as_deref().unwrap_or_default().contains(text)).unwrap();
        !item.empty_layer
    };
    assert!(has_layer("COPY big") && has_layer("mkdir -p /opt/app"));
    assert!(!has_layer("chmod 600") && !has_layer("rm /tmp/waste") && !has_layer("chown -R"));
    // What the steps were is still told.
    let rows = sandbox.kiln(&["history", "--steps", "test"]).ok();
    assert!(rows.lines().any(|row| row.contains("RUN chmod 600") && row.contains("Dockerfile:3")), "{rows}");
}

#[test]
fn one_layer_of_many_steps_is_an_item_of_the_history() {
    let Some(sandbox) = sandbox() else { return };
    let plain = sandbox.build().unwrap();
    let squashed = sandbox.build_with(&["--squash"]).unwrap();
    let (before, after) = (&plain.config().history, &squashed.config().history);
    assert_eq!(after.len(), before.len() + 1);
    let base = sandbox.image("base").config().history.len();
    assert!(after[base..after.len() - 1].iter().all(|item| item.empty_layer), "{after:?}");
    assert_eq!(&after[..base], &before[..base]);
    let last = after.last().unwrap();
    assert!(!last.empty_layer && last.comment.as_deref().unwrap().contains("squashed"), "{last:?}");
    assert_eq!(squashed.config().config, plain.config().config);
    let rows = sandbox.kiln(&["history", "--steps", "test"]).ok();
    assert!(rows.lines().any(|row| row.contains("RUN chmod 600") && row.contains("Dockerfile:3")), "{rows}");
}

#[test]
fn layers_are_written_anew_once_and_again_when_they_are_gone() {
    let Some(sandbox) = sandbox() else { return };
    let first = sandbox.build_with(&["--compact"]).unwrap();
    let again = sandbox.build_with(&["--compact"]).unwrap();
    assert_eq!(first.id(), again.id());
    sandbox.kiln(&["rmi", "-f", "test"]).ok();
    // With the image go results of steps, so some are run again.
    let anew = sandbox.build_with(&["--compact"]).unwrap();
    same(&files(&anew), &files(&sandbox.build().unwrap()), "--compact");
}

#[test]
fn layers_with_nothing_to_fold_stay_as_they_are() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.write("Dockerfile", "FROM base\nCOPY big /a/big\nRUN echo 1 > /b && ln /b /a/c\nRUN mkdir /empty\n");
    let plain = sandbox.build().unwrap();
    let folded = sandbox.build_with(&["--compact"]).unwrap();
    let ids = |image: &Image| image.layers().iter().map(|layer| layer.diff_id()).collect::<Vec<_>>();
    assert_eq!(ids(&plain), ids(&folded));
    sandbox.write("Dockerfile", "FROM base\nENV A=1\n");
    let (plain, folded) = (sandbox.build().unwrap(), sandbox.build_with(&["--squash"]).unwrap());
    assert_eq!(plain.config(), folded.config());
}

#[test]
fn both_at_once_are_refused() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\n");
    sandbox.kiln(&["build", "--compact", "--squash", "context"]).fails(2);
    sandbox.kiln(&["build", "--squash=most", "context"]).fails(2);
    let refused = sandbox.kiln(&["build", "--squash=false", "context"]).ok();
    assert!(refused.is_empty(), "{refused}");
}
