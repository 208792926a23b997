use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use super::name::visible;
use super::{Error, session};
use crate::diagnostic::{Diagnostic, Severity, Source, Span, Style, render};
use crate::engine::{FailedStep, Left};
use crate::{container, engine, exec, registry, store};

/// The operation failed.
const FAILED: u8 = 1;
/// The command line was wrong.
const WRONG_USAGE: u8 = 2;
/// 128 and SIGINT, as shells count.
pub(super) const INTERRUPTED: u8 = 130;

/// Prints clap's answer to a command line: help and version to stdout, objections to stderr.
pub(super) fn usage(answer: &clap::Error) -> ExitCode {
    // Whoever closed the pipe has read enough of the help.
    let _ = answer.print();
    if answer.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
}

/// Says that the command was stopped.
pub(super) fn interrupted() -> ExitCode {
    say("interrupted\n");
    ExitCode::from(INTERRUPTED)
}

/// Prints why a command failed and returns the exit code for it.
pub(super) fn failure(error: &Error) -> ExitCode {
    match error {
        // The reader of stdout has left because it has what it wanted.
        Error::Output(source) if source.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Error::Engine(engine::Error::Cancelled) => return interrupted(),
        Error::Reported => {}
        _ => say(&text(error, style())),
    }
    match error {
        Error::Usage(_) | Error::NotSupported { .. } => ExitCode::from(WRONG_USAGE),
        _ => ExitCode::from(FAILED),
    }
}

/// Reports the failures among `all` operations of one command.
///
/// # Errors
/// The failure if there was only one operation, [`Error::Reported`] if there were several.
pub(super) fn several(mut failed: Vec<Error>, all: usize) -> Result<(), Error> {
    if all == 1 {
        return failed.pop().map_or(Ok(()), Err);
    }
    for error in &failed {
        say(&text(error, style()));
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::Reported) }
}

fn style() -> Style {
    if session::colours() { Style::Coloured } else { Style::Plain }
}

fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Returns what people read about `error`, with a line feed at the end.
pub(super) fn text(error: &Error, style: Style) -> String {
    match error {
        Error::Engine(engine::Error::Diagnostics { file, found }) => diagnostics(file, found, style),
        Error::Engine(engine::Error::StepFailed(step)) => {
            let FailedStep { title, origin, status, tail, log, left } = step;
            let way_in = left.as_ref().map(way_in).unwrap_or_default();
            step_failed(title, origin.as_ref(), status, style) + &output(tail, log.as_deref()) + &way_in
        }
        _ => chain(error, style),
    }
}

fn diagnostics(file: &Source, found: &[Diagnostic], style: Style) -> String {
    let mut text = String::new();
    for diagnostic in found {
        text += &render(file, diagnostic, style);
        text += "\n\n";
    }
    let errors = found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let plural = if errors == 1 { "" } else { "s" };
    text + &headline(&visible(&format!("{} has {errors} error{plural}", file.name())), style)
}

fn step_failed(title: &str, origin: Option<&(Source, Span)>, status: &str, style: Style) -> String {
    let message = format!("`{title}` {status}");
    match origin {
        None => headline(&visible(&message), style),
        Some((source, span)) => {
            // The place may span a heredoc of many lines; its first line is the instruction.
            let text = source.slice(*span);
            let first = text.lines().next().unwrap_or_default().trim_end().len();
            let short = Span::new(span.start, span.start + first);
            let diagnostic = Diagnostic::error("step-failed", message, short).with_label(status);
            render(source, &diagnostic, style) + "\n"
        }
    }
}

/// Returns how to find out more.
fn way_in(left: &Left) -> String {
    let mut text = "look into it with `kiln shell`; `kiln diff failed` lists what it has changed\n".to_owned();
    if let Some(path) = &left.bundle {
        let path = super::progress::without_controls(&path.display().to_string()).to_string();
        text += &format!("for another machine, where `kiln shell {path}` opens it: {path}\n");
    }
    text
}

