//! One method per operation a user can ask for.
//!
//! ```text
//!  build    read ─▶ plan ─▶ solve ─▶ assemble ─▶ store, archives, registry
//!                            └┄ layers ┄▶ compress ┄▶ registry, behind the steps
//!  pull     resolve ─▶ fetch layers ─▶ store            push   compress ─▶ registry
//!  foresee  read ─▶ plan ─▶ look up
//!  check    read ─▶ plan ─▶ report                      context  fetch ─▶ walk
//!  diff     find ─▶ fetch what differs ─▶ compare
//!  explore  store ─▶ layers merged
//!  save     store ─▶ archive                            load   archive ─▶ store
//!  make_container  image ─▶ container ─▶ process        commit   container ─▶ layer ─▶ store
//!  shell    step that failed, image ─▶ process       resumable   store ─▶ how a build was asked for
//!  recorded, explain   store ─▶ what was built, what ran and why
//! ```

mod ahead;
mod archives;
mod assemble;
mod between;
mod build;
mod builds;
mod check;
mod compress;
mod config;
mod containers;
mod context;
mod contexts;
mod diff;
mod dockerfile;
mod error;
mod explore;
mod export;
mod failure;
mod fetch;
mod foresee;
mod images;
mod layout;
mod lint;
mod named;
mod options;
mod outline;
mod policy;
mod provenance;
mod record;
mod reproducible;
mod resolve;
mod shape;
mod shell;
mod source;
mod summary;
mod targets;
mod times;
mod transfer;
mod verify;

use std::path::{Path, PathBuf};

pub use between::{BetweenBuilds, Figures, StepPair};
pub use builds::{Build, BuildStep, Explanation, Resumable};
pub use check::{Ask, Finding, Fixed, Report, check, fix};
pub use containers::{
    CommitOptions, Container, ContainerSummary, CopyEnd, ExecOptions, ImportOptions, Pull, RunOptions,
};
pub use context::{ContextListing, context};
pub use diff::{Cause, Diff, DiffOptions, DiffSide, LayerDiff, Packages, Patch, PatchText, SideLayer, UnreadPackages};
pub use error::{Error, FailedStep, Left};
pub use explore::{Beginning, Exploration};
pub use foresee::{Expected, Foreseen, ForeseenStep};
pub use options::{
    ArchiveFormat, BuildOptions, BuildResult, DockerfileSource, Form, ImageDetails, ImageSummary, Invocation,
    LoadedImage, OnFailure, Output, OutputKind, Packing, SaveOptions,
};
pub use outline::{Outline, OutlineArgument, OutlineItem};
pub use policy::PolicyError;
pub use provenance::{Blame, Item, Made, Provenance, Touch, TouchKind};
pub use record::{BuildFacts, FindingFact, PhaseFact, StepFacts};
pub use shape::Folding;
pub use shell::{Moment, Shell, ShellAbout, ShellOf, ShellOptions};
pub use source::{ContextSource, NamedSource, Stream};
pub use summary::{ImageSizes, Summary};
pub use targets::{Target, Targets};
pub use transfer::TransferOptions;
pub use verify::Difference;

use config::Config;

use crate::registry;
use crate::store::Store;

pub use crate::container::{CopyOptions, Meanwhile, SettingsMount, is_name};
pub use crate::exec::{AgentSource, SecretSource};
pub use crate::frontend::Allow;
pub use crate::store::{ContainerRecord, ContainerState, Removed};

/// How the engine is set up.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The store; none is the default place.
    pub root: Option<PathBuf>,
    /// The configuration file; none is the default place.
    pub config: Option<PathBuf>,
}

impl EngineOptions {
    fn place(&self) -> Result<PathBuf, Error> {
        self.root.clone().map_or_else(default_root, Ok)
    }
}

/// All operations over one store.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    config: Config,
}

impl Engine {
    /// Opens the store, making it where there is none, and reads the configuration.
    ///
    /// # Errors
    /// [`Error::NoHome`], those of the store and of the configuration.
    pub fn open(options: &EngineOptions) -> Result<Engine, Error> {
        let root = options.place()?;
        let config = Config::load(options.config.as_deref())?;
        Ok(Engine { store: Store::open(&root)?, config })
    }

    /// Opens the store if there is one, and makes nothing if there is none.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_existing(options: &EngineOptions) -> Result<Option<Engine>, Error> {
        if options.place()?.exists() { Engine::open(options).map(Some) } else { Ok(None) }
    }

    /// Enters the user namespace in which a container of this user runs, so that its processes and files can be reached;
    /// there must be no threads. Where the container does not run, this does nothing.
    ///
    /// # Errors
    /// [`Error::NoHome`], [`Error::UserNamespace`].
    pub fn enter_namespace_of(options: &EngineOptions, container: &str) -> Result<(), Error> {
        let root = options.place()?;
        let keeper = Store::keeper_in(&root, container).and_then(|keeper| keeper.open().ok().flatten());
        if let Some(keeper) = keeper {
            crate::runtime::enter_user_namespace_of(keeper)?;
        }
        Ok(())
    }

    /// Returns a client for registries.
    fn client(&self, insecure: &[String]) -> registry::Client {
        let options = registry::ClientOptions { config: self.config.registry.clone(), insecure: insecure.to_vec() };
        registry::Client::new(options)
    }
}

/// Returns `/var/lib/kiln` for root, and a directory below the user's data for everybody else (XDG base directories).
fn default_root() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() && crate::runtime::ids() == crate::runtime::Ids::Root {
        return Ok(PathBuf::from("/var/lib/kiln"));
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
    let data = data.or_else(home).ok_or(Error::NoHome)?;
    Ok(data.join("kiln"))
}

/// Returns an error of the file at `path`.
fn file_error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File { action, path: path.to_owned(), source }
}
