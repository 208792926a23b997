use std::io::{self, Write};

use super::session::Session;
use super::{Error, report, run::signal};

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let signal = signal(&args.signal)?;
    let engine = session.engine_beside(&args.containers[0])?;
    let mut failed = Vec::new();
    for container in &args.containers {
        match engine.signal_container(container, signal) {
            Ok(_) => writeln!(io::stdout(), "{container}")?,
            Err(error) => failed.push(Error::Engine(error)),
        }
    }
    report::several(failed, args.containers.len())
}
