//! Containers: one process over an image, and what it has changed there.
//!
//! ```text
//!  image ──▶ layers ──▶ view ──create──▶ container ──start──▶ process ──▶ exit code
//!              ▲                            │  └─ join: one more process; open: its files; changes: what it did
//!              └───────────commit───────────┘  the directory of changes becomes the layer, and the container goes on
//!                                              over it with an empty one
//! ```
//!
//! A failed step leaves one as well: its changes, and the [`Recipe`] of its process. A [`Visit`] looks at such files, and
//! changes nothing.
//!
//! A container is a record in the store and a tree of changes. While its process runs, one kiln keeps it: that kiln is
//! the process's parent, and with it the process ends. A record whose keeper is gone is one of a container that has
//! ended, whoever looks. Containers that go on without a kiln in the foreground, volumes, networks of their own and logs
//! are to come; their places are [`Settings`] and the keeper.

mod changes;
mod commit;
mod error;
mod failure;
mod files;
mod guard;
mod name;
mod pause;
mod settings;
mod visit;

use std::os::fd::AsFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use commit::{Committed, Meanwhile};
pub use error::Error;
pub use failure::{FailedStep, Recipe};
pub use files::{CopyOptions, Place, copy, copy_in, copy_out};
pub use guard::enter;
pub use name::is_name;
pub use settings::{Program, Settings, SettingsMount};
pub use visit::{Visit, Visitor};

use crate::exec::{Asker, Layer, Library, Stack};
use crate::oci::{Digest, History};
use crate::runtime::{Native, Running, Stdio, remove_stubs};
use crate::store::{self, ContainerId, ContainerRecord, NewContainer, Store};
use crate::sys::ProcessIdentity;

/// The image of a container to be.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it was called.
    pub name: String,
    /// Its manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: Digest,
}

/// A container to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id.
    pub id: ContainerId,
    /// What it stands on.
    pub image: Image,
    /// Its name; none is one that nobody has.
    pub name: Option<String>,
    /// Whether it is removed when its process ends.
    pub is_temporary: bool,
    /// How it runs.
    pub settings: Settings,
}

/// What is kept of a container in its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    settings: Settings,
    /// Of each layer that was made of its changes.
    commits: Vec<History>,
    /// None but of what a failed step has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<Recipe>,
}

/// All containers of a store.
pub struct Containers {
    library: Arc<Library>,
    runtime: Native,
}

/// 128 and SIGKILL.
const KILLED: i32 = 137;

impl Containers {
    /// Returns the containers of the library's store.
    pub fn new(library: Arc<Library>) -> Containers {
        Containers { library, runtime: Native::default() }
    }

    /// Returns what their layers are had from.
    pub fn library(&self) -> &Library {
        &self.library
    }

    fn store(&self) -> &Store {
        self.library.store()
    }

    /// Makes a container of an image, kept by this process. Without a name it gets one.
    ///
    /// # Errors
    /// Those of the store, such as for a name that is taken, and of fetching and unpacking layers.
    pub fn create(&self, wanted: Wanted, stack: &Stack, asker: Asker<'_>) -> Result<ContainerRecord, Error> {
        let Wanted { id, image, name, is_temporary, settings } = wanted;
        let active = self.library.writable(stack, asker)?;
        let facts = serde_json::to_string(&Facts { settings, commits: Vec::new(), recipe: None })?;
        let mut new = NewContainer {
            id,
            name: name.clone().unwrap_or_default(),
            image: image.name,
            manifest: image.manifest,
            config: image.config,
            layers: stack.diff_ids()?,
            is_temporary,
            facts,
            failure: None,
        };
        loop {
            if name.is_none() {
                new.name = name::random();
            }
            match self.store().create_container(&new, active.kept_by()) {
                Err(store::Error::ContainerNameInUse { .. }) if name.is_none() => {}
                done => break done?,
            }
        }
        active.keep();
        Ok(self.store().find_container(&new.id.to_string())?)
    }

    /// Makes this process the keeper of a container that has ended, or never begun.
    ///
    /// # Errors
    /// [`store::Error::ContainerRunning`] and [`store::Error::ContainerBusy`], those of the store.
    pub fn keep(&self, id: ContainerId) -> Result<ContainerRecord, Error> {
        Ok(self.store().keep_container(id)?)
    }

    /// Starts the process of a container that this process keeps; returns once the program runs.
    ///
    /// # Errors
    /// Those of the runtime; then the container has ended.
    pub fn start(&self, container: &ContainerRecord, stdio: Stdio, asker: Asker<'_>) -> Result<Running, Error> {
        let started = self.begin(container, stdio, asker);
        if let Err(error) = &started {
            self.ended(container, Some(error.exit_code()))?;
        }
        started
    }

