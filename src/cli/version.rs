use std::io::{self, Write};

use super::Error;

/// Print the version
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<(), Error> {
    Ok(writeln!(io::stdout(), "kiln {}", env!("CARGO_PKG_VERSION"))?)
}
