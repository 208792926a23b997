use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::progress::without_controls;
use super::session::Session;
use super::table::{self, Format};
use super::{Error, builds, human};
use crate::engine::{BetweenBuilds, Figures, StepPair};
use crate::store::Outcome;

/// Say what got slower or larger from one build to another
///
/// Without builds, the last one and the one before it of the same Dockerfile and context. Times are compared where a step
/// ran in both.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fail if the steps that ran in both builds took so much longer together
    #[arg(long, value_name = "PERCENT")]
    max_slower: Option<u32>,
    /// Fail if the layers got so much larger together
    #[arg(long, value_name = "PERCENT")]
    max_larger: Option<u32>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The earlier build
    #[arg(value_name = "BUILD")]
    before: Option<String>,
    /// The later build (default: the last)
    #[arg(value_name = "BUILD")]
    after: Option<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let found = session.engine()?.between(args.before.as_deref(), args.after.as_deref())?;
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => writeln!(out, "{}", object(&found))?,
        Format::Table => out.write_all(&text(&found, Timestamp::now()))?,
    }
    drop(out);
    let (time, bytes) = (found.common_time(), found.bytes());
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    hold("slower", args.max_slower, (milliseconds(time.0), milliseconds(time.1)))?;
    hold("larger", args.max_larger, bytes)
}

/// Fails where the second number exceeds the first by more than so many percent.
fn hold(how: &'static str, most: Option<u32>, (before, after): (u64, u64)) -> Result<(), Error> {
    let Some(most) = most else { return Ok(()) };
    let limit = u128::from(before) * (100 + u128::from(most));
    if u128::from(after) * 100 <= limit {
        return Ok(());
    }
    let percent = u128::from(after - before) * 100 / u128::from(before.max(1));
    Err(Error::Regression { how, percent, most })
}

fn text(found: &BetweenBuilds, now: Timestamp) -> Vec<u8> {
    let (before, after) = (&found.before, &found.after);
    let (time, bytes) = (found.common_time(), found.bytes());
    let of = |build: &crate::engine::Build| {
        format!("{} of {} ({})", build.id, without_controls(&build.title), human::ago(build.started, now))
    };
    let mut text = format!("from {}\nto   {}\n\n", of(before), of(after));
    if time.0 > Duration::ZERO {
        text += &format!(
            "steps that ran in both: {} to {}{}\n",
            human::duration(time.0),
            human::duration(time.1),
            percent(micros(time.0), micros(time.1))
        );
    }
    text += &format!("layers: {} to {}{}\n\n", human::size(bytes.0), human::size(bytes.1), percent(bytes.0, bytes.1));
    let rows: Vec<_> = found.steps.iter().map(row).collect();
    let mut out = text.into_bytes();
    table::print(&mut out, ["", "TIME", "", "SIZE", "", "STEP"], &rows).expect("memory can be written");
    out
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns by which part a number grew or shrank, where that is worth telling.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(before: u64, after: u64) -> String {
    let change = (after as f64 - before as f64) * 100.0 / before as f64;
    if before == 0 || change.abs() < 0.5 { String::new() } else { format!(" ({change:+.0}%)") }
}

fn row(pair: &StepPair) -> [String; 6] {
    let shown = pair.after.as_ref().or(pair.before.as_ref()).map(|figures| &figures.step);
    let mark = match (&pair.before, &pair.after) {
        (None, _) => "+",
        (_, None) => "-",
        (Some(old), Some(new)) if old.step.place.text != new.step.place.text => "~",
        _ => "",
    };
    let time = |figures: &Option<Figures>| figures.as_ref().map(time).unwrap_or_default();
    let size = |figures: &Option<Figures>| {
        figures.as_ref().and_then(|figures| figures.layer_bytes).map(human::size).unwrap_or_default()
    };
    let title = shown.map(|step| step.title.lines().next().unwrap_or_default()).unwrap_or_default();
    [
        mark.to_owned(),
        time(&pair.before),
        time(&pair.after),
        size(&pair.before),
        size(&pair.after),
        without_controls(title),
    ]
}

fn time(figures: &Figures) -> String {
    match figures.step.outcome {
        Outcome::Done => human::duration(figures.step.duration),
        other => other.as_str().to_owned(),
    }
}

fn object(found: &BetweenBuilds) -> Value {
    let (time, bytes) = (found.common_time(), found.bytes());
    let figures = |figures: &Option<Figures>| {
        figures.as_ref().map(|figures| {
            json!({
                "step": figures.step.number,
                "title": figures.step.title,
                "outcome": figures.step.outcome,
                "duration_ms": figures.time().map(|time| micros(time) / 1000),
                "layer_bytes": figures.layer_bytes,
            })
        })
    };
    let steps: Vec<Value> = found
        .steps
        .iter()
        .map(|pair| json!({ "before": figures(&pair.before), "after": figures(&pair.after) }))
        .collect();
    json!({
        "before": builds::object(&found.before),
        "after": builds::object(&found.after),
        "common_ms": [micros(time.0) / 1000, micros(time.1) / 1000],
        "layer_bytes": [bytes.0, bytes.1],
        "steps": steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_percents() {
        for (most, numbers, fits) in [
            (None, (1, 100), true),
            (Some(0), (100, 100), true),
            (Some(0), (100, 101), false),
            (Some(10), (100, 110), true),
            (Some(10), (100, 111), false),
            (Some(10), (0, 1), false),
            (Some(10), (u64::MAX, 1), true),
        ] {
            assert_eq!(hold("larger", most, numbers).is_ok(), fits, "{most:?} {numbers:?}");
        }
        assert_eq!(
            (percent(100, 125), percent(0, 1), percent(1000, 1001)),
            (" (+25%)".into(), String::new(), String::new())
        );
    }
}
