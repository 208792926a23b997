//! ARG and ENV.

use crate::support::{Sandbox, ran};

/// Returns the labels that an image built from `text` has.
fn labels(text: &str, flags: &[&str]) -> String {
    let image = Sandbox::new().dockerfile(text).build_with(flags).unwrap_or_else(|failure| panic!("{}", failure.text));
    let labels = &image.config().config.labels;
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn defaults_give_way_to_the_command_line() {
    let text = "FROM scratch\nARG A=default\nARG B\nLABEL a=$A b=${B:-none}\n";
    assert_eq!(labels(text, &[]), "a=default b=none");
    assert_eq!(labels(text, &["--build-arg", "A=1", "--build-arg", "B=2"]), "a=1 b=2");
}

#[test]
fn an_argument_before_from_is_seen_after_it_only_when_declared() {
    let text = "ARG A=1\nFROM scratch\nLABEL before=${A:-unset}\nARG A\nLABEL after=$A\n";
    assert_eq!(labels(text, &[]), "after=1 before=unset");
}

#[test]
fn the_later_of_env_and_arg_wins() {
    assert_eq!(labels("FROM scratch\nENV A=env\nARG A=arg\nLABEL a=$A\n", &["--build-arg", "A=line"]), "a=line");
    assert_eq!(labels("FROM scratch\nARG A=arg\nENV A=env\nLABEL a=$A\n", &["--build-arg", "A=line"]), "a=env");
}

#[test]
fn the_platform_is_an_argument() {
    let text = "FROM scratch\nARG TARGETOS\nARG TARGETARCH\nARG TARGETPLATFORM\nLABEL p=$TARGETOS/$TARGETARCH q=$TARGETPLATFORM\n";
    assert_eq!(labels(text, &["--platform", "linux/arm64"]), "p=linux/arm64 q=linux/arm64");
}

#[test]
fn a_value_can_come_from_the_environment() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nARG A=default\nLABEL a=$A\n");
    ran(sandbox.command(&["build", "-t", "test", "--build-arg", "A", "context"]).env("A", "outside")).ok();
    assert_eq!(sandbox.image("test").config().config.labels["a"], "outside");
}

#[test]
fn an_argument_that_nobody_reads_is_a_warning() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nLABEL a=1\n");
    let built = sandbox.kiln(&["build", "--progress=plain", "--build-arg", "TYPO=1", "context"]);
    assert!(built.stderr.contains("TYPO"), "{}", built.stderr);
    built.ok();
}
