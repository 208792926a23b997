use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;

/// A file or directory that had to be made in the root as a mount point. Nothing of it may stay in the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stub {
    /// Relative to the root, without symbolic links in it.
    pub(super) path: PathBuf,
}

/// Removes the stubs from the directory of changes, those that were made last first. What the process has put
/// something into stays. Times of the parents stay as the process left them; init has already hidden from it that
/// something was made there.
pub(super) fn remove(changes: &Path, stubs: &[Stub]) -> Result<(), Error> {
    if stubs.is_empty() {
        return Ok(());
    }
    let fail = |stub: &Path, source: Errno| Error::Stub { path: changes.join(stub), source: source.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(changes, flags, Mode::empty()).map_err(|source| fail(Path::new(""), source))?;
    for stub in stubs.iter().rev() {
        remove_one(&root, &stub.path).map_err(|source| fail(&stub.path, source))?;
    }
    Ok(())
}

fn remove_one(root: &OwnedFd, stub: &Path) -> rustix::io::Result<()> {
    let (Some(parent), Some(name)) = (stub.parent(), stub.file_name()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    // The process may have replaced a directory by a link to anywhere: then its stub is gone, and nothing is followed.
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(parent) = found(rustix::fs::openat2(root, parent, flags, Mode::empty(), how))? else { return Ok(()) };
    let Some(stat) = found(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW))? else { return Ok(()) };
    let before = rustix::fs::fstat(&parent)?;
    let removed = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile if stat.st_size == 0 => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map(|()| true)
        }
        rustix::fs::FileType::Directory => match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => Ok(false),
            done => done.map(|()| true),
        },
        _ => Ok(false),
    }?;
    if removed { restore_times(&parent, &before) } else { Ok(()) }
}

fn found<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives `directory` the access and modification times of `stat`.
pub(super) fn restore_times(directory: impl AsFd, stat: &Stat) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    // Through the name, because futimens(3) refuses O_PATH descriptors.
    rustix::fs::utimensat(directory, ".", &times, AtFlags::empty())
}

impl Stub {
    /// Returns the stub at `path`, which is absolute.
    pub(super) fn at(path: &Path) -> io::Result<Stub> {
        let path = path.strip_prefix("/").map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Stub { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn stubs(paths: &[&str]) -> Vec<Stub> {
        paths.iter().map(|path| Stub { path: PathBuf::from(path) }).collect()
    }

    #[test]
    fn empty_stubs_go_with_the_parents_that_were_made_for_them() {
        let changes = tempfile::tempdir().unwrap();
        fs::create_dir_all(changes.path().join("run/secrets")).unwrap();
        fs::write(changes.path().join("run/secrets/key"), "").unwrap();
        remove(changes.path(), &stubs(&["run", "run/secrets", "run/secrets/key"])).unwrap();
        assert_eq!(fs::read_dir(changes.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_process_filled_stays() {
        let changes = tempfile::tempdir().unwrap();
        fs::create_dir(changes.path().join("run")).unwrap();
        fs::write(changes.path().join("run/mine"), "").unwrap();
        fs::write(changes.path().join("hosts"), "x").unwrap();
        remove(changes.path(), &stubs(&["run", "run/key", "hosts"])).unwrap();
        assert!(changes.path().join("run/mine").exists());
        assert!(changes.path().join("hosts").exists());
    }

    #[test]
    fn a_parent_keeps_its_times() {
        let changes = tempfile::tempdir().unwrap();
        let etc = changes.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("hosts"), "").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789);
        fs::File::open(&etc).unwrap().set_modified(time).unwrap();
        remove(changes.path(), &stubs(&["etc/hosts"])).unwrap();
        assert!(!etc.join("hosts").exists());
        assert_eq!(fs::metadata(&etc).unwrap().modified().unwrap(), time);
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("hosts"), "").unwrap();
        let changes = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), changes.path().join("etc")).unwrap();
        remove(changes.path(), &stubs(&["etc/hosts"])).unwrap();
        assert!(outside.path().join("hosts").exists());
    }
}
