//! `kiln build --resume`: the same build once more, which takes from the cache what the last one had made.

use std::ffi::OsString;

use clap::FromArgMatches;

use crate::cli::session::Session;
use crate::cli::{Cli, Command, Error, report, usage};
use crate::engine::{BuildOptions, Invocation};
use crate::frontend::is_secret_name;

/// Returns how this build was asked for, but for what is nobody else's business.
pub(super) fn invocation() -> Option<Invocation> {
    let directory = std::env::current_dir().ok()?.into_os_string().into_string().ok()?;
    let words = words().and_then(|words| words.into_iter().map(|word| word.into_string().ok()).collect());
    let (words, unsaid) = words.and_then(kept).unzip();
    Some(Invocation { directory, words, unsaid: unsaid.unwrap_or_default() })
}

/// Returns the words behind the command of this process's command line.
fn words() -> Option<Vec<OsString>> {
    usage::behind_command(std::env::args_os().skip(1).collect())
}

/// A build that was asked for again.
pub(super) struct Resumed {
    /// As its command line has it now.
    pub(super) args: Box<super::Args>,
    invocation: Invocation,
    since: jiff::Timestamp,
}

impl Resumed {
    /// Finds the last build of this directory, and adds the words of this command line to those of its.
    pub(super) fn find(session: &Session) -> Result<Resumed, Error> {
        let here = std::env::current_dir().map_err(Error::Input)?.display().to_string();
        let found = session.engine()?.resumable(&here)?;
        let more = words().unwrap_or_default().into_iter().filter(|word| word != "--resume");
        let more: Vec<String> = more.map(|word| word.to_string_lossy().into_owned()).collect();
        let mut words = found.invocation.words.unwrap_or_default();
        check_unsaid(&found.invocation.unsaid, &more)?;
        words.extend(more);
        let shown = words.join(" ");
        let shown = crate::cli::progress::without_controls(&shown);
        report::note(&format!("resuming build {}: kiln build {shown}\n", found.build));
        let args = parse(&words)?;
        let (words, unsaid) = kept(words).unzip();
        let mut unsaid: Vec<String> = unsaid.unwrap_or_default();
        unsaid.extend(found.invocation.unsaid);
        let invocation = Invocation { directory: found.invocation.directory, words, unsaid };
        Ok(Resumed { args, invocation, since: found.since })
    }

    /// What the build before has made is wanted, whatever else is not, and what it has found in registries.
    pub(super) fn add_to(&self, options: &mut BuildOptions) {
        options.fresh_since = Some(self.since);
        options.pull = false;
        options.invocation = Some(self.invocation.clone());
    }
}

fn parse(words: &[String]) -> Result<Box<super::Args>, Error> {
    let line = ["kiln", "build"].into_iter().chain(words.iter().map(String::as_str));
    let usage = |error: clap::Error| Error::Usage(error.render().to_string().trim_end().to_owned());
    let matches = usage::command().try_get_matches_from(line).map_err(usage)?;
    match Cli::from_arg_matches(&matches).map_err(usage)?.command {
        Command::Build(args) => Ok(args),
        _ => unreachable!("the line has the command before all words"),
    }
}

/// Returns a command line without the values of build arguments that may be secret, and the names of these; none where
/// that is not enough, or something comes from stdin.
fn kept(words: Vec<String>) -> Option<(Vec<String>, Vec<String>)> {
    const FLAG: &str = "--build-arg";
    let (mut kept, mut unsaid): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for word in words {
        let joined = word.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('='));
        let follows = kept.last().is_some_and(|last| last == FLAG);
        let argument = joined.or(Some(word.as_str()).filter(|_| follows)).and_then(|text| text.split_once('='));
        match argument {
            Some((name, value)) if is_secret_name(name) || has_password(value) => {
                unsaid.push(name.to_owned());
                kept.push(if follows { name.to_owned() } else { format!("{FLAG}={name}") });
            }
            _ if has_password(&word) || matches!(word.as_str(), "-" | "-f-" | "--file=-") => return None,
            _ => kept.push(word),
        }
    }
    Some((kept, unsaid))
}

/// Tells whether there is a URL with more than a user in it.
fn has_password(text: &str) -> bool {
    let authority = text.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or_default()));
    let user = authority.and_then(|(scheme, authority)| Some((scheme, authority.rsplit_once('@')?.0)));
    // A token is often written where a user is.
    user.is_some_and(|(scheme, user)| user.contains(':') || scheme.ends_with("http") || scheme.ends_with("https"))
}

fn check_unsaid(unsaid: &[String], more: &[String]) -> Result<(), Error> {
    let is_given = |name: &&String| {
        let says =
            |word: &String| word.trim_start_matches("--build-arg=").split_once('=').is_some_and(|(it, _)| it == *name);
        more.iter().any(says) || std::env::var_os(name).is_some()
    };
    match unsaid.iter().find(|name| !is_given(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Usage(format!(
            "the value of the build argument `{name}` is not kept; give it again with `--build-arg {name}=VALUE`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<(String, String)> {
        kept(line.split(' ').map(str::to_owned).collect()).map(|(words, unsaid)| (words.join(" "), unsaid.join(" ")))
    }

    #[test]
    fn what_may_be_secret_is_not_kept() {
        for (line, words, unsaid) in [
            ("-t app --build-arg A=1 .", "-t app --build-arg A=1 .", ""),
            ("--build-arg API_TOKEN=x .", "--build-arg API_TOKEN .", "API_TOKEN"),
            ("--build-arg=api_key=x=y .", "--build-arg=api_key .", "api_key"),
            ("--build-arg http_proxy=http://u:p@host .", "--build-arg http_proxy .", "http_proxy"),
            ("--secret id=a,src=b git://host/a", "--secret id=a,src=b git://host/a", ""),
            ("ssh://git@host/a", "ssh://git@host/a", ""),
        ] {
            assert_eq!(said(line), Some((words.to_owned(), unsaid.to_owned())), "{line}");
        }
        for line in ["-", "-f - .", "https://token@host/a.git", "--output type=x,dest=https://u:p@host/x ."] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
