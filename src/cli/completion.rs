use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, ValueEnum, ValueHint};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::{Error, human, name, usage};
use crate::engine::{Build, ContainerSummary, Engine, EngineOptions, ImageSummary};

/// Print what makes a shell complete commands
///
/// Commands, flags and their values are completed, and the names of images, containers and builds that are here.
///
/// bash:        source <(kiln completion bash)             in ~/.bashrc
/// zsh:         source <(kiln completion zsh)              in ~/.zshrc, after compinit
/// fish:        kiln completion fish | source              in ~/.config/fish/config.fish
/// elvish:      eval (kiln completion elvish | slurp)      in ~/.config/elvish/rc.elv
/// powershell:  kiln completion powershell | Out-String | Invoke-Expression      in $PROFILE
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

/// What a shell that wants completions sets to its name.
const VARIABLE: &str = "KILN_COMPLETE";

/// To bash, a colon begins a new word, and images have one.
const BASH: &str = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}\n";

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Elvish => &Elvish,
        Shell::Powershell => &Powershell,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "kiln", "kiln", "kiln", &mut script)?;
    if matches!(args.shell, Shell::Bash) {
        script.extend(BASH.bytes());
    }
    Ok(io::stdout().write_all(&script)?)
}

/// Answers a shell that wants completions; tells whether this process was started for that.
pub(super) fn answer() -> bool {
    let completing = CompleteEnv::with_factory(command).var(VARIABLE);
    // A shell can do nothing with a message; it then completes nothing.
    completing.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()).unwrap_or(true)
}

/// Lists what begins with a word.
type List = fn(&OsStr) -> Vec<CompletionCandidate>;

/// Returns the command line, whose values are completed by what they are called in the help.
fn command() -> Command {
    usage::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|argument| {
            let called = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
            let lists: &[List] = match called.as_deref() {
                Some("IMAGE" | "SOURCE_IMAGE" | "TARGET_IMAGE") => &[images],
                Some("CONTAINER") => &[containers],
                Some("BUILD" | "ID" | "STEP|BUILD[:STEP]") => &[builds],
                Some("A" | "B" | "NAME[@STEP]") => &[images, containers, files],
                Some("SOURCE" | "TARGET") => &[places, files],
                Some("DIR") => return argument.value_hint(ValueHint::DirPath),
                Some("FILE" | "PATH|URL|-") => return argument.value_hint(ValueHint::AnyPath),
                _ => return argument,
            };
            let all = move |current: &OsStr| lists.iter().flat_map(|list| list(current)).collect::<Vec<_>>();
            argument.add(ArgValueCompleter::new(all))
        })
    })
}

fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let images = engine().and_then(|engine| engine.images().ok()).unwrap_or_default();
    let candidate = |image: ImageSummary| {
        let name = image.reference?.familiar();
        Some(CompletionCandidate::new(name).help(Some(human::size(image.size_bytes).into())))
    };
    beginning_with(current, images.into_iter().filter_map(candidate))
}

fn containers(current: &OsStr) -> Vec<CompletionCandidate> {
    let containers = engine().and_then(|engine| engine.containers().ok()).unwrap_or_default();
    let candidate = |container: ContainerSummary| {
        CompletionCandidate::new(container.record.name).help(Some(name::visible(&container.record.image).into()))
    };
    beginning_with(current, containers.into_iter().map(candidate))
}

/// Containers as `kiln cp` takes them.
fn places(current: &OsStr) -> Vec<CompletionCandidate> {
    let place = |container: CompletionCandidate| {
        let mut place = container.get_value().to_owned();
        place.push(":");
        CompletionCandidate::new(place)
    };
    containers(current).into_iter().map(place).collect()
}

fn builds(current: &OsStr) -> Vec<CompletionCandidate> {
    let builds = engine().and_then(|engine| engine.builds().ok()).unwrap_or_default();
    let candidate =
        |build: Build| CompletionCandidate::new(build.id.to_string()).help(Some(name::visible(&build.title).into()));
    beginning_with(current, builds.into_iter().map(candidate))
}

fn files(current: &OsStr) -> Vec<CompletionCandidate> {
    PathCompleter::any().complete(current)
}

fn beginning_with(current: &OsStr, candidates: impl Iterator<Item = CompletionCandidate>) -> Vec<CompletionCandidate> {
    let current = current.as_encoded_bytes();
    candidates.filter(|candidate| candidate.get_value().as_encoded_bytes().starts_with(current)).collect()
}

/// Opens the store if there is one: looking for names makes nothing.
fn engine() -> Option<Engine> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let given = words.windows(2).find(|pair| pair[0] == "--root").map(|pair| PathBuf::from(&pair[1]));
    let root = given.or_else(|| std::env::var_os("KILN_ROOT").map(PathBuf::from));
    Engine::open_existing(&EngineOptions { root, config: None }).ok().flatten()
}
