use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::graph::{Git, Http};
use crate::oci::{Digest, Reference};

/// Where the files of a build come from.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// A directory on this machine.
    Directory(PathBuf),
    /// A tar archive on this machine, compressed or not; the Dockerfile is in it.
    Archive(PathBuf),
    /// A URL of an archive, of a Dockerfile, or of a git repository.
    Remote(String),
    /// Such an archive as it comes, or the text of a Dockerfile that needs no files.
    Stream(Stream),
}

impl Default for ContextSource {
    fn default() -> ContextSource {
        ContextSource::Directory(PathBuf::from("."))
    }
}

impl fmt::Display for ContextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContextSource::Directory(path) | ContextSource::Archive(path) => path.display().fmt(f),
            // A password in it is nobody's business.
            ContextSource::Remote(url) => f.write_str(&Http::of_url(url).shown()),
            ContextSource::Stream(_) => f.write_str("-"),
        }
    }
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedSource {
    /// A directory on this machine, seen through its own `.dockerignore`.
    Directory(PathBuf),
    /// An image.
    Image(Reference),
    /// An image in an OCI layout on this machine.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image.
        tag: Option<String>,
        /// Exactly which.
        digest: Option<Digest>,
    },
    /// A file.
    Http(Http),
    /// A git repository.
    Git(Git),
}

/// Bytes that can be read once, whoever of its clones does.
#[derive(Clone)]
pub struct Stream(Arc<Mutex<dyn Read + Send>>);

impl Stream {
    /// Returns a stream of what `reader` gives.
    pub fn new(reader: impl Read + Send + 'static) -> Stream {
        Stream(Arc::new(Mutex::new(reader)))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}
