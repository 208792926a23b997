//! `kiln plan` and `--require-cached`: what would run, and what then does.

use std::fs;

use serde_json::Value;

use crate::support::{Need, Sandbox, require};

fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    let file = "FROM base AS one\nCOPY a /a\nRUN cat /a > /copy\n\
        FROM base\nARG V=1\nRUN sleep 0.3; echo $V > /v\nCOPY --from=one /copy /copy\nRUN --mount=type=bind,from=one,target=/m cat /m/a\n";
    Some(Sandbox::new().file("a", "1").busybox(file))
}

fn plan(sandbox: &Sandbox, flags: &[&str]) -> Value {
    let told = sandbox.kiln(&[&["plan", "--format=json", "-t", "test"], flags, &["context"]].concat()).ok();
    serde_json::from_str(&told).unwrap()
}

/// Returns the titles of the steps that would run.
fn would_run(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().unwrap().iter().filter(|step| step["would_run"] == true);
    steps.map(|step| step["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_foreseen_is_what_runs() {
    let Some(sandbox) = sandbox() else { return };
    let all = plan(&sandbox, &[]);
    assert_eq!(all["unknown"], all["would_run"]);
    let image = sandbox.build().unwrap();
    assert_eq!(would_run(&all), image.executed());
    assert_eq!(would_run(&plan(&sandbox, &[])), Vec::<String>::new());

    sandbox.write("a", "2");
    let foreseen = plan(&sandbox, &[]);
    let again = plan(&sandbox, &[]);
    assert_eq!(foreseen, again, "a plan changes nothing");
    assert_eq!(would_run(&foreseen), sandbox.build().unwrap().executed());
    let causes: Vec<&str> =
        foreseen["steps"].as_array().unwrap().iter().filter_map(|step| step["why"].as_str()).collect();
    assert!(causes[0].starts_with("of 1 file, 1 changed: a"), "{causes:?}");
    assert!(causes[1..].iter().all(|cause| cause.contains("step #")), "{causes:?}");

    let foreseen = plan(&sandbox, &["--build-arg=V=2"]);
    let slow =
        foreseen["steps"].as_array().unwrap().iter().find(|step| step["title"].as_str().unwrap().contains("sleep"));
    let slow = slow.unwrap();
    assert_eq!(slow["why"], "ARG V changed from `1` to `2`");
    assert!(slow["expected_ms"].as_u64().unwrap() >= 300, "{slow}");
    assert!(foreseen["expected_ms"].as_u64() >= slow["expected_ms"].as_u64());
}

#[test]
fn a_plan_leaves_no_build_and_no_image() {
    let Some(sandbox) = sandbox() else { return };
    plan(&sandbox, &[]);
    assert_eq!(sandbox.kiln(&["builds", "-q"]).ok(), "");
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    assert!(
        !fs::exists(sandbox.path("root/logs")).unwrap()
            || fs::read_dir(sandbox.path("root/logs")).unwrap().count() == 0
    );
}

#[test]
fn a_ci_job_can_ask_for_a_full_hit() {
    let Some(sandbox) = sandbox() else { return };
    let exit = |sandbox: &Sandbox| sandbox.kiln(&["plan", "--exit-code", "context"]).code;
    assert_eq!(exit(&sandbox), Some(3));
    let refused = sandbox.kiln(&["build", "--require-cached", "context"]).fails(1);
    assert!(refused.contains("it is not cached: nothing like it was built before"), "{refused}");
    sandbox.build().unwrap();
    assert_eq!(exit(&sandbox), Some(0));
    sandbox.kiln(&["build", "--require-cached", "context"]).ok();
    sandbox.write("a", "2");
    let refused = sandbox.kiln(&["build", "--require-cached", "--progress=quiet", "context"]).fails(1);
    assert!(refused.contains("it is not cached: of 1 file, 1 changed: a"), "{refused}");
    assert!(refused.contains("COPY a /a") && refused.contains("kiln plan"), "{refused}");
    sandbox.kiln(&["plan", "--target=nope", "context"]).fails(1);
    sandbox.kiln(&["plan", "--no-cache", "--require-cached", "context"]).fails(2);
}
