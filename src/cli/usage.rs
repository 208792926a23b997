//! The command line as a whole: what clap makes of the commands, with the list of them sorted for people.

use std::ffi::OsString;
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

/// Returns the words of a command line behind the command; none where there is no command.
pub(super) fn behind_command(mut words: Vec<OsString>) -> Option<Vec<OsString>> {
    let with_values: Vec<String> = Cli::command()
        .get_arguments()
        .filter(|flag| flag.get_action().takes_values())
        .filter_map(|flag| flag.get_long().map(|name| format!("--{name}")))
        .collect();
    let mut place = 0;
    while let Some(flag) = words.get(place)?.to_str().filter(|word| word.starts_with('-')) {
        place += if with_values.iter().any(|name| name == flag) { 2 } else { 1 };
    }
    words.drain(..=place);
    Some(words)
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
    fn words_are_told_from_the_flags_before_the_command() {
        for (line, behind) in [
            ("build -t a .", Some("-t a .")),
            ("--root build --debug --config=x build .", Some(".")),
            ("build", Some("")),
            ("--debug", None),
        ] {
            let words = behind_command(line.split(' ').map(OsString::from).collect());
            let words = words.map(|words| words.join(&OsString::from(" ")).into_string().unwrap());
            assert_eq!(words.as_deref(), behind, "{line}");
        }
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
