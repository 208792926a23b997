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

use super::Error;
use super::session::{Session, colours_wanted};
use super::table::Format;
use crate::oci::Platform;
use view::Palette;

/// Look around in an image: layers, files, changes and waste
///
/// Beside each file stands what the layer did to it: `A` added, `M` modified, `R` removed, `W` written again as it was,
/// which takes its bytes twice; `·` marks a directory with changes in it. `?` lists the keys; they are dive's where it
/// has them.
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
    /// A name or an id
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
    if args.ci {
        let provenance = engine.provenance(&args.image, args.platform.as_ref(), &session.cancel)?;
        return ci::run(&args.rules, args.format, &provenance);
    }
    let exploration = engine.explore(&args.image, args.platform.as_ref(), &session.cancel)?;
    drop(engine);
    let palette = if colours_wanted() { Palette::Coloured } else { Palette::Plain };
    terminal::run(&exploration, palette, &session.cancel)
}
