use std::collections::HashSet;
use std::io::{self, Read};

use tar::PaxExtensions;

use crate::fs::{Xattrs, os_path};
use crate::oci::{DiffId, Hasher};

use super::header::BLOCK_BYTES;
use super::view::{join, split};
use super::writer::WHITEOUT;
use super::{Content, Entry, EntryPath, Error, Finished, Index, Kind, Metadata, Mtime};

/// What a layer from elsewhere may have at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole archive.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 1 << 40, entries: 16 << 20 }
    }
}

/// Takes the entries of an archive, in its order. Content that it does not read is read past.
pub(super) trait Visit {
    /// Takes an entry.
    fn entry(&mut self, path: &[u8], metadata: &Metadata, content: Content<'_>) -> Result<(), Error>;
    /// Takes the mark that a directory hides what lies below it.
    fn opaque(&mut self, path: &[u8]) -> Result<(), Error>;
}

/// Reads any layer's archive, uncompressed, to its end, and returns its diff id and index.
///
/// # Errors
/// Every variant that speaks of "the layer".
pub fn read(reader: impl Read, limits: &Limits) -> Result<Finished, Error> {
    struct Nobody;
    impl Visit for Nobody {
        fn entry(&mut self, _: &[u8], _: &Metadata, _: Content<'_>) -> Result<(), Error> {
            Ok(())
        }
        fn opaque(&mut self, _: &[u8]) -> Result<(), Error> {
            Ok(())
        }
    }
    scan(reader, limits, Markers::Meant, &mut Nobody)
}

/// Whether names that begin with `.wh.` say what is deleted (image-spec, "Whiteouts").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Markers {
    /// As in every layer.
    Meant,
    /// As in an archive that is no layer: they are names.
    Names,
}

/// Reads an archive as [`read`] does, and shows its entries to `visitor` as they come.
pub(super) fn scan(
    reader: impl Read,
    limits: &Limits,
    markers: Markers,
    visitor: &mut dyn Visit,
) -> Result<Finished, Error> {
    let mut scanner = Scanner {
        tape: Tape { inner: reader, hasher: Hasher::new(), position: 0, limit: limits.bytes, scratch: Vec::new() },
        limits: *limits,
        markers,
        index: Index::default(),
        linkable: None,
    };
    while let Some(header) = scanner.header()? {
        scanner.entry(header, visitor)?;
    }
    scanner.tape.drain()?;
    let Scanner { tape, index, .. } = scanner;
    Ok(Finished { diff_id: DiffId::new(tape.hasher.finish()), size_bytes: tape.position, index })
}

/// Longer paths cannot be opened (path_resolution(7)), and longer names do not exist.
const MAX_PATH_BYTES: usize = 4095;
const MAX_NAME_BYTES: usize = 255;

/// The most that long names and PAX records may take; Go's archive/tar allows as much.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// A header with all that preceded it, decoded.
struct Header {
    /// Where the first block of it starts.
    offset: u64,
    flag: u8,
    path: Vec<u8>,
    link: Vec<u8>,
    size: u64,
    device: (u32, u32),
    metadata: Metadata,
}

struct Scanner<R> {
    tape: Tape<R>,
    limits: Limits,
    markers: Markers,
    index: Index,
    /// Paths that hard links may name; collected once the first link asks.
    linkable: Option<HashSet<EntryPath>>,
}

/// What comes before a header to say what has no room in it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime_seconds: Option<i64>,
    xattrs: Xattrs,
}