    fn begin(&self, container: &ContainerRecord, stdio: Stdio, asker: Asker<'_>) -> Result<Running, Error> {
        let root = self.root_mount(container, asker)?;
        let settings = facts(container)?.settings;
        let spec = settings.spec(root, container.is_temporary);
        let running = self.runtime.start(&spec, stdio, asker.cancel)?;
        let process = ProcessIdentity::of(running.pid());
        match process {
            Ok(process) => self.store().container_started(container.id, &process, &running.stubs())?,
            // It has ended already, and only waits to be asked how.
            Err(_) => {
                let own = ProcessIdentity::own().map_err(Error::Identity)?;
                self.store().container_started(container.id, &own, &running.stubs())?;
            }
        }
        Ok(running)
    }

    /// Waits for the end of a container's process, and notes it; a temporary container is removed. Returns the exit code,
    /// as shells count.
    ///
    /// # Errors
    /// Those of the runtime and of the store.
    pub fn wait(&self, container: &ContainerRecord, running: Running) -> Result<i32, Error> {
        let exit = running.wait();
        let code = exit.as_ref().map_or(KILLED, |exit| exit.status.shell_code());
        self.ended(container, Some(code))?;
        exit?;
        Ok(code)
    }

    /// Notes that this process no longer keeps a container, whose process has ended with `code`, or has not been begun.
    ///
    /// # Errors
    /// Those of the store.
    pub fn ended(&self, container: &ContainerRecord, code: Option<i32>) -> Result<(), Error> {
        self.store().container_ended(container.id, code)?;
        if container.is_temporary {
            self.store().remove_container(container.id)?;
        }
        Ok(())
    }

    /// Starts one more process in a container that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`], those of the runtime.
    pub fn join(
        &self,
        container: &ContainerRecord,
        program: &Program,
        stdio: Stdio,
        asker: Asker<'_>,
    ) -> Result<Running, Error> {
        let not_running = || Error::NotRunning { name: container.name.clone() };
        let first = container.process.as_ref().ok_or_else(not_running)?;
        let first = first.open().map_err(Error::Identity)?.ok_or_else(not_running)?;
        let spec = facts(container)?.settings.guest(program);
        Ok(self.runtime.join(first.as_fd(), &spec, stdio, asker.cancel)?)
    }

    /// Sends a signal to the first process of a container that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Signal`].
    pub fn signal(&self, container: &ContainerRecord, signal: i32) -> Result<(), Error> {
        let not_running = || Error::NotRunning { name: container.name.clone() };
        let first = container.process.as_ref().ok_or_else(not_running)?;
        let first = first.open().map_err(Error::Identity)?.ok_or_else(not_running)?;
        let refused = |source| Error::Signal { name: container.name.clone(), source };
        crate::sys::send_signal(first, signal).map_err(refused)
    }

    /// Returns the settings of a container.
    ///
    /// # Errors
    /// [`Error::Facts`].
    pub fn settings(&self, container: &ContainerRecord) -> Result<Settings, Error> {
        Ok(facts(container)?.settings)
    }

    /// Returns the layers below a container's changes: of its image, and those that were made of its changes.
    fn stack(&self, container: &ContainerRecord) -> Result<Stack, Error> {
        let layers = self.store().container_layers(container.id)?;
        Ok(Stack::new(layers.into_iter().map(Layer::stored).collect()))
    }

    fn tree(&self, container: &ContainerRecord) -> Result<store::Tree, Error> {
        let tree = self.store().tree_of(container.id)?;
        tree.ok_or_else(|| Error::LostTree { name: container.name.clone() })
    }

    /// Returns the whole file system of a container whose process does not run, tidy after a kiln that was killed.
    fn root_mount(&self, container: &ContainerRecord, asker: Asker<'_>) -> Result<crate::runtime::RootMount, Error> {
        let view = self.library.reopen(&self.stack(container)?, &self.tree(container)?, asker)?;
        let root = crate::runtime::RootMount::from(&view);
        if !container.stubs.is_empty() {
            remove_stubs(root.changes(), &container.stubs)?;
        }
        Ok(root)
    }
}

fn facts(container: &ContainerRecord) -> Result<Facts, Error> {
    Ok(serde_json::from_str(&container.facts)?)
}

/// Docker's exit code where it is not the program's fault.
const FAILED: i32 = 125;
