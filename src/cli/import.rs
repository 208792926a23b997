use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};

use super::Error;
use super::session::Session;
use crate::engine::ImportOptions;
use crate::oci::{Platform, Reference};

/// Make an image of a tar of files
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say how the image runs, by an instruction such as `CMD ["sh"]` or `ENV A=1` (repeatable)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What to say of it in the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the files are for, such as linux/arm64 (default: this machine)
    #[arg(long, value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<Platform>,
    /// The tar, compressed or not; `-` is stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// The image's name
    #[arg(value_name = "NAME")]
    name: Option<Reference>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let mut tar: Box<dyn Read + Send> = match &*args.file {
        "-" if io::stdin().is_terminal() => {
            return Err(Error::Usage("no archive: name a file, or pipe one in".to_owned()));
        }
        "-" => Box::new(session.input()),
        url if url.starts_with("http://") || url.starts_with("https://") => {
            return Err(Error::Usage(format!("`{url}`: kiln imports files; fetch it first, or pipe it in")));
        }
        path => {
            Box::new(File::open(path).map_err(|source| Error::File { action: "open", path: path.into(), source })?)
        }
    };
    let options = ImportOptions {
        reference: args.name.clone(),
        instructions: args.change.clone(),
        message: args.message.clone(),
        origin: args.file.clone(),
        platform: args.platform.clone(),
    };
    let id = session.engine()?.import(&mut tar, &options, &session.cancel)?;
    Ok(writeln!(io::stdout(), "{id}")?)
}
