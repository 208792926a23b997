use std::io::{self, Cursor, Read, Take, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::oci::Digest;

use super::{Entry, Error, Kind, Metadata, Mtime, Packed, Unpacked};

/// What is in a layer, in the order of its archive: every entry, and deletions where their markers stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: Packed<Entry>,
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
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Iterates over the entries, each made anew.
    pub fn entries(&self) -> Unpacked<'_, Entry> {
        self.entries.iter()
    }

    /// Returns the entry at `place`.
    pub fn get(&self, place: usize) -> Option<Entry> {
        self.entries.get(place)
    }

    /// Appends an entry.
    pub(super) fn push(&mut self, entry: &Entry) {
        self.entries.push(entry);
    }

    /// Returns the index in kiln's own compact form.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self.entries())
    }

    /// Does the same, and gives the memory of the index back as it goes.
    pub fn into_bytes(self) -> Vec<u8> {
        to_bytes(self.entries.into_iter())
    }

    /// Reads what [`Index::to_bytes`] returned.
    ///
    /// # Errors
    /// [`Error::IndexVersion`] and [`Error::IndexDamaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Index, Error> {
        let mut reader = IndexReader::over(bytes)?;
        let mut entry = Entry::blank();
        let mut index = Index::default();
        while reader.read(&mut entry)? {
            index.push(&entry);
        }
        if reader.is_over() { Ok(index) } else { Err(Error::IndexDamaged) }
    }
}

fn to_bytes(entries: Unpacked<'_, Entry>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend((entries.len() as u32).to_le_bytes());
    let length_at = bytes.len();
    bytes.extend([0; 8]);
    let (mut bytes, length) = compress_onto(bytes, entries).expect("memory can be compressed");
    bytes[length_at..][..8].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Appends the records of all entries to `bytes`, compressed; returns how many bytes they have plain.
fn compress_onto(bytes: Vec<u8>, entries: Unpacked<'_, Entry>) -> io::Result<(Vec<u8>, u64)> {
    // Half of an index is digests, which do not compress; the fastest level finds the rest.
    let mut encoder = zstd::Encoder::new(bytes, 1)?;
    let (mut plain, mut length) = (Vec::new(), 0);
    let mut before = Vec::new();
    for entry in entries {
        let record = Record::of(&entry, &before);
        plain = postcard::to_extend(&record, plain).map_err(io::Error::other)?;
        if plain.len() >= CHUNK_BYTES {
            length += plain.len() as u64;
            encoder.write_all(&plain)?;
            plain.clear();
        }
        before = entry.path;
    }
    length += plain.len() as u64;
    encoder.write_all(&plain)?;
    Ok((encoder.finish()?, length))
}

impl FromIterator<Entry> for Index {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Index {
        Index { entries: entries.into_iter().collect() }
    }
}

/// What stands before the records.
struct Head {
    count: u32,
    /// Bytes of the records before they were compressed.
    length: u64,
}

/// The version, the count and the length.
const HEAD_BYTES: usize = 1 + 4 + 8;

impl Head {
    fn of(bytes: &[u8]) -> Result<Head, Error> {
        let (&version, rest) = bytes.split_first().ok_or(Error::IndexDamaged)?;
        if version != VERSION {
            return Err(Error::IndexVersion(version));
        }
        let (count, rest) = rest.split_first_chunk().ok_or(Error::IndexDamaged)?;
        let (length, _) = rest.split_first_chunk().ok_or(Error::IndexDamaged)?;
        Ok(Head { count: u32::from_le_bytes(*count), length: u64::from_le_bytes(*length) })
    }
}

/// The bytes that [`Index::to_bytes`] returned, shared by all that read them.
#[derive(Debug, Clone)]
pub struct IndexBytes(Arc<Vec<u8>>);

impl IndexBytes {
    /// Returns `bytes` as the bytes of an index, which only reading them proves.
    pub fn new(bytes: Vec<u8>) -> IndexBytes {
        IndexBytes(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for IndexBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the entries of an index one by one, and keeps none: an index of a million entries would fill memory.
pub struct IndexReader<B: AsRef<[u8]> = IndexBytes> {
    records: Take<zstd::Decoder<'static, Cursor<B>>>,
    /// What is decompressed and not read yet, from `start`.
    buffer: Vec<u8>,
    start: usize,
    left: u32,
}

/// How much is compressed and decompressed at once. A record may be longer.
const CHUNK_BYTES: usize = 64 << 10;

impl IndexReader {
    /// Begins at the first entry.
    ///
    /// # Errors
    /// [`Error::IndexVersion`] and [`Error::IndexDamaged`].
    pub fn new(bytes: IndexBytes) -> Result<IndexReader, Error> {
        IndexReader::over(bytes)
    }
}

impl<B: AsRef<[u8]>> IndexReader<B> {
    fn over(bytes: B) -> Result<IndexReader<B>, Error> {
        let head = Head::of(bytes.as_ref())?;
        let mut records = Cursor::new(bytes);
        records.set_position(HEAD_BYTES as u64);
        let records = zstd::Decoder::with_buffer(records).map_err(|_| Error::IndexDamaged)?;
        Ok(IndexReader { records: records.take(head.length), buffer: Vec::new(), start: 0, left: head.count })
    }

    /// Reads the next entry over the one before, which `entry` must hold still; tells whether there was one.
    ///
    /// # Errors
    /// [`Error::IndexDamaged`].
    pub fn read(&mut self, entry: &mut Entry) -> Result<bool, Error> {
        if self.left == 0 {
            return Ok(false);
        }
        loop {
            let bytes = &self.buffer[self.start..];
            match postcard::take_from_bytes::<Record<'_>>(bytes) {
                Ok((record, rest)) => {
                    let read = bytes.len() - rest.len();
                    record.put(entry).ok_or(Error::IndexDamaged)?;
                    self.start += read;
                    self.left -= 1;
                    return Ok(true);
                }
                Err(postcard::Error::DeserializeUnexpectedEnd) => self.refill()?,
                Err(_) => return Err(Error::IndexDamaged),
            }
        }
    }

    /// Tells whether nothing comes after what was read.
    fn is_over(&self) -> bool {
        self.start == self.buffer.len() && self.records.limit() == 0
    }

    fn refill(&mut self) -> Result<(), Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let got = (&mut self.records).take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer);
        match got {
            Ok(0) | Err(_) => Err(Error::IndexDamaged),
            Ok(_) => Ok(()),
        }
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
}

impl Record<'_> {
    /// Puts the entry in place of the one before it.
    fn put(self, entry: &mut Entry) -> Option<()> {
        let shared = self.shared as usize;
        if shared > entry.path.len() {
            return None;
        }
        entry.path.truncate(shared);
        entry.path.extend_from_slice(self.rest);
        entry.kind = self.kind.kind();
        let Metadata { mode, uid, gid, mtime, xattrs } = &mut entry.metadata;
        (*mode, *uid, *gid, *mtime) = (self.mode, self.uid, self.gid, self.mtime);
        xattrs.clear();
        xattrs.extend(self.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
        Some(())
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
