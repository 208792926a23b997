use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::ContainerId;
use crate::oci::{Digest, EncodedError, Reference};
use crate::sys::Cancelled;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system of the store is full, or its quota is used up.
    #[error("no space left for the store at {}", path.display())]
    NoSpace {
        /// The file that did not fit.
        path: PathBuf,
        /// What the kernel or SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused something kiln did not foresee.
    #[error("the store's database {} failed", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database is not one, or is damaged.
    #[error("the store's database {} is damaged", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Other processes kept the database locked for longer than kiln waits.
    #[error("the store's database {} stays locked by another process", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// A newer kiln wrote this store.
    #[error("the store at {} has version {found}, and this kiln reads up to {supported}", path.display())]
    NewerVersion {
        /// The store's directory.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this kiln knows.
        supported: u32,
    },
    /// There is no such blob here.
    #[error("blob {digest} is not in the store")]
    NoSuchBlob {
        /// Which.
        digest: Digest,
    },
    /// A document is larger than any sensible one.
    #[error("blob {digest} has {size} bytes where at most {max} are read")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// Bytes are fewer or more than announced.
    #[error("blob {digest} has {actual} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// Which.
        digest: Digest,
        /// What was announced.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// Bytes are not the announced ones.
    #[error("blob {expected} has the digest {actual}")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Manifest and config do not tell of the same number of layers.
    #[error("manifest {manifest} has {layers} layers and its config {diff_ids}")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// Its layers.
        layers: usize,
        /// The config's.
        diff_ids: usize,
    },
    /// A manifest or config in the store cannot be read.
    #[error(transparent)]
    Document(#[from] EncodedError),
    /// No image has this name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// The beginning of an id fits several images.
    #[error("{name} is the beginning of {count} image ids")]
    AmbiguousImage {
        /// What was asked for.
        name: String,
        /// How many fit.
        count: usize,
    },
    /// An image asked for by id has names in several repositories.
    #[error("image {} is referenced in several repositories", image.short())]
    ImageInUse {
        /// The config's digest.
        image: Digest,
        /// Its names.
        references: Vec<Reference>,
    },
    /// An image asked for by id is one of an index.
    #[error("image {} is one of the index {}", image.short(), index.short())]
    ImageInIndex {
        /// The config's digest.
        image: Digest,
        /// The index's digest.
        index: Digest,
    },
    /// A container stands on the image.
    #[error("image {} is being used by {} container {}", image.short(), if *is_running { "running" } else { "stopped" }, container.short())]
    ImageOfContainer {
        /// The config's digest.
        image: Digest,
        /// The container.
        container: ContainerId,
        /// Whether it runs.
        is_running: bool,
    },
    /// There is no container by that name or id.
    #[error("no such container: {name}")]
    NoSuchContainer {
        /// What was asked for.
        name: String,
    },
    /// The beginning of an id fits several containers.
    #[error("{name} is the beginning of {count} container ids")]
    AmbiguousContainer {
        /// What was asked for.
        name: String,
        /// How many fit.
        count: usize,
    },
    /// The name of a new container is taken.
    #[error("the name {name} is already in use by container {}", id.short())]
    ContainerNameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: ContainerId,
    },
    /// The process of the container runs.
    #[error("container {name} is running")]
    ContainerRunning {
        /// Its name.
        name: String,
    },
    /// Another kiln is at work on the container, whose process does not run.
    #[error("another kiln is at work on container {name}")]
    ContainerBusy {
        /// Its name.
        name: String,
    },
    /// No build is recorded under this id.
    #[error("no such build: {id}")]
    NoSuchBuild {
        /// What was asked for.
        id: String,
    },
    /// No build is recorded at all.
    #[error("no build is remembered")]
    NoBuilds,
    /// A build is the first of its file and context that is remembered.
    #[error("no build of the same file and context is remembered from before {id}")]
    FirstBuild {
        /// The build.
        id: String,
    },
    /// The beginning of an id fits several builds.
    #[error("{id} is the beginning of {count} build ids")]
    AmbiguousBuild {
        /// What was asked for.
        id: String,
        /// How many fit.
        count: usize,
    },
    /// The build has no such step.
    #[error("build {build} has no step {step}")]
    NoSuchStep {
        /// The build.
        build: String,
        /// From 1.
        step: usize,
    },
    /// Waiting for another process was interrupted.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// Returns the error of a failed file operation, telling a full disk from all else.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { path, source: Box::new(source) }
            }
            _ => Error::Io { action, path, source },
        }
    }

    pub(super) fn sql(path: impl Into<PathBuf>, source: rusqlite::Error) -> Error {
        let path = path.into();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::NoSpace { path, source: Box::new(source) },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { path },
            _ => Error::Database { path, source },
        }
    }
}
