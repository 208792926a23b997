//! Source policies (semantics reference, section 15.4).

use kiln::oci::Digest;

use crate::support::fault_server::{FaultServer, Reply};
use crate::support::git::{self, Repository};
use crate::support::{Image, Need, Ran, Sandbox, require};

/// Builds under a policy of these rules.
fn build(sandbox: &Sandbox, rules: &str, arguments: &[&str]) -> Ran {
    let policy = sandbox.path("policy.json");
    std::fs::write(&policy, format!("{{\"rules\": [\n{rules}\n]}}")).unwrap();
    let all = [&["build", "-t", "test"], arguments].concat();
    crate::support::ran(sandbox.command(&all).env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", policy))
}

#[track_caller]
fn built(sandbox: &Sandbox, rules: &str) -> Image {
    build(sandbox, rules, &["context"]).ok();
    let image = sandbox.image("test");
    image.validate();
    image
}

fn deny(selector: &str) -> String {
    format!(r#"{{"action":"DENY","selector":{{"identifier":"{selector}"}}}}"#)
}

fn convert(selector: &str, updates: &str) -> String {
    format!(r#"{{"action":"CONVERT","selector":{{"identifier":"{selector}"}},"updates":{{{updates}}}}}"#)
}

/// Asserts that a build fails with these parts of a message.
#[track_caller]
fn fails(ran: Ran, parts: &[&str]) {
    let said = ran.fails(1);
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn what_is_denied_is_not_asked_for() {
    let server = FaultServer::start(|_| Reply::ok("FROM scratch\n"));
    let host = server.host();
    let sandbox = Sandbox::new();
    for (dockerfile, selector, identifier, place) in [
        (format!("FROM {host}/a"), "docker-image://*", format!("docker-image://{host}/a:latest"), "Dockerfile:1:6"),
        (
            format!("FROM scratch\nCOPY --from={host}/a:1 / /"),
            "docker-image://*/a:1",
            format!("docker-image://{host}/a:1"),
            "Dockerfile:2:13",
        ),
        (
            format!("FROM scratch\nADD http://{host}/f?token=x /"),
            "http://*",
            format!("http://{host}/f"),
            "Dockerfile:2:5",
        ),
        (format!("FROM scratch\nADD http://{host}/a.git#v1 /"), "git://*#v1", format!("git://{host}/a.git#v1"), ":2:5"),
        (
            format!("FROM scratch AS x\nADD http://{host}/b /\nFROM x"),
            "*",
            format!("http://{host}/b"),
            "Dockerfile:2:5",
        ),
    ] {
        sandbox.write("Dockerfile", format!("{dockerfile}\n"));
        let rules = format!("{},\n{}", deny("nothing"), deny(selector));
        // Whoever denies everything denies the Dockerfile first, and so allows it here.
        let allowed = r#"{"selector":{"identifier":"local://dockerfile"}}"#;
        let ran = build(&sandbox, &format!("{rules},\n{allowed}"), &["context"]);
        let denied = format!("source \"{identifier}\" denied by policy: rule 2 of");
        fails(ran, &[&denied, &format!("is DENY {selector}"), place, "source-denied"]);
    }
    for context in [format!("http://{host}/Dockerfile"), format!("http://{host}/x.git")] {
        fails(build(&sandbox, &deny("*"), &[&context]), &["denied by policy: rule 1 of"]);
    }
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --from=named / /\n");
    let named = format!("--build-context=named=http://{host}/f");
    fails(build(&sandbox, &deny("http://*"), &[&named, "context"]), &["denied by policy", "Dockerfile:2:13"]);
    sandbox.write("Dockerfile", "ARG SOURCE_DATE_EPOCH=named\nFROM scratch\n");
    fails(build(&sandbox, &deny("http://*"), &[&named, "context"]), &["denied by policy"]);
    assert_eq!(server.asked("", "").len(), 0);
}

#[test]
fn directories_are_judged_where_they_are_read() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    fails(build(&sandbox, &deny("local://context"), &["context"]), &["source \"local://context\" denied by policy"]);
    fails(build(&sandbox, &deny("local://dockerfile"), &["context"]), &["source \"local://dockerfile\" denied"]);
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --from=named a /a\n");
    let named = ["--build-context=named=context", "context"];
    fails(build(&sandbox, &deny("local://named"), &named), &["source \"local://named\" denied", "Dockerfile:2:13"]);
    build(&sandbox, &deny("local://context"), &named).ok();
    assert_eq!(sandbox.image("test").file("/a"), "1");
}

#[test]
fn an_image_is_another_one() {
    let sandbox = Sandbox::new().file("a", "1").file("b", "2");
    for (tag, file) in [("old", "a"), ("new", "b")] {
        sandbox.write("Dockerfile", format!("FROM scratch\nCOPY {file} /f\n"));
        sandbox.kiln(&["build", "-q", "-t", tag, "context"]).ok();
    }
    sandbox.write("Dockerfile", "FROM old\nCOPY --from=old:latest /f /g\n");
    assert_eq!(built(&sandbox, "").file("/f"), "1");
    let rule = convert("docker-image://docker.io/library/o*:*", r#""identifier":"docker-image://new:${2}""#);
    let image = built(&sandbox, &rule);
    assert_eq!((image.file("/f"), image.file("/g")), ("2".to_owned(), "2".to_owned()));
    let told = build(&sandbox, &rule, &["--progress=plain", "context"]);
    assert!(told.stderr.contains("source policy for docker.io/library/old:latest"), "{}", told.stderr);
    let rules = format!("{rule},{}", deny("docker-image://new:latest"));
    fails(build(&sandbox, &rules, &["context"]), &["source \"docker-image://new:latest\" denied", "Dockerfile:1:6"]);
}

#[test]
fn a_file_is_pinned_or_another_one() {
    let server = FaultServer::start(|asked| Reply::ok(asked.path.clone()));
    let url = format!("http://{}/a", server.host());
    let sandbox = Sandbox::new().dockerfile(&format!("FROM scratch\nADD {url} /\n"));
    let pinned = |content: &str| {
        convert("http://*", &format!(r#""attrs":{{"http.checksum":"{}"}}"#, Digest::of(content.as_bytes())))
    };
    fails(build(&sandbox, &pinned("other"), &["context"]), &["digest mismatch", "Dockerfile:2:5"]);
    assert_eq!(built(&sandbox, &pinned("/a")).file("/a"), "/a");
    let other = convert(&url, &format!(r#""identifier":"http://{}/mirror/b""#, server.host()));
    // The name is that of the URL that was written.
    assert_eq!(built(&sandbox, &other).file("/a"), "/mirror/b");
}

#[test]
fn a_repository_is_pinned() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = Repository::new(&sandbox, "app");
    let first = repository.commit("Dockerfile", "FROM scratch\nLABEL number=1\n");
    repository.commit("Dockerfile", "FROM scratch\nLABEL number=2\n");
    let host = git::daemon(&sandbox);
    sandbox.write("Dockerfile", format!("FROM scratch\nADD git://{host}/app /d\n"));
    let pin = convert(&format!("git://{host}/app"), &format!(r#""identifier":"git://{host}/app#{first}""#));
    assert!(built(&sandbox, &pin).file("/d/Dockerfile").contains("number=1"));
    build(&sandbox, &pin, &[&format!("git://{host}/app")]).ok();
    assert_eq!(sandbox.image("test").config().config.labels["number"], "1");
    let sum = convert("git://*", r#""attrs":{"git.checksum":"1234567"}"#);
    fails(build(&sandbox, &sum, &["context"]), &["expected checksum to match 1234567", "Dockerfile:2:5"]);
}

#[test]
fn a_policy_that_makes_no_sense_forbids_the_build() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\n");
    let ran = build(&sandbox, r#"{"action":"FORBID","selector":{"identifier":"*"}}"#, &["context"]);
    fails(ran, &["error[invalid-policy]: unknown variant `FORBID`", "policy.json:2:1"]);
    let mut command = sandbox.command(&["build", "context"]);
    let missing = crate::support::ran(command.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "/nowhere/policy.json"));
    fails(missing, &["cannot read /nowhere/policy.json"]);
}
