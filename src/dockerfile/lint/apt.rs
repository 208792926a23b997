//! `apt-get` in a RUN: what hangs, what grows stale, and what stays behind.

use super::Rule;
use super::script::{Command, Script, Word};
use super::stages::Stage;
use crate::diagnostic::Diagnostic;
use crate::dockerfile::ast::{Instruction, Keyword};

/// Where the lists of `apt-get update` are.
const LISTS: &str = "/var/lib/apt";

pub(super) fn check(stages: &[Stage<'_>], found: &mut Vec<Diagnostic>) {
    for stage in stages {
        for run in super::named(stage.steps, Keyword::Run) {
            if let Some(script) = Script::of(run).filter(|script| script.text.contains("apt")) {
                step(stage, run, &script, found);
            }
        }
    }
}

/// One call of apt-get.
struct Call<'a> {
    command: &'a Command,
    verb: &'a str,
    words: &'a [Word],
}

impl<'a> Call<'a> {
    fn of(command: &'a Command) -> Option<Call<'a>> {
        let (program, words) = command.program();
        if !matches!(program, "apt-get" | "apt") {
            return None;
        }
        let verb = verb(words)?;
        Some(Call { command, verb, words })
    }

    fn changes_packages(&self) -> bool {
        matches!(self.verb, "install" | "upgrade" | "dist-upgrade" | "full-upgrade" | "remove" | "purge" | "build-dep")
    }

    fn says_yes(&self) -> bool {
        self.words.iter().any(|word| {
            let is_short = word.text.starts_with('-') && !word.text.starts_with("--");
            matches!(word.text.as_str(), "--yes" | "--assume-yes" | "-qq")
                || is_short && (word.text.contains('y') || word.text.contains("qq"))
                || word.text.contains("Assume-Yes")
        })
    }

    fn leaves_recommends(&self) -> bool {
        self.words.iter().any(|word| word.text == "--no-install-recommends" || word.text.contains("Install-Recommends"))
    }

    /// Tells whether it installs nothing but files that are there.
    fn is_local(&self) -> bool {
        let mut packages = self.words.iter().filter(|word| !word.text.starts_with('-') && word.text != self.verb);
        packages.clone().next().is_some() && packages.all(|word| word.text.contains(".deb"))
    }
}

/// Returns the first word that is neither an option nor the value of one.
fn verb(words: &[Word]) -> Option<&str> {
    let mut words = words.iter().map(|word| word.text.as_str());
    while let Some(word) = words.next() {
        match word {
            "-o" | "-c" | "-t" | "--option" => drop(words.next()),
            word if word.starts_with('-') => {}
            verb => return Some(verb),
        }
    }
    None
}

fn step(stage: &Stage<'_>, run: &Instruction, script: &Script<'_>, found: &mut Vec<Diagnostic>) {
    let commands = script.commands();
    let calls: Vec<Call<'_>> = commands.iter().filter_map(Call::of).collect();
    let at = |call: &Call<'_>| script.span(call.command.range());
    for call in &calls {
        if call.changes_packages() && !call.says_yes() {
            let message = format!("`apt-get {}` will ask, and nobody can answer", call.verb);
            found.push(Rule::AptGetWithoutYes.at(at(call), message).with_help("add `-y`"));
        }
        if call.verb == "install" && !call.leaves_recommends() {
            let message = "`apt-get install` brings recommended packages along";
            found.push(Rule::AptGetRecommends.at(at(call), message).with_help("add `--no-install-recommends`"));
        }
    }
    let update = calls.iter().find(|call| call.verb == "update");
    let uses = |call: &&Call<'_>| call.changes_packages() && !matches!(call.verb, "remove" | "purge");
    let user = calls.iter().find(uses);
    match (update, user) {
        (Some(update), None) => {
            let message =
                "`apt-get update` without an installation in the same RUN: its result is cached and grows stale";
            let help = "join it with the `apt-get install` that needs it";
            found.push(Rule::AptGetWithoutUpdate.at(at(update), message).with_help(help));
        }
        (None, Some(user)) if user.verb == "install" && !user.is_local() => {
            let message = "`apt-get install` without `apt-get update` in the same RUN finds old lists, or none";
            let help = "write `apt-get update && apt-get install …`";
            found.push(Rule::AptGetWithoutUpdate.at(at(user), message).with_help(help));
        }
        _ => {}
    }
    // What stays in a stage that is only copied from costs nothing.
    if let Some(update) = update.filter(|_| stage.is_shipped && !removes_lists(&commands) && !is_mounted(run)) {
        let message = "the lists that `apt-get update` fetches stay in this layer";
        let help = "end the RUN with `rm -rf /var/lib/apt/lists/*`";
        found.push(Rule::AptGetListsKept.at(at(update), message).with_help(help));
    }
}

fn removes_lists(commands: &[Command]) -> bool {
    commands.iter().any(|command| {
        let (program, words) = command.program();
        match program {
            "rm" | "find" => words.iter().any(|word| word.text.contains(LISTS)),
            "apt-get" | "apt" => verb(words) == Some("dist-clean") || verb(words) == Some("distclean"),
            _ => false,
        }
    })
}

/// Tells whether a mount keeps the lists out of the layer.
fn is_mounted(run: &Instruction) -> bool {
    let mounts = run.flags.iter().filter(|flag| flag.name.value == "mount").filter_map(|flag| flag.value.as_ref());
    mounts.into_iter().any(|mount| mount.as_str().contains(LISTS))
}
