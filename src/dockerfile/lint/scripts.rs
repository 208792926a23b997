//! Scripts that go on after a failure, and those that cannot run.

use super::Rule;
use super::script::{Command, Script, Then};
use super::stages::{Stage, with_shells};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::ast::{Heredoc, Instruction, Keyword};

/// What only prints cannot fail in a way that matters; what a compound command does is in the commands before its end.
const HARMLESS: [&str; 9] = ["echo", "printf", "yes", "true", ":", "}", "fi", "done", "esac"];

pub(super) fn check(stages: &[Stage<'_>], found: &mut Vec<Diagnostic>) {
    with_shells(stages, |_, step, shell| {
        carriage_returns(step, found);
        if step.keyword != Some(Keyword::Run) {
            return;
        }
        let Some(script) = Script::of(step) else { return };
        let Some(shell) = interpreter(script.text).map_or(Some(shell.to_vec()), |words| shell_of(&words)) else {
            return;
        };
        let commands = script.commands();
        if script.is_heredoc {
            errexit(step, &commands, &shell, found);
        }
        pipes(&script, &commands, &shell, found);
    });
}

/// Returns the words of the line that names an interpreter.
fn interpreter(script: &str) -> Option<Vec<String>> {
    let line = script.strip_prefix("#!")?.lines().next()?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// Returns the words of a shell; nothing where they name another program.
fn shell_of(words: &[String]) -> Option<Vec<String>> {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let words = if words.first().is_some_and(|first| name(first) == "env") { &words[1..] } else { words };
    let is_shell = ["sh", "bash", "dash", "ash", "ksh", "zsh"].contains(&name(words.first()?).as_str());
    is_shell.then(|| words.to_vec())
}

fn errexit(step: &Instruction, commands: &[Command], shell: &[String], found: &mut Vec<Diagnostic>) {
    let sets = |command: &Command| {
        let (program, arguments) = command.program();
        program == "set" && arguments.iter().any(|word| has_e(&word.text) || word.text == "errexit")
    };
    let by_shell = shell.iter().skip(1).any(|word| has_e(word));
    // A `set -e` that stands lower still shows that somebody thought of it.
    if by_shell || commands.iter().any(sets) || statements(commands) < 2 {
        return;
    }
    let marker = step.heredocs[0].marker;
    found.push(
        Rule::HeredocWithoutErrexit
            .at(marker, "the commands of this heredoc go on after one of them fails")
            .with_help("begin it with `set -e`"),
    );
}

/// Tells whether options of a shell, such as `-eux`, hold `e`.
fn has_e(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains('e')
}

/// Returns how many statements follow each other, compound ones counted once.
fn statements(commands: &[Command]) -> usize {
    let (mut depth, mut count) = (0, 0);
    for command in commands {
        depth += command.nesting();
        if depth <= 0 && matches!(command.then, Then::Sequence | Then::End) {
            count += 1;
        }
    }
    count
}

fn pipes(script: &Script<'_>, commands: &[Command], shell: &[String], found: &mut Vec<Diagnostic>) {
    if shell.iter().any(|word| word.contains("pipefail")) {
        return;
    }
    for command in commands {
        let (program, arguments) = command.program();
        if program == "set" && arguments.iter().any(|word| word.text == "pipefail") {
            return;
        }
        if command.then == Then::Pipe && !HARMLESS.contains(&program) {
            let span = script.span(command.range());
            let message = format!("nobody notices when `{program}` fails before this pipe");
            found.push(Rule::PipeWithoutPipefail.at(span, message).with_help(
                "write `set -o pipefail` before it, or `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` above",
            ));
            // The others of this RUN have the same cure.
            return;
        }
    }
}

fn carriage_returns(step: &Instruction, found: &mut Vec<Diagnostic>) {
    for heredoc in &step.heredocs {
        let is_program = heredoc.body.value.starts_with("#!");
        let is_run = step.keyword == Some(Keyword::Run);
        if !is_program && !is_run {
            continue;
        }
        if let Some(span) = first_crlf(heredoc) {
            let message = match is_program {
                true => "this script ends its lines with a carriage return, and its interpreter will not be found",
                false => "the shell reads the carriage returns of this heredoc as part of its words",
            };
            let help = "save the file with Unix line endings";
            found.push(Rule::CrlfInScript.at(span, message).with_help(help));
        }
    }
}

/// Returns the first line that ends in CR LF, without its end.
fn first_crlf(heredoc: &Heredoc) -> Option<Span> {
    let body = &heredoc.body.value;
    let end = body.find("\r\n")?;
    let start = body[..end].rfind('\n').map_or(0, |feed| feed + 1);
    let offset = heredoc.body.span.start;
    Some(Span::new(offset + start, offset + end))
}
