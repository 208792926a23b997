use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat};

use crate::fs::{At, Error as FsError, SparseReader, os_path, xattrs};
use crate::oci::{Digest, Hasher};

use super::unpack::names;
use super::view::join;
use super::{Content, EntryPath, Error, Kind, Metadata, Mtime, Node, OverlayXattrs, View, Writer};

/// What a tree is to be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeKind {
    /// The upper directory of an overlay: what is not in it is unchanged.
    Upper(OverlayXattrs),
    /// A whole tree: what is not in it is deleted.
    Whole,
}

/// Writes the layer that turns `parent` into what `tree` shows (semantics section 13). No changes, no entries.
///
/// Every directory above a change is written before it; a deletion stands where the deleted name would.
///
/// # Errors
/// [`Error::File`], [`Error::Overlay`], and those of [`Writer::append`].
pub fn diff<W: Write>(tree: &Path, kind: TreeKind, parent: &View, out: &mut Writer<W>) -> Result<(), Error> {
    diff_but(tree, kind, parent, &BTreeSet::new(), out)
}

/// As [`diff`], but leaves out what is at `stubs` as long as nothing has been put there: empty files, and directories in
/// which nothing is written.
///
/// # Errors
/// As [`diff`].
pub fn diff_but<W: Write>(
    tree: &Path,
    kind: TreeKind,
    parent: &View,
    stubs: &BTreeSet<EntryPath>,
    out: &mut Writer<W>,
) -> Result<(), Error> {
    Walk::new(tree, kind, stubs, Devices::Told, out).run(tree, Some(parent.root()))
}

/// Writes the file `file` of `directory`, or all that is in it, too, if it is a directory, under the name `name`; with an
/// empty name, what is in it alone. No link is followed. `stubs` are left out as by [`diff_but`], if they are at `name`.
///
/// # Errors
/// As [`diff`].
pub fn pack<W: Write>(
    directory: impl AsFd,
    file: &[u8],
    name: &[u8],
    devices: Devices,
    stubs: &BTreeSet<EntryPath>,
    out: &mut Writer<W>,
) -> Result<(), Error> {
    let shown = os_path(file);
    let mut walk = Walk::new(shown, TreeKind::Whole, stubs, devices, out);
    let stat = statat(&directory, os_path(file), AtFlags::SYMLINK_NOFOLLOW).at("look at", shown)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = openat(&directory, os_path(file), flags, Mode::empty()).at("open", shown)?;
        if !name.is_empty() {
            let metadata = metadata(&directory, file, &stat)?;
            walk.out.append(name, &metadata, Content::Directory)?;
        }
        walk.path = name.to_vec();
        return walk.run_in(inside, None);
    }
    let directory = directory.as_fd().try_clone_to_owned().at("open", shown)?;
    let names = Vec::new().into_iter();
    walk.path = name.to_vec();
    walk.open.push(Level { directory, path_bytes: 0, before: None, names, pending: None, hides: true });
    walk.file(file, None, &stat, kind)
}

/// What becomes of devices, pipes and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// They are written, but sockets, which no layer can hold.
    Told,
    /// They are left out.
    LeftOut,
}

impl<'a, W: Write> Walk<'a, W> {
    fn new(
        tree: &'a Path,
        kind: TreeKind,
        stubs: &'a BTreeSet<EntryPath>,
        devices: Devices,
        out: &'a mut Writer<W>,
    ) -> Walk<'a, W> {
        Walk { tree, kind, stubs, devices, out, path: Vec::new(), open: Vec::new(), names: HashMap::new() }
    }

    fn run(self, tree: &Path, before: Option<&'a Node>) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, tree, flags, Mode::empty()).at("open", tree)?;
        self.run_in(directory, before)
    }

    fn run_in(mut self, directory: OwnedFd, before: Option<&'a Node>) -> Result<(), Error> {
        self.descend(directory, before, None)?;
        while let Some(level) = self.open.last_mut() {
            self.path.truncate(level.path_bytes);
            match level.names.next() {
                Some(name) => self.visit(&name)?,
                None => drop(self.open.pop()),
            }
        }
        Ok(())
    }
}
struct Walk<'a, W: Write> {
    tree: &'a Path,
    kind: TreeKind,
    /// What is not told as long as it is empty.
    stubs: &'a BTreeSet<EntryPath>,
    devices: Devices,
    out: &'a mut Writer<W>,
    path: EntryPath,
    /// The directories from the root to the current one. A list instead of calls, for a process can nest them deeply.
    open: Vec<Level<'a>>,
    /// Where the first name of a file with several is, by device and inode.
    names: HashMap<(u64, u64), EntryPath>,
}

