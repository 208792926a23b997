use std::io;
use std::path::PathBuf;

use super::FAILED;
use crate::{exec, fs, layer, runtime, store};

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A process could not be run.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Layers could not be fetched, unpacked or made.
    #[error(transparent)]
    Exec(#[from] exec::Error),
    /// A layer or archive could not be written or read.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// A file of the container, or one to be copied, could not be used.
    #[error(transparent)]
    Files(#[from] fs::Error),
    /// The record of a container is of another kiln, or damaged.
    #[error("the record of the container cannot be read")]
    Facts(#[from] serde_json::Error),
    /// It cannot be told which process is which.
    #[error("cannot find the process of the container")]
    Identity(#[source] io::Error),
    /// The processes of a container could not be stopped for a moment.
    #[error("cannot pause the container")]
    Pause(#[source] io::Error),
    /// The container has no process now.
    #[error("container {name} is not running")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// There is none of the programs that people type at.
    #[error("there is neither bash nor sh; name a program behind `--`")]
    NoShell,
    /// A signal could not be sent.
    #[error("cannot send a signal to container {name}")]
    Signal {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The changes of a container are gone.
    #[error("the files of container {name} are no longer in the store")]
    LostTree {
        /// Its name.
        name: String,
    },
    /// What is to be copied is not there.
    #[error("there is no {} {place}", path.display())]
    NoFile {
        /// As it was given.
        path: PathBuf,
        /// Where it was looked for, such as `in the container`.
        place: &'static str,
    },
    /// A link on the way to what is to be copied, or to where, leads to nothing.
    // Quoted, because a process of the container may have written it.
    #[error("{} is a link to {target:?}, which is not {place}", link.display())]
    LostLink {
        /// The link.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
        /// Where it was looked for, such as `in the container`.
        place: &'static str,
    },
    /// What is to be copied, or where to, is no directory and should be.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// A directory cannot be copied over a file.
    #[error("cannot copy a directory over the file {}", path.display())]
    DirectoryOverFile {
        /// As it was given.
        path: PathBuf,
    },
}

impl Error {
    /// Tells whether it was stopped.
    pub fn is_cancellation(&self) -> bool {
        match self {
            Error::Runtime(error) => matches!(error, runtime::Error::Cancelled(_)),
            Error::Exec(error) => error.is_cancellation(),
            _ => false,
        }
    }

    /// Returns the exit code that docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Runtime(runtime::Error::Program(error)) => error.shell_code(),
            _ => FAILED,
        }
    }
}
