use std::io::{self, Write};

use super::Error;
use super::session::Session;

/// Print what the steps of a build wrote
///
/// kiln keeps the whole output of every step it ran. Without arguments, this is all of the last build.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this step, by the number of the progress display
    #[arg(value_name = "STEP")]
    step: Option<usize>,
    /// Of this build instead of the last
    #[arg(long, value_name = "ID")]
    build: Option<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let text = session.engine()?.log(args.build.as_deref(), args.step)?;
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
