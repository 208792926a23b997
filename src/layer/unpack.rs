use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, linkat, makedev, mkdirat,
    mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::fs::{self, At, Root, SparseWriter, os_path, remove_at, set_xattr};

use super::archive::{Markers, Visit, is_layered, scan};
use super::view::{join, split};
use super::{
    Collision, Content, EntryPath, Error, Finished, Index, Metadata, Mtime, OverlayXattrs, Ownership, Slice, TreeForm,
    TreeOptions,
};

/// Reads any layer's archive, uncompressed, to its end, and makes its tree in the directory `target` meanwhile.
///
/// # Errors
/// Those of [`super::read`] and [`Error::File`]. What was made so far stays.
pub fn unpack(reader: impl Read, target: &Path, options: &TreeOptions) -> Result<Finished, Error> {
    let mut maker = Maker::new(target, options)?;
    let finished = scan(reader, &options.limits, Markers::Meant, &mut maker)?;
    maker.finish()?;
    Ok(finished)
}

/// Reads an archive that is no layer, uncompressed, to its end, and makes its files in the empty directory `target`:
/// names that would say in a layer what is deleted are names like others. `tell` hears of every entry, and so of the
/// owners that the files may not have.
///
/// # Errors
/// As [`unpack`].
pub fn extract(
    reader: impl Read,
    target: &Path,
    options: &TreeOptions,
    tell: &mut dyn FnMut(&[u8], &Metadata),
) -> Result<(), Error> {
    let mut maker = Telling { maker: Maker::new(target, options)?, tell };
    scan(reader, &options.limits, Markers::Names, &mut maker)?;
    maker.maker.finish()
}

/// Reads an archive that is no layer, uncompressed, to its end, and makes its files among those that are in the directory
/// `target`, which stays what it is itself.
///
/// # Errors
/// As [`unpack`], and [`Error::Collision`] where the options refuse it.
pub fn merge(reader: impl Read, target: &Path, options: &TreeOptions) -> Result<(), Error> {
    let mut maker = Merging(Maker::new(target, options)?);
    scan(reader, &options.limits, Markers::Names, &mut maker)?;
    maker.0.finish()
}

struct Merging<'a>(Maker<'a>);

impl Visit for Merging<'_> {
    fn entry(&mut self, path: &[u8], metadata: &Metadata, content: Content<'_>) -> Result<(), Error> {
        if path.is_empty() { Ok(()) } else { self.0.entry(path, metadata, content) }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        self.0.opaque(path)
    }
}

struct Telling<'a> {
    maker: Maker<'a>,
    tell: &'a mut dyn FnMut(&[u8], &Metadata),
}

impl Visit for Telling<'_> {
    fn entry(&mut self, path: &[u8], metadata: &Metadata, content: Content<'_>) -> Result<(), Error> {
        (self.tell)(path, metadata);
        self.maker.entry(path, metadata, content)
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        self.maker.opaque(path)
    }
}

/// Makes the tree of a layer in the directory `target` from its archive, uncompressed, and its index, which brings
/// what the archive has no room for: nanoseconds and all extended attributes.
///
/// # Errors
/// [`Error::File`] and [`Error::IndexMismatch`]. What was made so far stays.
pub fn materialize(index: &Index, archive: &File, target: &Path, options: &TreeOptions) -> Result<(), Error> {
    let mut maker = Maker::new(target, options)?;
    for entry in index.entries() {
        let (offset, size) = entry.kind.extent();
        let mut bytes = Slice::new(archive, offset, size);
        let Some(content) = Content::of(&entry.kind, &mut bytes) else {
            maker.opaque(&entry.path)?;
            continue;
        };
        maker.entry(&entry.path, &entry.metadata, content).map_err(|error| match error {
            Error::SizeChanged { path, .. } => Error::IndexMismatch { path },
            error => error,
        })?;
    }
    maker.finish()
}

/// Makes files in a directory. Every path is resolved inside it, whatever links the layer brings.
struct Maker<'a> {
    root: Root,
    options: &'a TreeOptions,
    /// Directories with the times they get in the end, when nothing is made in them any more.
    directories: Vec<(EntryPath, Mtime)>,
    /// What this layer has made, which its deletions do not concern (image-spec, "Whiteouts"). Only for
    /// [`TreeForm::Plain`].
    made: BTreeSet<EntryPath>,
    /// The directory of the entry before: most entries share it.
    parent: Option<(EntryPath, OwnedFd)>,
    buffer: Vec<u8>,
}

