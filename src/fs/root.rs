use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::{At, Error};

/// Returns bytes as the path they spell.
pub fn os_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A directory that no path under it leads out of.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Root {
    /// Opens the directory at `path`, following links to it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Root, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).at("open", path)?;
        Ok(Root { directory, path: path.to_owned() })
    }

    /// Returns a root that is open already; `path` stands for it in messages.
    pub fn of(directory: OwnedFd, path: impl Into<PathBuf>) -> Root {
        Root { directory, path: path.into() }
    }

    /// Returns the path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what `path` leads to inside the root. `O_NOFOLLOW` concerns the last component alone; links before it are
    /// followed, with `/` and `..` stopping at the root.
    ///
    /// # Errors
    /// [`Error::Io`], which names the path with the root's own in front.
    pub fn open_at(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Error> {
        self.resolve(path, flags, mode).at("open", self.shown(path))
    }

    /// Opens a file to read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_file(&self, path: &[u8]) -> Result<File, Error> {
        // Opening a pipe must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_at(path, flags, Mode::empty())?.into())
    }

    /// Opens a directory as a place to resolve names from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens the directory that holds `path`, and returns it with the last component, which is looked at no further.
    ///
    /// # Errors
    /// [`Error::Io`], also (`EINVAL`) when the last component is not a name.
    pub fn open_parent<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8]), Error> {
        let (parent, name) = split(path);
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::INVAL).at("use as a file name", self.shown(path));
        }
        Ok((self.open_directory(parent)?, name))
    }

    /// Opens the directory at `path`, making it and those above it where they are missing, with mode 0755 (less the
    /// umask).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_directories(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            found => return found.at("open", self.shown(path)),
        }
        let (parent, name) = split(path);
        let parent = self.create_directories(parent)?;
        match mkdirat(&parent, os_path(name), Mode::from_raw_mode(0o755)) {
            // It is there now, or it is a dangling link, which opening it will tell.
            Ok(()) | Err(Errno::EXIST) => self.open_directory(path),
            Err(error) => Err(error).at("create directory", self.shown(path)),
        }
    }

    /// Reads the whole file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::TooLarge`] when it has more than `limit_bytes`.
    pub fn read(&self, path: &[u8], limit_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut file = self.open_file(path)?.take(limit_bytes.saturating_add(1));
        file.read_to_end(&mut bytes).at("read", self.shown(path))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(Error::TooLarge { path: self.shown(path), limit_bytes });
        }
        Ok(bytes)
    }

    /// Returns the outer path of `path`, for messages.
    pub fn shown(&self, path: &[u8]) -> PathBuf {
        let start = path.iter().take_while(|&&byte| byte == b'/').count();
        self.path.join(os_path(&path[start..]))
    }

    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        loop {
            match openat2(&self.directory, os_path(path), flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT) {
                // The kernel lost a race of `..` against a rename elsewhere, and asks to be asked again.
                Err(Errno::AGAIN) => continue,
                result => return result,
            }
        }
    }
}

/// Splits off the last component; slashes at the end do not count.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("root");
        std::fs::create_dir_all(inside.join("etc")).unwrap();
        std::fs::write(inside.join("etc/passwd"), "inside").unwrap();
        std::fs::write(directory.path().join("secret"), "outside").unwrap();
        let root = Root::open(&inside).unwrap();
        (directory, root)
    }

    #[test]
    fn links_and_dots_stop_at_the_root() {
        let (_directory, root) = root();
        for (name, target) in [("absolute", "/etc"), ("dots", "../../../../etc"), ("twice", "absolute")] {
            symlink(target, root.path().join(name)).unwrap();
            let path = format!("{name}/passwd");
            assert_eq!(root.read(path.as_bytes(), 100).unwrap(), b"inside", "{name}");
        }
        for outside in ["../secret", "/../secret", "etc/../../secret"] {
            assert!(root.read(outside.as_bytes(), 100).unwrap_err().is_not_found(), "{outside}");
        }
    }

    #[test]
    fn a_parent_is_opened_through_links_and_the_name_is_not() {
        let (_directory, root) = root();
        symlink("/etc", root.path().join("link")).unwrap();
        let (parent, name) = root.open_parent(b"/link/new/").unwrap();
        assert_eq!(name, b"new");
        rustix::fs::symlinkat("anywhere", parent, os_path(name)).unwrap();
        assert!(root.path().join("etc/new").is_symlink());
        for path in ["", "/", "etc/..", "."] {
            assert!(root.open_parent(path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn missing_directories_are_made_inside() {
        let (directory, root) = root();
        symlink("/", root.path().join("up")).unwrap();
        root.create_directories(b"up/a/b//c/").unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        symlink("/nowhere", root.path().join("dangling")).unwrap();
        assert!(root.create_directories(b"dangling/x").is_err());
        assert!(!directory.path().join("nowhere").exists());
        assert!(root.create_directories(b"etc/passwd/x").is_err());
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let (_directory, root) = root();
        assert!(matches!(root.read(b"etc/passwd", 5), Err(Error::TooLarge { limit_bytes: 5, .. })));
        assert_eq!(root.read(b"etc/passwd", 6).unwrap(), b"inside");
        assert!(root.read(b"etc/shadow", 6).unwrap_err().to_string().ends_with("root/etc/shadow"));
    }
}