impl<R: Read> Scanner<R> {
    /// Returns the next entry's header; nothing at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let offset = self.tape.position;
        let mut extensions = Extensions::default();
        loop {
            let at = self.tape.position;
            let Some(block) = self.tape.block()? else { return Ok(None) };
            let damaged = |reason| Error::Damaged { offset: at, reason };
            if block.iter().all(|&byte| byte == 0) {
                return match self.tape.block()? {
                    Some(second) if second.iter().any(|&byte| byte != 0) => Err(damaged("something follows its end")),
                    _ => Ok(None),
                };
            }
            let header = tar::Header::from_byte_slice(&block);
            if number(&header.as_old().cksum) != Some(checksum(&block)) {
                return Err(damaged("a header's checksum is wrong"));
            }
            let size = size(header).ok_or(damaged("a size is not a number"))?;
            match block[156] {
                b'L' => extensions.path = Some(until_nul(self.extension(at, size)?)),
                b'K' => extensions.link = Some(until_nul(self.extension(at, size)?)),
                b'x' => extensions.read(&self.extension(at, size)?).map_err(damaged)?,
                // Defaults for all that follows; what is known to write them has nothing there that a layer needs.
                b'g' => drop(self.extension(at, size)?),
                flag => return decode(offset, flag, header, extensions).map(Some),
            }
        }
    }

    fn extension(&mut self, offset: u64, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION_BYTES {
            return Err(Error::Damaged { offset, reason: "a long name or a PAX header is too large" });
        }
        let mut bytes = vec![0; size as usize];
        self.tape.fill(&mut bytes)?;
        self.tape.skip(padding(size))?;
        Ok(bytes)
    }

    fn entry(&mut self, header: Header, visitor: &mut dyn Visit) -> Result<(), Error> {
        if self.index.len() as u64 >= self.limits.entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.entries });
        }
        let path = clean(&header.path, header.offset)?;
        let marker = if self.markers == Markers::Meant { Marker::of(&path) } else { Marker::None };
        match marker {
            Marker::None => self.file(path, header, visitor),
            Marker::Ignored => self.tape.skip(header.stored_bytes()),
            Marker::Opaque(directory) => {
                visitor.opaque(&directory)?;
                self.push(directory, Kind::Opaque, Metadata::default());
                self.tape.skip(header.stored_bytes())
            }
            Marker::Whiteout(gone) if is_file(header.flag) => {
                visitor.entry(&gone, &Metadata::default(), Content::Whiteout)?;
                self.push(gone, Kind::Whiteout, Metadata::default());
                self.tape.skip(header.stored_bytes())
            }
            Marker::Whiteout(_) | Marker::Invalid => Err(Error::Whiteout { path: os_path(&path).to_owned() }),
        }
    }

    fn file(&mut self, path: EntryPath, header: Header, visitor: &mut dyn Visit) -> Result<(), Error> {
        let owned = || os_path(&path).to_owned();
        let (major, minor) = header.device;
        let mut link = Vec::new();
        let mut skipped = header.stored_bytes();
        let (kind, content) = match header.flag {
            b'0' | 0 | b'7' if path.is_empty() => {
                return Err(Error::BadPath { offset: header.offset, reason: "it is empty" });
            }
            // Before directories had a type of their own, they had a slash.
            0 if header.path.ends_with(b"/") => (Kind::Directory, Content::Directory),
            b'0' | 0 | b'7' => return self.regular(path, &header, visitor),
            b'1' => {
                link.extend(clean(&header.link, header.offset)?);
                if !self.linkable().contains(&link) {
                    return Err(Error::LinkTarget { path: owned(), target: os_path(&header.link).to_owned() });
                }
                // A link repeats the size of what it links to, or not; either way nothing follows.
                skipped = 0;
                (Kind::Hardlink { target: link.clone() }, Content::Hardlink(&link))
            }
            b'2' if header.link.is_empty() => {
                return Err(Error::BadPath { offset: header.offset, reason: "a symbolic link leads to nothing" });
            }
            b'2' => (Kind::Symlink { target: header.link.clone() }, Content::Symlink(&header.link)),
            b'3' => (Kind::CharDevice { major, minor }, Content::CharDevice { major, minor }),
            b'4' => (Kind::BlockDevice { major, minor }, Content::BlockDevice { major, minor }),
            b'5' => (Kind::Directory, Content::Directory),
            b'6' => (Kind::Fifo, Content::Fifo),
            flag => return Err(Error::UnknownType { path: owned(), flag: char::from(flag) }),
        };
        if path.is_empty() && kind != Kind::Directory {
            return Err(Error::BadPath { offset: header.offset, reason: "it is empty" });
        }
        visitor.entry(&path, &header.metadata, content)?;
        self.push(path, kind, header.metadata);
        self.tape.skip(skipped)
    }

    fn regular(&mut self, path: EntryPath, header: &Header, visitor: &mut dyn Visit) -> Result<(), Error> {
        let (offset, size) = (self.tape.position, header.size);
        let mut body = Body { tape: &mut self.tape, left: size, hasher: Hasher::new(), error: None };
        let visited = visitor.entry(&path, &header.metadata, Content::File { size, reader: &mut body });
        // The archive's own error says more than what it did to the file.
        if let Some(error) = body.error.take() {
            return Err(error);
        }
        visited?;
        let digest = body.finish()?;
        self.push(path, Kind::File { size, digest, offset }, header.metadata.clone());
        self.tape.skip(padding(size))
    }

    fn push(&mut self, path: EntryPath, kind: Kind, metadata: Metadata) {
        if let Some(linkable) = &mut self.linkable {
            match kind {
                Kind::Directory | Kind::Whiteout | Kind::Opaque => {}
                _ => drop(linkable.insert(path.clone())),
            }
        }
        self.index.push(&Entry { path, kind, metadata });
    }

    fn linkable(&mut self) -> &HashSet<EntryPath> {
        let entries = self.index.entries();
        self.linkable.get_or_insert_with(|| {
            let files = entries.filter(|entry| !matches!(entry.kind, Kind::Directory | Kind::Whiteout | Kind::Opaque));
            files.map(|entry| entry.path).collect()
        })
    }
}

