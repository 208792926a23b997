use std::collections::HashMap;
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

/// Rows are sorted by [`inode`] and searched: a table of a million keys takes twice the room.
#[derive(Debug)]
struct Files {
    known: Vec<StatDigest>,
    new: Vec<StatDigest>,
    /// What will be sorted into `new` once there is enough of it.
    recent: HashMap<StatKey, Digest>,
}

/// How much `recent` holds at the least before it is sorted in.
const RECENT_FILES: usize = 8192;

impl Files {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        let row = row(key, Digest::from_bytes([0; 32]));
        find(&self.known, &row).or_else(|| self.recent.get(key).copied()).or_else(|| find(&self.new, &row))
    }

    fn put(&mut self, key: StatKey, digest: Digest) {
        self.recent.insert(key, digest);
        // In proportion, so that each file is sorted but a few times.
        if self.recent.len() >= RECENT_FILES.max(self.new.len() / 4) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.new.extend(self.recent.drain().map(|(key, digest)| row(&key, digest)));
        self.new.sort_unstable_by_key(inode);
    }
}

fn inode(row: &StatDigest) -> (u64, u64) {
    (row.device, row.inode)
}

/// Returns the digest of the row that differs from `wanted` in nothing else.
fn find(rows: &[StatDigest], wanted: &StatDigest) -> Option<Digest> {
    let first = rows.partition_point(|row| inode(row) < inode(wanted));
    let same_inode = rows[first..].iter().take_while(|row| inode(row) == inode(wanted));
    let mut digests = same_inode.map(|row| (row.digest, StatDigest { digest: wanted.digest, ..*row }));
    digests.find(|(_, row)| row == wanted).map(|(digest, _)| digest)
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
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(files) = &mut *files else { return Ok(()) };
        files.settle();
        if files.new.is_empty() {
            return Ok(());
        }
        self.store.save_stat_digests(&self.scope, &files.new)
    }

    fn load(&self) -> Files {
        // A cache that cannot be read is an empty one.
        let mut known = self.store.stat_digests(&self.scope).unwrap_or_default();
        // Was the clock set back since, a file may change at the very time at which it changed before.
        let now = jiff::Timestamp::now().as_nanosecond();
        known.retain(|row| i128::from(row.ctime_ns) <= now);
        known.sort_unstable_by_key(inode);
        Files { known, new: Vec::new(), recent: HashMap::new() }
    }
}

impl DigestCache for StatCache {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get_or_insert_with(|| self.load()).get(key)
    }

    fn put(&self, key: StatKey, digest: Digest) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get_or_insert_with(|| self.load()).put(key, digest);
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

    #[test]
    fn files_are_found_before_and_after_they_are_sorted_in() {
        let mut files = Files { known: Vec::new(), new: Vec::new(), recent: HashMap::new() };
        let time = Mtime { seconds: -1, nanoseconds: 5 };
        let key = |inode| StatKey { device: inode % 3, inode, size_bytes: 1, mtime: time, ctime: time };
        let digest = |inode: u64| Digest::of(&inode.to_le_bytes());
        let count = 3 * RECENT_FILES as u64 + 7;
        for inode in (0..count).rev() {
            files.put(key(inode), digest(inode));
        }
        assert!(!files.new.is_empty() && !files.recent.is_empty());
        assert!((0..count).all(|inode| files.get(&key(inode)) == Some(digest(inode))));
        assert_eq!(files.get(&StatKey { size_bytes: 2, ..key(1) }), None);
        // A file that changed meanwhile has two rows for its inode.
        let changed = StatKey { size_bytes: 2, ..key(1) };
        files.put(changed, digest(count));
        files.settle();
        assert_eq!((files.get(&changed), files.get(&key(1))), (Some(digest(count)), Some(digest(1))));
    }
}
