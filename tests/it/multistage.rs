//! Stages.

use crate::support::{Need, Sandbox, require};

#[test]
fn files_are_copied_between_stages() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile(
        "FROM scratch AS one\nCOPY a /x/a\nFROM scratch AS two\nCOPY --from=one --chown=5 /x /y\nFROM scratch\nCOPY --from=1 /y/a /a\nCOPY --from=one /x/a /b\n",
    );
    let image = sandbox.build().unwrap();
    assert_eq!((image.file("/a"), image.file("/b"), image.layers().len()), ("1".into(), "1".into(), 2));
    assert_eq!(image.layer(0).entry("a").owner(), (5, 5));
    image.validate();
}

#[test]
fn a_stage_continues_another() {
    let text = "FROM scratch AS one\nENV A=1\nCOPY a /a\nFROM one\nLABEL from=$A\nCOPY a /b\n";
    let image = Sandbox::new().file("a", "1").dockerfile(text).build().unwrap();
    assert_eq!((image.layers().len(), image.config().config.labels["from"].as_str()), (2, "1"));
    image.validate();
}

#[test]
fn stages_that_are_not_needed_are_not_built() {
    let text =
        "FROM scratch AS unneeded\nCOPY missing /\nFROM scratch AS wanted\nCOPY a /a\nFROM scratch\nCOPY missing /\n";
    let image = Sandbox::new().file("a", "1").dockerfile(text).build_with(&["--target", "wanted"]).unwrap();
    assert_eq!(image.layer(0).paths(), ["a"]);
}

#[test]
fn an_unknown_target_is_named() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch AS build\nFROM scratch AS final\n");
    let failure = sandbox.build_with(&["--target", "biuld"]).unwrap_err();
    assert_eq!(failure.code, Some(1));
    assert!(failure.text.contains("biuld"), "{}", failure.text);
}

#[test]
fn independent_stages_run_at_once() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let stage = |name: &str| format!("FROM base AS {name}\nRUN sleep 1 && echo {name} > /{name}\n");
    let text = ["one", "two", "three"].map(stage).concat()
        + "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\nCOPY --from=three /three /\n";
    let sandbox = Sandbox::new().busybox(&text);
    sandbox.build_with(&["--target", "base"]).unwrap();
    let started = std::time::Instant::now();
    let image = sandbox.build_with(&["--jobs", "3"]).unwrap();
    assert!(started.elapsed().as_secs_f64() < 2.5, "{:?}", started.elapsed());
    assert_eq!(image.file("/three"), "three\n");
}

#[test]
fn the_same_step_in_two_stages_runs_once() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let stage = "RUN cat /proc/sys/kernel/random/uuid > /id\n";
    let text = format!(
        "FROM base AS one\n{stage}FROM base AS two\n{stage}FROM scratch\nCOPY --from=one /id /1\nCOPY --from=two /id /2\n"
    );
    let image = Sandbox::new().busybox(&text).build().unwrap();
    assert_eq!(image.file("/1"), image.file("/2"));
}
