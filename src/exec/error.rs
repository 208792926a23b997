use std::path::PathBuf;
use std::sync::Arc;

use super::{AgentError, SecretError, file};
use crate::cache::Miss;
use crate::oci::{DiffId, EncodedError, Platform};
use crate::runtime::{self, ExitStatus, ProgramError};
use crate::sys::Cancelled;
use crate::{fs, layer, registry, remote, snapshot, store};

/// Why an op has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process of a step failed.
    #[error("the process {status}")]
    Process {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        tail: Vec<String>,
        /// All of its output.
        log: PathBuf,
    },
    /// The result of a step is not known, where it has to be.
    #[error("it is not cached: {0}")]
    NotCached(Miss),
    /// The process of a step could not be run.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// A program of a step is for a machine that this one is not and does not emulate.
    #[error("a step for {platform} cannot run on this machine ({})", Platform::host())]
    Foreign {
        /// What the step is for.
        platform: Platform,
        /// Which program it is.
        source: ProgramError,
        /// What would let it run.
        advice: String,
    },
    /// Files could not be copied.
    #[error(transparent)]
    File(#[from] file::Error),
    /// A secret could not be given.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An ssh agent could not be given.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A graph names a context the build does not have.
    #[error("there is no build context named {0}")]
    NoContext(String),
    /// A layer has other bytes than the image says.
    #[error("the layer {expected} of the image is in truth {actual}")]
    WrongLayer {
        /// What the config says.
        expected: DiffId,
        /// What it is.
        actual: DiffId,
    },
    /// A layer is known and its bytes are not here, nor is it known where to fetch them.
    #[error("the bytes of layer {0} are no longer in the store")]
    LostLayer(DiffId),
    /// A manifest in the store cannot be read.
    #[error(transparent)]
    Document(#[from] EncodedError),
    /// A tree could not be made.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A layer could not be read or written.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// A file or a repository could not be fetched.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// A layer could not be fetched.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] fs::Error),
    /// A file of the user could not be written.
    #[error("cannot write {}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What an earlier step changed could not be made a layer.
    #[error("the files of an earlier step could not be kept")]
    Behind(#[source] Arc<Error>),
    /// A thread of kiln ended in a way it should not.
    #[error("kiln failed inside; this is a bug worth reporting")]
    Panicked,
    /// It was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// Tells whether what was written is the cause, rather than the machine.
    pub fn is_in_the_text(&self) -> bool {
        use file::Error as F;
        match self {
            Error::Runtime(runtime::Error::User(_) | runtime::Error::Program(_)) | Error::Foreign { .. } => true,
            Error::Secret(SecretError::NotGiven { .. } | SecretError::NoHeader { .. })
            | Error::Agent(AgentError::NotGiven { .. }) => true,
            Error::File(error) => {
                !matches!(error, F::Cancelled(_) | F::Context(_) | F::Content { .. } | F::Scratch(_) | F::Layer(_))
            }
            Error::Remote(error) => !error.is_local(),
            Error::NotCached(_) => true,
            _ => false,
        }
    }

    /// Tells whether a file of a build context could not be read.
    pub fn is_of_context(&self) -> bool {
        matches!(self, Error::File(file::Error::Context(_)))
    }

    /// Tells whether a registry is to blame, or the way to it, so that another may do better.
    pub(super) fn is_of_registry(&self) -> bool {
        use registry::Error as R;
        matches!(self, Error::Registry(error) if !matches!(error, R::Cancelled(_) | R::Store(_)))
    }

    /// Returns what would likely mend it.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::File(error) => error.help(),
            Error::Secret(SecretError::NotGiven { id }) => {
                Some(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`"))
            }
            Error::Agent(AgentError::NotGiven { id }) => Some(format!("give it with `--ssh {id}`")),
            Error::Foreign { advice, .. } => Some(advice.clone()),
            Error::Remote(error) => error.help(),
            Error::NotCached(_) => Some("`kiln plan` tells all that would run".to_owned()),
            _ => None,
        }
    }

    /// Returns how the process of a step ended, as shells count, or why there was none; none where it is not the process that
    /// failed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Error::Process { status, .. } => Some(status.shell_code()),
            Error::Runtime(runtime::Error::Program(error)) => Some(error.shell_code()),
            _ => None,
        }
    }

    /// Tells whether it only says that somebody stopped the build.
    pub fn is_cancellation(&self) -> bool {
        match self {
            Error::Cancelled(_)
            | Error::Runtime(runtime::Error::Cancelled(_))
            | Error::File(file::Error::Cancelled(_)) => true,
            Error::Store(error) => matches!(error, store::Error::Cancelled(_)),
            Error::Registry(error) => error.is_cancellation(),
            Error::Remote(error) => error.is_cancellation(),
            Error::Behind(error) => error.is_cancellation(),
            _ => false,
        }
    }
}