/// Prints what is to be known beside the output of a program.
pub(super) fn note(text: &str) {
    say(text);
}

fn output(tail: &[String], log: Option<&Path>) -> String {
    if tail.is_empty() {
        return "it wrote nothing\n".to_owned();
    }
    let mut text = "the last lines it wrote:\n".to_owned();
    for line in tail {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "    {}", super::progress::without_controls(line));
    }
    if let Some(log) = log {
        let _ = writeln!(text, "its log: {}", log.display());
    }
    text
}

fn headline(message: &str, style: Style) -> String {
    match style {
        Style::Plain => format!("error: {message}\n"),
        Style::Coloured => format!("\x1b[1;31merror\x1b[0m\x1b[1m: {message}\x1b[0m\n"),
    }
}

fn chain(error: &Error, style: Style) -> String {
    let mut said = error.to_string();
    let mut text = headline(&visible(&said), style);
    for cause in causes(error) {
        let cause = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !said.ends_with(&cause) {
            let _ = writeln!(text, "caused by: {}", visible(&cause));
            said = cause;
        }
    }
    if let Some(hint) = hint(error) {
        let _ = writeln!(text, "hint: {}", visible(&hint));
    }
    text
}

/// Returns the sources of `error`, nearest first.
pub(super) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

fn hint(error: &Error) -> Option<String> {
    match error {
        Error::NotInContext { hint, .. } => return hint.clone(),
        Error::NotSupported { .. } => return Some("`kiln build --help` lists what is".to_owned()),
        Error::Engine(engine::Error::NoSuchImage(_)) => {
            return Some("`kiln images` lists what is here; `kiln pull` fetches from a registry".to_owned());
        }
        _ => {}
    }
    if let Some(hint) = registry_error(error).and_then(registry::Error::help) {
        return Some(hint);
    }
    if matches!(exec_error(error), Some(exec::Error::LostLayer(_))) {
        let hint = "`kiln pull` or `kiln load` brings the layers of an image that came from elsewhere; one that was built here is built again with `--no-cache`";
        return Some(hint.to_owned());
    }
    if let Error::Engine(engine::Error::Remote(error) | engine::Error::Epoch(error)) = error
        && let Some(hint) = error.help()
    {
        return Some(hint);
    }
    let kind = causes(error).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()))?;
    let hint = match (kind, error) {
        (ErrorKind::StorageFull, _) => "`kiln rmi` frees space; `--root` puts the store on another disk",
        (ErrorKind::PermissionDenied, Error::Engine(engine::Error::Context(_))) => READABLE,
        (ErrorKind::PermissionDenied, Error::Engine(engine::Error::Step { source, .. })) if source.is_of_context() => {
            READABLE
        }
        (ErrorKind::PermissionDenied, Error::Engine(engine::Error::Store(_))) => WRITABLE,
        (ErrorKind::PermissionDenied, _) if causes(error).any(|cause| cause.is::<store::Error>()) => WRITABLE,
        _ => return None,
    };
    Some(hint.to_owned())
}

const READABLE: &str = "a line in `.dockerignore` keeps what no step needs out of the build context";
const WRITABLE: &str = "`--root` chooses a directory that this user may write to";

/// Returns what a registry or the way to it is to blame for.
fn registry_error(error: &Error) -> Option<&registry::Error> {
    match (error, exec_error(error)) {
        (Error::Engine(engine::Error::Registry(error)), _) | (_, Some(exec::Error::Registry(error))) => Some(error),
        _ => None,
    }
}

