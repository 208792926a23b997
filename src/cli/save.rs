use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use super::Error;
use super::session::{self, Session};
use crate::engine::ArchiveFormat;

/// Write images to an archive
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, value_enum, default_value_t = Format::Docker)]
    format: Format,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For `docker load`; also a valid OCI layout
    Docker,
    /// OCI layout alone
    Oci,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let format = match args.format {
        Format::Docker => ArchiveFormat::Docker,
        Format::Oci => ArchiveFormat::Oci,
    };
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Error::Usage("refusing to write an archive to a terminal; name a file with `-o`".to_owned()));
    }
    let engine = session.engine()?;
    let Some(path) = &args.output else {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        engine.save(&args.images, format, &mut out, &session.cancel)?;
        return Ok(out.flush()?);
    };
    // A name that is not there must not cost an older archive its content.
    for image in &args.images {
        engine.inspect(image)?;
    }
    let file_error = |source| Error::File { action: "write", path: path.clone(), source };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, session::create(path)?);
    engine.save(&args.images, format, &mut out, &session.cancel)?;
    out.flush().map_err(file_error)
}

/// A pipe's default capacity: less means more system calls, more is not taken at once.
const BUFFER_BYTES: usize = 64 * 1024;
