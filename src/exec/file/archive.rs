use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use tar::{Archive, EntryType};

use super::WriteOptions;
use super::error::shown;
use super::resolve::clean;
use super::source::Shape;
use crate::layer::{self, Metadata, Mtime, Slice};
use crate::oci::HashingWriter;
use crate::sys::Cancel;

/// Why an archive cannot be unpacked. Members are named as they would be below the destination.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A member's name leads out of the destination.
    #[error("{member} is outside of the destination")]
    Outside {
        /// As the archive has it.
        member: String,
    },
    /// A hard link is to something that is no file of the destination.
    #[error("{member} is a hard link to {target}, which is not there")]
    Link {
        /// The link.
        member: String,
        /// What it should be another name of.
        target: String,
    },
    /// A member is of a kind that no file system has.
    #[error("{member} is of unknown type {kind:?}")]
    Kind {
        /// Which.
        member: String,
        /// The type flag.
        kind: char,
    },
    /// The archive ends within a member.
    #[error("the archive ends inside of {member}")]
    Truncated {
        /// Which.
        member: String,
    },
    /// The archive cannot be read, or its members cannot be kept.
    #[error("the archive is damaged")]
    Read(#[source] io::Error),
}

/// One member of an archive.
pub(super) struct Member {
    /// Below the destination.
    pub(super) path: Vec<u8>,
    pub(super) kind: MemberKind,
    pub(super) metadata: Metadata,
}

pub(super) enum MemberKind {
    /// A file's bytes are in the spool.
    Shape {
        shape: Shape,
        offset: u64,
    },
    Hardlink {
        target: Vec<u8>,
    },
}

/// A temporary file without a name, made when first needed.
pub(super) struct Spool {
    directory: PathBuf,
    cancel: Cancel,
    file: Option<File>,
    length: u64,
}

impl Spool {
    pub(super) fn new(options: &WriteOptions) -> Spool {
        Spool { directory: options.scratch.clone(), cancel: options.cancel.clone(), file: None, length: 0 }
    }

    /// Keeps what `content` gives; returns where it is.
    fn keep(&mut self, content: &mut impl Read) -> io::Result<Kept> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.directory)?),
        };
        let mut writer = HashingWriter::new(file);
        let size_bytes = io::copy(content, &mut writer)?;
        writer.flush()?;
        let (_, digest, _) = writer.finish();
        let offset = self.length;
        self.length += size_bytes;
        Ok(Kept { offset, shape: Shape::File { size_bytes, digest }, size_bytes })
    }

    /// Reads back `length` bytes.
    pub(super) fn read(&self, offset: u64, length: u64) -> Slice<&File> {
        Slice::new(self.file.as_ref().expect("only what was kept is read back"), offset, length)
    }
}

struct Kept {
    offset: u64,
    shape: Shape,
    size_bytes: u64,
}

/// Names and attributes of one member may take this much. Without a limit a small archive could claim a name of
/// gigabytes, which is held in memory.
const MOST_HEADER_BYTES: u64 = 8 << 20;

/// Fails when more is read than allowed since the last allowance.
struct Metered<'a, R> {
    inner: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a header is too large"));
        }
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - length as u64);
        Ok(length)
    }
}

/// Reads an archive, compressed or not, and keeps the bytes of its files; `None` where it is not one: its first member
/// cannot be read.
pub(super) fn members(content: impl Read + Send, spool: &mut Spool) -> Result<Option<Vec<Member>>, ArchiveError> {
    let cancel = spool.cancel.clone();
    let Ok((_, content)) = layer::decompress(cancel.guard(content)) else { return Ok(None) };
    let left = Cell::new(MOST_HEADER_BYTES);
    let mut archive = Archive::new(Metered { inner: content, left: &left });
    let Ok(mut entries) = archive.entries() else { return Ok(None) };
    let mut members = Vec::new();
    let mut next = match entries.next() {
        None | Some(Err(_)) => return Ok(None),
        first => first,
    };
    while let Some(entry) = next {
        left.set(u64::MAX);
        members.extend(member(entry.map_err(ArchiveError::Read)?, spool)?);
        left.set(MOST_HEADER_BYTES);
        next = entries.next();
    }
    Ok(Some(members))
}

