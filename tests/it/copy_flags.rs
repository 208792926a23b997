//! COPY and ADD with `--link`, `--parents` and `--exclude`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::support::{Image, Need, Sandbox, require};

fn built(sandbox: &Sandbox) -> Image {
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

fn created_by(image: &Image) -> Vec<String> {
    image.config().history.iter().filter_map(|item| item.created_by.clone()).collect()
}

#[test]
fn parents_keep_the_path_below_the_destination() {
    let sandbox = Sandbox::new().file("src/a/one.c", "1").file("src/b/two.c", "2").file("src/b/two.h", "h");
    fs::set_permissions(sandbox.context("src/b"), fs::Permissions::from_mode(0o700)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::open(sandbox.context("src/b")).unwrap().set_modified(time).unwrap();
    let sandbox = sandbox.dockerfile("FROM scratch\nCOPY --parents **/*.c /all/\nCOPY --parents src/./b/two.h /some\n");
    let image = built(&sandbox);
    let all = image.layer(0);
    assert_eq!(all.paths(), ["all", "all/src", "all/src/a", "all/src/a/one.c", "all/src/b", "all/src/b/two.c"]);
    assert_eq!((all.entry("all/src/b").mode(), all.entry("all/src/b").modified()), (0o700, 1_000_000));
    assert_eq!(image.layer(1).paths(), ["some", "some/b", "some/b/two.h"]);
    assert_eq!(created_by(&image)[0], "COPY --parents **/*.c /all/ # buildkit");
}

#[test]
fn parents_come_from_other_stages_with_their_owners() {
    let sandbox = Sandbox::new().file("x", "1").dockerfile(
        "FROM scratch AS one\nCOPY --chown=7:8 x /d/e/x\nFROM scratch\nCOPY --parents --from=one /d/./e/x /d/e/x /to/\n",
    );
    let image = built(&sandbox);
    let layer = image.layer(0);
    assert_eq!(layer.paths(), ["to", "to/d", "to/d/e", "to/d/e/x", "to/e", "to/e/x"]);
    assert_eq!((layer.entry("to/d/e").owner(), layer.entry("to").owner()), ((7, 8), (0, 0)));
}

#[test]
fn a_missing_path_is_an_error_and_a_pattern_without_matches_is_not() {
    let sandbox = Sandbox::new().file("d/a", "1").dockerfile("FROM scratch\nCOPY --parents d/b /to/\n");
    assert!(sandbox.build().unwrap_err().text.contains("\"d/b\": not found"));
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --parents d/b* /to/\n");
    assert_eq!(built(&sandbox).layer(0).paths(), ["to"]);
}

#[test]
fn excludes_are_relative_to_what_is_copied() {
    let sandbox = Sandbox::new().file("d/a.txt", "1").file("d/b.md", "2").file("d/e/c.txt", "3").dockerfile(
        "FROM scratch\nCOPY --exclude=*.txt d /one/\nCOPY --exclude=**/*.txt d /two/\nADD --exclude=e --exclude=*.md d /three/\n\
         COPY --exclude=*.txt d/a* /four/\nCOPY --parents --exclude=*.txt --exclude=d/b.md d /five/\n",
    );
    let image = built(&sandbox);
    let paths: Vec<String> = image.layers().iter().map(|layer| layer.paths().join(" ")).collect();
    assert_eq!(
        paths,
        [
            "one one/b.md one/e one/e/c.txt",
            "two two/b.md two/e",
            "three three/a.txt",
            "four four/a.txt",
            "five five/d five/d/a.txt five/d/e five/d/e/c.txt"
        ]
    );
    assert_eq!(created_by(&image)[2], "ADD d /three/ # buildkit");
}

#[test]
fn what_is_excluded_does_not_count_for_the_cache() {
    let sandbox = Sandbox::new().file("d/a", "1").file("d/noise", "2");
    let sandbox = sandbox.dockerfile("FROM scratch\nCOPY --exclude=noise d /d/\n");
    built(&sandbox);
    sandbox.write("d/noise", "3");
    assert_eq!(built(&sandbox).executed(), Vec::<&str>::new());
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --exclude=nois* d /d/\n");
    assert_eq!(built(&sandbox).executed().len(), 1);
}

#[test]
fn a_renamed_directory_above_a_source_is_still_cached() {
    let sandbox = Sandbox::new().file("one/d/a", "1").dockerfile("FROM scratch\nCOPY one/d/ /d/\nCOPY one/d/a /a\n");
    let first = built(&sandbox);
    fs::rename(sandbox.context("one"), sandbox.context("two")).unwrap();
    sandbox.write("Dockerfile", "FROM scratch\nCOPY two/d/ /d/\nCOPY two/d/a /a\n");
    let second = built(&sandbox);
    assert_eq!(second.executed(), Vec::<&str>::new());
    assert_eq!(first.layer(1).diff_id(), second.layer(1).diff_id());
}

#[test]
fn a_linked_layer_knows_nothing_of_what_is_below() {
    let sandbox = Sandbox::new().file("links/keep", "k").symlink("links/l", "/elsewhere").file("f", "1");
    let sandbox = sandbox.dockerfile(
        "FROM scratch\nCOPY --chmod=1777 <<x /tmp/x\nbody\nx\nCOPY links /\nCOPY --link --chown=7:8 f /l/f\n\
         COPY --link f /tmp/f\nCOPY --link --chmod=600 f /l/g\n",
    );
    let image = built(&sandbox);
    assert_eq!(image.layer(2).paths(), ["l", "l/f"]);
    let l = image.layer(2).entry("l");
    assert_eq!((l.kind(), l.mode(), l.owner()), (tar::EntryType::Directory, 0o755, (7, 8)));
    assert_eq!(
        (image.layer(3).entry("tmp").mode(), image.file("tmp/x"), image.file("tmp/f")),
        (0o755, "body\n".into(), "1".into())
    );
    // With a mode it is a copy like any other, into the directory that is there now.
    assert_eq!(image.layer(4).paths(), ["l", "l/g"]);
    assert_eq!(created_by(&image)[2], "COPY --chown=7:8 f /l/f # buildkit");
    let times: Vec<_> = image.config().history.iter().map(|item| item.created).collect();
    assert!(times.iter().all(Option::is_some), "{times:?}");
    assert_eq!(image.config().created, *times.last().unwrap());
}

#[test]
fn a_linked_layer_survives_a_change_below() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let text = |word: &str| format!("RUN echo {word} > /word\nCOPY --link f /d/f\nRUN cat /word /d/f > /both\n");
    let sandbox = Sandbox::new().file("f", "1\n").busybox(&text("one"));
    let first = built(&sandbox);
    assert!(first.steps("cached").iter().any(|title| title.contains("] LINK COPY --link f /d/f")));
    let sandbox = sandbox.busybox(&text("two"));
    let second = built(&sandbox);
    assert_eq!(second.file("/both"), "two\n1\n");
    let executed = second.executed();
    assert!(executed.len() == 2 && executed.iter().all(|title| title.contains("RUN")), "{executed:?}");
    let linked = |image: &Image| image.layers().iter().find(|layer| layer.has("d/f")).unwrap().diff_id();
    assert_eq!(linked(&first), linked(&second));
}

#[test]
fn a_link_over_nothing_is_a_copy() {
    let sandbox = Sandbox::new().file("f", "1").dockerfile("FROM scratch\nCOPY --link f /d/\nCOPY --link nope* /e/\n");
    let image = built(&sandbox);
    assert_eq!((image.layer(0).paths(), image.layer(1).paths()), (vec!["d", "d/f"], vec![]));
}
