use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::context::{DigestCache, StatKey};
use crate::layer::Mtime;
use crate::oci::Digest;
use crate::store::{self, StatDigest, Store};

/// Digests of the files of one context directory, as earlier builds computed them. Read from the store when a build
/// first asks for one, and written back once, at its end.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    scope: Vec<u8>,
    files: Mutex<Option<Files>>,
}

#[derive(Debug)]
struct Files {
    known: HashMap<StatKey, Digest>,
    new: HashMap<StatKey, Digest>,
}

impl StatCache {
    /// Returns the cache for the directory `path`.
    pub fn new(store: &Store, path: &Path) -> StatCache {
        use std::os::unix::ffi::OsStrExt;
        let scope = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        StatCache { store: store.clone(), scope: scope.as_os_str().as_bytes().to_vec(), files: Mutex::new(None) }
    }

    /// Writes what is new into the store.
    ///
    /// # Errors
    /// Those of the store.
    pub fn save(&self) -> Result<(), store::Error> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Files { known, new }) = &*files else { return Ok(()) };
        if new.is_empty() {
            return Ok(());
        }
        // Only the inode tells that a file is the same one as before.
        let changed: HashSet<(u64, u64)> = new.keys().map(|key| (key.device, key.inode)).collect();
        let gone: Vec<(u64, u64)> =
            known.keys().map(|key| (key.device, key.inode)).filter(|inode| changed.contains(inode)).collect();
        let rows: Vec<StatDigest> = new.iter().map(|(key, digest)| row(key, *digest)).collect();
        self.store.save_stat_digests(&self.scope, &rows, &gone)
    }

    fn load(&self) -> Files {
        // A cache that cannot be read is an empty one.
        let rows = self.store.stat_digests(&self.scope).unwrap_or_default();
        let known = rows.iter().map(|row| (key(row), row.digest)).collect();
        Files { known, new: HashMap::new() }
    }
}

impl DigestCache for StatCache {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.get_or_insert_with(|| self.load());
        files.known.get(key).or_else(|| files.new.get(key)).copied()
    }

    fn put(&self, key: StatKey, digest: Digest) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get_or_insert_with(|| self.load()).new.insert(key, digest);
    }
}

fn key(row: &StatDigest) -> StatKey {
    StatKey {
        device: row.device,
        inode: row.inode,
        size_bytes: row.size,
        mtime: time(row.mtime_ns),
        ctime: time(row.ctime_ns),
    }
}

fn row(key: &StatKey, digest: Digest) -> StatDigest {
    StatDigest {
        device: key.device,
        inode: key.inode,
        size: key.size_bytes,
        mtime_ns: nanoseconds(key.mtime),
        ctime_ns: nanoseconds(key.ctime),
        digest,
    }
}

const SECOND: i64 = 1_000_000_000;

fn time(nanoseconds: i64) -> Mtime {
    Mtime { seconds: nanoseconds.div_euclid(SECOND), nanoseconds: nanoseconds.rem_euclid(SECOND) as u32 }
}

/// Times beyond the year 2262 come out wrong, which costs reading the file again.
fn nanoseconds(time: Mtime) -> i64 {
    time.seconds.saturating_mul(SECOND).saturating_add(time.nanoseconds.into())
}
