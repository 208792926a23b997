use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::progress::without_controls;
use super::session::Session;
use super::table::Format;
use super::{Error, build, human, why};
use crate::engine::{Expected, Foreseen, ForeseenStep};
use crate::store::Outcome;

/// Say what a build would run, and why, without running it
///
/// Takes the flags of `kiln build`. Files are read and images resolved as for a build; times and sizes are those of the
/// last time each step ran.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Exit with 3 if any step would run
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    build: build::Args,
}

/// Some step would run, and `--exit-code` asks for that to be told.
const WOULD_RUN: u8 = 3;

pub(super) fn run(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    let options = args.build.prepared(session)?;
    let display = args.build.silent(session);
    let engine = session.engine()?;
    let foreseen = display.watch(|observer| engine.foresee(&options, observer, &session.cancel))?;
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => writeln!(out, "{}", object(&foreseen))?,
        Format::Table => out.write_all(text(&foreseen).as_bytes())?,
    }
    let would_run = foreseen.steps.iter().any(|step| step.step.ran());
    Ok(if args.exit_code && would_run { ExitCode::from(WOULD_RUN) } else { ExitCode::SUCCESS })
}

fn object(foreseen: &Foreseen) -> Value {
    let steps: Vec<Value> = foreseen.steps.iter().map(step_object).collect();
    json!({
        "would_run": foreseen.steps.iter().filter(|step| step.step.ran()).count(),
        "cached": foreseen.steps.iter().filter(|step| step.step.outcome == Outcome::Cached).count(),
        "unknown": foreseen.unknown,
        "expected_ms": milliseconds(foreseen.longest),
        "expected_layer_bytes": foreseen.layer_bytes,
        "steps": steps,
    })
}

fn step_object(ForeseenStep { step, expected }: &ForeseenStep) -> Value {
    json!({
        "step": step.number,
        "title": step.title,
        "file": step.facts.file,
        "line": step.facts.line,
        "would_run": step.ran(),
        "why": step.facts.miss.as_ref().map(ToString::to_string),
        "miss": step.facts.miss,
        "expected_ms": expected.map(|expected| milliseconds(expected.duration)),
        "expected_layer_bytes": expected.map(|expected| expected.layer_bytes),
    })
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text(foreseen: &Foreseen) -> String {
    let running: Vec<&ForeseenStep> = foreseen.steps.iter().filter(|step| step.step.ran()).collect();
    let cached = foreseen.steps.iter().filter(|step| step.step.outcome == Outcome::Cached).count();
    if running.is_empty() {
        return format!("nothing would run: {cached} cached\n");
    }
    let mut text = format!("{} would run, {cached} cached", running.len());
    if foreseen.unknown < running.len() {
        text += &format!("; {} and {} of layers", human::duration(foreseen.longest), human::size(foreseen.layer_bytes));
        if foreseen.unknown > 0 {
            text += &format!(", and {} of which nothing is known", foreseen.unknown);
        }
    }
    text.push('\n');
    for ForeseenStep { step, expected } in running {
        let miss = step.facts.miss.as_ref().map_or_else(String::new, ToString::to_string);
        let reason = without_controls(&miss);
        text += &format!("\n#{} {}\n    {}  {reason}\n", step.number, why::title(step), expectation(*expected));
    }
    text
}

fn expectation(expected: Option<Expected>) -> String {
    match expected {
        None => "?".to_owned(),
        Some(Expected { duration, layer_bytes: 0 }) => human::duration(duration),
        Some(Expected { duration, layer_bytes }) => {
            format!("{} {}", human::duration(duration), human::size(layer_bytes))
        }
    }
}
