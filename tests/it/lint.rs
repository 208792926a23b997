//! What is found in a Dockerfile besides errors: rules, controls, and how a build shows them.

use crate::support::Sandbox;

fn sandbox(dockerfile: &str) -> Sandbox {
    Sandbox::new().file("a", "").dockerfile(dockerfile)
}

#[test]
fn a_build_shows_each_finding_once_with_its_place() {
    let sandbox = sandbox("FROM scratch AS Last\nCOPY a /\nLABEL a=$UNSET b=$UNSET\n");
    let shown = sandbox.kiln(&["build", "--progress=plain", "context"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for part in [
        "warning: StageNameCasing: Stage name 'Last' should be lowercase (line 1)\n --> Dockerfile:1:17\n",
        "warning: UndefinedVar: Usage of undefined variable '$UNSET' (line 3)\n --> Dockerfile:3:9\n",
    ] {
        assert!(shown.stderr.contains(part), "{}", shown.stderr);
    }
    assert_eq!(shown.stderr.matches("UndefinedVar").count(), 1, "{}", shown.stderr);
}

#[test]
fn progress_events_carry_the_rule() {
    let image = sandbox("FROM scratch\nCOPY a /\nENV A b\n").build().unwrap();
    let event = image.events().iter().find(|event| event["type"] == "lint").unwrap();
    assert_eq!(event["rule"], "LegacyKeyValueFormat");
    assert_eq!(event["line"], 3);
    assert_eq!(event["url"], "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/");
    image.validate();
}

#[test]
fn findings_forbid_a_build_where_the_file_wants_it() {
    let text = "# check=error=true\nFROM scratch\nCOPY a /\nENV TOKEN b\n";
    let failure = sandbox(text).build().unwrap_err();
    let expected = "lint violation found for rules: LegacyKeyValueFormat, SecretsUsedInArgOrEnv";
    assert!(failure.text.contains(expected), "{}", failure.text);
    assert_eq!(failure.code, Some(1));
    for (text, flags) in [
        ("# check=skip=all;error=true\nFROM scratch\nCOPY a /\nENV TOKEN b\n", &[][..]),
        (text, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=none"]),
        ("# check=error=true\nFROM scratch\nCOPY a /\n# check=skip=all\nENV TOKEN b\n", &[]),
        // kiln's own advice is not for builds, nor does `all` ask for it there.
        ("# check=error=true;experimental=all\nFROM scratch\nCOPY a /\nONBUILD RUN a | b\n", &[]),
    ] {
        sandbox(text).build_with(flags).unwrap_or_else(|failure| panic!("{text}: {}", failure.text)).validate();
    }
}

#[test]
fn controls_that_cannot_be_read_are_refused() {
    let failure = sandbox("FROM scratch\nCOPY a /\n").build_with(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=x"]);
    let text = failure.unwrap_err().text;
    assert!(text.contains("failed to parse check options: invalid check option \"x\""), "{text}");
}