impl Header {
    fn stored_bytes(&self) -> u64 {
        self.size.saturating_add(padding(self.size))
    }
}

impl Extensions {
    fn read(&mut self, records: &[u8]) -> Result<(), &'static str> {
        const REASON: &str = "a PAX record is malformed";
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|_| REASON)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            let number = || std::str::from_utf8(value).ok();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number().and_then(|text| text.parse().ok()).ok_or(REASON)?),
                b"uid" => self.uid = Some(number().and_then(|text| text.parse().ok()).ok_or(REASON)?),
                b"gid" => self.gid = Some(number().and_then(|text| text.parse().ok()).ok_or(REASON)?),
                b"mtime" => self.mtime_seconds = Some(number().and_then(whole_seconds).ok_or(REASON)?),
                _ if key.starts_with(b"GNU.sparse.") => return Err("it has sparse files in GNU's form"),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| is_layered(name)) {
                        self.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells whether an attribute may come with a layer: overlayfs would believe its own, whoever wrote them.
pub(super) fn is_layered(xattr: &[u8]) -> bool {
    !xattr.starts_with(b"trusted.overlay.") && !xattr.starts_with(b"user.overlay.") && !xattr.contains(&0)
}

/// Reads `-1.5` and the like; a layer's times are whole seconds (semantics 13.5), and the past is below.
fn whole_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_below = text.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
    Some(if is_below { seconds - 1 } else { seconds })
}

fn decode(offset: u64, flag: u8, header: &tar::Header, extensions: Extensions) -> Result<Header, Error> {
    let damaged = |reason| Error::Damaged { offset, reason };
    let fields = header.as_old();
    let id = |field: &[u8], extended: Option<u32>| match extended {
        Some(extended) => Ok(extended),
        None => number(field).and_then(|id| id.try_into().ok()).ok_or(damaged("an owner is not a number")),
    };
    let mtime = || number(&fields.mtime).and_then(|seconds| seconds.try_into().ok());
    let device =
        |field: &[u8]| number(field).and_then(|id| id.try_into().ok()).ok_or(damaged("a device is not a number"));
    let device = match (flag, header.as_ustar(), header.as_gnu()) {
        (b'3' | b'4', Some(fields), _) => (device(&fields.dev_major)?, device(&fields.dev_minor)?),
        (b'3' | b'4', _, Some(fields)) => (device(&fields.dev_major)?, device(&fields.dev_minor)?),
        _ => (0, 0),
    };
    let size = match extensions.size {
        Some(size) if is_file(flag) => size,
        _ => size(header).ok_or(damaged("a size is not a number"))?,
    };
    let seconds = extensions.mtime_seconds.or_else(mtime).ok_or(damaged("a time is not a number"))?;
    let mode = number(&fields.mode).ok_or(damaged("a mode is not a number"))?;
    let metadata = Metadata {
        mode: (mode & 0o7777) as u32,
        uid: id(&fields.uid, extensions.uid)?,
        gid: id(&fields.gid, extensions.gid)?,
        mtime: Mtime { seconds, nanoseconds: 0 },
        xattrs: extensions.xattrs,
    };
    let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let own_link = || header.link_name_bytes().unwrap_or_default().into_owned();
    Ok(Header { offset, flag, path, link: extensions.link.unwrap_or_else(own_link), size, device, metadata })
}

fn size(header: &tar::Header) -> Option<u64> {
    number(&header.as_old().size)?.try_into().ok()
}

/// Reads a number as POSIX writes it, in octal, or as GNU does where that has no room, in base 256. Nothing is zero, as
/// it is for Go's archive/tar.
fn number(field: &[u8]) -> Option<i128> {
    if field[0] & 0x80 != 0 {
        // Two's complement without its first bit, of at most eleven bytes here.
        let first = i128::from(((field[0] << 1) as i8) >> 1);
        return Some(field[1..].iter().fold(first, |value, &byte| (value << 8) | i128::from(byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok().map(i128::from) }
}

fn is_file(flag: u8) -> bool {
    matches!(flag, b'0' | 0 | b'7')
}

/// Returns a path as entries have it; one that leaves the root is an error, and the root's own is empty.
fn clean(path: &[u8], offset: u64) -> Result<EntryPath, Error> {
    let bad = |reason| Error::BadPath { offset, reason };
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop().ok_or_else(|| Error::Escape { path: os_path(path).to_owned() })?;
            }
            name if name.len() > MAX_NAME_BYTES => return Err(bad("a name in it is too long")),
            name => names.push(name),
        }
    }
    if path.contains(&0) {
        return Err(bad("it contains a NUL byte"));
    }
    let path = names.join(&b'/');
    if path.len() > MAX_PATH_BYTES { Err(bad("it is too long")) } else { Ok(path) }
}