/// A directory on the way to the current place.
struct Level<'a> {
    directory: OwnedFd,
    /// How much of the path is its own.
    path_bytes: usize,
    /// What was here before, if it was a directory.
    before: Option<&'a Node>,
    /// Names left to visit.
    names: std::vec::IntoIter<Vec<u8>>,
    /// What is to be written before anything in it; nothing once that is done, and for the root.
    pending: Option<Metadata>,
    /// Whether a name that is not in the directory is a deletion.
    hides: bool,
}

impl<'a, W: Write> Walk<'a, W> {
    /// Opens the directory at the current path.
    fn descend(
        &mut self,
        directory: OwnedFd,
        before: Option<&'a Node>,
        pending: Option<Metadata>,
    ) -> Result<(), Error> {
        let before = before.filter(|node| node.is_directory());
        let hides = match self.kind {
            TreeKind::Whole => true,
            // What is made inside of an opaque directory bears no mark of its own, for nothing below shows through there.
            TreeKind::Upper(kind) => {
                self.is_opaque(&directory, kind)? || self.open.last().is_some_and(|above| above.hides)
            }
        };
        let mut there = names(&directory).at("list", self.shown())?;
        if let (true, Some(before)) = (hides, before) {
            let all: BTreeSet<Vec<u8>> = before.children().map(|(name, _)| name.to_vec()).chain(there).collect();
            there = all.into_iter().collect();
        }
        let names = there.into_iter();
        self.open.push(Level { directory, path_bytes: self.path.len(), before, names, pending, hides });
        Ok(())
    }

    /// Tells whether a directory hides those below it, and refuses what no layer could say of it.
    fn is_opaque(&self, directory: &OwnedFd, kind: OverlayXattrs) -> Result<bool, Error> {
        let found = xattrs(directory, b".")?;
        let value = |name| found.get(&kind.own(name)).map(Vec::as_slice);
        for (name, feature) in [("redirect", "redirected directories"), ("metacopy", "metadata-only copies")] {
            if value(name).is_some() {
                return Err(Error::Overlay { path: os_path(&self.path).to_owned(), feature });
            }
        }
        Ok(value("opaque") == Some(b"y"))
    }

    fn visit(&mut self, name: &[u8]) -> Result<(), Error> {
        join(&mut self.path, name);
        let level = self.open.last().expect("a name is in a directory");
        let before = level.before.and_then(|node| node.child(name));
        let stat = match statat(&level.directory, os_path(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) if level.hides => return self.deleted(),
            Err(error) => return Err(error).at("look at", self.shown()).map_err(Error::from),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(self.kind, TreeKind::Upper(_)) && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            // A file that came and went in the same step leaves a mark over nothing.
            return if before.is_some() { self.deleted() } else { Ok(()) };
        }
        match kind {
            // No layer can hold one.
            FileType::Socket => Ok(()),
            FileType::RegularFile if stat.st_size == 0 && self.stubs.contains(&self.path) => Ok(()),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo if self.devices == Devices::LeftOut => {
                Ok(())
            }
            FileType::Directory => self.directory(name, before, &stat),
            kind => self.file(name, before, &stat, kind),
        }
    }

    fn deleted(&mut self) -> Result<(), Error> {
        self.announce()?;
        self.out.append(&self.path, &Metadata::default(), Content::Whiteout)
    }

