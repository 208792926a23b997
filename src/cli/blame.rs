use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::name;
use super::session::Session;
use super::table::Format;
use super::{Error, provenance};
use crate::oci::Platform;

/// Say which step of which build wrote a file of an image
///
/// And every step that touched it before, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Which image of a multi-platform one, such as linux/arm64 (default: this machine's, or the first)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// A name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A path in the image
    #[arg(value_name = "PATH")]
    path: OsString,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let (engine, path) = (session.engine()?, args.path.as_bytes());
    let (found, blame) = engine.blame(&args.image, args.platform.as_ref(), path, &session.cancel)?;
    if blame.touches.is_empty() {
        return Err(Error::NotInImage { path: name::shown(path), image: args.image.clone() });
    }
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => writeln!(out, "{}", provenance::blame_object(&found, &blame))?,
        Format::Table => out.write_all(provenance::blame(&found, &blame).as_bytes())?,
    }
    Ok(())
}
