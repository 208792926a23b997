mod digests;
mod walk;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rayon::prelude::*;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use digests::Digests;
pub use walk::{Fate, Listed, Listing, Tally, Walk};

use super::digest::{DigestCache, StatKey, hash};
use super::{Error, Ignore, Owners, Scope, Verdict, nearest};
use crate::fs::SparseReader;
use crate::layer::{Metadata, Mtime, Packed};
use crate::oci::Digest;
use crate::sys::Cancel;

/// What an entry of a context is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File {
        /// Content bytes.
        size_bytes: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One file, directory or link of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the root of the context, `/`-separated; `""` is the root.
    pub path: Vec<u8>,
    /// What.
    pub kind: Kind,
    /// Owner and group are 0, unless an archive has said otherwise: those of this machine mean nothing.
    pub metadata: Metadata,
    /// Identity and state of the file on this machine.
    pub key: StatKey,
    /// How many names the file has.
    pub links: u64,
    /// Whether a directory is ignored itself, and at most there for what is seen below it.
    pub ignored: bool,
}

/// Why a path is not in a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// It is on disk, but a rule hides it.
    Ignored {
        /// The ignore file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// The pattern as written.
        pattern: String,
    },
    /// There is nothing; perhaps this was meant.
    Missing {
        /// A path with a similar name.
        nearest: Option<Vec<u8>>,
    },
}

/// A directory, seen through ignore rules.
pub struct Context {
    path: PathBuf,
    root: OwnedFd,
    ignore: Ignore,
    cache: Option<Arc<dyn DigestCache>>,
    cancel: Cancel,
    normal: Option<Mtime>,
    is_reversed: bool,
    owners: Owners,
}

/// Opening stays below the root and follows no link.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Directories with more names than this are looked at by several threads.
const NAMES_A_THREAD: usize = 256;

