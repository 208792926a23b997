use std::io::{self, Write};

use super::Error;
use super::session::Session;
use crate::engine::{CommitOptions, Meanwhile};
use crate::oci::Reference;

/// Make an image of a container's changes
///
/// The image is that of the container with one more layer; it runs as the container does. Nothing is copied: what has
/// changed is read once, and the container goes on over the layer that it has become. A container that runs stands still
/// while its files are read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Change how the image runs, by an instruction such as `CMD ["serve"]` or `ENV A=1` (repeatable)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What to say of it in the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Let a container that runs stand still meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "NAME")]
    name: Option<Reference>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let options = CommitOptions {
        reference: args.name.clone(),
        instructions: args.change.clone(),
        message: args.message.clone(),
        author: args.author.clone(),
        meanwhile: if args.pause { Meanwhile::Paused } else { Meanwhile::Running },
    };
    let engine = session.engine_beside(&args.container)?;
    let id = engine.commit_container(&args.container, &options, &session.cancel)?;
    Ok(writeln!(io::stdout(), "{id}")?)
}
