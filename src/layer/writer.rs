use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use crate::fs::os_path;
use crate::oci::{DiffId, Digest, Hasher, HashingWriter};

use super::header::{BLOCK_BYTES, Header, Type};
use super::view::split;
use super::{Entry, Error, Index, Kind, Metadata};

/// What an entry holds.
pub enum Content<'a> {
    /// A regular file of `size` bytes. A reader that has more is not read further.
    File {
        /// Bytes.
        size: u64,
        /// Where they come from.
        reader: &'a mut dyn Read,
    },
    /// A regular file whose content was hashed before, such as one of another layer.
    Known {
        /// Bytes.
        size: u64,
        /// Their digest, which is not verified.
        digest: Digest,
        /// Where they come from.
        reader: &'a mut dyn Read,
    },
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(&'a [u8]),
    /// Another name of the file at this path, written before.
    Hardlink(&'a [u8]),
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
    /// The deletion of the lower layers' file of this path. Its metadata does not matter.
    Whiteout,
}

/// A layer that was written or read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Digest of the archive.
    pub diff_id: DiffId,
    /// Size of the archive.
    pub size_bytes: u64,
    /// What is in it.
    pub index: Index,
}

/// Writes a layer's archive, and hashes and indexes it meanwhile.
///
/// Entries come in the caller's order, in which every directory must precede what is in it. To interrupt a long
/// file, let the inner writer fail.
pub struct Writer<W: Write> {
    out: HashingWriter<W>,
    index: Index,
    buffer: Vec<u8>,
}

/// How much of a file is in memory at a time.
const BUFFER_BYTES: usize = 256 << 10;

impl<W: Write> Writer<W> {
    /// Returns a writer of an archive without entries.
    pub fn new(out: W) -> Writer<W> {
        Writer { out: HashingWriter::new(out), index: Index::default(), buffer: Vec::new() }
    }

    /// Tells whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Writes one entry.
    ///
    /// The archive gets whole seconds and, of the extended attributes, `security.capability` alone; the index gets
    /// all of `metadata`.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Content`] and [`Error::SizeChanged`], after which the archive is of no use;
    /// [`Error::NotStorable`].
    pub fn append(&mut self, path: &[u8], metadata: &Metadata, content: Content<'_>) -> Result<(), Error> {
        storable(path, &content)?;
        let header = header(path, metadata, &content);
        self.out.write_all(&header.to_bytes()).map_err(Error::Write)?;
        let kind = self.content(path, content)?;
        let metadata = if kind == Kind::Whiteout { Metadata::default() } else { metadata.clone() };
        self.index.push(&Entry { path: path.to_vec(), kind, metadata });
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<(W, Finished), Error> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES]).and_then(|()| self.out.flush()).map_err(Error::Write)?;
        let (out, digest, size_bytes) = self.out.finish();
        Ok((out, Finished { diff_id: DiffId::new(digest), size_bytes, index: self.index }))
    }

    fn content(&mut self, path: &[u8], content: Content<'_>) -> Result<Kind, Error> {
        let offset = self.out.written_bytes();
        Ok(match content {
            Content::File { size, reader } => {
                let mut hasher = Hasher::new();
                self.copy(path, size, reader, |bytes| hasher.update(bytes))?;
                Kind::File { size, digest: hasher.finish(), offset }
            }
            Content::Known { size, digest, reader } => {
                self.copy(path, size, reader, |_| {})?;
                Kind::File { size, digest, offset }
            }
            Content::Directory => Kind::Directory,
            Content::Symlink(target) => Kind::Symlink { target: target.to_vec() },
            Content::Hardlink(target) => Kind::Hardlink { target: target.to_vec() },
            Content::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Content::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Content::Fifo => Kind::Fifo,
            Content::Whiteout => Kind::Whiteout,
        })
    }

    /// Copies exactly `size` bytes and pads them to whole blocks.
    fn copy(
        &mut self,
        path: &[u8],
        size: u64,
        reader: &mut dyn Read,
        mut seen: impl FnMut(&[u8]) + Send,
    ) -> Result<(), Error> {
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut left = size;
        while left > 0 {
            let most = left.min(BUFFER_BYTES as u64) as usize;
            let got = match reader.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    let path = os_path(path).to_owned();
                    return Err(Error::SizeChanged { path, expected: size, actual: size - left });
                }
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Content { path: os_path(path).to_owned(), source }),
            };
            seen(&self.buffer[..got]);
            self.out.write_all(&self.buffer[..got]).map_err(Error::Write)?;
            left -= got as u64;
        }
        let padding = size.next_multiple_of(BLOCK_BYTES as u64) - size;
        self.out.write_all(&[0; BLOCK_BYTES][..padding as usize]).map_err(Error::Write)
    }
}

