use std::io;
use std::path::PathBuf;

use crate::{engine, runtime};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// A flag that other builders have and kiln will have.
    #[error("`{flag}` is not supported yet")]
    NotSupported {
        /// As it was written.
        flag: String,
    },
    /// The engine could not do it.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// It has been said already.
    #[error("failed")]
    Reported,
    /// A file named on the command line.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done to it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path that somebody asks about.
    #[error("there is no {path} in the directory of the context")]
    NotInContext {
        /// As it was given.
        path: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A path that no layer of an image has.
    #[error("no layer of {image} has anything at {path}")]
    NotInImage {
        /// As it was given.
        path: String,
        /// The image.
        image: String,
    },
    /// A step that the build does not have.
    #[error("the build has no step `{step}`; it has {steps}")]
    NoSuchStep {
        /// As it was given.
        step: String,
        /// How many there are.
        steps: usize,
    },
    /// A text that several steps have.
    #[error("several steps have `{step}`: #{first}, #{second}")]
    AmbiguousStep {
        /// As it was given.
        step: String,
        /// The number of one.
        first: usize,
        /// And of the next.
        second: usize,
    },
    /// An image grew by more than it may.
    #[error("{after} is larger than {before} by {growth}; the budget is {budget}")]
    OverBudget {
        /// What was compared.
        before: String,
        /// With what.
        after: String,
        /// How much larger.
        growth: String,
        /// How much it may be.
        budget: String,
    },
    /// A relative budget, and no size that it is relative to.
    #[error("a budget in percent needs the size of {0}, and some of its layers are not here")]
    UnknownSize(String),
    /// A build that is worse than the one before by more than it may be.
    #[error("{percent}% {how}, where {most}% are allowed")]
    Regression {
        /// In which way.
        how: &'static str,
        /// By how much.
        percent: u128,
        /// And by how much it may be.
        most: u32,
    },
    /// A terminal that does not do what others do.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    /// Standard input.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// A normal user's kiln needs a user namespace.
    #[error(transparent)]
    UserNamespace(#[from] runtime::UserNamespaceError),
    /// The process may not be interrupted in an orderly way.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}
