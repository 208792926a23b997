//! Containers: made of images, run in the foreground, entered, listed and removed.

mod alter;
mod commit;
mod copy;
mod import;
mod make;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use commit::CommitOptions;
pub use copy::CopyEnd;
pub use import::ImportOptions;
pub use make::{Pull, RunOptions};

use super::{Engine, Error};
use crate::container::{Containers, Program};
use crate::exec::{Asker, Library};
use crate::runtime::{Running, Stdio};
use crate::solve::{Event, Observe};
use crate::store::{ContainerId, ContainerRecord, ContainerState};
use crate::sys::Cancel;

/// A container that this process keeps.
pub struct Container {
    containers: Containers,
    record: ContainerRecord,
    observer: Arc<dyn Observe>,
}

/// One line of `kiln ps`.
#[derive(Debug, Clone)]
pub struct ContainerSummary {
    /// What is recorded.
    pub record: ContainerRecord,
    /// What it is doing.
    pub state: ContainerState,
    /// What it runs.
    pub argv: Vec<String>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// What one more process of a container is to be.
pub type ExecOptions = Program;

/// How soon the end of a container is seen that another process keeps.
const TICK: Duration = Duration::from_millis(20);

/// How long a keeper may take to note the end of its container.
const TIDYING: Duration = Duration::from_secs(10);

impl Container {
    /// Returns what is recorded of it.
    pub fn record(&self) -> &ContainerRecord {
        &self.record
    }

    /// Starts its process; returns once the program runs.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn start(&self, stdio: Stdio, cancel: &Cancel) -> Result<Running, Error> {
        Ok(self.containers.start(&self.record, stdio, self.asker(cancel))?)
    }

    /// Waits for the end of its process, which returns the exit code as shells count, and notes it.
    ///
    /// # Errors
    /// Those of the runtime and of the store.
    pub fn wait(&self, running: Running) -> Result<i32, Error> {
        Ok(self.containers.wait(&self.record, running)?)
    }

    fn asker<'a>(&'a self, cancel: &'a Cancel) -> Asker<'a> {
        Asker { step: None, observer: &self.observer, cancel }
    }
}

/// A container that this process keeps for a moment.
pub(super) struct Held<'a> {
    engine: &'a Engine,
    id: ContainerId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engine.store.container_ended(self.id, None) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a container stays kept as long as this process");
        }
    }
}

impl Engine {
    pub(super) fn keeper(&self, insecure: &[String]) -> Containers {
        Containers::new(Arc::new(Library::new(&self.store, self.client(insecure))))
    }

    /// Returns a container that has ended, or was never begun, to be started by this process.
    ///
    /// # Errors
    /// Those of the store, such as for one that runs.
    pub fn keep_container(&self, name: &str) -> Result<(Container, bool), Error> {
        let containers = self.keeper(&[]);
        let found = self.store.find_container(name)?;
        if found.project.is_some() {
            return Err(Error::IsAFailure { container: found.name });
        }
        let record = containers.keep(found.id)?;
        let has_terminal = containers.settings(&record)?.has_terminal;
        Ok((Container { containers, record, observer: nobody() }, has_terminal))
    }

    /// Starts one more process in a container that runs.
    ///
    /// # Errors
    /// Those of the store and of the runtime, such as for one that does not run.
    pub fn exec(&self, name: &str, options: &ExecOptions, stdio: Stdio, cancel: &Cancel) -> Result<Running, Error> {
        let record = self.store.find_container(name)?;
        let observer = nobody();
        let asker = Asker { step: None, observer: &observer, cancel };
        Ok(self.keeper(&[]).join(&record, options, stdio, asker)?)
    }

    /// Returns a container, which no other process starts or removes as long as what is returned beside it is held; one that
    /// runs is left to who keeps it.
    fn hold(&self, name: &str) -> Result<(ContainerRecord, Option<Held<'_>>), Error> {
        let found = self.store.find_container(name)?;
        if found.state() == ContainerState::Running {
            return Ok((found, None));
        }
        let record = self.store.keep_container(found.id)?;
        Ok((record, Some(Held { engine: self, id: found.id })))
    }

