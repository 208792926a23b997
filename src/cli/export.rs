use std::path::PathBuf;

use super::session::Session;
use super::{Error, save};

/// Write all files of a container as a tar
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    save::write(
        args.output.as_deref(),
        || session.engine_beside(&args.container),
        |engine, out| Ok(engine.export_container(&args.container, out, &session.cancel)?),
    )
}
