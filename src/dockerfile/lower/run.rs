use super::flags::{Flags, spanned};
use super::{Problems, command, mount};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Heredoc, Instruction, Text};
use crate::dockerfile::instruction::{Command, InlineFile, Run, RunNetwork, RunSecurity};
use crate::dockerfile::suggest::{did_you_mean, nearest};

/// Where a heredoc that is a program stands while it runs.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

pub(super) fn lower(instruction: &Instruction, flags: &Flags<'_>, problems: &mut Problems) -> Option<Run> {
    let mounts = flags.values("mount").filter_map(|value| {
        let mount = mount::lower(value, problems)?;
        Some(Spanned::new(mount, value.span()))
    });
    let mounts = mounts.collect();
    let network = flags.value("network").and_then(|value| choose(value, &NETWORKS, "network mode", problems));
    let security = flags.value("security").and_then(|value| choose(value, &SECURITIES, "security mode", problems));
    let (command, script) = heredoc_command(command(&instruction.arguments)?, &instruction.heredocs);
    Some(Run { command, script, mounts, network, security, devices: flags.values("device").map(spanned).collect() })
}

const NETWORKS: [(&str, RunNetwork); 3] =
    [("default", RunNetwork::Default), ("none", RunNetwork::None), ("host", RunNetwork::Host)];
const SECURITIES: [(&str, RunSecurity); 2] = [("sandbox", RunSecurity::Sandbox), ("insecure", RunSecurity::Insecure)];

fn choose<T: Copy>(
    value: &Text,
    choices: &[(&'static str, T)],
    what: &str,
    problems: &mut Problems,
) -> Option<Spanned<T>> {
    let word = value.as_str();
    if let Some(&(_, choice)) = choices.iter().find(|(name, _)| *name == word) {
        return Some(Spanned::new(choice, value.span()));
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let finding = Diagnostic::error("invalid-flag-value", format!("invalid {what} `{word}`"), value.span())
        .with_label(format!("must be one of {}", names.join(", ")));
    problems.push(match did_you_mean(nearest(word, names), "") {
        Some(help) => finding.with_help(help),
        None => finding,
    });
    None
}

/// Joins a command with its heredocs (semantics reference, section 4.6).
fn heredoc_command(command: Command, heredocs: &[Heredoc]) -> (Command, Option<InlineFile>) {
    let (Command::Shell(text), [first, ..]) = (&command, heredocs) else { return (command, None) };
    if text.span != first.marker {
        // The shell reads these heredocs itself.
        return (Command::Shell(Spanned::new(with_bodies(&text.value, heredocs), text.span)), None);
    }
    let body = if first.chomp { without_tabs(&first.body.value) } else { first.body.value.clone() };
    let body = Spanned::new(body, first.body.span);
    // What `<<-` will remove still stands before it, as in other builders: an indented `#!` makes no program.
    if !first.body.value.starts_with("#!") {
        return (Command::Shell(body), None);
    }
    let path = format!("{SCRIPT_DIRECTORY}/{}", first.name);
    let script = InlineFile { name: first.name.clone(), body, expand: false };
    (Command::Shell(Spanned::new(path, text.span)), Some(script))
}

/// Returns `text` with the body and the end of each heredoc below it.
pub(super) fn with_bodies(text: &str, heredocs: &[Heredoc]) -> String {
    let mut whole = text.to_owned();
    for heredoc in heredocs {
        whole.extend(["\n", &heredoc.body.value, &heredoc.name]);
    }
    whole
}

/// Removes the tabs that lines begin with.
pub(super) fn without_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
