//! What is shown while something goes on.

use serde_json::Value;

use crate::support::{Need, Sandbox, require};

fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    Some(Sandbox::new().busybox("RUN echo to stdout; echo to stderr >&2; printf 'no line feed'\n"))
}

#[test]
fn plain_lines_carry_the_number_of_their_step() {
    let Some(sandbox) = sandbox() else { return };
    let built = sandbox.kiln(&["build", "--progress=plain", "context"]);
    assert_eq!(built.stdout, "");
    let line = built.stderr.lines().find(|line| line.ends_with("to stdout")).expect("output is shown");
    let number = line.split(' ').next().unwrap();
    for end in ["to stderr", "no line feed"] {
        let found = built.stderr.lines().any(|line| line.starts_with(&format!("{number} ")) && line.ends_with(end));
        assert!(found, "{}", built.stderr);
    }
    assert!(built.stderr.contains(&format!("{number} DONE")), "{}", built.stderr);
    let again = sandbox.kiln(&["build", "--progress=plain", "context"]);
    assert!(again.stderr.contains(&format!("{number} CACHED")), "{}", again.stderr);
}

#[test]
fn json_is_one_known_event_a_line() {
    let Some(sandbox) = sandbox() else { return };
    let built = sandbox.kiln(&["build", "--progress=json", "context"]);
    let events: Vec<Value> = built.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let kinds = [
        "planned",
        "started",
        "missed",
        "output",
        "transfer",
        "used",
        "kept",
        "finished",
        "warning",
        "phase",
        "critical_path",
        "built",
    ];
    assert!(events.iter().all(|event| kinds.contains(&event["type"].as_str().unwrap())), "{events:?}");
    let path = events.iter().find(|event| event["type"] == "critical_path").unwrap();
    let run = path["links"].as_array().unwrap().iter().find(|link| link["cpu_ms"].as_u64() > Some(0)).unwrap();
    assert!(run["title"].as_str().unwrap().contains("RUN"), "{run}");
    assert!(run["peak_memory_bytes"].as_u64() > Some(0) && run["layer_bytes"].as_u64() >= Some(1024), "{run}");
    assert_eq!((&path["executed_steps"], &path["cached_steps"]), (&3.into(), &1.into()));
    let output = events.iter().filter(|event| event["type"] == "output" && event["stream"] == "stderr");
    assert_eq!(output.map(|event| event["text"].as_str().unwrap()).collect::<String>(), "to stderr\n");
    assert_eq!(events.last().unwrap()["type"], "built");
}

#[test]
fn the_environment_chooses_the_display() {
    let Some(sandbox) = sandbox() else { return };
    let output = sandbox.command(&["build", "context"]).env("BUILDKIT_PROGRESS", "quiet").output().unwrap();
    assert_eq!(output.stderr, b"");
    assert!(output.stdout.starts_with(b"sha256:"));
}

#[test]
fn the_log_of_a_step_is_kept() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.kiln(&["build", "-q", "context"]).ok();
    let log = sandbox.kiln(&["log"]).ok();
    assert!(log.contains("to stdout") && log.contains("to stderr") && log.contains("no line feed"), "{log}");
}

#[test]
fn output_without_end_is_kept_whole() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN seq 1 300000\n");
    sandbox.kiln(&["build", "-q", "context"]).ok();
    let log = sandbox.kiln(&["log"]).ok();
    assert!(log.contains("\n1\n2\n") || log.starts_with("1\n2\n"));
    assert!(log.contains("\n299999\n300000\n"));
}

#[test]
fn the_readme_has_the_schema_of_the_code() {
    let text = |file: &str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let rows = |text: &str| -> Vec<String> {
        // Other tables of the README have rows of the same form.
        let section = text.split("### Progress as JSON").last().unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().map(|line| line.trim_start_matches("//! "));
        rows.filter(|line| line.starts_with("| `") && !line.starts_with("| `kiln") && !line.starts_with("| `-"))
            .map(str::to_owned)
            .collect()
    };
    let (readme, code) = (rows(&text("README.md")), rows(&text("src/cli/progress/json.rs")));
    assert_eq!((readme.len(), &readme), (14, &code));
}
