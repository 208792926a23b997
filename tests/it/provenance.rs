//! `kiln history --steps` and `--tree`, and `kiln blame`: where what is in an image comes from.

use serde_json::Value;

use crate::support::{Need, Sandbox, require};

const FILE: &str = "\
COPY a /etc/a
ENV X=1
RUN echo more >> /etc/a
RUN true
RUN true again
RUN rm /etc/gone && chmod 600 /etc/a
";

fn sandbox() -> Option<Sandbox> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    let sandbox = Sandbox::new().file("a", "twelve bytes").busybox("RUN mkdir -p /etc && echo 12345 > /etc/gone\n");
    sandbox.build().unwrap();
    sandbox.kiln(&["tag", "test", "base"]).ok();
    sandbox.write("Dockerfile", format!("FROM base\n{FILE}"));
    sandbox.build().unwrap();
    Some(sandbox)
}

fn rows(sandbox: &Sandbox) -> Vec<Value> {
    let told = sandbox.kiln(&["history", "--steps", "--format=json", "test"]).ok();
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_layer_has_its_step_and_what_it_wastes() {
    let Some(sandbox) = sandbox() else { return };
    let rows = rows(&sandbox);
    let facts: Vec<_> = rows[..6]
        .iter()
        .map(|row| (row["Line"].as_u64(), row["Bytes"].as_u64(), row["WastedBytes"].as_u64()))
        .collect();
    let expected = [
        (Some(7), Some(17), Some(0)),
        (Some(6), Some(0), Some(0)),
        (Some(5), Some(0), Some(0)),
        (Some(4), Some(17), Some(17)),
        (Some(3), None, None),
        (Some(2), Some(12), Some(12)),
    ];
    assert_eq!(facts, expected);
    assert!(rows[..6].iter().all(|row| row["Base"].is_null()) && rows[6]["Base"] == "docker.io/library/base:latest");
    assert_eq!(rows[6]["WastedBytes"], 6, "what a later image removes");
    assert!(
        rows.iter()
            .filter(|row| row["EmptyLayer"] == false)
            .all(|row| row["Outcome"] == "done" && row["DurationMs"].is_u64())
    );

    sandbox.build().unwrap();
    let again = self::rows(&sandbox);
    assert!(again[..6].iter().filter(|row| row["EmptyLayer"] == false).all(|row| row["Outcome"] == "cached"));
    assert_eq!(again[0]["DurationMs"], rows[0]["DurationMs"], "the time is that of when it ran");

    let tree = sandbox.kiln(&["history", "--tree", "test"]).ok();
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[1].starts_with("├─ FROM docker.io/library/base:latest  (3 layers, "), "{tree}");
    assert!(lines[2].starts_with("├─ COPY a /etc/a  (12B, 12B wasted, "), "{tree}");
    assert_eq!(lines[3], "├─ ENV X=1  (Dockerfile:3)");
    assert!(lines[7].starts_with("└─ RUN rm /etc/gone && chmod 600 /etc/a  (17B, "), "{tree}");
}

#[test]
fn every_step_that_touched_a_file_is_named() {
    let Some(sandbox) = sandbox() else { return };
    let touches = |path: &str| -> Vec<(String, String)> {
        let told: Value = serde_json::from_str(&sandbox.kiln(&["blame", "--format=json", "test", path]).ok()).unwrap();
        let touch = |touch: &Value| {
            (touch["change"].as_str().unwrap().to_owned(), touch["instruction"].as_str().unwrap().to_owned())
        };
        told["touches"].as_array().unwrap().iter().map(touch).collect()
    };
    let expected = [
        ("added", "COPY a /etc/a"),
        ("content", "RUN echo more >> /etc/a"),
        ("metadata", "RUN rm /etc/gone && chmod 600 /etc/a"),
    ]
    .map(|(change, text)| (change.to_owned(), text.to_owned()));
    assert_eq!(touches("/etc/a"), expected);
    assert_eq!(touches("etc/../etc/a").len(), 3);
    let gone = touches("/etc/gone");
    assert_eq!(gone.iter().map(|(change, _)| change.as_str()).collect::<Vec<_>>(), ["added", "removed"]);
    let told = sandbox.kiln(&["blame", "test", "/etc/gone"]).ok();
    assert!(told.starts_with("/etc/gone is not there: Dockerfile:7 ("), "{told}");
    let error = sandbox.kiln(&["blame", "test", "/no\x1b[31m"]).fails(1);
    assert!(error.contains("no layer of test has anything at /no\\u{1b}[31m"), "{error}");
}

#[test]
fn an_image_of_nobody_has_its_layers_all_the_same() {
    let Some(sandbox) = sandbox() else { return };
    let archive = sandbox.path("test.tar");
    sandbox.kiln(&["save", "-o", archive.to_str().unwrap(), "test"]).ok();
    let other = Sandbox::new();
    other.kiln(&["load", "-i", archive.to_str().unwrap()]).ok();
    let tree = other.kiln(&["history", "--tree", "test"]).ok();
    assert!(tree.contains("├─ COPY a /etc/a # buildkit  (12B, 12B wasted)\n"), "{tree}");
    let told = other.kiln(&["blame", "test", "/etc/a"]).ok();
    assert!(told.contains("metadata"), "{told}");
}
