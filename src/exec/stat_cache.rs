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
        // Was the clock set back since, a file may change at the very time at which it changed before.
        let now = jiff::Timestamp::now().as_nanosecond();
        let past = rows.iter().filter(|row| i128::from(row.ctime_ns) <= now);
        Files { known: past.map(|row| (key(row), row.digest)).collect(), new: HashMap::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_in_the_future_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let now = jiff::Timestamp::now().as_second();
        let at = |seconds| {
            let time = Mtime { seconds, nanoseconds: 0 };
            StatKey { device: 1, inode: seconds as u64, size_bytes: 1, mtime: time, ctime: time }
        };
        let digest = Digest::of(b"content");
        let cache = StatCache::new(&store, directory.path());
        for key in [at(now - 10), at(now + 3600)] {
            cache.put(key, digest);
        }
        cache.save().unwrap();
        let later = StatCache::new(&store, directory.path());
        assert_eq!(later.get(&at(now - 10)), Some(digest));
        assert_eq!(later.get(&at(now + 3600)), None);
    }
}
