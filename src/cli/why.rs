use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::progress::without_controls;
use super::session::Session;
use super::table::Format;
use super::{Error, builds, human};
use crate::cache::{Difference, InputChange, Miss};
use crate::engine::{Build, BuildStep, Explanation};
use crate::store::Outcome;

/// Say why the steps of a build ran instead of being known
///
/// For every step that ran: the file, the argument, the image or the instruction that is not as it was in the nearest
/// step that ran before, or the step before it to blame. With a step, all there is to know about it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// This step, by the number of the progress display or by a part of its text
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Of this build instead of the last (`kiln builds` lists them)
    #[arg(long, value_name = "ID")]
    build: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine()?;
    let build = engine.recorded(args.build.as_deref())?;
    let steps: Vec<&BuildStep> = match &args.step {
        Some(wanted) => vec![find(&build, wanted)?],
        None => build.steps.iter().filter(|step| step.ran()).collect(),
    };
    let explained = steps.iter().map(|step| Ok((*step, engine.explain(&build, step)?)));
    let explained = explained.collect::<Result<Vec<_>, Error>>()?;
    let out = &mut io::stdout().lock();
    match args.format {
        Format::Json => {
            let steps: Vec<Value> = explained.iter().map(|(step, why)| object(step, why)).collect();
            writeln!(out, "{}", json!({ "build": builds::object(&build), "steps": steps }))?;
        }
        Format::Table => out.write_all(text(&build, &explained, args.step.is_some(), Timestamp::now()).as_bytes())?,
    }
    Ok(())
}

/// Returns the step of this number, or the only one whose text has this in it.
fn find<'a>(build: &'a Build, wanted: &str) -> Result<&'a BuildStep, Error> {
    if let Ok(number) = wanted.trim_start_matches('#').parse() {
        return build
            .step(number)
            .ok_or_else(|| Error::NoSuchStep { step: wanted.to_owned(), steps: build.steps.len() });
    }
    let mut alike = build.steps.iter().filter(|step| step.title.contains(wanted));
    match (alike.next(), alike.next()) {
        (Some(step), None) => Ok(step),
        (None, _) => Err(Error::NoSuchStep { step: wanted.to_owned(), steps: build.steps.len() }),
        (Some(first), Some(second)) => {
            Err(Error::AmbiguousStep { step: wanted.to_owned(), first: first.number, second: second.number })
        }
    }
}

fn object(step: &BuildStep, why: &Explanation) -> Value {
    let behind: Vec<Value> = why
        .behind
        .iter()
        .map(|(number, miss)| json!({ "step": number, "why": miss.to_string(), "miss": miss }))
        .collect();
    json!({
        "step": step.number,
        "title": step.title,
        "file": step.facts.file,
        "line": step.facts.line,
        "outcome": step.outcome,
        "duration_ms": u64::try_from(step.duration.as_millis()).unwrap_or(u64::MAX),
        "behind": behind,
    })
}

fn text(build: &Build, explained: &[(&BuildStep, Explanation)], in_detail: bool, now: Timestamp) -> String {
    let mut text = headline(build, now);
    for (step, why) in explained {
        text += &format!("\n#{} {}\n", step.number, title(step));
        text += &if in_detail { details(build, step, why) } else { format!("    {}\n", reason(step, why)) };
    }
    text
}

fn headline(build: &Build, now: Timestamp) -> String {
    let ran = build.steps.iter().filter(|step| step.ran()).count();
    let cached = build.count(Outcome::Cached);
    let ago = human::ago(build.started, now);
    format!("build {} of {}, {ago}: {ran} ran, {cached} cached\n", build.id, without_controls(&build.title))
}

/// Returns a step's title and the line it is written in.
pub(super) fn title(step: &BuildStep) -> String {
    let title = without_controls(step.title.lines().next().unwrap_or_default());
    match (&step.facts.file, step.facts.line) {
        (Some(file), Some(line)) => format!("{title}  ({}:{line})", without_controls(file)),
        _ => title,
    }
}

/// Returns in one line why a step ran.
fn reason(step: &BuildStep, why: &Explanation) -> String {
    match why.behind.first() {
        Some((_, miss)) => miss.to_string(),
        None if step.outcome == Outcome::Cached => "it did not run: its result was known".to_owned(),
        None if step.outcome == Outcome::Skipped => "it did not run: the build ended before".to_owned(),
        None => "nothing is remembered of it".to_owned(),
    }
}

fn details(build: &Build, step: &BuildStep, why: &Explanation) -> String {
    let mut text = format!("    {}\n", reason(step, why));
    for (number, miss) in &why.behind {
        if *number != step.number {
            let title = build.step(*number).map(title).unwrap_or_default();
            text += &format!("\nbehind it, #{number} {title}\n    {miss}\n");
        }
        if let Miss::Changed { differences, than } = miss {
            text.extend(differences.iter().map(difference));
            if *number == step.number {
                text += &format!("    (against build {than})\n");
            }
        }
    }
    text
}

/// Returns what the line about a difference has no room for.
fn difference(difference: &Difference) -> String {
    match difference {
        Difference::Files { changes: Some(changes) } => {
            let mut text: String = changes.examples.iter().map(|(path, change)| file(path, *change)).collect();
            let more = (changes.changed + changes.added + changes.removed).saturating_sub(changes.examples.len());
            if more > 0 {
                text += &format!("      … and {more} more\n");
            }
            text
        }
        Difference::Command { before, after } if before.len().max(after.len()) > LONG => {
            let lines = |sign: char, text: &str| {
                text.lines().map(|line| format!("      {sign} {}\n", without_controls(line))).collect::<String>()
            };
            lines('-', before) + &lines('+', after)
        }
        _ => String::new(),
    }
}

/// Bytes of a command that are shown in one line anyway.
const LONG: usize = 60;

fn file(path: &str, change: InputChange) -> String {
    let mark = match change {
        InputChange::Content => "M",
        InputChange::Metadata => "m",
        InputChange::Added => "A",
        InputChange::Removed => "D",
    };
    let note = if change == InputChange::Metadata { "  (mode or owner)" } else { "" };
    format!("      {mark} {}{note}\n", without_controls(path))
}
