use std::io;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::progress::without_controls;
use super::session::Session;
use super::table::{self, Format};
use super::{Error, human};
use crate::engine::Build;
use crate::store::Outcome;

/// List the builds that kiln remembers, newest first
///
/// kiln keeps the record of every build: what ran, why, how long it took, and what came of it. `kiln why`, `kiln log`
/// and `kiln report` tell more of one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print only the last N builds
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let mut builds = session.engine()?.builds()?;
    builds.truncate(args.last.unwrap_or(usize::MAX));
    Ok(print(args, &builds, Timestamp::now(), &mut io::stdout().lock())?)
}

fn print(args: &Args, builds: &[Build], now: Timestamp, out: &mut impl io::Write) -> io::Result<()> {
    if args.quiet {
        return builds.iter().try_for_each(|build| writeln!(out, "{}", build.id));
    }
    if args.format == Format::Json {
        return table::print_json(out, builds.iter().map(object));
    }
    let rows: Vec<_> = builds.iter().map(|build| row(build, now)).collect();
    table::print(out, ["BUILD", "OF", "STARTED", "TIME", "RAN", "CACHED", "OUTCOME"], &rows)
}

fn row(build: &Build, now: Timestamp) -> [String; 7] {
    let ran = build.steps.iter().filter(|step| step.ran()).count();
    [
        build.id.to_string(),
        without_controls(&build.title),
        human::ago(build.started, now),
        build.duration().map(human::duration).unwrap_or_default(),
        ran.to_string(),
        build.count(Outcome::Cached).to_string(),
        build.outcome.map_or("running", Outcome::as_str).to_owned(),
    ]
}

/// Returns a build as JSON, without its steps.
pub(super) fn object(build: &Build) -> Value {
    json!({
        "ID": build.id,
        "Title": build.title,
        "File": build.facts.file,
        "Context": build.facts.context,
        "Tags": build.facts.tags,
        "Started": build.started,
        "Finished": build.finished,
        "DurationMs": build.facts.duration_ms,
        "Outcome": build.outcome,
        "Error": build.facts.error,
        "Image": build.image,
        "Ran": build.steps.iter().filter(|step| step.ran()).count(),
        "Cached": build.count(Outcome::Cached),
    })
}
