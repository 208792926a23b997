//! An archive on disk and in memory, before anybody believes it: entries come in any order, and the reader may be a pipe.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Cursor, Read};

use super::archive::decompress;
use super::{Error, MAX_DOCUMENT_BYTES};
use crate::oci::Digest;
use crate::store::{self, Sealed, Store};
use crate::sys::{Cancel, Cancelled};

/// An archive of a hundred images with a hundred layers each, in the oldest form, has fewer entries.
const MAX_ENTRIES: usize = 100_000;
/// As long as the kernel follows links.
const MAX_LINKS: usize = 40;
/// Documents are smaller, most layers larger; a file for each document would cost more than its bytes.
const IN_MEMORY_BYTES: u64 = 64 * 1024;
/// All entries in memory together; the rest goes to disk whatever its size.
const MEMORY_BYTES: u64 = 64 << 20;
/// Names and extended headers before one entry, which the tar reader takes into memory whole. Linux has no longer paths
/// than 4 KiB, and nothing else in them is of use here.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Padding after the end of a tar that is read so that who writes into a pipe can finish writing.
const TRAILING_BYTES: u64 = 1 << 20;

/// The files of an archive by their normal path.
#[derive(Debug, Default)]
pub(super) struct Spool {
    entries: HashMap<String, Item>,
}

#[derive(Debug)]
enum Item {
    Bytes(Vec<u8>),
    Sealed(Sealed),
    Link(String),
}

impl Spool {
    /// Reads all of `archive`.
    pub(super) fn read(store: &Store, archive: impl Read, cancel: &Cancel) -> Result<Spool, Error> {
        let reader = Cancelling { reader: archive, cancel };
        let fault = |source: io::Error| cancel.check().err().map_or(Error::Read { source }, Error::Cancelled);
        let (_, plain) = decompress(reader).map_err(fault)?;
        let allowance = Cell::new(Some(MAX_HEADER_BYTES));
        let mut archive = tar::Archive::new(Metered { reader: plain, allowance: &allowance });
        let mut spool = Spool::default();
        let mut free = MEMORY_BYTES;
        for entry in archive.entries().map_err(fault)? {
            let mut entry = entry.map_err(fault)?;
            allowance.set(None);
            // What is not UTF-8 no document can name.
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = normal(&name, "").ok_or(Error::Escape { path: name.clone() })?;
            let link = entry.link_name_bytes().and_then(|target| String::from_utf8(target.into_owned()).ok());
            let item = match (entry.header().entry_type(), link) {
                (tar::EntryType::Symlink, Some(target)) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    Item::Link(normal(&target, parent).ok_or(Error::Escape { path: name })?)
                }
                (tar::EntryType::Link, Some(target)) => {
                    Item::Link(normal(&target, "").ok_or(Error::Escape { path: name })?)
                }
                (kind, _) if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                    let size = entry.size();
                    if size <= IN_MEMORY_BYTES.min(free) {
                        free -= size;
                        Item::Bytes(read_exactly(&mut entry, size).map_err(fault)?)
                    } else {
                        Item::Sealed(to_disk(store, &mut entry, size, cancel)?)
                    }
                }
                _ => {
                    io::copy(&mut entry, &mut io::sink()).map_err(fault)?;
                    allowance.set(Some(MAX_HEADER_BYTES));
                    continue;
                }
            };
            spool.entries.insert(path, item);
            allowance.set(Some(MAX_HEADER_BYTES));
            if spool.entries.len() > MAX_ENTRIES {
                return Err(Error::TooMany { what: "entries", max: MAX_ENTRIES });
            }
        }
        allowance.set(None);
        io::copy(&mut archive.into_inner().take(TRAILING_BYTES), &mut io::sink()).map_err(fault)?;
        Ok(spool)
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        matches!(self.resolve(path), Ok(Some(_)))
    }

    /// Returns the path of the file itself that `path`, as written in the document `named_by`, leads to.
    pub(super) fn locate(&self, path: &str, named_by: &str) -> Result<String, Error> {
        let normal = normal(path, "").ok_or_else(|| Error::Escape { path: path.to_owned() })?;
        let found = self.resolve(&normal)?.map(str::to_owned);
        found.ok_or_else(|| Error::MissingEntry { path: path.to_owned(), named_by: named_by.to_owned() })
    }

    fn resolve<'a>(&'a self, path: &'a str) -> Result<Option<&'a str>, Error> {
        let mut at = path;
        for _ in 0..MAX_LINKS {
            match self.entries.get(at) {
                Some(Item::Link(target)) => at = target,
                Some(_) => return Ok(Some(at)),
                None => return Ok(None),
            }
        }
        Err(Error::LinkLoop { path: path.to_owned() })
    }

    /// Reads a document that `named_by` names.
    pub(super) fn document(&self, path: &str, named_by: &str) -> Result<Vec<u8>, Error> {
        let located = self.locate(path, named_by)?;
        let (_, size) = self.identity(&located);
        if size > MAX_DOCUMENT_BYTES {
            return Err(Error::DocumentTooLarge { path: path.to_owned(), size, max: MAX_DOCUMENT_BYTES });
        }
        let mut bytes = Vec::new();
        self.open(&located)?.read_to_end(&mut bytes).map_err(|source| Error::Read { source })?;
        Ok(bytes)
    }

    /// Returns the digest and size of a located file.
    pub(super) fn identity(&self, located: &str) -> (Digest, u64) {
        match &self.entries[located] {
            Item::Bytes(bytes) => (Digest::of(bytes), bytes.len() as u64),
            Item::Sealed(sealed) => (sealed.digest().expect("spooled with hashing"), sealed.size()),
            Item::Link(_) => unreachable!("a located path is not a link"),
        }
    }

    /// Opens a located file.
    pub(super) fn open(&self, located: &str) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(match &self.entries[located] {
            Item::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Item::Sealed(sealed) => Box::new(sealed.open()?) as Box<dyn Read + Send + 'static>,
            Item::Link(_) => unreachable!("a located path is not a link"),
        })
    }

    /// Makes a located file a blob of the store; idempotent.
    pub(super) fn commit(&mut self, store: &Store, located: &str) -> Result<(), store::Error> {
        match self.entries.remove(located) {
            Some(Item::Sealed(sealed)) => sealed.commit(None).map(drop),
            Some(Item::Bytes(bytes)) => store.put_bytes(&bytes).map(drop),
            _ => Ok(()),
        }
    }
}

