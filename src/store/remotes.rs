use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{Error, Store};
use crate::oci::Digest;

/// What nobody has asked for so long is fetched again if somebody does.
const REMOTE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Directories that are not whole yet begin so; no key does.
const UNFINISHED: &str = "new-";

impl Store {
    /// Returns the directory that is kept under `key`, and notes that somebody needs it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remote(&self, key: Digest) -> Result<Option<PathBuf>, Error> {
        let path = self.remotes().join(key.hex());
        let touched = File::open(&path).and_then(|directory| directory.set_modified(SystemTime::now()));
        match touched {
            Ok(()) => Ok(Some(path)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("open", path, source)),
        }
    }

    /// Returns a new directory to be filled: [`Store::keep_remote`] makes it visible, dropped before that it is removed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn new_remote(&self) -> Result<TempDir, Error> {
        let parent = self.remotes();
        let made =
            fs::create_dir_all(&parent).and_then(|()| tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&parent));
        made.map_err(|source| Error::io("create a directory in", parent, source))
    }

    /// Keeps a directory under `key`, and returns where it is. One that is there already stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_remote(&self, new: TempDir, key: Digest) -> Result<PathBuf, Error> {
        let path = self.remotes().join(key.hex());
        match fs::rename(new.path(), &path) {
            // The name is no longer this directory's to remove.
            Ok(()) => drop(new.keep()),
            Err(_) if path.is_dir() => {}
            Err(source) => return Err(Error::io("create", path, source)),
        }
        Ok(path)
    }

    /// Removes what dead processes left and nobody asks for any more. The caller is alone.
    pub(super) fn clear_remotes(&self) -> Result<(), Error> {
        let parent = self.remotes();
        let entries = match fs::read_dir(&parent) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|source| Error::io("read", &parent, source))?,
        };
        for entry in entries {
            let path = entry.map_err(|source| Error::io("read", &parent, source))?.path();
            if is_unfinished(&path) || is_forgotten(&path) {
                fs::remove_dir_all(&path).map_err(|source| Error::io("remove", &path, source))?;
            }
        }
        Ok(())
    }

    fn remotes(&self) -> PathBuf {
        self.root().join("remotes")
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
}

fn is_forgotten(path: &Path) -> bool {
    let used = fs::metadata(path).and_then(|metadata| metadata.modified());
    used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age > REMOTE_LIFETIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_until_nobody_asks_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let (used, old) = (Digest::of(b"used"), Digest::of(b"old"));
        {
            let store = Store::open(directory.path()).unwrap();
            assert_eq!(store.remote(used).unwrap(), None);
            for key in [used, old] {
                let new = store.new_remote().unwrap();
                fs::write(new.path().join("a"), "1").unwrap();
                let kept = store.keep_remote(new, key).unwrap();
                assert_eq!(fs::read(kept.join("a")).unwrap(), b"1");
            }
            let second = store.new_remote().unwrap();
            assert!(store.keep_remote(second, used).unwrap().join("a").exists(), "the first stays");
            let _left_by_the_dead = store.new_remote().unwrap().keep();
            let long_ago = SystemTime::now() - REMOTE_LIFETIME - Duration::from_secs(60);
            File::open(store.remote(old).unwrap().unwrap()).unwrap().set_modified(long_ago).unwrap();
        }
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path().join("remotes")).unwrap().count(), 1);
        assert!(store.remote(used).unwrap().is_some() && store.remote(old).unwrap().is_none());
    }
}
