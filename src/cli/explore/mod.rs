//! `kiln explore`.

mod app;
mod ci;
mod content;
mod keys;
mod popup;
mod rows;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};

use super::progress::{self, Mode};
use super::session::{Session, colours_wanted};
use super::table::Format;
use super::{Error, report};
use crate::diagnostic::Style;
use crate::engine::DiffOptions;
use crate::oci::Platform;
use view::Palette;

/// Look around in an image: layers, files, changes and waste
///
/// Beside each file stands what the layer did to it: `A` added, `M` modified, `R` removed, `W` written again as it was,
/// which takes its bytes twice; `·` marks a directory with changes in it. `?` lists the keys; they are dive's where it
/// has them.
///
/// What is looked at is one of the sides that `kiln diff` compares: an image here or in a registry, `IMAGE@3` after its
/// third instruction, an archive, an OCI layout, a container, a directory, `build:ID`. Of an image elsewhere the layers
/// are fetched that nobody here has read yet. A layer that cannot be read is shown as such, and the others as they are.
///
/// With `--ci`, nothing is shown on the screen: the figures are printed and held against rules, by default those of
/// dive, and the exit code is 1 if one is broken. User figures count the layers above the base image, or above the first
/// layer where kiln does not know the base.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print figures, hold them against the rules, and exit with 1 if one is broken
    #[arg(long)]
    ci: bool,
    #[command(flatten)]
    rules: ci::Rules,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "ci")]
    format: Format,
    /// Which image of a multi-platform one, such as linux/arm64 (default: this machine's, or the first)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    progress: progress::Args,
    /// What to look at: a name, an id, or whatever else `kiln diff` takes
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !args.ci && !has_terminal {
        let text =
            "`kiln explore` needs a terminal; `kiln explore --ci` prints figures, `kiln history --steps` the layers";
        return Err(Error::Usage(text.to_owned()));
    }
    let engine = session.engine()?;
    let options = DiffOptions {
        platform: args.platform.clone(),
        insecure_registries: args.insecure_registry.clone(),
        ..DiffOptions::default()
    };
    // Only waiting for a registry is worth a word.
    let quiet = if io::stderr().is_terminal() { None } else { Some(Mode::Quiet) };
    let display = args.progress.display(quiet, session);
    if args.ci {
        let provenance = display.watch(|observer| engine.usage(&args.image, &options, observer, &session.cancel))?;
        return ci::run(&args.rules, args.format, &provenance);
    }
    let mut exploration = display.watch(|observer| engine.explore(&args.image, &options, observer, &session.cancel))?;
    drop(engine);
    let unreadable = std::mem::take(&mut exploration.unreadable).into_iter();
    let unreadable = unreadable.map(|(layer, error)| (layer, report::text(&Error::Engine(error), Style::Plain)));
    let palette = if colours_wanted() { Palette::Coloured } else { Palette::Plain };
    terminal::run(&exploration, &unreadable.collect(), palette, &session.cancel)
}
