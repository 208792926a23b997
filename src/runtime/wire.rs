//! What kiln and a container's init tell each other.

use std::io;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::error::{Error, ProgramError, UserError};
use super::ids::Ids;
use super::spec::{ContainerSpec, RootMount};
use super::stubs::Stub;
use super::terminal::TerminalSize;
use crate::sys::seccomp::Instruction;

/// `argv[0]` of a kiln that is the init of a container.
pub(super) const INIT_NAME: &std::ffi::CStr = c"kiln-init";

/// Descriptor with the [`Order`].
pub(super) const ORDER_FD: i32 = 3;

/// Descriptor for [`Report`]s; closed by exec, which is how kiln learns that the program runs.
pub(super) const REPORT_FD: i32 = 4;

/// What init is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Become a container.
    Begin(Start),
    /// Become one more process of a container, whose first one this descriptor stands for. The root and the mounts of
    /// the specification do not matter.
    Join { container: RawFd, start: Start },
    /// Mount a root and send a descriptor of it through this socket.
    Open { root: RootMount, socket: RawFd },
}

/// How a program starts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) spec: ContainerSpec,
    pub(super) ids: Ids,
    pub(super) filter: Vec<Instruction>,
    pub(super) terminal: Option<Terminal>,
}

/// A terminal that the program is to have.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Terminal {
    /// Takes a descriptor of its other end.
    pub(super) socket: RawFd,
    pub(super) size: TerminalSize,
}

/// What init says: stubs when all is mounted, who took its place, and a failure if there was one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Stubs(Vec<Stub>),
    /// The process in the container, as kiln sees it.
    Joined(i32),
    Failed(Failure),
}

/// Why init did not get to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Step { step: String, errno: i32 },
    User(UserError),
    Program(ProgramError),
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Failure {
        Failure::User(error)
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Failure {
        Failure::Program(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Step { step, errno } => Error::Setup { step, source: io::Error::from_raw_os_error(errno) },
            Failure::User(error) => Error::User(error),
            Failure::Program(error) => Error::Program(error),
        }
    }
}

/// Names the step that a result belongs to.
pub(super) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Failure::Step { step: step.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
        })
    }
}

/// Decodes the reports in `bytes`, as far as they are whole: init may have been killed while it wrote.
pub(super) fn reports(mut bytes: &[u8]) -> Vec<Report> {
    let mut reports = Vec::new();
    while let Ok((report, rest)) = postcard::take_from_bytes(bytes) {
        reports.push(report);
        bytes = rest;
    }
    reports
}
