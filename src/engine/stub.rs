use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::{ArchiveFormat, BuildOptions, BuildResult, ImageDetails, ImageSummary, LoadedImage};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::oci::{Digest, Platform, Reference};
use crate::solve::Observe;
use crate::sys::Cancel;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The build file has errors.
    #[error("{} cannot be built", file.name())]
    Diagnostics {
        /// The text.
        file: Source,
        /// What was found, errors among it.
        found: Vec<Diagnostic>,
    },
    /// A step's process failed.
    #[error("`{title}` {status}")]
    StepFailed {
        /// The step.
        title: String,
        /// Where it was written.
        origin: Option<(Source, Span)>,
        /// How the process ended, in words that complete "the process …".
        status: String,
        /// The last lines of its output.
        tail: Vec<String>,
        /// All of its output.
        log: Option<PathBuf>,
    },
    /// The operation was stopped.
    #[error("interrupted")]
    Cancelled,
    /// There is no such image in the store.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// Not there yet.
    #[error("this operation is not there yet")]
    Missing,
}

/// How the engine is set up.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The store; none is the default place.
    pub root: Option<PathBuf>,
    /// The configuration file; none is the default place.
    pub config: Option<PathBuf>,
}

/// How an image is pulled or pushed.
#[derive(Debug, Clone, Default)]
pub struct TransferOptions {
    /// Which image of an index to pull; none is this machine's.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
}

/// What `rmi` did.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images and layers that are gone.
    pub deleted: Vec<Digest>,
}

/// All operations over one store.
#[derive(Debug)]
pub struct Engine;

#[expect(missing_docs, clippy::missing_errors_doc, clippy::missing_const_for_fn, reason = "a stand-in")]
impl Engine {
    pub fn open(_: &EngineOptions) -> Result<Engine, Error> {
        Ok(Engine)
    }
    pub fn build(&self, _: &BuildOptions, _: Arc<dyn Observe>, _: &Cancel) -> Result<BuildResult, Error> {
        Err(Error::Missing)
    }
    pub fn pull(
        &self,
        _: &Reference,
        _: &TransferOptions,
        _: Arc<dyn Observe>,
        _: &Cancel,
    ) -> Result<ImageSummary, Error> {
        Err(Error::Missing)
    }
    pub fn push(&self, _: &Reference, _: &TransferOptions, _: Arc<dyn Observe>, _: &Cancel) -> Result<Digest, Error> {
        Err(Error::Missing)
    }
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        Ok(Vec::new())
    }
    pub fn inspect(&self, name: &str) -> Result<ImageDetails, Error> {
        Err(Error::NoSuchImage(name.to_owned()))
    }
    pub fn tag(&self, source: &str, _: &Reference) -> Result<(), Error> {
        Err(Error::NoSuchImage(source.to_owned()))
    }
    pub fn remove(&self, name: &str, _force: bool) -> Result<Removed, Error> {
        Err(Error::NoSuchImage(name.to_owned()))
    }
    pub fn save(&self, names: &[String], _: ArchiveFormat, _: &mut dyn Write, _: &Cancel) -> Result<(), Error> {
        Err(Error::NoSuchImage(names[0].clone()))
    }
    pub fn load(&self, _: &mut dyn Read, _: Arc<dyn Observe>, _: &Cancel) -> Result<Vec<LoadedImage>, Error> {
        Err(Error::Missing)
    }
    /// Returns what the steps of a build wrote: of all steps, or of one (from 1).
    pub fn log(&self, _build: Option<&str>, _step: Option<usize>) -> Result<String, Error> {
        Err(Error::Missing)
    }
}
