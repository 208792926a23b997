use std::io::{self, Write};
use std::time::Duration;

use super::session::Session;
use super::{Error, report};

/// Ask containers to end, and end those that do not
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds to wait
    #[arg(short, long, alias = "timeout", value_name = "SECONDS", default_value_t = 10)]
    time: u64,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine_beside(&args.containers[0])?;
    let mut failed = Vec::new();
    for container in &args.containers {
        match engine.stop_container(container, Duration::from_secs(args.time), &session.cancel) {
            Ok(()) => writeln!(io::stdout(), "{container}")?,
            Err(error) => failed.push(Error::Engine(error)),
        }
    }
    report::several(failed, args.containers.len())
}