/// Returns what went wrong with layers, for a step, a container or without either.
fn exec_error(error: &Error) -> Option<&exec::Error> {
    let mut error = match error {
        Error::Engine(
            engine::Error::Exec(error)
            | engine::Error::Step { source: error, .. }
            | engine::Error::Container(container::Error::Exec(error)),
        ) => error,
        _ => return None,
    };
    while let exec::Error::Behind(behind) = error {
        error = behind;
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_step(tail: &[&str], log: Option<&str>) -> Error {
        let text = "FROM scratch\nRUN <<EOF\nmake\nEOF\n";
        Error::Engine(engine::Error::StepFailed(FailedStep {
            title: "[2/2] RUN <<EOF (make)".to_owned(),
            origin: Some((Source::new("Dockerfile", text), Span::new(13, text.len() - 1))),
            status: "exited with code 2".to_owned(),
            tail: tail.iter().map(|&line| line.to_owned()).collect(),
            log: log.map(Into::into),
            left: Some(Left { container: "failed-1".to_owned(), bundle: Some("f.oci.tar".into()) }),
        }))
    }

    #[test]
    fn a_failed_step_shows_its_line_its_output_and_its_log() {
        let expected = "\
error[step-failed]: `[2/2] RUN <<EOF (make)` exited with code 2
 --> Dockerfile:2:1
  |
2 | RUN <<EOF
  | ^^^^^^^^^ exited with code 2
the last lines it wrote:
    make: no rule
its log: /k/log/1
look into it with `kiln shell`; `kiln diff failed` lists what it has changed
for another machine, where `kiln shell f.oci.tar` opens it: f.oci.tar
";
        assert_eq!(text(&failed_step(&["make: \x1b[31mno\x1b[0m rule"], Some("/k/log/1")), Style::Plain), expected);
    }

    #[test]
    fn every_diagnostic_of_a_file_is_shown_and_counted() {
        let file = Source::new("Dockerfile", "FORM a\nRNU b\n");
        let found = [(0, 4), (7, 10)]
            .map(|(start, end)| Diagnostic::error("unknown-instruction", "unknown instruction", Span::new(start, end)));
        let shown = text(&Error::Engine(engine::Error::Diagnostics { file, found: found.to_vec() }), Style::Plain);
        assert!(shown.contains("Dockerfile:1:1") && shown.contains("Dockerfile:2:1"), "{shown}");
        assert!(shown.ends_with("\nerror: Dockerfile has 2 errors\n"), "{shown}");
    }

    #[test]
    fn causes_and_a_hint_follow_the_headline() {
        let source = io::Error::from(ErrorKind::StorageFull);
        let error = Error::File { action: "write", path: "/x".into(), source };
        let expected = "error: cannot write /x\ncaused by: no storage space\nhint: `kiln rmi` frees space; `--root` puts the store on another disk\n";
        assert_eq!(text(&error, Style::Plain), expected);
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        let hostile = "a\x1b[2Jb\rc\u{9b}2J\nerror: d";
        let source = io::Error::other(hostile);
        let errors = [
            Error::File { action: "write", path: hostile.into(), source },
            Error::Engine(engine::Error::Diagnostics {
                file: Source::new(hostile, format!("RUN {hostile}\n")),
                found: vec![Diagnostic::error("x", hostile, Span::new(0, 3)).with_label(hostile).with_help(hostile)],
            }),
        ];
        for error in errors {
            let text = text(&error, Style::Plain);
            assert!(!text.contains(|c: char| c.is_control() && c != '\n') && text.contains('c'), "{text:?}");
            assert!(text.lines().filter(|line| line.starts_with("error")).count() <= 2, "{text}");
        }
    }

    #[test]
    fn a_lost_layer_is_had_again_from_where_it_came() {
        let lost = || exec::Error::LostLayer(crate::oci::DiffId::new(crate::oci::Digest::of(b"layer")));
        for error in [
            engine::Error::Exec(lost()),
            engine::Error::Exec(exec::Error::Behind(std::sync::Arc::new(lost()))),
            engine::Error::Container(container::Error::Exec(lost())),
        ] {
            let text = text(&Error::Engine(error), Style::Plain);
            let hint = text.lines().last().unwrap();
            assert!(hint.starts_with("hint: `kiln pull`") && hint.contains("`--no-cache`"), "{text}");
            assert_eq!(text.matches("--no-cache").count(), 1, "{text}");
        }
    }
}
