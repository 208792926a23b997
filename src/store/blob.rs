use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{Error, Store, remove_file};
use crate::fs::SparseWriter;
use crate::oci::{Digest, Hasher};

/// Tar writers write headers of 512 bytes; the file system and sha256 both like more at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// A download nobody has resumed for so long is abandoned.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who computes the digest of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// The store, from the bytes as they pass.
    Here,
    /// The writer, who says it at the end and is believed: layer writers hash what they write anyway.
    Caller,
}

/// A blob being written. Dropped without [`Ingest::commit`], it never was.
pub struct Ingest {
    store: Store,
    file: BufWriter<SparseWriter>,
    path: TemporaryPath,
    hasher: Option<Hasher>,
    written_bytes: u64,
}

/// A blob that is written and not yet visible; it holds no open file. Dropped uncommitted, it never was.
#[derive(Debug)]
pub struct Sealed {
    store: Store,
    path: TemporaryPath,
    digest: Option<Digest>,
    size: u64,
}

#[derive(Debug)]
struct TemporaryPath {
    path: PathBuf,
    moved: bool,
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        if !self.moved
            && let Err(error) = remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished blob stays until kiln starts again");
        }
    }
}

impl Store {
    /// Returns where a blob is or would be.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Returns the size of a blob that is here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn has_blob(&self, digest: Digest) -> Result<Option<u64>, Error> {
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", path, source)),
        }
    }

    /// Opens a blob for reading. Its bytes are not verified again.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::Io`].
    pub fn open_blob(&self, digest: Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoSuchBlob { digest },
            _ => Error::io("open", path, source),
        })
    }

    /// Reads a document of at most `max` bytes and verifies it.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::TooLarge`], [`Error::DigestMismatch`], [`Error::Io`].
    pub fn read_blob(&self, digest: Digest, max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        let io = |source| Error::io("read", self.blob_path(digest), source);
        let size = file.metadata().map_err(io)?.len();
        if size > max {
            return Err(Error::TooLarge { digest, size, max });
        }
        file.take(max).read_to_end(&mut bytes).map_err(io)?;
        match Digest::of(&bytes) {
            actual if actual == digest => Ok(bytes),
            actual => Err(Error::DigestMismatch { expected: digest, actual }),
        }
    }

    /// Keeps `bytes` and returns their digest.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if self.has_blob(digest)? != Some(size) {
            let mut ingest = self.ingest_with(Hashing::Caller)?;
            ingest.write_all(bytes).map_err(|source| Error::io("write", ingest.path(), source))?;
            ingest.commit(Some((digest, size)))?;
        }
        Ok(digest)
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn ingest(&self) -> Result<Ingest, Error> {
        self.ingest_with(Hashing::Here)
    }

    /// Begins a blob whose digest `hashing` computes.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn ingest_with(&self, hashing: Hashing) -> Result<Ingest, Error> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        // Processes in different pid namespaces may share the store and a pid; the clock tells them apart.
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = self.root().join("ingest").join(format!("{process}-{count}-{started:x}.tmp"));
        // Blobs are never changed in place; the mode says so to people.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .map_err(|source| Error::io("create", &path, source))?;
        Ok(Ingest {
            store: self.clone(),
            file: BufWriter::with_capacity(BUFFER_BYTES, SparseWriter::new(file)),
            path: TemporaryPath { path, moved: false },
            hasher: (hashing == Hashing::Here).then(Hasher::new),
            written_bytes: 0,
        })
    }

    /// Removes the unfinished blobs of dead processes, and downloads nobody came back to. The caller is alone.
    pub(super) fn clear_ingest(&self) -> Result<(), Error> {
        let directory = self.root().join("ingest");
        let io = |source| Error::io("read", &directory, source);
        for entry in fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "partial") && !is_abandoned(&path) {
                continue;
            }
            remove_file(&path)?;
        }
        Ok(())
    }

    /// Makes the complete file at `path` the blob `digest`.
    pub(super) fn publish(&self, path: &Path, digest: Digest) -> Result<(), Error> {
        // The bytes must be on disk before the name is: a name without its bytes would be believed after a crash. The
        // directory is not synced, as a lost name only means that the blob is made again.
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        file.sync_data().map_err(|source| Error::io("write", path, source))?;
        fs::rename(path, self.blob_path(digest)).map_err(|source| Error::io("rename", path, source))
    }
}

fn is_abandoned(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
    matches!(age, Ok(Ok(age)) if age > PARTIAL_LIFETIME)
}

impl Ingest {
    /// Returns the file being written, for errors.
    pub fn path(&self) -> &Path {
        &self.path.path
    }

    /// Ends the writing, verifies the bytes and makes them a blob; returns its digest and size.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], [`Error::NoSpace`], [`Error::Io`].
    ///
    /// # Panics
    /// If the digest was left to the caller, who does not say it.
    pub fn commit(self, expected: Option<(Digest, u64)>) -> Result<(Digest, u64), Error> {
        self.seal()?.commit(expected)
    }

    /// Ends the writing and closes the file, leaving open whether it becomes a blob.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn seal(self) -> Result<Sealed, Error> {
        let Ingest { store, file, path, hasher, written_bytes } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(SparseWriter::finish);
        file.map_err(|source| Error::io("write", &path.path, source))?;
        Ok(Sealed { store, path, digest: hasher.map(Hasher::finish), size: written_bytes })
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("path", &self.path.path).finish_non_exhaustive()
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..taken]);
        }
        self.written_bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sealed {
    /// Returns the digest, where the store computed it.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens the bytes for reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self) -> Result<File, Error> {
        File::open(&self.path.path).map_err(|source| Error::io("open", &self.path.path, source))
    }

    /// Verifies the bytes and makes them a blob; returns its digest and size. A blob that is there already stays.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], [`Error::NoSpace`], [`Error::Io`].
    ///
    /// # Panics
    /// If the digest was left to the caller, who does not say it.
    pub fn commit(mut self, expected: Option<(Digest, u64)>) -> Result<(Digest, u64), Error> {
        let digest = self.digest.or(expected.map(|(digest, _)| digest)).expect("somebody computed the digest");
        if let Some((expected, size)) = expected {
            if size != self.size {
                return Err(Error::SizeMismatch { digest: expected, expected: size, actual: self.size });
            }
            if expected != digest {
                return Err(Error::DigestMismatch { expected, actual: digest });
            }
        }
        if self.store.has_blob(digest)? != Some(self.size) {
            self.store.publish(&self.path.path, digest)?;
            self.path.moved = true;
        }
        Ok((digest, self.size))
    }
}
