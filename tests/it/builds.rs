//! Builds as records: `kiln compare`, `kiln log BUILD:STEP` and `kiln report --html`.

use serde_json::Value;

use crate::support::{Need, Sandbox, require};

const FILE: &str = "COPY a /a\nRUN echo some text; sleep 0.2\nRUN cat /a /a > /b\n";

fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    let sandbox = Sandbox::new().file("a", "1").busybox(FILE);
    sandbox.build().unwrap();
    Some(sandbox)
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    sandbox.kiln(&["builds", "-q"]).ok().lines().map(str::to_owned).collect()
}

#[test]
fn two_builds_are_held_against_each_other() {
    let Some(sandbox) = sandbox() else { return };
    let error = sandbox.kiln(&["compare"]).fails(1);
    assert!(error.contains("no build of the same file and context is remembered from before"), "{error}");
    sandbox.kiln(&["--root=empty", "compare"]).fails(1);
    let text = std::fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
    sandbox.write("a", "x".repeat(10_000));
    sandbox.write("Dockerfile", text.replace("sleep 0.2", "sleep 0.6").replace("RUN cat", "RUN true\nRUN cat"));
    sandbox.build().unwrap();
    let told: Value = serde_json::from_str(&sandbox.kiln(&["compare", "--format=json"]).ok()).unwrap();
    let pair = |text: &str| {
        let steps = told["steps"].as_array().unwrap();
        steps.iter().find(|pair| pair["after"]["title"].as_str().unwrap_or_default().contains(text)).unwrap().clone()
    };
    let slow = pair("sleep 0.6");
    let time = |side: &Value| side["duration_ms"].as_u64().unwrap();
    assert!(time(&slow["before"]) >= 200 && time(&slow["after"]) >= time(&slow["before"]) + 300, "{slow}");
    assert_eq!(pair("RUN true")["before"], Value::Null);
    assert!(pair("RUN cat")["after"]["layer_bytes"].as_u64().unwrap() > 20_000);
    let text = sandbox.kiln(&["compare"]).ok();
    assert!(text.lines().any(|line| line.starts_with("~ ") && line.contains("sleep 0.6")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("+ ") && line.contains("RUN true")), "{text}");
    let builds = ids(&sandbox);
    let error = sandbox.kiln(&["compare", "--max-larger=0", &builds[1], &builds[0]]).fails(1);
    assert!(error.contains("% larger, where 0% are allowed"), "{error}");
    sandbox.kiln(&["compare", "--max-larger=0", "--max-slower=10", &builds[0], &builds[1]]).ok();
}

#[test]
fn the_log_of_any_build_can_be_read() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.write("a", "2");
    sandbox.build().unwrap();
    let builds = ids(&sandbox);
    assert_eq!(sandbox.kiln(&["log", &format!("{}:5", &builds[1][..6])]).ok(), "some text\n");
    assert!(sandbox.kiln(&["log", &builds[1]]).ok().contains("#5 [4/5] RUN echo some text; sleep 0.2\nsome text\n"));
    assert_eq!(sandbox.kiln(&["log", "5"]).ok(), "some text\n");
    sandbox.kiln(&["log", "nope"]).fails(2);
}

#[test]
fn a_report_is_one_page_with_everything_in_it() {
    let Some(sandbox) = sandbox() else { return };
    let text = std::fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
    sandbox.write("Dockerfile", text + "RUN echo '<script>alert(1)</script>' > '/a<b'; rm /b\n");
    sandbox.build().unwrap();
    let path = sandbox.path("report.html");
    assert_eq!(sandbox.kiln(&["report", "--html", "-o", path.to_str().unwrap()]).ok(), "");
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "what others wrote is text");
    assert!(["http://", "https://", "src=", "<link", "@import"].iter().all(|link| !page.contains(link)), "{page}");
    for part in
        ["nothing like it was built before", "critical", "What the layers hold", "/busybox", "What is wasted", "/b<"]
    {
        assert!(page.contains(part), "{part}");
    }
    let builds = ids(&sandbox);
    sandbox.write("Dockerfile", "FROM test\nRUN echo last words; exit 3\n");
    sandbox.build().unwrap_err();
    let page = sandbox.kiln(&["report", "--html"]).ok();
    assert!(page.contains("last words") && page.contains("exited with code 3"), "{page}");
    assert!(!page.contains("What the layers hold"));
    sandbox.kiln(&["rmi", "-f", "test"]).ok();
    assert!(!sandbox.kiln(&["report", "--html", &builds[0]]).ok().contains("What the layers hold"));
    sandbox.kiln(&["report"]).fails(2);
}
