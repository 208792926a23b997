use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::user::User;
use crate::runtime::stubs::{Stub, restore_times};

/// Finds the places of mounts in the root, makes those that are missing, and remembers which.
///
/// The root is already `/` and no program of it runs yet, so a path cannot leave it, and cannot change under our feet.
/// Links of /proc are never followed: they would lead out.
pub(super) struct Targets {
    device: u64,
    /// Whether directories of the system stay that had to be made.
    keeps: bool,
    stubs: Vec<Stub>,
}

/// What is wanted at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Directory,
    File,
}

/// What becomes of what had to be made.
enum Made<'a> {
    /// It is a mount point, removed in the end.
    Stub,
    /// It stays in the layer.
    Kept,
    /// It stays in the layer, and belongs to the user.
    Owned(&'a User),
}

impl Targets {
    pub(super) fn new(keeps: bool) -> io::Result<Targets> {
        Ok(Targets { device: rustix::fs::stat("/")?.st_dev as u64, keeps, stubs: Vec::new() })
    }

    /// Opens a mount point that leaves no trace.
    pub(super) fn open(&mut self, path: &Path, want: Want) -> io::Result<OwnedFd> {
        self.open_or_make(path, want, &Made::Stub)
    }

    /// Opens a directory that, if these are kept at all, stays in the layer when it has to be made.
    pub(super) fn open_kept(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let made = if self.keeps { Made::Kept } else { Made::Stub };
        self.open_or_make(path, Want::Directory, &made)
    }

    /// Opens the working directory of the program.
    pub(super) fn working_directory(&mut self, path: &Path, user: &User) -> io::Result<OwnedFd> {
        let directory = self.open_or_make(path, Want::Directory, &Made::Owned(user))?;
        if FileType::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Ok(directory)
    }

    pub(super) fn into_stubs(self) -> Vec<Stub> {
        self.stubs
    }

    fn open_or_make(&mut self, path: &Path, want: Want, made: &Made<'_>) -> io::Result<OwnedFd> {
        let path = Path::new("/").join(path);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::NOENT) => self.walk(&path, want, made),
            found => Ok(found?),
        }
    }

    /// Goes along `path`, through symbolic links even when they dangle, and makes what is missing.
    fn walk(&mut self, path: &Path, want: Want, made: &Made<'_>) -> io::Result<OwnedFd> {
        // As many as the kernel follows.
        let mut links_left = 40;
        let mut rest: VecDeque<OsString> = names(path);
        let mut here = Place::root()?;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                here = here.parent()?;
                continue;
            }
            match here.child(&name) {
                Err(Errno::NOENT) => {
                    let want = if rest.is_empty() { want } else { Want::Directory };
                    self.make(&here, &name, want, made)?;
                    here = here.enter(&name)?;
                }
                Err(error) => return Err(error.into()),
                Ok((_, Some(link))) if links_left > 0 => {
                    links_left -= 1;
                    if link.is_absolute() {
                        here = Place::root()?;
                    }
                    for name in names(&link).into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                Ok((_, Some(_))) => return Err(Errno::LOOP.into()),
                Ok((fd, None)) => here = Place { fd, path: here.path.join(name) },
            }
        }
        Ok(here.fd)
    }

    fn make(&mut self, here: &Place, name: &OsStr, want: Want, made: &Made<'_>) -> io::Result<()> {
        let before = rustix::fs::fstat(&here.fd)?;
        match want {
            Want::Directory => rustix::fs::mkdirat(&here.fd, name, Mode::from_raw_mode(0o755))?,
            Want::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&here.fd, name, flags, Mode::from_raw_mode(0o644))?;
            }
        }
        match made {
            // Below other mounts there is no layer to keep clean.
            Made::Stub if before.st_dev as u64 == self.device => {
                self.stubs.push(Stub::at(&here.path.join(name))?);
                restore_times(&here.fd, &before)?;
            }
            Made::Stub | Made::Kept => {}
            Made::Owned(user) => {
                let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
                rustix::fs::chownat(&here.fd, name, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }
}

/// A directory on the way, and its path without links.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
}

impl Place {
    fn root() -> rustix::io::Result<Place> {
        let fd = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Place { fd, path: PathBuf::from("/") })
    }

    /// Opens what is called `name` here, and reads it if it is a link.
    fn child(&self, name: &OsStr) -> rustix::io::Result<(OwnedFd, Option<PathBuf>)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Symlink {
            return Ok((fd, None));
        }
        let link = rustix::fs::readlinkat(&fd, "", Vec::new())?;
        Ok((fd, Some(PathBuf::from(OsStr::from_bytes(link.as_bytes())))))
    }

    fn enter(&self, name: &OsStr) -> rustix::io::Result<Place> {
        let (fd, _) = self.child(name)?;
        Ok(Place { fd, path: self.path.join(name) })
    }

    fn parent(&self) -> rustix::io::Result<Place> {
        let mut place = Place::root()?;
        let path = self.path.parent().unwrap_or(Path::new("/"));
        for name in names(path) {
            place = place.enter(&name)?;
        }
        Ok(place)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
