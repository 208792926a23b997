use std::process::ExitCode;

use super::Error;
use super::attach::Wish;
use super::run::{foreground, with_dockers_codes};
use super::session::Session;

/// Run a container's command again, over its changes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take part in its output; without it kiln refuses, for containers in the background come later
    #[arg(short, long)]
    attach: bool,
    /// Let the command read what kiln reads
    #[arg(short, long)]
    interactive: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    with_dockers_codes(started(args, session), session)
}

fn started(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    if !args.attach && !args.interactive {
        let message = "kiln runs containers in the foreground: say `-a`; those in the background come later";
        return Err(Error::Usage(message.to_owned()));
    }
    let engine = session.engine()?;
    let (container, has_terminal) = engine.keep_container(&args.container)?;
    let wish = Wish { terminal: has_terminal, input: args.interactive };
    foreground(&container, wish, wish.stdio()?, session)
}
