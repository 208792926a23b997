use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Error, Store};
use crate::oci::Digest;
use crate::sys::Cancel;

/// A directory that lasts from build to build, in use as long as this lives.
#[derive(Debug)]
pub struct CacheDirectory {
    path: PathBuf,
    /// Locked; the lock goes with the descriptor.
    _lock: File,
}

/// Who else may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// Everybody who shares it.
    Shared,
    /// Nobody: where it is in use, there is another one of the same key.
    Private,
    /// Nobody: who comes second waits.
    Locked,
}

/// How often somebody who waits looks again.
const PATIENCE: Duration = Duration::from_millis(20);

impl CacheDirectory {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Returns the directory of `key`, made with this mode, user and group and filled by `fill` if there is none.
    ///
    /// # Errors
    /// Those of `fill`; [`Error::Cancelled`] while it waits for others; [`Error::NoSpace`], [`Error::Io`].
    pub fn cache_directory<E: From<Error>>(
        &self,
        key: Digest,
        way: CacheUse,
        owner: (u32, u32, u32),
        fill: impl Fn(&Path) -> Result<(), E>,
        cancel: &Cancel,
    ) -> Result<CacheDirectory, E> {
        let parent = self.root().join("caches");
        fs::create_dir_all(&parent).map_err(|source| Error::io("create", &parent, source))?;
        for number in 0_u32.. {
            let name = if number == 0 { key.hex() } else { format!("{}-{number}", key.hex()) };
            let path = parent.join(&name);
            let lock = open_lock(&parent.join(format!("{name}.lock")))?;
            loop {
                cancel.check().map_err(Error::from)?;
                // Whoever makes the directory is alone with it.
                let is_there = path.is_dir();
                let wanted = match way {
                    CacheUse::Shared if is_there => FlockOperation::NonBlockingLockShared,
                    _ => FlockOperation::NonBlockingLockExclusive,
                };
                match flock(&lock, wanted) {
                    Ok(()) if is_there => return Ok(CacheDirectory { path, _lock: lock }),
                    Ok(()) if path.is_dir() => {}
                    Ok(()) => self.make_cache(&parent, &path, owner, &fill)?,
                    Err(Errno::WOULDBLOCK) if way == CacheUse::Private => break,
                    Err(Errno::WOULDBLOCK) => std::thread::sleep(PATIENCE),
                    Err(error) => return Err(Error::io("lock", &path, error.into()).into()),
                }
            }
        }
        unreachable!("there are fewer builds than numbers")
    }

    /// Makes a cache directory so that it is there only once it is whole.
    fn make_cache<E: From<Error>>(
        &self,
        parent: &Path,
        path: &Path,
        (mode, uid, gid): (u32, u32, u32),
        fill: &impl Fn(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent);
        let new = new.map_err(|source| Error::io("create", parent, source))?;
        fill(new.path())?;
        let finish = || -> io::Result<()> {
            if (uid, gid) != (0, 0) {
                chown(new.path(), Some(uid), Some(gid))?;
            }
            fs::set_permissions(new.path(), Permissions::from_mode(mode))?;
            fs::rename(new.path(), path)
        };
        finish().map_err(|source| Error::io("create", path, source))?;
        // It is no longer where its name says.
        let _ = new.keep();
        Ok(())
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|source| Error::io("open", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(store: &Store, way: CacheUse, cancel: &Cancel) -> Result<CacheDirectory, Error> {
        store.cache_directory(Digest::of(b"key"), way, (0o700, 0, 0), |_| Ok(()), cancel)
    }

    #[test]
    fn what_is_shared_is_one_directory_and_what_is_private_another() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let never = Cancel::default();
        let first = take(&store, CacheUse::Shared, &never).unwrap();
        let second = take(&store, CacheUse::Shared, &never).unwrap();
        let third = take(&store, CacheUse::Private, &never).unwrap();
        let fourth = take(&store, CacheUse::Private, &never).unwrap();
        assert_eq!(first.path(), second.path());
        assert_ne!(third.path(), first.path());
        assert_ne!(third.path(), fourth.path());
        assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        let kept = third.path().to_owned();
        drop(third);
        assert_eq!(take(&store, CacheUse::Private, &never).unwrap().path(), kept);
    }

    #[test]
    fn who_comes_second_to_a_locked_one_waits_until_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let first = take(&store, CacheUse::Locked, &Cancel::default()).unwrap();
        let cancel = Cancel::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(&store, CacheUse::Locked, &cancel));
            std::thread::sleep(PATIENCE * 2);
            assert!(!second.is_finished());
            cancel.cancel();
            assert!(matches!(second.join().unwrap(), Err(Error::Cancelled(_))));
        });
        drop(first);
        take(&store, CacheUse::Locked, &Cancel::default()).unwrap();
    }

    #[test]
    fn a_directory_that_could_not_be_filled_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let never = Cancel::default();
        let key = Digest::of(b"key");
        let fail = |path: &Path| -> Result<(), Error> {
            fs::write(path.join("half"), "").unwrap();
            Err(Error::io("read", path, io::ErrorKind::Other.into()))
        };
        store.cache_directory(key, CacheUse::Shared, (0o755, 0, 0), fail, &never).unwrap_err();
        let made = store.cache_directory(key, CacheUse::Shared, (0o755, 0, 0), |_| Ok::<_, Error>(()), &never).unwrap();
        assert_eq!(fs::read_dir(made.path()).unwrap().count(), 0);
    }
}
