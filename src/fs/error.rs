use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done to a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `create directory`.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that must be read as a whole is bigger than it may be.
    #[error("{} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most it may have.
        limit_bytes: u64,
    },
}

impl Error {
    /// Returns what the kernel said, if it was asked.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::TooLarge { .. } => None,
        }
    }

    /// Tells whether the file is not there.
    pub fn is_not_found(&self) -> bool {
        self.io().is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
    }
}

/// Gives a failed call its place.
pub trait At<T> {
    /// Wraps the error with what was tried on which file.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_owned(), source: source.into() })
    }
}
