use std::cell::RefCell;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::layer::Mtime;
use crate::oci::{Digest, Hasher};
use crate::sys::Cancel;

/// What identifies the content of a file on this machine without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StatKey {
    /// File system.
    pub device: u64,
    /// File in it.
    pub inode: u64,
    /// Content bytes.
    pub size_bytes: u64,
    /// Last change of the content.
    pub mtime: Mtime,
    /// Last change of content or metadata, which nobody can set back.
    pub ctime: Mtime,
}

/// Remembers the digests of files between builds.
pub trait DigestCache: Send + Sync {
    /// Returns, for each of `keys`, the digest of the content that had it.
    fn get(&self, keys: &[StatKey]) -> Vec<Option<Digest>>;
    /// Remembers some.
    fn put(&self, digests: &[(StatKey, Digest)]);
}

/// Two changes closer than this may leave one timestamp: the kernel's clock for files ticks every 1 to 10 ms.
const FINE_TICK: Duration = Duration::from_millis(40);
/// The same for file systems that keep whole seconds, or two of them.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Read at once.
const BUFFER_BYTES: usize = 128 << 10;

impl StatKey {
    pub(super) fn of(stat: &Stat) -> StatKey {
        StatKey {
            device: stat.st_dev,
            inode: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: Mtime { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            ctime: Mtime { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 },
        }
    }

    /// Tells whether a change after `read` would show in the key. A file that changed just before it was read may
    /// change again within the same tick of the clock, and so is not remembered.
    pub(super) fn is_settled(&self, read: SystemTime) -> bool {
        let tick = if self.ctime.nanoseconds == 0 { COARSE_TICK } else { FINE_TICK };
        let last = self.mtime.max(self.ctime);
        let last = Duration::new(u64::try_from(last.seconds).unwrap_or_default(), last.nanoseconds);
        read.duration_since(UNIX_EPOCH).is_ok_and(|read| last + tick < read)
    }
}

/// Hashes what `file` still has to give, or what of it was read when `cancel` was raised; returns the digest and the
/// number of bytes.
pub(super) fn hash(file: &mut impl Read, cancel: &Cancel) -> io::Result<(Digest, u64)> {
    // One for each file would take as long to clear as most files take to hash.
    thread_local!(static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]));
    BUFFER.with_borrow_mut(|buffer| hash_by(buffer, file, cancel))
}

fn hash_by(buffer: &mut [u8], file: &mut impl Read, cancel: &Cancel) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut total = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(_) if cancel.is_cancelled() => return Ok((hasher.finish(), total)),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                total += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_read_within_the_tick_of_its_change_is_not_remembered() {
        let key = |ctime| StatKey { device: 1, inode: 1, size_bytes: 1, mtime: Mtime::default(), ctime };
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let fine = key(Mtime { seconds: 10, nanoseconds: 5 });
        let coarse = key(Mtime { seconds: 10, nanoseconds: 0 });
        let future = key(Mtime { seconds: 99, nanoseconds: 5 });
        for (key, read, expected) in [
            (fine, 10_001, false),
            (fine, 10_100, true),
            (coarse, 11_900, false),
            (coarse, 12_100, true),
            (future, 10_000, false),
        ] {
            assert_eq!(key.is_settled(at(read)), expected, "{key:?} {read}");
        }
    }
}
