use clap::ValueEnum;

use crate::engine::Folding;

/// How layers are put together.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Write layers without what later steps change or remove: chmod, chown and rm take no room then, and the files of the
    /// image are the same
    #[arg(long, conflicts_with = "squash")]
    compact: bool,
    /// Make one layer of all steps (user, the default), or of the base image, too (all)
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "user", hide_possible_values = true)]
    squash: Option<Squash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Squash {
    #[value(alias = "true")]
    User,
    All,
    /// As a script may have it.
    #[value(hide = true)]
    False,
}

impl Args {
    pub(super) fn folding(&self) -> Option<Folding> {
        match self.squash {
            Some(Squash::User) => Some(Folding::Squash),
            Some(Squash::All) => Some(Folding::SquashAll),
            Some(Squash::False) | None => self.compact.then_some(Folding::Compact),
        }
    }
}
