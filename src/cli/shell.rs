use std::io::{self, IsTerminal};
use std::process::ExitCode;

use super::attach::{Wish, attend};
use super::build::keys;
use super::progress::{self, Mode, without_controls};
use super::run::{exit_code, with_dockers_codes};
use super::session::Session;
use super::{Error, report};
use crate::engine::{BuildOptions, Moment, ShellAbout, ShellOf, ShellOptions};
use crate::oci::Platform;

/// Look into a step: the last one that failed, or one of an image
///
/// Opens a shell, or runs a command, with the files, environment, user, directory and mounts of the step. What is changed
/// is thrown away, but in cache mounts. Of a failed step, secrets are there again with `--secret`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "kiln shell [OPTIONS] [NAME] [-- COMMAND [ARG]...]",
    after_help = "NAME is one of
  nothing     the last step that failed in this directory, or else anywhere
  IMAGE       an image, here or in a registry
  IMAGE@STEP  an image after one of its steps, counted as in `kiln history`, from 1
  FILE        an archive, above all one of `kiln build --on-failure=bundle`
  CONTAINER   what `kiln ps -a` lists"
)]
pub(super) struct Args {
    /// The files before the step
    #[arg(long)]
    before: bool,
    #[command(flatten)]
    keys: keys::Args,
    /// Which image of a multi-platform one, such as linux/arm64
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<Platform>,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    progress: progress::Args,
    /// What to look into
    #[arg(value_name = "NAME[@STEP]")]
    name: Option<String>,
    /// What to run in place of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    with_dockers_codes(looked(args, session), session)
}

fn looked(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let options = args.options(has_terminal)?;
    let wish = Wish { terminal: has_terminal, input: true };
    let stdio = wish.stdio()?;
    let engine = session.engine()?;
    // What has failed here is here; of images, layers may have to be fetched.
    let display = args.progress.display(args.name.is_none().then_some(Mode::None), session);
    let mut shell = display.watch(|observer| engine.shell(&options, stdio, observer, &session.cancel))?;
    report::note(&notice(&shell.about, options.moment, has_terminal));
    session.release_signals();
    let attended = attend(shell.visit.running(), wish);
    let code = shell.visit.wait().map_err(crate::engine::Error::from)?;
    attended?;
    Ok(exit_code(code))
}

impl Args {
    fn options(&self, has_terminal: bool) -> Result<ShellOptions, Error> {
        let mut keys = BuildOptions::default();
        self.keys.add_to(&mut keys)?;
        let of = match &self.name {
            Some(name) => ShellOf::Named(name.clone()),
            None => ShellOf::Last(std::env::current_dir().map_err(Error::Input)?),
        };
        let terminal = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        Ok(ShellOptions {
            of,
            moment: if self.before { Moment::Before } else { Moment::After },
            command: self.command.clone(),
            env: Vec::from_iter(has_terminal.then(|| ("TERM".to_owned(), terminal))),
            secrets: keys.secrets,
            agents: keys.agents,
            platform: self.platform.clone(),
            insecure_registries: self.insecure_registry.clone(),
        })
    }
}

/// Returns what is said before the program's first word: at a terminal where one is, and anywhere what is missing.
fn notice(about: &ShellAbout, moment: Moment, has_terminal: bool) -> String {
    let mut text = String::new();
    if has_terminal {
        let title = without_controls(&about.title);
        text += &match (moment, about.exit_code) {
            (Moment::Before, _) => format!("the files before `{title}`"),
            (Moment::After, Some(code)) => format!("the files that `{title}` left when it failed with {code}"),
            (Moment::After, None) => format!("the files of `{title}`"),
        };
        text += "; what is changed here is thrown away\n";
        if let Some(line) = command_line(&about.argv) {
            text += &format!("it ran: {line}\n");
        }
    }
    for id in &about.missing_secrets {
        let id = without_controls(id);
        text += &format!("the secret `{id}` is not here; it is with `--secret id={id},src=FILE`\n");
    }
    for target in &about.missing_mounts {
        text += &format!("what was mounted at {} is not here\n", without_controls(target));
    }
    text
}

/// Returns what a process ran, as it was written: one line of it.
fn command_line(argv: &[String]) -> Option<String> {
    let text = match argv {
        [] => return None,
        [_, flag, script] if flag == "-c" => script.clone(),
        words => words.join(" "),
    };
    let mut lines = text.lines();
    let first = without_controls(lines.next()?).to_string();
    Some(if lines.next().is_some() { first + " …" } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> ShellAbout {
        ShellAbout {
            title: "[2/3] RUN make".into(),
            exit_code: Some(2),
            argv: ["/bin/sh", "-c", "make \x1b[31m\nmake install"].map(str::to_owned).to_vec(),
            missing_secrets: vec!["token".into()],
            missing_mounts: vec!["/src".into()],
        }
    }

    #[test]
    fn what_is_looked_into_is_said_where_somebody_reads_it() {
        let expected = "the files that `[2/3] RUN make` left when it failed with 2; what is changed here is thrown away
it ran: make  …
the secret `token` is not here; it is with `--secret id=token,src=FILE`
what was mounted at /src is not here
";
        assert_eq!(notice(&about(), Moment::After, true), expected);
        assert!(notice(&about(), Moment::Before, true).starts_with("the files before `[2/3] RUN make`; "));
        let alone = notice(&about(), Moment::After, false);
        assert!(alone.starts_with("the secret"), "{alone}");
        assert_eq!(notice(&ShellAbout::default(), Moment::After, false), "");
    }
}
