use std::io::{self, Write};

use super::session::Session;
use super::{Error, report};
use crate::engine::Removed;

/// Remove images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Remove an image by its id even if it has several names, and do not mind images that are not there
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine()?;
    let mut failed = Vec::new();
    for image in &args.images {
        match engine.remove(image, args.force) {
            Ok(removed) => print(&removed)?,
            Err(error) => failed.push(Error::Engine(error)),
        }
    }
    report::several(failed, args.images.len())
}

fn print(removed: &Removed) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    for reference in &removed.untagged {
        writeln!(out, "Untagged: {}", reference.familiar())?;
    }
    for digest in &removed.deleted {
        writeln!(out, "Deleted: {digest}")?;
    }
    Ok(())
}
