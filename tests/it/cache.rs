//! The build cache.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::{Image, Need, Sandbox, require};

/// A build with a step before, of, and after a file of the context.
fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    Some(Sandbox::new().file("a", "1").busybox("RUN echo before > /before\nCOPY a /a\nRUN cat /a /a > /after\n"))
}

/// Returns how many of the executed steps are RUNs.
fn runs(image: &Image) -> usize {
    image.executed().iter().filter(|title| title.contains("RUN")).count()
}

#[test]
fn a_second_build_runs_nothing_and_gives_the_same_image() {
    let Some(sandbox) = sandbox() else { return };
    let first = sandbox.build().unwrap();
    let second = sandbox.build().unwrap();
    assert_eq!((runs(&first), second.executed()), (3, Vec::new()));
    assert_eq!(first.id(), second.id());
}

#[test]
fn a_changed_file_runs_what_depends_on_it() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.build().unwrap();
    sandbox.write("a", "2");
    let image = sandbox.build().unwrap();
    assert_eq!((runs(&image), image.file("/after")), (1, "22".to_owned()));
    // And back: the older result is still known.
    sandbox.write("a", "1");
    let image = sandbox.build().unwrap();
    assert_eq!((runs(&image), image.file("/after")), (0, "11".to_owned()));
}

#[test]
fn times_do_not_matter_and_modes_do() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.build().unwrap();
    let file = fs::File::options().write(true).open(sandbox.context("a")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(100_000)).unwrap();
    assert_eq!(sandbox.build().unwrap().executed(), Vec::<&str>::new());
    fs::set_permissions(sandbox.context("a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(runs(&sandbox.build().unwrap()), 1);
}

#[test]
fn equal_contexts_in_different_places_share_results() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.build().unwrap();
    let copy = sandbox.path("copy");
    let copied = std::process::Command::new("cp").arg("-r").arg(sandbox.path("context")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let built = sandbox.kiln(&["build", "--progress=plain", "copy"]);
    assert!(built.stderr.contains("(0 executed"), "{}", built.stderr);
    built.ok();
}

#[test]
fn a_file_that_is_not_copied_does_not_matter() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.build().unwrap();
    sandbox.write("unrelated", "x");
    assert_eq!(sandbox.build().unwrap().executed(), Vec::<&str>::new());
}

#[test]
fn no_cache_runs_everything_again() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.build().unwrap();
    assert_eq!(runs(&sandbox.build_with(&["--no-cache"]).unwrap()), 3);
}

#[test]
fn an_argument_matters_where_it_is_declared() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo before\nARG A\nRUN echo $A > /a\n");
    sandbox.build_with(&["--build-arg", "A=1"]).unwrap();
    let image = sandbox.build_with(&["--build-arg", "A=2"]).unwrap();
    assert_eq!((runs(&image), image.file("/a")), (1, "2\n".to_owned()));
}

#[test]
fn builds_at_once_do_not_disturb_each_other() {
    let Some(sandbox) = sandbox() else { return };
    let builds: Vec<_> =
        (0..4).map(|_| sandbox.start(&["build", "--progress=plain", "-t", "test", "context"])).collect();
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    sandbox.image("test").validate();
}