impl Context {
    /// Opens the directory at `path`; nothing in it is read yet.
    ///
    /// # Errors
    /// When it is not a directory that can be opened.
    pub fn open(path: &Path, ignore: Ignore, cache: Option<Arc<dyn DigestCache>>) -> Result<Context, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty()).map_err(|errno| Error::Io {
            action: "open the context directory",
            path: path.to_owned(),
            source: errno.into(),
        })?;
        Ok(Context {
            path: path.to_owned(),
            root,
            ignore,
            cache,
            cancel: Cancel::new(),
            normal: None,
            is_reversed: false,
            owners: Owners::default(),
        })
    }

    /// Gives up walks and digests once `cancel` is raised.
    pub fn cancelled_by(mut self, cancel: Cancel) -> Context {
        self.cancel = cancel;
        self
    }

    /// Has files belong to others than root.
    pub fn owned_by(self, owners: Owners) -> Context {
        Context { owners, ..self }
    }

    /// Hides what differs between two checkouts of the same content: every entry has the time `mtime`, and a mode as a
    /// umask of 022 makes it; there are neither extended attributes nor hard links.
    pub fn normalized(self, mtime: Mtime) -> Context {
        Context { normal: Some(mtime), ..self }
    }

    /// Takes the names in a directory from the last to the first, as another file system may have them. Nothing may
    /// depend on it.
    pub fn reversed(self) -> Context {
        Context { is_reversed: true, ..self }
    }

    /// Returns where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the rules it is seen through.
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// Returns the entry at `path`, following no link. An ignored directory is returned where something below it may
    /// be seen.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, Error> {
        let verdict = self.ignore.verdict(path);
        if verdict.is_ignored() && self.ignore.can_prune(path) {
            return Ok(None);
        }
        Ok(self.on_disk(path)?.filter(|entry| entry.kind == Kind::Directory || !verdict.is_ignored()))
    }

    /// Returns what is at `path`, ignored or not. Sockets are nothing.
    fn on_disk(&self, path: &[u8]) -> Result<Option<Entry>, Error> {
        let fd = match self.confined(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::XDEV) => return Ok(None),
            Err(errno) => return Err(self.failed("look at", path, errno)),
        };
        let stat = fs::fstat(&fd).map_err(|errno| self.failed("look at", path, errno))?;
        self.entry(path.to_vec(), &stat, self.ignore.verdict(path))
    }

    /// Returns what is seen directly in the directory `path`, in byte order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn children(&self, path: &[u8]) -> Result<Vec<Entry>, Error> {
        self.seen_in(path, &self.scope(path))
    }

    /// Returns everything that is seen below the directory `path`, without itself: depth first, names in byte order.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn list(&self, path: &[u8]) -> Result<Packed<Entry>, Error> {
        self.list_in(path, &self.scope(path))
    }

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    /// When it cannot be read, or is not the file that had `key` any more.
    pub fn open_file(&self, path: &[u8], key: &StatKey) -> Result<File, Error> {
        // Without NONBLOCK a pipe that took the file's place would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(self.confined(path, flags).map_err(|errno| self.failed("open", path, errno))?);
        self.check_unchanged(&file, path, key)?;
        Ok(file)
    }

    /// Checks that an open file is still the one that had `key`: worth asking again after reading it.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_unchanged(&self, file: &File, path: &[u8], key: &StatKey) -> Result<(), Error> {
        let stat = fs::fstat(file).map_err(|errno| self.failed("look at", path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && StatKey::of(&stat) == *key {
            return Ok(());
        }
        Err(Error::Changed { path: self.full(path) })
    }

    /// Returns what digests the files of this context.
    pub fn digests(&self) -> Digests<'_> {
        Digests::new(self)
    }

    /// Says why a path is not in the context.
    pub fn explain(&self, path: &[u8]) -> Absence {
        let verdict = self.ignore.verdict(path);
        let rule = match verdict {
            Verdict::Ignored(number) if matches!(self.on_disk(path), Ok(Some(_))) => self.ignore.rule(number),
            _ => None,
        };
        if let Some((file, line, pattern)) = rule {
            return Absence::Ignored { file: file.to_owned(), line, pattern: pattern.to_owned() };
        }
        Absence::Missing { nearest: self.nearest(path) }
    }

    /// Returns a seen path whose first wrong component is a typing mistake away from that of `path`.
    pub fn nearest(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (parent, name) = split(path);
        if !parent.is_empty() && !matches!(self.lookup(parent), Ok(Some(_))) {
            let parent = self.nearest(parent)?;
            let path = [&parent[..], b"/", name].concat();
            return matches!(self.lookup(&path), Ok(Some(_))).then_some(path);
        }
        let names = self.children(parent).ok()?.into_iter().map(|entry| split(&entry.path).1.to_vec());
        nearest(name, names).map(|name| join(parent, &name))
    }

    fn hash(&self, entry: &Entry) -> Result<(Digest, bool), Error> {
        let started = SystemTime::now();
        let mut file = SparseReader::new(self.open_file(&entry.path, &entry.key)?);
        let hashed = hash(&mut file, &self.cancel).map_err(|error| self.broken("read", &entry.path, error));
        self.cancel.check()?;
        let (digest, size) = hashed?;
        self.check_unchanged(file.file(), &entry.path, &entry.key)?;
        if size != entry.key.size_bytes {
            return Err(Error::Changed { path: self.full(&entry.path) });
        }
        Ok((digest, entry.key.is_settled(started)))
    }

    fn scope(&self, directory: &[u8]) -> Scope {
        let mut scope = self.ignore.root();
        if directory.is_empty() {
            return scope;
        }
        let slashes = directory.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| slash);
        for end in slashes.chain([directory.len()]) {
            scope = self.ignore.enter(&scope, &directory[..end]);
        }
        scope
    }

    fn list_in(&self, path: &[u8], scope: &Scope) -> Result<Packed<Entry>, Error> {
        let children = self.seen_in(path, scope)?;
        if children.iter().all(|child| child.kind != Kind::Directory) {
            return Ok(children.into_iter().collect());
        }
        let below: Vec<Packed<Entry>> =
            children.into_par_iter().map(|child| self.with_content(child, scope)).collect::<Result<_, Error>>()?;
        let mut all = Packed::new();
        below.into_iter().for_each(|below| all.append(below));
        Ok(all)
    }

    /// Returns an entry and everything below it; nothing for an ignored directory with nothing in it to see.
    fn with_content(&self, entry: Entry, scope: &Scope) -> Result<Packed<Entry>, Error> {
        if entry.kind != Kind::Directory {
            return Ok(Packed::from_iter([entry]));
        }
        let below = self.list_in(&entry.path, &self.ignore.enter(scope, &entry.path))?;
        if entry.ignored && below.is_empty() {
            return Ok(below);
        }
        let mut all = Packed::from_iter([entry]);
        all.append(below);
        Ok(all)
    }

    fn seen_in(&self, path: &[u8], scope: &Scope) -> Result<Vec<Entry>, Error> {
        self.cancel.check()?;
        let fd = self
            .confined(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
            .map_err(|errno| self.failed("open", path, errno))?;
        let mut names = names(&fd).map_err(|errno| self.failed("read", path, errno))?;
        if self.is_reversed {
            names.reverse();
        }
        names.sort_unstable();
        let seen = |name: &Vec<u8>| self.child(&fd, path, name, scope).transpose();
        names.par_iter().with_min_len(NAMES_A_THREAD).filter_map(seen).collect()
    }

    fn child(&self, directory: &OwnedFd, above: &[u8], name: &[u8], scope: &Scope) -> Result<Option<Entry>, Error> {
        let path = join(above, name);
        let verdict = self.ignore.verdict_in(scope, &path);
        if verdict.is_ignored() && self.ignore.can_prune(&path) {
            return Ok(None);
        }
        let stat = match fs::statat(directory, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("look at", &path, errno)),
        };
        if verdict.is_ignored() && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(None);
        }
        self.entry(path, &stat, verdict)
    }

    fn entry(&self, path: Vec<u8>, stat: &Stat, verdict: Verdict) -> Result<Option<Entry>, Error> {
        let Some(kind) = self.kind(&path, stat)? else { return Ok(None) };
        let key = StatKey::of(stat);
        let (uid, gid) = self.owners.of(&path);
        let metadata = Metadata {
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: Mtime { seconds: key.mtime.seconds, nanoseconds: key.mtime.nanoseconds },
            xattrs: xattrs(&self.full(&path)),
        };
        #[allow(clippy::useless_conversion, reason = "its width depends on the architecture")]
        let links = u64::from(stat.st_nlink);
        let ignored = verdict.is_ignored();
        let entry = Entry { path, kind, metadata, key, links, ignored };
        Ok(Some(match self.normal {
            Some(mtime) => normalized(entry, mtime),
            None => entry,
        }))
    }

    /// Returns what is at `path`; nothing of a socket.
    fn kind(&self, path: &[u8], stat: &Stat) -> Result<Option<Kind>, Error> {
        let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File { size_bytes: u64::try_from(stat.st_size).unwrap_or_default() },
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink { target: self.target(path)? },
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        }))
    }

    fn target(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let fd =
            self.confined(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(|errno| self.failed("open", path, errno))?;
        let target = fs::readlinkat(&fd, "", Vec::new()).map_err(|errno| self.failed("read the link", path, errno))?;
        Ok(target.into_bytes())
    }

    fn confined(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let path = OsStr::from_bytes(path);
        // The kernel gives up with EAGAIN when something is renamed while it checks that the path stays inside.
        loop {
            match fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), CONFINED) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn full(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }

    fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> Error {
        self.broken(action, path, errno.into())
    }

    fn broken(&self, action: &'static str, path: &[u8], source: std::io::Error) -> Error {
        Error::Io { action, path: self.full(path), source }
    }
}

