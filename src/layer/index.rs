use serde::{Deserialize, Serialize};

use crate::oci::Digest;

use super::{Entry, Error, Kind, Metadata, Mtime};

/// What is in a layer, in the order of its archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Every entry. Deletions stand where their markers do.
    pub entries: Vec<Entry>,
}

/// The first byte of an index's bytes; changes whenever [`Record`] does.
const VERSION: u8 = 1;

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    /// How many bytes of the path are those of the entry before: sorted entries share most of theirs.
    shared: u32,
    #[serde(borrow)]
    rest: &'a [u8],
    kind: RecordKind<'a>,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Mtime,
    xattrs: Vec<(&'a [u8], &'a [u8])>,
}

#[derive(Serialize, Deserialize)]
enum RecordKind<'a> {
    File { size: u64, digest: [u8; 32], offset: u64 },
    Directory,
    Symlink(#[serde(borrow)] &'a [u8]),
    Hardlink(&'a [u8]),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Whiteout,
    Opaque,
}

impl Index {
    /// Returns the index in kiln's own compact form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.entries.len() * 64);
        let mut before: &[u8] = &[];
        for entry in &self.entries {
            let record = Record::of(entry, before);
            plain = postcard::to_extend(&record, plain).expect("a record in memory can be written to memory");
            before = &entry.path;
        }
        // Half of an index is digests, which do not compress; the fastest level finds the rest.
        let mut bytes = vec![VERSION];
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        bytes.extend((plain.len() as u64).to_le_bytes());
        bytes.extend(zstd::bulk::compress(&plain, 1).expect("memory can be compressed"));
        bytes
    }

    /// Reads what [`Index::to_bytes`] returned.
    ///
    /// # Errors
    /// [`Error::IndexVersion`] and [`Error::IndexDamaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Index, Error> {
        /// No layer has an index near this; a damaged length must not exhaust memory.
        const MAX_BYTES: u64 = 8 << 30;
        let (&version, rest) = bytes.split_first().ok_or(Error::IndexDamaged)?;
        if version != VERSION {
            return Err(Error::IndexVersion(version));
        }
        let (count, rest) = rest.split_first_chunk().ok_or(Error::IndexDamaged)?;
        let (length, rest) = rest.split_first_chunk().ok_or(Error::IndexDamaged)?;
        let length = Some(u64::from_le_bytes(*length)).filter(|&length| length <= MAX_BYTES);
        let plain = zstd::bulk::decompress(rest, length.ok_or(Error::IndexDamaged)? as usize)
            .map_err(|_| Error::IndexDamaged)?;
        let mut index = Index::default();
        let mut rest = &plain[..];
        for _ in 0..u32::from_le_bytes(*count) {
            let (record, after) = postcard::take_from_bytes::<Record<'_>>(rest).map_err(|_| Error::IndexDamaged)?;
            let before = index.entries.last().map_or(&[][..], |entry| &entry.path);
            index.entries.push(record.entry(before).ok_or(Error::IndexDamaged)?);
            rest = after;
        }
        if rest.is_empty() { Ok(index) } else { Err(Error::IndexDamaged) }
    }
}

impl<'a> Record<'a> {
    fn of(entry: &'a Entry, before: &[u8]) -> Record<'a> {
        let shared = entry.path.iter().zip(before).take_while(|(a, b)| a == b).count();
        let Metadata { mode, uid, gid, mtime, xattrs } = &entry.metadata;
        Record {
            shared: shared as u32,
            rest: &entry.path[shared..],
            kind: RecordKind::of(&entry.kind),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            mtime: *mtime,
            xattrs: xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect(),
        }
    }

    fn entry(self, before: &[u8]) -> Option<Entry> {
        let path = [before.get(..self.shared as usize)?, self.rest].concat();
        let xattrs = self.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let metadata = Metadata { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs };
        Some(Entry { path, kind: self.kind.kind(), metadata })
    }
}

impl<'a> RecordKind<'a> {
    fn of(kind: &'a Kind) -> RecordKind<'a> {
        match kind {
            Kind::File { size, digest, offset } => {
                RecordKind::File { size: *size, digest: *digest.as_bytes(), offset: *offset }
            }
            Kind::Directory => RecordKind::Directory,
            Kind::Symlink { target } => RecordKind::Symlink(target),
            Kind::Hardlink { target } => RecordKind::Hardlink(target),
            Kind::CharDevice { major, minor } => RecordKind::CharDevice(*major, *minor),
            Kind::BlockDevice { major, minor } => RecordKind::BlockDevice(*major, *minor),
            Kind::Fifo => RecordKind::Fifo,
            Kind::Whiteout => RecordKind::Whiteout,
            Kind::Opaque => RecordKind::Opaque,
        }
    }

    fn kind(self) -> Kind {
        match self {
            RecordKind::File { size, digest, offset } => {
                Kind::File { size, digest: Digest::from_bytes(digest), offset }
            }
            RecordKind::Directory => Kind::Directory,
            RecordKind::Symlink(target) => Kind::Symlink { target: target.to_vec() },
            RecordKind::Hardlink(target) => Kind::Hardlink { target: target.to_vec() },
            RecordKind::CharDevice(major, minor) => Kind::CharDevice { major, minor },
            RecordKind::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
            RecordKind::Fifo => Kind::Fifo,
            RecordKind::Whiteout => Kind::Whiteout,
            RecordKind::Opaque => Kind::Opaque,
        }
    }
}