fn read_exactly(reader: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

fn to_disk(store: &Store, reader: &mut impl Read, size: u64, cancel: &Cancel) -> Result<Sealed, Error> {
    let mut ingest = store.ingest()?;
    copy(reader, &mut ingest, |source| cancel.check().err().map_or(Error::Read { source }, Error::Cancelled))?;
    let sealed = ingest.seal()?;
    // A tar that was cut gives what there is, without an error.
    if sealed.size() < size {
        return Err(Error::Read { source: io::ErrorKind::UnexpectedEof.into() });
    }
    Ok(sealed)
}

/// Copies, keeping apart whether the archive could not be read or the store not be written.
pub(super) fn copy(
    reader: &mut impl Read,
    ingest: &mut store::Ingest,
    read_fault: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let got = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(read_fault(source)),
        };
        let written = io::Write::write_all(ingest, &buffer[..got]);
        written.map_err(|source| Error::Store(store::Error::io("write", ingest.path(), source)))?;
    }
}

/// Returns `path` seen from the directory `base`, without `.`, `..` and slashes at the ends; none if it leads out.
fn normal(path: &str, base: &str) -> Option<String> {
    let base = if path.starts_with('/') { "" } else { base };
    let mut components: Vec<&str> = Vec::new();
    for component in base.split('/').chain(path.split('/')) {
        match component {
            "" | "." => {}
            ".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    Some(components.join("/"))
}

/// Fails once more bytes were read than allowed at this place; none is no limit.
struct Metered<'a, R> {
    reader: R,
    allowance: &'a Cell<Option<u64>>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buffer)?;
        if let Some(left) = self.allowance.get() {
            let too_much = || io::Error::new(io::ErrorKind::FileTooLarge, "a header of the tar is too large");
            self.allowance.set(Some(left.checked_sub(got as u64).ok_or_else(too_much)?));
        }
        Ok(got)
    }
}

struct Cancelling<'a, R> {
    reader: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Cancelling<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(|cancelled: Cancelled| io::Error::other(cancelled))?;
        self.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_archive() {
        for (path, base, expected) in [
            ("./a/b/", "", Some("a/b")),
            ("/a", "x", Some("a")),
            ("../b/layer.tar", "a", Some("b/layer.tar")),
            ("../../b", "a", None),
            ("..", "", None),
            ("a/../../b", "", None),
        ] {
            assert_eq!(normal(path, base).as_deref(), expected, "{path} from {base}");
        }
    }
}