fn normalized(entry: Entry, mtime: Mtime) -> Entry {
    let mode = match entry.kind {
        Kind::Symlink { .. } => entry.metadata.mode,
        Kind::Directory => 0o755,
        _ if entry.metadata.mode & 0o100 != 0 => 0o755,
        _ => 0o644,
    };
    let metadata = Metadata { mode, mtime, ..Metadata::default() };
    Entry { metadata, links: 1, ..entry }
}

/// Returns the names in a directory, in the order of the file system.
fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Returns the attributes that belong to content: not those of the host's security modules and file systems.
fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    // Copies live without attributes where a file system has none, or refuses to show them.
    let mut list = [0; 1024];
    let length = match fs::llistxattr(path, &mut list[..]) {
        Ok(0) | Err(_) => return BTreeMap::new(),
        Ok(length) => length,
    };
    let names = list[..length].split(|&byte| byte == 0).filter(|name| belongs_to_content(name));
    names.filter_map(|name| Some((name.to_vec(), xattr(path, name)?))).collect()
}

fn belongs_to_content(name: &[u8]) -> bool {
    let foreign = [&b"security."[..], b"system.", b"com.apple.", b"trusted.overlay.", b"user.overlay."];
    !name.is_empty() && (name == b"security.capability" || !foreign.iter().any(|prefix| name.starts_with(prefix)))
}

fn xattr(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let length = fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// Splits off the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests;
