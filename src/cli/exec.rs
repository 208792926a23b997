use std::process::ExitCode;

use super::attach::{Wish, attend};
use super::run::{Environment, exit_code};
use super::session::Session;
use super::{Error, report};
use crate::engine::{self, ExecOptions};

/// Run a command in a container that runs
#[derive(Debug, clap::Args)]
#[command(override_usage = "kiln exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(super) struct Args {
    /// Let the command read what kiln reads
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    environment: Environment,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// As this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The container, by name or id, and what to run in it
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    let (container, argv) = args.words.split_first().expect("the command line needs one");
    if container.starts_with('-') {
        return Err(Error::Usage(format!("there is no flag `{container}`; `kiln exec --help` lists those there are")));
    }
    let wish = Wish { terminal: args.tty, input: args.interactive };
    let stdio = wish.stdio()?;
    let set = args.environment.variables()?.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let options = ExecOptions {
        argv: argv.to_vec(),
        env: set.collect(),
        cwd: args.workdir.clone(),
        user: args.user.clone(),
        has_terminal: args.tty,
    };
    let engine = session.engine_beside(container)?;
    let mut running = match engine.exec(container, &options, stdio, &session.cancel) {
        Err(engine::Error::Container(error)) if error.exit_code() != 125 => {
            let code = error.exit_code();
            report::failure(&Error::Engine(engine::Error::Container(error)));
            return Ok(exit_code(code));
        }
        started => started?,
    };
    session.release_signals();
    attend(&mut running, wish)?;
    let exit = running.wait().map_err(|error| engine::Error::Container(error.into()))?;
    Ok(exit_code(exit.status.shell_code()))
}
