//! The command line as a whole: what clap makes of the commands, with the list of them sorted for people.

use std::fmt::Write as _;

use clap::{Command, CommandFactory, FromArgMatches};

use super::Cli;

/// What the commands are about, in the order in which people meet them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Building", &["build", "plan", "check", "context"]),
    ("Builds", &["builds", "why", "log", "shell", "report", "compare"]),
    (
        "Images",
        &["images", "pull", "push", "tag", "rmi", "save", "load", "inspect", "history", "blame", "diff", "explore"],
    ),
    ("Containers", &["run", "ps", "start", "stop", "kill", "exec", "cp", "commit", "export", "import", "rm"]),
    ("Other", &["completion", "man", "version", "help"]),
];

/// Returns what this process was called with, or clap's answer to it.
pub(super) fn parse() -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches()?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// Returns the command line with all its commands.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let style = command.get_styles().get_header();
    let mut template = "{usage-heading} {usage}\n\n{about}\n".to_owned();
    for (title, names) in GROUPS {
        let _ = write!(template, "\n{style}{title}:{style:#}\n");
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(|| HELP.to_owned(), ToString::to_string);
            let _ = writeln!(template, "  {name:<10}  {about}");
        }
    }
    let _ = write!(template, "\n{style}Global options:{style:#}\n{{options}}\n\n{FOOTER}\n");
    command.help_template(template)
}

/// About the one command that is clap's.
const HELP: &str = "Print the help of a command";

const FOOTER: &str = "Run 'kiln COMMAND --help' for more information on a command.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_listed_once_with_what_it_is_for_in_a_line() {
        let command = command();
        let mut names: Vec<&str> = command.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed);
        for each in command.get_subcommands() {
            let about = each.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((1..=66).contains(&about.len()), "{}: {about:?}", each.get_name());
        }
    }
}
