//! The store: one directory with everything kiln keeps, shared by all its processes.
//!
//! ```text
//! <root>/
//!   oci-layout, index.json   the directory is an OCI image layout; tags are in both the index and the database
//!   blobs/sha256/<hex>       manifests, configs and layers, by the digest of their bytes; never changed
//!   kiln.db                  SQLite (WAL): tags, images, layers and their indexes, cache, build records, containers
//!   trees/<n>/               a layer's files in overlayfs lower form, a container's changes, or a tree being written
//!   remotes/<hex>/           what was downloaded or checked out, by what it was made from
//!   ingest/                  blobs on their way in: `*.tmp` die with their process, `<hex>.partial` can be resumed
//!   caches/<hex>/            directories of cache mounts, each with a lock beside it; nothing in an image depends on them
//!   logs/<build>/<step>.log  what each step wrote
//!   lock                     held shared by every open store, exclusively while something is deleted
//! ```
//!
//! A blob is visible once it is complete and on disk; an image is visible, with all its names, once the transaction of
//! [`Store::commit_image`] is. Whatever a killed process leaves is invisible, and the next process that finds itself
//! alone removes it. Nothing is deleted while another store is open: removed images disappear from every list at once,
//! and their bytes when the last one closes and a new one opens.

mod blob;
mod cached;
mod caches;
mod containers;
mod database;
mod error;
mod images;
mod indexes;
mod layers;
mod lock;
mod memory;
mod partial;
mod records;
mod remotes;
mod remove;
mod temporary;
#[cfg(test)]
mod tests;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

pub use blob::{Hashing, Ingest, Sealed};
pub(crate) use cached::CacheRow;
pub use caches::{CacheDirectory, CacheUse};
pub use containers::{ContainerId, ContainerRecord, ContainerState, NewContainer, NewFailure};
pub use error::Error;
pub use images::ImageRecord;
pub use indexes::{Entry, IndexRecord};
pub use layers::{Encoding, LayerBlob};
pub use memory::{Resolution, StatDigest};
pub use partial::Partial;
pub use records::{BuildEnd, BuildId, BuildRecord, Outcome, PastStep, StepRecord};
pub use remove::Removed;
pub use temporary::Temporary;
pub use trees::{Tree, TreeKey};

use database::{Database, VERSION};
use lock::Lock;

/// An open store. Clones share it; threads and processes may use it at once.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    // Before the lock, so that it is closed while the lock is still held.
    database: Database,
    lock: Lock,
}

const DIRECTORIES: [&str; 4] = ["blobs/sha256", "ingest", "trees", "logs"];
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Store {
    /// Opens the store at `root`, making it if there is none.
    ///
    /// Whoever opens it while nobody else has it open also clears up after processes that died.
    ///
    /// # Errors
    /// [`Error::NewerVersion`], [`Error::Corrupt`], [`Error::NoSpace`], [`Error::Io`].
    pub fn open(root: &Path) -> Result<Store, Error> {
        let lock = lock_file(root)?;
        let alone = lock.try_exclusive()?;
        if !alone {
            lock.shared()?;
        }
        if let Some(store) = Store::open_locked(root, lock, alone)? {
            return Ok(store);
        }
        // Whoever was to make the schema died at it, or uses an old one. Nobody may wait for the exclusive lock with a shared one.
        let lock = lock_file(root)?;
        lock.exclusive()?;
        Ok(Store::open_locked(root, lock, true)?.expect("with the exclusive lock the schema is made"))
    }

    /// Returns nothing where the schema is missing or old, and somebody else uses it or may be about to make it.
    fn open_locked(root: &Path, lock: Lock, alone: bool) -> Result<Option<Store>, Error> {
        let database = Database::open(root.join("kiln.db"))?;
        match database.version()? {
            VERSION => {}
            found if found < VERSION && !alone => return Ok(None),
            found if found < VERSION => {
                if found == 0 {
                    create_layout(root)?;
                }
                database.migrate(found)?;
            }
            found => return Err(Error::NewerVersion { path: root.to_owned(), found, supported: VERSION }),
        }
        let store = Store { inner: Arc::new(Inner { root: root.to_owned(), database, lock }) };
        if alone {
            // What cannot be cleared up is in nobody's way but the disk's.
            if let Err(error) = store.clear_up() {
                tracing::warn!(root = %root.display(), error = &error as &dyn std::error::Error, "leftovers stay");
            }
            store.inner.lock.shared()?;
        }
        Ok(Some(store))
    }

    /// Returns the store's directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Removes what dead processes left. The caller is alone.
    fn clear_up(&self) -> Result<(), Error> {
        let cleared = [
            self.clear_ingest(),
            self.clear_containers(),
            self.clear_trees(),
            self.clear_remotes(),
            self.end_abandoned_builds(),
            self.collect().map(drop),
        ];
        cleared.into_iter().collect()
    }
}

fn lock_file(root: &Path) -> Result<Lock, Error> {
    match Lock::open(root) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(root).map_err(|source| Error::io("create", root, source))?;
            Lock::open(root)
        }
        other => other,
    }
}

fn create_layout(root: &Path) -> Result<(), Error> {
    for name in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(|source| Error::io("create", &path, source))?;
    }
    write_file(&root.join("oci-layout"), LAYOUT)?;
    write_file(&root.join("index.json"), br#"{"schemaVersion":2,"manifests":[]}"#)
}

/// Replaces a small file at once, without waiting for the disk: all of these can be derived again.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    fs::write(&new, bytes).map_err(|source| Error::io("write", &new, source))?;
    fs::rename(&new, path).map_err(|source| Error::io("rename", &new, source))
}

/// Removes a file that may be gone already.
fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// The time as the database keeps it: microseconds since the epoch.
fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or_default()
}
