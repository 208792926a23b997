use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::{DigestCache, StatKey};
use crate::layer::Mtime;
use crate::oci::Digest;
use crate::store::{self, StatDigest, Store};

/// Digests of the files of one context directory, as earlier builds computed them.
///
/// Those asked for are read from the store, and new ones written to it as there are enough of them: of a million files
/// none but a few are in memory.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    scope: Vec<u8>,
    new: Mutex<New>,
}

/// What is not in the store yet.
#[derive(Debug, Default)]
struct New {
    digests: HashMap<StatKey, Digest>,
    /// Why some of them never came there.
    failure: Option<store::Error>,
}

/// How many new digests are kept before they are written, at 100 bytes each.
const KEPT: usize = 16 << 10;

impl StatCache {
    /// Returns the cache for the directory `path`.
    pub fn new(store: &Store, path: &Path) -> StatCache {
        use std::os::unix::ffi::OsStrExt;
        let scope = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        StatCache { store: store.clone(), scope: scope.as_os_str().as_bytes().to_vec(), new: Mutex::default() }
    }

    /// Writes what is not in the store yet.
    ///
    /// # Errors
    /// Those of the store, from this call or from an earlier attempt to write some of it.
    pub fn save(&self) -> Result<(), store::Error> {
        let mut new = self.unwritten();
        self.write(&mut new);
        new.failure.take().map_or(Ok(()), Err)
    }

    fn unwritten(&self) -> MutexGuard<'_, New> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, new: &mut New) {
        let mut rows: Vec<StatDigest> = new.digests.drain().map(|(key, digest)| row(&key, digest)).collect();
        if rows.is_empty() {
            return;
        }
        // Of a file that changed during the build, the newest row replaces the others.
        rows.sort_unstable_by_key(|row| (inode(row), row.ctime_ns));
        if let Err(failure) = self.store.save_stat_digests(&self.scope, &rows) {
            new.failure.get_or_insert(failure);
        }
    }
}

impl DigestCache for StatCache {
    fn get(&self, keys: &[StatKey]) -> Vec<Option<Digest>> {
        // Those first: meanwhile some may be written, and are then found there.
        let mut found: Vec<Option<Digest>> = {
            let new = self.unwritten();
            keys.iter().map(|key| new.digests.get(key).copied()).collect()
        };
        let unknown = keys.iter().zip(&found).filter(|(_, found)| found.is_none());
        let mut files: Vec<(u64, u64)> = unknown.map(|(key, _)| (key.device, key.inode)).collect();
        files.sort_unstable();
        files.dedup();
        // A cache that cannot be read is an empty one.
        let mut stored = self.store.stat_digests(&self.scope, &files).unwrap_or_default();
        // Was the clock set back since, a file may change at the very time at which it changed before.
        let now = jiff::Timestamp::now().as_nanosecond();
        stored.retain(|row| i128::from(row.ctime_ns) <= now);
        found.iter_mut().zip(keys).for_each(|(found, key)| *found = found.or_else(|| find(&stored, key)));
        found
    }

    fn put(&self, digests: &[(StatKey, Digest)]) {
        let mut new = self.unwritten();
        new.digests.extend(digests.iter().copied());
        if new.digests.len() >= KEPT {
            self.write(&mut new);
        }
    }
}

/// Returns the digest of a file among rows sorted by inode, of which each has one.
fn find(rows: &[StatDigest], key: &StatKey) -> Option<Digest> {
    let place = rows.binary_search_by_key(&(key.device, key.inode), inode).ok()?;
    let found = rows[place];
    (row(key, found.digest) == found).then_some(found.digest)
}

fn inode(row: &StatDigest) -> (u64, u64) {
    (row.device, row.inode)
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
        cache.put(&[(at(now - 10), digest), (at(now + 3600), digest)]);
        cache.save().unwrap();
        let later = StatCache::new(&store, directory.path());
        assert_eq!(later.get(&[at(now + 3600), at(now - 10)]), [None, Some(digest)]);
    }

    #[test]
    fn files_are_found_before_and_after_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let cache = StatCache::new(&store, directory.path());
        let time = Mtime { seconds: -1, nanoseconds: 5 };
        let key = |inode| StatKey { device: inode % 3, inode, size_bytes: 1, mtime: time, ctime: time };
        let digest = |inode: u64| Digest::of(&inode.to_le_bytes());
        let count = KEPT as u64 + 5000;
        let keys: Vec<StatKey> = (0..count).rev().map(key).collect();
        for some in keys.chunks(1000) {
            cache.put(&some.iter().map(|&key| (key, digest(key.inode))).collect::<Vec<_>>());
        }
        let kept = cache.unwritten().digests.len();
        assert!(0 < kept && kept < KEPT, "{kept} of {count} are not written yet");
        let found = cache.get(&keys);
        assert!(keys.iter().zip(found).all(|(key, found)| found == Some(digest(key.inode))));
        // A file that changed is another one, whether or not the store knows that yet.
        let changed = StatKey { size_bytes: 2, ctime: Mtime { seconds: 0, nanoseconds: 0 }, ..key(1) };
        assert_eq!(cache.get(&[changed]), [None]);
        cache.put(&[(changed, digest(count))]);
        assert_eq!(cache.get(&[changed]), [Some(digest(count))]);
        cache.save().unwrap();
        assert_eq!(cache.get(&[changed, key(1)]), [Some(digest(count)), None]);
    }
}