fn member<R: Read>(mut entry: tar::Entry<'_, R>, spool: &mut Spool) -> Result<Option<Member>, ArchiveError> {
    let path = inside(&entry.path_bytes())?;
    let mut metadata = metadata(&mut entry).map_err(ArchiveError::Read)?;
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or_default();
    let (major, minor) = (number(entry.header().device_major()), number(entry.header().device_minor()));
    let plain = |shape| MemberKind::Shape { shape, offset: 0 };
    let kind = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => file(&mut entry, spool)?,
        EntryType::Link => MemberKind::Hardlink { target: inside(&entry.link_name_bytes().unwrap_or_default())? },
        EntryType::Symlink => {
            metadata.mode = 0o777;
            plain(Shape::Symlink { target: entry.link_name_bytes().unwrap_or_default().into_owned() })
        }
        EntryType::Char => plain(Shape::CharDevice { major, minor }),
        EntryType::Block => plain(Shape::BlockDevice { major, minor }),
        EntryType::Fifo => plain(Shape::Fifo),
        EntryType::Directory => plain(Shape::Directory),
        EntryType::XGlobalHeader => return Ok(None),
        other => return Err(ArchiveError::Kind { member: shown(&path), kind: char::from(other.as_byte()) }),
    };
    io::copy(&mut entry, &mut io::sink()).map_err(ArchiveError::Read)?;
    // The root of an archive says nothing about the directory that it is unpacked into.
    Ok((!path.is_empty()).then_some(Member { path, kind, metadata }))
}

fn file<R: Read>(entry: &mut tar::Entry<'_, R>, spool: &mut Spool) -> Result<MemberKind, ArchiveError> {
    let size_bytes = entry.size();
    let kept = spool.keep(entry).map_err(ArchiveError::Read)?;
    if kept.size_bytes != size_bytes {
        return Err(ArchiveError::Truncated { member: String::from_utf8_lossy(&entry.path_bytes()).into_owned() });
    }
    Ok(MemberKind::Shape { shape: kept.shape, offset: kept.offset })
}

/// Cleans a member's name; absolute ones are below the destination too.
fn inside(name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let mut depth = 0_usize;
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let outside = || ArchiveError::Outside { member: String::from_utf8_lossy(name).into_owned() };
                depth = depth.checked_sub(1).ok_or_else(outside)?;
            }
            _ => depth += 1,
        }
    }
    Ok(clean(name))
}

/// Reads owner, mode, time and attributes; PAX records win over the header.
fn metadata<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Metadata> {
    let header = entry.header();
    let narrow =
        |id: u64| u32::try_from(id).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an id is too large"));
    let mut metadata = Metadata {
        mode: header.mode()? & 0o7777,
        uid: narrow(header.uid()?)?,
        gid: narrow(header.gid()?)?,
        mtime: Mtime { seconds: header.mtime()? as i64, nanoseconds: 0 },
        xattrs: Default::default(),
    };
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let text = || str::from_utf8(record.value_bytes()).ok();
        let id = || text().and_then(|text| text.parse().ok());
        match record.key_bytes() {
            b"mtime" => metadata.mtime = text().and_then(mtime).unwrap_or(metadata.mtime),
            b"uid" => metadata.uid = id().unwrap_or(metadata.uid),
            b"gid" => metadata.gid = id().unwrap_or(metadata.gid),
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    metadata.xattrs.insert(name.to_vec(), record.value_bytes().to_vec());
                }
            }
        }
    }
    Ok(metadata)
}

/// Reads decimal seconds with a fraction.
pub(super) fn mtime(text: &str) -> Option<Mtime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanoseconds): (i64, u32) = (whole.parse().ok()?, digits.parse().ok()?);
    // Seconds before the epoch count downwards, their fraction with them.
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Mtime { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Mtime { seconds, nanoseconds })
}
