use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use super::Error;
use super::progress::{self, Mode};
use super::session::Session;

/// Read images from an archive
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    progress: progress::Args,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let mut archive: Box<dyn Read> = match &args.input {
        Some(path) => {
            Box::new(File::open(path).map_err(|source| Error::File { action: "open", path: path.clone(), source })?)
        }
        None if io::stdin().is_terminal() => {
            return Err(Error::Usage("no archive: name a file with `-i`, or pipe one in".to_owned()));
        }
        None => Box::new(session.input()),
    };
    let engine = session.engine()?;
    let display = args.progress.display(if args.quiet { Some(Mode::Quiet) } else { None }, session);
    let images = display.watch(|observer| engine.load(&mut archive, observer, &session.cancel))?;
    let mut out = io::stdout().lock();
    for image in images {
        for reference in &image.references {
            writeln!(out, "Loaded image: {}", reference.familiar())?;
        }
        if image.references.is_empty() {
            writeln!(out, "Loaded image ID: {}", image.image_id)?;
        }
    }
    Ok(())
}