/// What a name says about other layers (image-spec, "Whiteouts").
enum Marker {
    None,
    /// Something that AUFS left behind.
    Ignored,
    /// This path is gone.
    Whiteout(EntryPath),
    /// This directory hides what lies below it.
    Opaque(EntryPath),
    Invalid,
}

impl Marker {
    fn of(path: &[u8]) -> Marker {
        const META: &[u8] = b".wh..wh.";
        let (parent, name) = split(path);
        if name == b".wh..wh..opq" && !has_marker(parent) {
            return Marker::Opaque(parent.to_vec());
        }
        if path.split(|&byte| byte == b'/').any(|name| name.starts_with(META)) {
            return Marker::Ignored;
        }
        if has_marker(parent) {
            return Marker::Invalid;
        }
        match name.strip_prefix(WHITEOUT) {
            None => Marker::None,
            Some(b"" | b"." | b"..") => Marker::Invalid,
            Some(name) => {
                let mut gone = parent.to_vec();
                join(&mut gone, name);
                Marker::Whiteout(gone)
            }
        }
    }
}

fn has_marker(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name.starts_with(WHITEOUT))
}

/// Returns the sum that a header must name: of its bytes, with blanks where the sum itself stands.
fn checksum(block: &[u8; BLOCK_BYTES]) -> i128 {
    let blanks = 8 * i128::from(b' ');
    block[..148].iter().chain(&block[156..]).map(|&byte| i128::from(byte)).sum::<i128>() + blanks
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    bytes
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}

/// The bytes of an archive, counted and hashed as they pass.
struct Tape<R> {
    inner: R,
    hasher: Hasher,
    position: u64,
    limit: u64,
    scratch: Vec<u8>,
}

/// Read at once of what nobody wants.
const SCRATCH_BYTES: usize = 16 << 10;

impl<R: Read> Tape<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.inner.read(buffer) {
                Ok(got) => {
                    self.hasher.update(&buffer[..got]);
                    self.position += got as u64;
                    if self.position > self.limit {
                        return Err(Error::Limit { what: "bytes", limit: self.limit });
                    }
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Of a compressed stream, the end in its middle.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Error::Truncated { offset: self.position });
                }
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(Error::Truncated { offset: self.position }),
                got => buffer = &mut buffer[got..],
            }
        }
        Ok(())
    }

    /// Returns the next block; nothing where the archive ends before it, as some without an end mark do.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, Error> {
        let mut block = [0; BLOCK_BYTES];
        match self.read(&mut block)? {
            0 => Ok(None),
            got => {
                self.fill(&mut block[got..])?;
                Ok(Some(block))
            }
        }
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        let mut scratch = self.scratch();
        while bytes > 0 {
            let most = bytes.min(scratch.len() as u64) as usize;
            match self.read(&mut scratch[..most])? {
                0 => return Err(Error::Truncated { offset: self.position }),
                got => bytes -= got as u64,
            }
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Reads what follows the end mark, which counts for the digest.
    fn drain(&mut self) -> Result<(), Error> {
        let mut scratch = self.scratch();
        while self.read(&mut scratch)? > 0 {}
        Ok(())
    }

    /// Lends the buffer for what nobody wants but for its digest. Clearing another for each file would be most of what
    /// small files cost.
    fn scratch(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(SCRATCH_BYTES, 0);
        scratch
    }
}

/// The content of one file.
struct Body<'a, R> {
    tape: &'a mut Tape<R>,
    left: u64,
    hasher: Hasher,
    /// What went wrong, for whoever can say it.
    error: Option<Error>,
}

impl<R: Read> Body<'_, R> {
    /// Reads what nobody has read, and returns the digest of the whole.
    fn finish(mut self) -> Result<crate::oci::Digest, Error> {
        let mut scratch = self.tape.scratch();
        while self.left > 0 {
            if let Err(lost) = Read::read(&mut self, &mut scratch) {
                return Err(self.error.take().unwrap_or(Error::Read(lost)));
            }
        }
        self.tape.scratch = scratch;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let got = match self.tape.read(&mut buffer[..most]) {
            Ok(0) => Err(Error::Truncated { offset: self.tape.position }),
            got => got,
        };
        match got {
            Ok(got) => {
                self.hasher.update(&buffer[..got]);
                self.left -= got as u64;
                Ok(got)
            }
            Err(error) => {
                let told = io::Error::other(error.to_string());
                self.error = Some(error);
                Err(told)
            }
        }
    }
}