/// How much of a file is in memory at a time.
const BUFFER_BYTES: usize = 128 << 10;

impl Visit for Maker<'_> {
    fn entry(&mut self, path: &[u8], metadata: &Metadata, content: Content<'_>) -> Result<(), Error> {
        self.check()?;
        if path.is_empty() {
            return self.dress(b"", metadata, FileType::Directory);
        }
        let (above, name) = split(path);
        self.enter(above)?;
        if let Content::Whiteout = content {
            return self.whiteout(path, name);
        }
        if let Content::Directory = content {
            return self.directory(path, name, metadata);
        }
        self.clear(path, name)?;
        let Some(kind) = self.make(path, name, content)? else { return Ok(()) };
        if self.options.form == TreeForm::Plain {
            self.made.insert(path.to_vec());
        }
        match kind {
            // It has the metadata of what it links to.
            Made::Link => Ok(()),
            Made::File(kind) => self.dress(name, metadata, kind),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        match self.options.form {
            TreeForm::Overlay(xattrs) => {
                self.enter(path)?;
                self.mark_opaque(b"", xattrs)
            }
            TreeForm::Plain => self.prune(path),
        }
    }
}

enum Made {
    Link,
    File(FileType),
}

impl<'a> Maker<'a> {
    fn new(target: &Path, options: &'a TreeOptions) -> Result<Maker<'a>, Error> {
        let root = Root::open(target)?;
        Ok(Maker { root, options, directories: Vec::new(), made: BTreeSet::new(), parent: None, buffer: Vec::new() })
    }

    fn check(&self) -> Result<(), Error> {
        self.options.cancel.check().map_err(|cancelled| Error::Read(std::io::Error::other(cancelled)))
    }

    fn finish(mut self) -> Result<(), Error> {
        self.parent = None;
        for (path, mtime) in std::mem::take(&mut self.directories).iter().rev() {
            // It may have become something else since.
            match self.root.open_directory(path) {
                Ok(directory) => self.set_times(&directory, b"", *mtime, path)?,
                Err(error) if error.io().and_then(Errno::from_io_error) == Some(Errno::NOTDIR) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes the directory at `path` the current one, with what is missing above it.
    fn enter(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.parent.as_ref().is_some_and(|(known, _)| known == path) {
            return Ok(());
        }
        let directory = match self.root.open_directory(path) {
            Ok(directory) => directory,
            Err(error) if error.is_not_found() && !path.is_empty() => {
                let (above, name) = split(path);
                self.enter(above)?;
                self.imply(path, name)?;
                self.root.open_directory(path).map_err(|error| self.not_a_directory(path, error))?
            }
            Err(error) => match self.replace_whiteout(path)? {
                true => return self.enter(path),
                false => return Err(self.not_a_directory(path, error)),
            },
        };
        self.parent = Some((path.to_vec(), directory));
        Ok(())
    }

    /// Makes a directory in place of this layer's own deletion of what was there.
    fn replace_whiteout(&mut self, path: &[u8]) -> Result<bool, Error> {
        let (above, name) = split(path);
        let Ok(parent) = self.root.open_directory(above) else { return Ok(false) };
        if !is_whiteout(&parent, name) {
            return Ok(false);
        }
        self.parent = Some((above.to_vec(), parent));
        self.imply(path, name)?;
        Ok(true)
    }

    fn not_a_directory(&self, path: &[u8], error: fs::Error) -> Error {
        match error.io().and_then(Errno::from_io_error) {
            Some(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Error::NotADirectory { path: os_path(path).to_owned() },
            _ => error.into(),
        }
    }

    fn here(&self) -> &OwnedFd {
        &self.parent.as_ref().expect("a directory is entered before anything is made in it").1
    }

    /// Makes a directory that no entry speaks of.
    fn imply(&mut self, path: &[u8], name: &[u8]) -> Result<(), Error> {
        self.directory(path, name, &super::view::implied_directory())
    }

    fn directory(&mut self, path: &[u8], name: &[u8], metadata: &Metadata) -> Result<(), Error> {
        let is_there = match statat(self.here(), os_path(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error).at("look at", self.root.shown(path)).map_err(Error::from),
        };
        if !is_there {
            let was_deleted = is_whiteout(self.here(), name);
            let is_free = matches!(statat(self.here(), os_path(name), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            if self.options.collision == Collision::Refuse && !is_free {
                return Err(Error::Collision { path: os_path(path).to_owned() });
            }
            self.clear(path, name)?;
            mkdirat(self.here(), os_path(name), Mode::RWXU).at("create directory", self.root.shown(path))?;
            // A directory in place of a deleted one has nothing of it.
            if let (true, TreeForm::Overlay(xattrs)) = (was_deleted, self.options.form) {
                self.mark_opaque(name, xattrs)?;
            }
        }
        if self.options.form == TreeForm::Plain {
            self.made.insert(path.to_vec());
        }
        self.dress(name, metadata, FileType::Directory)?;
        self.directories.push((path.to_vec(), metadata.mtime));
        Ok(())
    }

    /// Removes what stands where something else is to be made.
    fn clear(&mut self, path: &[u8], name: &[u8]) -> Result<(), Error> {
        let kind = match statat(self.here(), os_path(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).at("look at", self.root.shown(path)).map_err(Error::from),
        };
        if self.options.collision == Collision::Refuse && kind == FileType::Directory {
            return Err(Error::Collision { path: os_path(path).to_owned() });
        }
        remove_at(self.here(), name, &self.root.shown(path))?;
        if kind == FileType::Directory {
            self.made.retain(|made| !is_below(made, path));
        }
        Ok(())
    }

    fn make(&mut self, path: &[u8], name: &[u8], content: Content<'_>) -> Result<Option<Made>, Error> {
        let shown = self.root.shown(path);
        let here = self.here();
        let node = |kind, major, minor| match mknodat(here, os_path(name), kind, Mode::RUSR, makedev(major, minor)) {
            Ok(()) => Ok(Some(Made::File(kind))),
            // No user namespace may make devices (user_namespaces(7)); what runs there cannot open them either.
            Err(Errno::PERM) => Ok(None),
            Err(error) => Err(error).at("create the device", &shown).map_err(Error::from),
        };
        match content {
            Content::File { size, reader } | Content::Known { size, reader, .. } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(here, os_path(name), flags, Mode::RUSR | Mode::WUSR).at("create", &shown)?;
                self.fill(path, file.into(), size, reader)?;
                Ok(Some(Made::File(FileType::RegularFile)))
            }
            Content::Symlink(target) => {
                symlinkat(os_path(target), here, os_path(name)).at("create", &shown)?;
                Ok(Some(Made::File(FileType::Symlink)))
            }
            Content::Hardlink(target) => {
                self.link(path, name, target)?;
                Ok(Some(Made::Link))
            }
            Content::CharDevice { major, minor } => node(FileType::CharacterDevice, major, minor),
            Content::BlockDevice { major, minor } => node(FileType::BlockDevice, major, minor),
            Content::Fifo => node(FileType::Fifo, 0, 0),
            Content::Directory | Content::Whiteout => Ok(None),
        }
    }

    fn fill(&mut self, path: &[u8], file: File, size: u64, reader: &mut dyn Read) -> Result<(), Error> {
        let shown = self.root.shown(path);
        let mut file = SparseWriter::new(file);
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut left = size;
        while left > 0 {
            self.check()?;
            let most = left.min(BUFFER_BYTES as u64) as usize;
            let got = fill(reader, &mut self.buffer[..most])
                .map_err(|source| Error::Content { path: os_path(path).to_owned(), source })?;
            if got == 0 {
                let path = os_path(path).to_owned();
                return Err(Error::SizeChanged { path, expected: size, actual: size - left });
            }
            file.write_all(&self.buffer[..got]).at("write", &shown)?;
            left -= got as u64;
        }
        file.finish().at("write", &shown)?;
        Ok(())
    }

    fn link(&self, path: &[u8], name: &[u8], target: &[u8]) -> Result<(), Error> {
        let (parent, target_name) = self.root.open_parent(target)?;
        match linkat(&parent, os_path(target_name), self.here(), os_path(name), AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => {
                Err(Error::LinkTarget { path: os_path(path).to_owned(), target: os_path(target).to_owned() })
            }
            Err(error) => Err(error).at("create the link", self.root.shown(path)).map_err(Error::from),
        }
    }

    /// Gives a file its owner, mode, attributes and time, in an order in which none undoes another: chown(2) clears
    /// set-id bits and capabilities.
    fn dress(&self, name: &[u8], metadata: &Metadata, kind: FileType) -> Result<(), Error> {
        let (directory, at) =
            if name.is_empty() { (self.root.as_fd(), &b"."[..]) } else { (self.here().as_fd(), name) };
        let shown = || self.root.shown(name);
        let (uid, gid) = (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)));
        let own = || chownat(directory, os_path(at), uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        match self.options.ownership {
            Ownership::Nobodys => {}
            ownership => match own() {
                Err(Errno::PERM | Errno::INVAL) if ownership == Ownership::AsPermitted => {}
                owned => owned.at("set the owner of", shown())?,
            },
        }
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(metadata.mode);
            chmodat(directory, os_path(at), mode, AtFlags::empty()).at("set the mode of", shown())?;
        }
        for (key, value) in metadata.xattrs.iter().filter(|(key, _)| is_layered(key)) {
            self.set_attribute(directory, at, key, value, kind)?;
        }
        if kind == FileType::Directory { Ok(()) } else { self.set_times(directory, at, metadata.mtime, name) }
    }

    fn set_attribute(
        &self,
        directory: impl AsFd,
        name: &[u8],
        key: &[u8],
        value: &[u8],
        kind: FileType,
    ) -> Result<(), Error> {
        let Err(error) = set_xattr(directory, name, key, value) else { return Ok(()) };
        // What a file system, or the kind of a file, has no room for is lost, as it is with every other tool
        // (semantics 13.6). A capability is a permission, and must not get lost.
        let is_capability = key == b"security.capability";
        match error.io().and_then(Errno::from_io_error) {
            Some(Errno::OPNOTSUPP) if !is_capability => Ok(()),
            Some(Errno::PERM) if !is_capability && (kind != FileType::RegularFile || !key.starts_with(b"user.")) => {
                Ok(())
            }
            Some(Errno::PERM | Errno::OPNOTSUPP) if self.options.ownership != Ownership::Exact => Ok(()),
            _ => Err(error.into()),
        }
    }

    fn set_times(&self, directory: impl AsFd, name: &[u8], mtime: Mtime, path: &[u8]) -> Result<(), Error> {
        let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        let name = if name.is_empty() { b"." } else { name };
        utimensat(directory, os_path(name), &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the times of", self.root.shown(path))?;
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8], name: &[u8]) -> Result<(), Error> {
        let TreeForm::Overlay(xattrs) = self.options.form else {
            return if self.has_made(path) { self.prune(path) } else { self.clear(path, name) };
        };
        match statat(self.here(), os_path(name), AtFlags::SYMLINK_NOFOLLOW) {
            // It is this layer's own, which stands in place of what is deleted.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => self.mark_opaque(name, xattrs),
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let made = mknodat(self.here(), os_path(name), FileType::CharacterDevice, Mode::empty(), 0);
                Ok(made.at("mark the deletion of", self.root.shown(path))?)
            }
            Err(error) => Err(error).at("look at", self.root.shown(path)).map_err(Error::from),
        }
    }

    /// Tells whether this layer has something at `path` or below.
    fn has_made(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.made.contains(path) || self.made.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    fn mark_opaque(&self, name: &[u8], xattrs: OverlayXattrs) -> Result<(), Error> {
        let name = if name.is_empty() { b"." } else { name };
        Ok(set_xattr(self.here(), name, &xattrs.own("opaque"), b"y")?)
    }

    /// Removes all below `path` that is not this layer's own.
    fn prune(&mut self, path: &[u8]) -> Result<(), Error> {
        let Ok(directory) = self.root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
            return Ok(());
        };
        self.parent = None;
        for name in names(&directory).at("list", self.root.shown(path))? {
            let mut below = path.to_vec();
            join(&mut below, &name);
            if self.has_made(&below) {
                self.prune(&below)?;
            } else {
                remove_at(&directory, &name, &self.root.shown(&below))?;
            }
        }
        Ok(())
    }
}

/// Returns the names in a directory, in byte order.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_whiteout(directory: impl AsFd, name: &[u8]) -> bool {
    statat(directory, os_path(name), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