/// Refuses what a layer cannot say, before anything of it is written.
fn storable(path: &[u8], content: &Content<'_>) -> Result<(), Error> {
    let refuse = |reason| Err(Error::NotStorable { path: os_path(path).to_owned(), reason });
    if path.is_empty() || path.split(|&byte| byte == b'/').any(|name| matches!(name, b"" | b"." | b"..")) {
        return refuse("its path is not plain and relative");
    }
    if path.contains(&0) {
        return refuse("its path contains a NUL byte");
    }
    if path.split(|&byte| byte == b'/').any(|name| name.starts_with(WHITEOUT)) {
        return refuse("names that begin with `.wh.` mean deletions there");
    }
    match content {
        Content::Symlink(target) | Content::Hardlink(target) if target.is_empty() || target.contains(&0) => {
            refuse("its target is not a path")
        }
        _ => Ok(()),
    }
}

/// What a deletion's name begins with (image-spec, "Whiteouts").
pub(super) const WHITEOUT: &[u8] = b".wh.";

fn header<'a>(path: &[u8], metadata: &'a Metadata, content: &'a Content<'_>) -> Header<'a> {
    if let Content::Whiteout = content {
        let (parent, name) = split(path);
        let parent = if parent.is_empty() { vec![] } else { [parent, b"/"].concat() };
        return Header::new([&parent, WHITEOUT, name].concat(), Type::File);
    }
    let mut header = Header::new(path.to_vec(), Type::File);
    header.mode = metadata.mode & 0o7777;
    (header.uid, header.gid) = (metadata.uid, metadata.gid);
    header.mtime_seconds = metadata.mtime.seconds;
    header.capability = metadata.xattrs.get(&b"security.capability"[..]).map(|value| &value[..]);
    match *content {
        Content::File { size, .. } | Content::Known { size, .. } => header.size = size,
        Content::Directory => {
            header.kind = Type::Directory;
            header.path.push(b'/');
        }
        Content::Symlink(target) => (header.kind, header.link) = (Type::Symlink, target),
        Content::Hardlink(target) => (header.kind, header.link) = (Type::Hardlink, target),
        Content::CharDevice { major, minor } => (header.kind, header.device) = (Type::CharDevice, (major, minor)),
        Content::BlockDevice { major, minor } => (header.kind, header.device) = (Type::BlockDevice, (major, minor)),
        Content::Fifo => header.kind = Type::Fifo,
        Content::Whiteout => {}
    }
    header
}

impl<'a> Content<'a> {
    /// Returns what an entry of a layer holds; `bytes` are those of a file. The mark of an opaque directory is nothing.
    pub fn of(kind: &'a Kind, bytes: &'a mut dyn Read) -> Option<Content<'a>> {
        Some(match kind {
            Kind::File { size, digest, .. } => Content::Known { size: *size, digest: *digest, reader: bytes },
            Kind::Directory => Content::Directory,
            Kind::Symlink { target } => Content::Symlink(target),
            Kind::Hardlink { target } => Content::Hardlink(target),
            Kind::CharDevice { major, minor } => Content::CharDevice { major: *major, minor: *minor },
            Kind::BlockDevice { major, minor } => Content::BlockDevice { major: *major, minor: *minor },
            Kind::Fifo => Content::Fifo,
            Kind::Whiteout => Content::Whiteout,
            Kind::Opaque => return None,
        })
    }
}

/// A stretch of a file: one entry's content in a layer's archive. It does not move the file's own position, so many
/// may read the same file at once.
#[derive(Debug)]
pub struct Slice<F> {
    file: F,
    position: u64,
    end: u64,
}

impl<F: Borrow<File>> Slice<F> {
    /// Returns the `size` bytes at `offset`, as an index says them.
    pub fn new(file: F, offset: u64, size: u64) -> Slice<F> {
        Slice { file, position: offset, end: offset.saturating_add(size) }
    }
}

impl<F: Borrow<File>> Read for Slice<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = (self.end - self.position).min(buffer.len() as u64) as usize;
        let got = self.file.borrow().read_at(&mut buffer[..most], self.position)?;
        self.position += got as u64;
        Ok(got)
    }
}