    /// Keeps others from starting and removing a container that has ended, as long as what is returned is held.
    pub(super) fn hold_container(&self, id: ContainerId) -> Result<Held<'_>, Error> {
        self.store.keep_container(id)?;
        Ok(Held { engine: self, id })
    }

    /// Returns all containers, the last made first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn containers(&self) -> Result<Vec<ContainerSummary>, Error> {
        let containers = self.keeper(&[]);
        let summary = |record: ContainerRecord| {
            // A record that cannot be read is listed all the same, for somebody must be able to remove it.
            let settings = containers.settings(&record).ok();
            let argv = settings.as_ref().map(|settings| settings.argv()).unwrap_or_default();
            let labels = settings.map(|settings| settings.config.labels).unwrap_or_default();
            ContainerSummary { state: record.state(), argv, labels, record }
        };
        Ok(self.store.containers()?.into_iter().map(summary).collect())
    }

    /// Sends a signal to a container; returns what it was sent to.
    ///
    /// # Errors
    /// Those of the store, and where the container does not run.
    pub fn signal_container(&self, name: &str, signal: i32) -> Result<ContainerRecord, Error> {
        let record = self.store.find_container(name)?;
        self.keeper(&[]).signal(&record, signal)?;
        Ok(record)
    }

    /// Asks a container to end with the signal of its image, and ends it after `patience`; one that has ended is left
    /// alone.
    ///
    /// # Errors
    /// Those of the store, and [`Error::Cancelled`].
    pub fn stop_container(&self, name: &str, patience: Duration, cancel: &Cancel) -> Result<(), Error> {
        let record = self.store.find_container(name)?;
        if record.state() != ContainerState::Running {
            return Ok(());
        }
        let containers = self.keeper(&[]);
        let wanted = containers.settings(&record)?.config.stop_signal;
        let signal = wanted.as_deref().and_then(crate::frontend::signal_number).unwrap_or(libc::SIGTERM);
        self.end(&containers, &record, signal, patience, cancel)
    }

    fn end(
        &self,
        containers: &Containers,
        record: &ContainerRecord,
        signal: i32,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        match containers.signal(record, signal) {
            // It has ended by itself.
            Err(crate::container::Error::NotRunning { .. }) => {}
            sent => sent?,
        }
        if self.has_ended(record, patience, cancel)? || signal == libc::SIGKILL {
            return Ok(());
        }
        self.end(containers, record, libc::SIGKILL, TIDYING, cancel)
    }

    /// Waits until nobody keeps a container.
    fn has_ended(&self, record: &ContainerRecord, patience: Duration, cancel: &Cancel) -> Result<bool, Error> {
        let begun = Instant::now();
        loop {
            cancel.check()?;
            match self.store.find_container(&record.id.to_string()) {
                Err(crate::store::Error::NoSuchContainer { .. }) => return Ok(true),
                found => match found?.is_kept() {
                    false => return Ok(true),
                    true if begun.elapsed() >= patience => return Ok(false),
                    true => std::thread::sleep(TICK),
                },
            }
        }
    }

    /// Removes a container; with `force` also one that runs, which is killed.
    ///
    /// # Errors
    /// [`Error::ContainerRuns`], those of the store.
    pub fn remove_container(&self, name: &str, force: bool, cancel: &Cancel) -> Result<(), Error> {
        let record = self.store.find_container(name)?;
        if record.is_kept() {
            if !force {
                return Err(Error::ContainerRuns { name: record.name });
            }
            self.end(&self.keeper(&[]), &record, libc::SIGKILL, TIDYING, cancel)?;
        }
        match self.store.remove_container(record.id) {
            // Its keeper was asked to, when it ended.
            Err(crate::store::Error::NoSuchContainer { .. }) => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Returns one who is told nothing: what is done for a container is soon done, and its terminal is the program's.
pub(super) fn nobody() -> Arc<dyn Observe> {
    Arc::new(|_: Event| {})
}
