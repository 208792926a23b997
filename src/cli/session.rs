use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use super::Error;
use crate::engine::{Engine, EngineOptions};
use crate::runtime;
use crate::sys::Cancel;

/// Flags of every command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Global {
    /// Keep images, cache and logs in this directory
    #[arg(long, global = true, value_name = "DIR", env = "KILN_ROOT", help_heading = "Global options")]
    root: Option<PathBuf>,
    /// Read the configuration from this file
    #[arg(long, global = true, value_name = "FILE", env = "KILN_CONFIG", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Write what kiln does to stderr (KILN_LOG chooses what, such as `kiln::registry=trace`)
    #[arg(long, global = true, help_heading = "Global options")]
    debug: bool,
}

/// What a command works with.
#[derive(Debug)]
pub(super) struct Session {
    /// Raised by the first SIGINT or SIGTERM.
    pub(super) cancel: Cancel,
    /// Whether stderr carries kiln's own log as well, which a live display would tear.
    pub(super) logging: bool,
    options: EngineOptions,
    signals: Vec<SigId>,
}

impl Global {
    /// Prepares the process: signals and logging. The store is not touched.
    pub(super) fn session(&self) -> Result<Session, Error> {
        let cancel = Cancel::new();
        let mut signals = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal asks, and a second one does not wait for an answer.
            let shutdown =
                flag::register_conditional_shutdown(signal, super::report::INTERRUPTED.into(), cancel.flag());
            signals.push(shutdown.map_err(Error::Signals)?);
            signals.push(flag::register(signal, cancel.flag()).map_err(Error::Signals)?);
        }
        let options = EngineOptions { root: self.root.clone(), config: self.config.clone() };
        Ok(Session { cancel, logging: start_log(self.debug), options, signals })
    }
}

impl Session {
    /// Opens the store. As a normal user, enters a user namespace first, in which kiln is root; there must be no threads.
    pub(super) fn engine(&self) -> Result<Engine, Error> {
        runtime::enter_user_namespace()?;
        Ok(Engine::open(&self.options)?)
    }

    /// Opens the store where a container can be reached, should it run: as a normal user, in that container's user
    /// namespace.
    pub(super) fn engine_beside(&self, container: &str) -> Result<Engine, Error> {
        Engine::enter_namespace_of(&self.options, container)?;
        self.engine()
    }

    /// Lets go of SIGINT and SIGTERM: from now on they are what a program is told, and no longer interrupt kiln.
    pub(super) fn release_signals(&self) {
        for id in &self.signals {
            low_level::unregister(*id);
        }
    }
}

/// Standard input that notices interrupts: a blocked read is restarted after a signal, and would hear none.
#[derive(Debug)]
pub(super) struct Input {
    cancel: Cancel,
}

impl Session {
    /// Returns standard input.
    pub(super) fn input(&self) -> Input {
        Input { cancel: self.cancel.clone() }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            self.cancel.check().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(&stdin, &mut *buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Half of the time in which an interrupt must be heard.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Starts kiln's own log if anybody asked for it, and tells whether.
fn start_log(debug: bool) -> bool {
    let filter = match std::env::var("KILN_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ if debug => "kiln=debug".to_owned(),
        _ => "kiln=warn".to_owned(),
    };
    let chosen = debug || filter != "kiln=warn";
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colours())
        .init();
    chosen
}

/// Tells whether stderr shows colours (<https://no-color.org>).
pub(super) fn colours() -> bool {
    io::stderr().is_terminal() && colours_wanted()
}

/// Tells whether the user has nothing against colours.
pub(super) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a whole file, such as the one of `--iidfile`.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
