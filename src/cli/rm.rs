use std::io::{self, Write};

use super::session::Session;
use super::{Error, report};
use crate::{engine, store};

/// Remove containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kill those that run, and do not mind those that are not there
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine_beside(&args.containers[0])?;
    let mut failed = Vec::new();
    for container in &args.containers {
        match engine.remove_container(container, args.force, &session.cancel) {
            Ok(()) => writeln!(io::stdout(), "{container}")?,
            Err(engine::Error::Store(store::Error::NoSuchContainer { .. })) if args.force => {}
            Err(error) => failed.push(Error::Engine(error)),
        }
    }
    report::several(failed, args.containers.len())
}
