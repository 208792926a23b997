use std::io::{self, Write};
use std::path::PathBuf;

use super::session::{self, Session};
use super::{Error, webpage};

/// Write all about a build as a web page
///
/// One file without links to others: a timeline with the critical path and the reason of every step, a map of what the
/// layers hold, what of it is wasted, and what lint said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As a web page; there is no other form yet
    #[arg(long, required = true)]
    html: bool,
    /// Write it here instead of to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The build (default: the last)
    #[arg(value_name = "BUILD")]
    build: Option<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let summary = session.engine()?.summary(args.build.as_deref(), &session.cancel)?;
    let page = webpage::page(&summary);
    match &args.output {
        Some(path) => session::write(path, page.as_bytes()),
        None => Ok(io::stdout().lock().write_all(page.as_bytes())?),
    }
}
