use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::Error;
use super::exit::{Exit, ExitStatus};
use super::launch::pipe;
use super::spec::{ContainerSpec, MountKind, RootMount};
use super::stubs::{self, Stub};
use super::wire::{self, Report};
use super::{TerminalSize, memory};
use crate::sys::clone::{Ended, How, Process};
use crate::sys::{Cancel, receive_descriptor};

/// What a process is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// A pipe for each stream.
    Pipes {
        /// Whether standard input is one; else it is at its end.
        input: bool,
    },
    /// A terminal of the container's own.
    Terminal(TerminalSize),
}

/// Our ends of what a process is connected to.
#[derive(Debug, Default)]
pub struct Streams {
    /// What is written here the process reads.
    pub stdin: Option<OwnedFd>,
    /// What the process writes to standard output.
    pub stdout: Option<OwnedFd>,
    /// What the process writes to standard error.
    pub stderr: Option<OwnedFd>,
    /// The other end of its terminal, in place of all three.
    pub terminal: Option<OwnedFd>,
}

impl Stdio {
    /// Returns the process's ends and ours; those of a terminal come later.
    pub(super) fn open(self) -> Result<([OwnedFd; 3], Streams), Error> {
        let ((stdin, input), (stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?, pipe()?);
        let streams = match self {
            Stdio::Pipes { input: wanted } => Streams {
                stdin: Some(input).filter(|_| wanted),
                stdout: Some(stdout),
                stderr: Some(stderr),
                terminal: None,
            },
            Stdio::Terminal(_) => Streams::default(),
        };
        Ok(([stdin, stdout_end, stderr_end], streams))
    }

    pub(super) fn terminal(self) -> Option<TerminalSize> {
        match self {
            Stdio::Terminal(size) => Some(size),
            Stdio::Pipes { .. } => None,
        }
    }
}

/// A process whose program runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    process: Option<Process>,
    streams: Streams,
    report: Vec<u8>,
    ending: Ending,
}

impl Running {
    /// Waits until the program runs.
    pub(super) fn new(
        process: Process,
        streams: Streams,
        report: OwnedFd,
        socket: Option<OwnedFd>,
        ending: Ending,
        cancel: &Cancel,
    ) -> Result<Running, Error> {
        let mut running = Running { process: Some(process), streams, report: Vec::new(), ending };
        running.report = read_to_end(report, cancel)?;
        if let Some(pid) = wire::reports(&running.report).iter().find_map(Report::joined) {
            let first = running.process.replace(Process::adopt(pid).map_err(launch("find the process"))?);
            first.map(Process::wait).transpose().map_err(launch("wait for the process"))?;
        }
        if wire::reports(&running.report).iter().any(|report| matches!(report, Report::Failed(_))) {
            return Err(running.wait().err().unwrap_or(Error::Silent(ExitStatus::Code(127))));
        }
        if let Some(socket) = socket {
            running.streams.terminal = receive_descriptor(socket).map_err(launch("receive the terminal"))?;
        }
        Ok(running)
    }

    /// Returns the number of the process.
    pub fn pid(&self) -> i32 {
        self.process().pid()
    }

    /// Returns a descriptor that polls readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process().pidfd().as_fd()
    }

    /// Returns what had to be made in the root to mount something over, and is removed in the end; relative to the root.
    pub fn stubs(&self) -> Vec<PathBuf> {
        let reports = wire::reports(&self.report);
        reports.into_iter().flat_map(Report::into_stubs).map(|stub| stub.path).collect()
    }

    /// Returns our ends of its streams; a second time, none.
    pub fn take_streams(&mut self) -> Streams {
        std::mem::take(&mut self.streams)
    }

    /// Waits for the end of the process, and clears up after it.
    ///
    /// # Errors
    /// [`Error::Launch`], [`Error::Stub`].
    pub fn wait(mut self) -> Result<Exit, Error> {
        let process = self.process.take().expect("there until it is waited for");
        let ended = process.wait().map_err(launch("wait for the process"))?;
        self.ending.forget_volatile();
        self.ending.exit(ended, &self.report)
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("there until it is waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let killed = process.kill().and_then(|()| process.wait());
            self.ending.forget_volatile();
            match killed.map_err(launch("kill the process")).and_then(|ended| self.ending.exit(ended, &self.report)) {
                Ok(_) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a container is not tidy"),
            }
        }
    }
}

