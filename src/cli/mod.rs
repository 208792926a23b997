//! The command line: one file per command, each its arguments, one [`Engine`](crate::engine::Engine) call, and what is
//! printed.
//!
//! This module alone knows stdout, stderr, colours, environment variables and exit codes. Data goes to stdout, all else
//! to stderr. Exit codes: 0 done, 1 the operation failed, 2 the command line was wrong or asks for what kiln cannot do
//! yet, 130 interrupted. `run`, `start`, `exec` and `shell` return what their program did, and docker's 125, 126 and 127 where there
//! is none.

mod attach;
mod blame;
mod build;
mod builds;
mod check;
mod commit;
mod compare;
mod completion;
mod compression;
mod context;
mod cp;
mod diff;
mod error;
mod exec;
mod explore;
mod export;
mod history;
mod human;
mod images;
mod import;
mod inspect;
mod kill;
mod load;
mod log;
mod man;
mod name;
mod plan;
pub mod progress;
mod provenance;
mod ps;
mod pull;
mod push;
mod report;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod shell;
mod start;
mod stop;
mod summary;
mod table;
mod tag;
mod usage;
mod version;
mod webpage;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::Error;

/// Build container images from Dockerfiles, and see what changed and why
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    propagate_version = false,
    max_term_width = 110,
    override_usage = "kiln [OPTIONS] COMMAND"
)]
struct Cli {
    #[command(flatten)]
    global: session::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::Args>),
    Check(check::Args),
    Context(context::Args),
    Pull(pull::Args),
    Push(push::Args),
    Images(images::Args),
    Inspect(inspect::Args),
    History(history::Args),
    Blame(blame::Args),
    Explore(explore::Args),
    Diff(diff::Args),
    Tag(tag::Args),
    Rmi(rmi::Args),
    Save(save::Args),
    Load(load::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Exec(exec::Args),
    Shell(Box<shell::Args>),
    Ps(ps::Args),
    Stop(stop::Args),
    Kill(kill::Args),
    Rm(rm::Args),
    Cp(cp::Args),
    Commit(commit::Args),
    Export(export::Args),
    Import(import::Args),
    Builds(builds::Args),
    Why(why::Args),
    Plan(Box<plan::Args>),
    Log(log::Args),
    Compare(compare::Args),
    Report(summary::Args),
    Completion(completion::Args),
    Man(man::Args),
    Version(version::Args),
}

/// Runs the command that this process was started for.
pub fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = match usage::parse() {
        Ok(cli) => cli,
        Err(answer) => return report::usage(&answer),
    };
    let session = match cli.global.session() {
        Ok(session) => session,
        Err(error) => return report::failure(&error),
    };
    match cli.command.run(&session) {
        Ok(code) => code,
        // Whatever went wrong after that, went wrong because of it.
        Err(_) if session.cancel.is_cancelled() => report::interrupted(),
        Err(error) => report::failure(&error),
    }
}

impl Command {
    fn run(&self, session: &session::Session) -> Result<ExitCode, Error> {
        match self {
            Command::Plan(args) => return plan::run(args, session),
            // What these return is what a program returned.
            Command::Run(args) => return run::run(args, session),
            Command::Start(args) => return start::run(args, session),
            Command::Exec(args) => return exec::run(args, session),
            Command::Shell(args) => return shell::run(args, session),
            Command::Build(args) => build::run(args, session),
            Command::Check(args) => check::run(args, session),
            Command::Context(args) => context::run(args, session),
            Command::Pull(args) => pull::run(args, session),
            Command::Push(args) => push::run(args, session),
            Command::Images(args) => images::run(args, session),
            Command::Inspect(args) => inspect::run(args, session),
            Command::History(args) => history::run(args, session),
            Command::Blame(args) => blame::run(args, session),
            Command::Explore(args) => explore::run(args, session),
            Command::Diff(args) => diff::run(args, session),
            Command::Tag(args) => tag::run(args, session),
            Command::Rmi(args) => rmi::run(args, session),
            Command::Save(args) => save::run(args, session),
            Command::Load(args) => load::run(args, session),
            Command::Ps(args) => ps::run(args, session),
            Command::Stop(args) => stop::run(args, session),
            Command::Kill(args) => kill::run(args, session),
            Command::Rm(args) => rm::run(args, session),
            Command::Cp(args) => cp::run(args, session),
            Command::Commit(args) => commit::run(args, session),
            Command::Export(args) => export::run(args, session),
            Command::Import(args) => import::run(args, session),
            Command::Builds(args) => builds::run(args, session),
            Command::Why(args) => why::run(args, session),
            Command::Report(args) => summary::run(args, session),
            Command::Compare(args) => compare::run(args, session),
            Command::Log(args) => log::run(args, session),
            Command::Completion(args) => completion::run(args),
            Command::Man(args) => man::run(args),
            Command::Version(args) => version::run(args),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
