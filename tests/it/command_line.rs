//! What is made from the definitions of the commands: the help, completion and manual pages.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Sandbox, ran};

/// Returns what bash would complete the last of `words` to.
fn completed(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    // As readline calls it: the function's name is what `complete` was told.
    const SCRIPT: &str = r#"
        source <(kiln completion bash)
        function=$(complete -p kiln | grep -o -- '-F [^ ]*' | cut -c 4-)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2> /dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let program = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().unwrap();
    let kiln = sandbox.command(&[]);
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT, "bash"]).args(words).current_dir(kiln.get_current_dir().unwrap());
    bash.envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    ran(&mut bash).ok().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn commands_flags_and_values_are_completed() {
    let sandbox = Sandbox::new();
    for (words, expected) in [
        (&["kiln", "bui"][..], &["build", "builds"][..]),
        (&["kiln", "build", "--no-c"], &["--no-cache", "--no-cache-filter"]),
        (&["kiln", "build", "--progress", "p"], &["plain"]),
        (&["kiln", "completion", "z"], &["zsh"]),
        (&["kiln", "build", "-f", "con"], &["context/"]),
        (&["kiln", "nonsense"], &[]),
    ] {
        assert_eq!(completed(&sandbox, words), expected, "{words:?}");
    }
}

#[test]
fn names_of_images_containers_and_builds_are_completed() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    assert_eq!(completed(&sandbox, &["kiln", "--root", "absent", "run", "t"]), [""; 0]);
    assert!(!sandbox.path("absent").exists(), "looking for names made a store");
    for name in ["tool:1", "tool:2", "other"] {
        sandbox.kiln(&["build", "-q", "-t", name, "context"]).ok();
    }
    sandbox.kiln(&["run", "--name", "mine", "tool:1", "/nothing"]).fails(127);
    let builds = sandbox.kiln(&["builds", "-q"]).ok();
    let id = builds.lines().next().unwrap();
    for (words, expected) in [
        (&["kiln", "run", "too"][..], &["tool:1", "tool:2"][..]),
        (&["kiln", "rmi", "tool:1", "other", "tool:"], &["tool:1", "tool:2"]),
        (&["kiln", "push", "oth"], &["other:latest"]),
        (&["kiln", "diff", "other", "mi"], &["mine"]),
        (&["kiln", "rm", "m"], &["mine"]),
        (&["kiln", "shell", "--before", "tool:"], &["tool:1", "tool:2"]),
        (&["kiln", "shell", "mi"], &["mine"]),
        (&["kiln", "cp", "mi"], &["mine:"]),
        (&["kiln", "cp", "con"], &["context/"]),
        (&["kiln", "why", "--build", id], &[id]),
    ] {
        assert_eq!(completed(&sandbox, words), expected, "{words:?}");
    }
}

#[test]
fn every_shell_gets_a_script() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.kiln(&["completion", shell]).ok();
        assert!(script.contains("KILN_COMPLETE"), "{shell}: {script}");
    }
    sandbox.kiln(&["completion", "tcsh"]).fails(2);
}

#[test]
fn every_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    sandbox.kiln(&["man", "--all", "man1"]).ok();
    let read = |page: &str| fs::read_to_string(sandbox.path("man1").join(page)).unwrap();
    let whole = read("kiln.1");
    let commands: Vec<&str> =
        whole.lines().filter_map(|line| line.strip_prefix("kiln\\-")?.strip_suffix("(1)")).collect();
    assert!(commands.len() > 30 && commands.contains(&"build"), "{commands:?}");
    for command in &commands {
        let page = read(&format!("kiln-{command}.1"));
        assert!(page.is_ascii(), "{command}");
        assert!(page.contains(".SH DESCRIPTION") && page.contains("\\-\\-root"), "{command}: {page}");
        assert_eq!(sandbox.kiln(&["man", command]).ok(), page, "{command}");
    }
    assert_eq!(sandbox.kiln(&["man"]).ok(), whole);
    assert_eq!(fs::read_dir(sandbox.path("man1")).unwrap().count(), commands.len() + 1);
    let error = sandbox.kiln(&["man", "nonsense"]).fails(2);
    assert!(error.contains("kiln has no command `nonsense`"), "{error}");
}

#[test]
fn the_help_lists_every_command_in_a_line_of_its_own() {
    let sandbox = Sandbox::new();
    let help = sandbox.kiln(&["--help"]).ok();
    assert!(help.starts_with("Usage: kiln [OPTIONS] COMMAND\n\nBuild container images from Dockerfiles"), "{help}");
    assert!(help.contains("\nBuilding:\n  build       Build an image from a Dockerfile\n"), "{help}");
    assert!(help.contains("\nGlobal options:\n      --root <DIR>"), "{help}");
    assert!(help.ends_with("\nRun 'kiln COMMAND --help' for more information on a command.\n"), "{help}");
    assert_eq!(sandbox.kiln(&["help"]).ok(), help);
    assert!(!help.contains('\x1b'), "{help}");
}