/// What there is to do once the first process of a container has ended.
#[derive(Debug)]
pub(super) struct Ending {
    changes: Option<PathBuf>,
    works: Vec<PathBuf>,
    kills_before: Option<u64>,
}

impl Ending {
    pub(super) fn of(spec: &ContainerSpec, kills_before: Option<u64>) -> Ending {
        let trees = spec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Tree { root, .. } => Some(root),
            _ => None,
        });
        let works = std::iter::once(&spec.rootfs).chain(trees).filter_map(|root| match root {
            RootMount::Overlay { work, .. } => Some(work.clone()),
            RootMount::Merged { .. } | RootMount::Bind { .. } => None,
        });
        Ending { works: works.collect(), changes: Some(spec.rootfs.changes().to_owned()), kills_before }
    }

    /// Returns what there is to do for a process in the container of another: nothing.
    pub(super) fn of_guest() -> Ending {
        Ending { works: Vec::new(), changes: None, kills_before: memory::kills() }
    }

    /// Removes the mark by which overlayfs refuses a directory that was mounted `volatile`: it warns of a machine that
    /// went down meanwhile, and this one has not. The container's mount may outlive its processes by a moment, which is
    /// harmless.
    pub(super) fn forget_volatile(&self) {
        for work in &self.works {
            // Without the mark there is nothing to do; with one that stays, the next mount says so.
            let mark = work.join("work/incompat/volatile");
            let _ = std::fs::remove_file(mark.join("dirty"));
            let _ = std::fs::remove_dir(&mark);
            let _ = std::fs::remove_dir(work.join("work/incompat"));
        }
    }

    /// Removes the stubs, and returns how the process ended or why it did not begin.
    pub(super) fn exit(&self, ended: Ended, report: &[u8]) -> Result<Exit, Error> {
        let out_of_memory = matches!(ended.how, How::Signal(9) | How::Code(137))
            && self.kills_before.zip(memory::kills()).is_some_and(|(before, after)| after > before);
        let status = match ended.how {
            _ if out_of_memory => ExitStatus::OutOfMemory,
            How::Code(code) => ExitStatus::Code(code),
            How::Signal(signal) => ExitStatus::Signal(signal),
        };
        let mut ready = false;
        for report in wire::reports(report) {
            match report {
                Report::Stubs(list) => {
                    if let Some(changes) = &self.changes {
                        stubs::remove(changes, &list)?;
                    }
                    ready = true;
                }
                Report::Joined(_) => ready = true,
                Report::Failed(failure) => return Err(failure.into()),
            }
        }
        if !ready {
            return Err(Error::Silent(status));
        }
        Ok(Exit { status, cpu: ended.cpu, max_rss_bytes: ended.max_rss_bytes })
    }
}

impl Report {
    fn joined(&self) -> Option<i32> {
        match self {
            Report::Joined(pid) => Some(*pid),
            Report::Stubs(_) | Report::Failed(_) => None,
        }
    }

    fn into_stubs(self) -> Vec<Stub> {
        match self {
            Report::Stubs(stubs) => stubs,
            Report::Joined(_) | Report::Failed(_) => Vec::new(),
        }
    }
}

/// Removes what a container whose kiln was killed has left in its directory of changes: see [`Running::stubs`].
///
/// # Errors
/// [`Error::Stub`].
pub fn remove_stubs(changes: &std::path::Path, stubs: &[PathBuf]) -> Result<(), Error> {
    let stubs: Vec<Stub> = stubs.iter().map(|path| Stub { path: path.clone() }).collect();
    stubs::remove(changes, &stubs)
}

/// Returns the failure that an init has reported, if any.
pub(super) fn failure(report: OwnedFd) -> Result<(), Error> {
    let bytes = read_to_end(report, &Cancel::new())?;
    let failed = wire::reports(&bytes).into_iter().find_map(|report| match report {
        Report::Failed(failure) => Some(failure.into()),
        Report::Stubs(_) | Report::Joined(_) => None,
    });
    failed.map_or(Ok(()), Err)
}

/// Reads all reports: the last end of the pipe is closed by exec.
fn read_to_end(report: OwnedFd, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    // How soon an interrupt is seen.
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 25_000_000 };
    let mut file = std::fs::File::from(report);
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        cancel.check()?;
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(launch("wait for the process")(error.into())),
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(launch("wait for the process")(error)),
        }
    }
}

pub(super) fn launch(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Launch { action, source }
}
