use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::Cancelled;

/// Why a container did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// kiln could not start or watch the container.
    #[error("cannot {action} for the container")]
    Launch {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The container could not be set up.
    #[error("cannot set up the container: {step}")]
    Setup {
        /// What was tried inside, such as `mount /proc`.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The init process said something kiln does not understand, or nothing.
    #[error("the container ended during its set-up ({0})")]
    Silent(super::ExitStatus),
    /// The user of the process is not known.
    #[error(transparent)]
    User(#[from] UserError),
    /// The program could not be started.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The mount points could not be removed again.
    #[error("cannot remove the mount point {} from the layer", path.display())]
    Stub {
        /// The mount point, in the directory of changes.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Why the text of a user means nobody. Worded as BuildKit does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UserError {
    /// No such name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// The name is a number that is too big.
    #[error("user or group number {0} is out of range")]
    OutOfRange(String),
    /// The user namespace has no such id.
    #[error(
        "user {uid}:{gid} does not exist here: only one user id is mapped (install `uidmap` and add ranges to \
         /etc/subuid and /etc/subgid to get more)"
    )]
    NotMapped {
        /// User asked for.
        uid: u32,
        /// Group asked for.
        gid: u32,
    },
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ProgramError {
    /// There is nothing to start.
    #[error("no program to run")]
    Empty,
    /// No such file.
    #[error("{program}: not found")]
    NotFound {
        /// As written.
        program: String,
    },
    /// No such file in any directory of PATH.
    #[error("{program}: not found in PATH ({path})")]
    NotInPath {
        /// As written.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The file is there, but what must interpret it is not.
    #[error("{program}: its interpreter {interpreter} is not in the image")]
    NoInterpreter {
        /// The file.
        program: String,
        /// What its `#!` line, or its ELF header, asks for.
        interpreter: String,
    },
    /// The file may not be executed by this user.
    #[error("{program}: permission denied; it is not an executable file for this user")]
    Permission {
        /// The file.
        program: String,
    },
    /// The file is for another machine.
    #[error("{program}: is a program for {architecture}, which this machine cannot run")]
    ForeignArchitecture {
        /// The file.
        program: String,
        /// In words.
        architecture: String,
    },
    /// The file is for another machine, and what the kernel would run it with is missing.
    #[error("{program}: is a program for {architecture}, and what this machine would run it with is not in the image")]
    NoEmulator {
        /// The file.
        program: String,
        /// In words.
        architecture: String,
    },
    /// The file is neither a program for this machine nor a script with a `#!` line.
    #[error("{program}: is not a program (no `#!` line and not an executable for this machine)")]
    Format {
        /// The file.
        program: String,
    },
    /// Something else.
    #[error("{program}: {}", io::Error::from_raw_os_error(*errno))]
    Other {
        /// The file.
        program: String,
        /// What execve(2) said.
        errno: i32,
    },
    /// An argument or variable cannot be passed to a program.
    #[error("an argument or environment variable contains a NUL byte")]
    Nul,
}

impl ProgramError {
    /// Returns the exit code that docker, after the shells, has for a program that could not be started.
    pub fn shell_code(&self) -> i32 {
        const NOT_INVOKABLE: i32 = 126;
        const NOT_FOUND: i32 = 127;
        /// It is not the program's fault.
        const FAILED: i32 = 125;
        match self {
            ProgramError::NotFound { .. } | ProgramError::NotInPath { .. } | ProgramError::NoInterpreter { .. } => {
                NOT_FOUND
            }
            ProgramError::Empty => FAILED,
            _ => NOT_INVOKABLE,
        }
    }

    /// Returns the architecture of a program that this machine does not run.
    pub fn foreign_architecture(&self) -> Option<&str> {
        match self {
            ProgramError::ForeignArchitecture { architecture, .. } | ProgramError::NoEmulator { architecture, .. } => {
                Some(architecture)
            }
            _ => None,
        }
    }
}
