use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};

use super::Error;

/// The store's lock file: shared by every open store, exclusive while something is taken away.
///
/// An open-file-description lock, because only those change from shared to exclusive without a moment of neither: a
/// failed attempt leaves the shared lock in place (fcntl(2), F_OFD_SETLK).
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Yes,
    No,
}

impl Lock {
    /// Opens the lock file without locking it.
    pub(super) fn open(root: &Path) -> Result<Lock, Error> {
        let path = root.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| Error::io("open", &path, source))?;
        Ok(Lock { file, path })
    }

    /// Takes the exclusive lock if no other open store is there; a shared lock already held stays otherwise.
    pub(super) fn try_exclusive(&self) -> Result<bool, Error> {
        match self.set(Mode::Exclusive, Waiting::No) {
            Ok(()) => Ok(true),
            Err(source) if matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(source) => Err(Error::io("lock", &self.path, source)),
        }
    }

    /// Waits for the exclusive lock. Only for who holds no shared one, or two of them wait for each other.
    pub(super) fn exclusive(&self) -> Result<(), Error> {
        self.set(Mode::Exclusive, Waiting::Yes).map_err(|source| Error::io("lock", &self.path, source))
    }

    /// Waits for the shared lock, or turns the exclusive one into it.
    pub(super) fn shared(&self) -> Result<(), Error> {
        self.set(Mode::Shared, Waiting::Yes).map_err(|source| Error::io("lock", &self.path, source))
    }

    fn set(&self, mode: Mode, waiting: Waiting) -> io::Result<()> {
        let kind = if mode == Mode::Exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
        let region = libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
        loop {
            let command = match waiting {
                Waiting::Yes => FcntlArg::F_OFD_SETLKW(&region),
                Waiting::No => FcntlArg::F_OFD_SETLK(&region),
            };
            match fcntl(self.file.as_fd(), command) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
