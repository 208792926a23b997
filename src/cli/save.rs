use std::fs::{File, Permissions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::compression::{self, Kind};
use super::session::Session;
use crate::engine::{ArchiveFormat, Engine, SaveOptions};
use crate::oci::Platform;

/// Write images to an archive
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, value_enum, default_value_t = Format::Docker)]
    format: Format,
    #[command(flatten)]
    compression: compression::Args,
    /// Which image of a multi-platform one, such as linux/arm64 (default: all, in the OCI form)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
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
    let packing = args.compression.packing()?;
    if format == ArchiveFormat::Docker && args.compression.asked().kind == Some(Kind::Zstd) {
        return Err(Error::Usage("archives for docker cannot hold zstd; `--format oci` can, or use gzip".to_owned()));
    }
    let options = SaveOptions { format, platform: args.platform.clone(), packing };
    write(
        args.output.as_deref(),
        || session.engine(),
        |engine, out| Ok(engine.save(&args.images, &options, out, &session.cancel)?),
    )
}

/// Has an archive written to a file, which is replaced when the archive is whole, or to stdout; that must be no terminal.
/// `open` opens the store once it is clear that there is a place for the archive.
pub(super) fn write(
    path: Option<&Path>,
    open: impl FnOnce() -> Result<Engine, Error>,
    body: impl FnOnce(&Engine, &mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    if path.is_none() && io::stdout().is_terminal() {
        return Err(Error::Usage("refusing to write an archive to a terminal; name a file with `-o`".to_owned()));
    }
    let engine = open()?;
    let Some(path) = path else {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        body(&engine, &mut out)?;
        return Ok(out.flush()?);
    };
    let file_error = |source| Error::File { action: "write", path: path.to_owned(), source };
    // A device or a pipe is written as it is; a file is replaced when the archive is whole.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(file_error)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        body(&engine, &mut out)?;
        return out.flush().map_err(file_error);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(directory);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, whole.map_err(file_error)?);
    body(&engine, &mut out)?;
    let whole = out.into_inner().map_err(|error| file_error(error.into_error()))?;
    whole.persist(path).map(drop).map_err(|error| file_error(error.error))
}

/// A pipe's default capacity: less means more system calls, more is not taken at once.
const BUFFER_BYTES: usize = 64 * 1024;