    fn directory(&mut self, name: &[u8], before: Option<&'a Node>, stat: &Stat) -> Result<(), Error> {
        let metadata = self.metadata(name, stat)?;
        let is_same = before.is_some_and(|node| node.is_directory() && same(&node.metadata, &metadata))
            || self.stubs.contains(&self.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(self.here(), os_path(name), flags, Mode::empty()).at("open", self.shown())?;
        let pending = if is_same {
            Some(metadata)
        } else {
            self.announce()?;
            self.out.append(&self.path, &metadata, Content::Directory)?;
            None
        };
        self.descend(directory, before, pending)
    }

    /// Writes the directories above the current place that are not written yet.
    fn announce(&mut self) -> Result<(), Error> {
        for level in &mut self.open {
            if let Some(metadata) = level.pending.take() {
                self.out.append(&self.path[..level.path_bytes], &metadata, Content::Directory)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &[u8], before: Option<&Node>, stat: &Stat, kind: FileType) -> Result<(), Error> {
        let metadata = self.metadata(name, stat)?;
        // What overlayfs copies up has one name at first (`index=off`); who gave it another one wants to find both alike.
        let has_new_name = matches!(self.kind, TreeKind::Upper(_)) && stat.st_nlink > 1;
        if let Some(before) = before
            && !has_new_name
            && same(&before.metadata, &metadata)
            && before.metadata.mtime == metadata.mtime
            && self.has_same_content(name, before, stat, kind)?
        {
            return Ok(());
        }
        self.announce()?;
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.names.get(&inode) {
                return self.out.append(&self.path, &metadata, Content::Hardlink(first));
            }
            self.names.insert(inode, self.path.clone());
        }
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        match kind {
            FileType::RegularFile => {
                let file = self.open_file(name)?;
                let size = fstat(&file).at("look at", self.shown())?.st_size as u64;
                let mut reader = SparseReader::new(file);
                self.out.append(&self.path, &metadata, Content::File { size, reader: &mut reader })
            }
            FileType::Symlink => {
                let target = self.target(name)?;
                self.out.append(&self.path, &metadata, Content::Symlink(&target))
            }
            FileType::CharacterDevice => self.out.append(&self.path, &metadata, Content::CharDevice { major, minor }),
            FileType::BlockDevice => self.out.append(&self.path, &metadata, Content::BlockDevice { major, minor }),
            _ => self.out.append(&self.path, &metadata, Content::Fifo),
        }
    }

    /// Tells whether a file whose metadata and time are as before is as before (semantics 13.2). A time without
    /// nanoseconds, as layers have it, proves little; then the content decides.
    fn has_same_content(&self, name: &[u8], before: &Node, stat: &Stat, kind: FileType) -> Result<bool, Error> {
        let is_exact = before.metadata.mtime.nanoseconds != 0;
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        Ok(match (&before.kind, kind) {
            (Kind::File { size, digest, .. }, FileType::RegularFile) => {
                *size == stat.st_size as u64 && (is_exact || self.digest(name)? == *digest)
            }
            (Kind::Symlink { target }, FileType::Symlink) => is_exact || self.target(name)? == *target,
            (Kind::CharDevice { major, minor }, FileType::CharacterDevice)
            | (Kind::BlockDevice { major, minor }, FileType::BlockDevice) => device == (*major, *minor),
            (Kind::Fifo, FileType::Fifo) => true,
            _ => false,
        })
    }

    fn digest(&self, name: &[u8]) -> Result<Digest, Error> {
        let mut hasher = Hasher::new();
        let mut file = SparseReader::new(self.open_file(name)?);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match std::io::Read::read(&mut file, &mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(got) => hasher.update(&buffer[..got]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at("read", self.shown()).map_err(Error::from),
            }
        }
    }

    fn open_file(&self, name: &[u8]) -> Result<File, FsError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(self.here(), os_path(name), flags, Mode::empty()).map(File::from).at("open", self.shown())
    }

    fn target(&self, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let target = readlinkat(self.here(), os_path(name), Vec::new()).at("read the link", self.shown())?;
        Ok(target.into_bytes())
    }

    fn metadata(&self, name: &[u8], stat: &Stat) -> Result<Metadata, FsError> {
        metadata(self.here(), name, stat)
    }

    fn here(&self) -> impl AsFd + '_ {
        &self.open.last().expect("something is open").directory
    }

    fn shown(&self) -> std::path::PathBuf {
        self.tree.join(os_path(&self.path))
    }
}

fn metadata(directory: impl AsFd, name: &[u8], stat: &Stat) -> Result<Metadata, FsError> {
    let mut found = xattrs(directory, name)?;
    found.retain(|key, _| super::archive::is_layered(key));
    Ok(Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Mtime { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        xattrs: found,
    })
}

/// Compares what is compared of directories and files alike.
fn same(before: &Metadata, now: &Metadata) -> bool {
    let capability = |metadata: &Metadata| metadata.xattrs.get(&b"security.capability"[..]).cloned();
    (before.mode, before.uid, before.gid) == (now.mode, now.uid, now.gid) && capability(before) == capability(now)
}
