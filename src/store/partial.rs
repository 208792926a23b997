use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::{Error, Store, remove_file};
use crate::oci::{Digest, Hasher};
use crate::sys::Cancel;

/// How often a waiting download looks again. A person does not notice; a processor neither.
const POLL: Duration = Duration::from_millis(20);

/// A blob being downloaded, which survives interruption: dropped unfinished, it stays and can be resumed.
///
/// Only one process holds it at a time.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    path: PathBuf,
    file: File,
    digest: Digest,
    hasher: HasherState,
    len: u64,
}

/// The digest of the bytes so far.
struct HasherState(Hasher);

impl std::fmt::Debug for HasherState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Store {
    /// Begins or resumes the download of a blob; returns nothing when the blob is here. Waits while another process
    /// downloads it.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::NoSpace`], [`Error::Io`].
    pub fn partial(&self, digest: Digest, cancel: &Cancel) -> Result<Option<Partial>, Error> {
        let path = self.root().join("ingest").join(format!("{}.partial", digest.hex()));
        loop {
            if self.has_blob(digest)?.is_some() {
                return Ok(None);
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|source| Error::io("open", &path, source))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Who held the lock may have finished or given up in between: then this is another file than the named.
                Ok(()) if !is_at(&file, &path) => {}
                // Or finished before this file was made, and after the look for the blob.
                Ok(()) if self.has_blob(digest)?.is_some() => {
                    remove_file(&path)?;
                    return Ok(None);
                }
                Ok(()) => return self.resume(path, file, digest).map(Some),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    cancel.check()?;
                    std::thread::sleep(POLL);
                }
                Err(source) => return Err(Error::io("lock", path, source.into())),
            }
        }
    }

    fn resume(&self, path: PathBuf, mut file: File, digest: Digest) -> Result<Partial, Error> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut len = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => {
                    hasher.update(&buffer[..got]);
                    len += got as u64;
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::io("read", path, source)),
            }
        }
        Ok(Partial { store: self.clone(), path, file, digest, hasher: HasherState(hasher), len })
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

impl Partial {
    /// Returns how many bytes are here already: where to resume.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether nothing is here yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the file being written, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the bytes so far, for servers that cannot resume.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self) -> Result<(), Error> {
        let truncated = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        truncated.map_err(|source| Error::io("truncate", &self.path, source))?;
        self.hasher = HasherState(Hasher::new());
        self.len = 0;
        Ok(())
    }

    /// Verifies all bytes and makes them a blob. Bytes that are wrong are removed, as resuming could never mend them;
    /// bytes that are too few stay.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], [`Error::NoSpace`], [`Error::Io`].
    pub fn finish(self, size: u64) -> Result<(), Error> {
        let Partial { store, path, file, digest, hasher, len } = self;
        if len < size {
            return Err(Error::SizeMismatch { digest, expected: size, actual: len });
        }
        let actual = hasher.0.finish();
        if len > size || actual != digest {
            remove_file(&path)?;
            return Err(match len > size {
                true => Error::SizeMismatch { digest, expected: size, actual: len },
                false => Error::DigestMismatch { expected: digest, actual },
            });
        }
        store.publish(&path, digest)?;
        // Held until here, so that who waits for the lock finds the blob.
        drop(file);
        Ok(())
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.hasher.0.update(&bytes[..taken]);
        self.len += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
