use std::io;

use super::ArchiveError;
use crate::context::{self, Absence, BadPattern};
use crate::layer;
use crate::sys::Cancelled;

/// Why files cannot be copied or made. Paths are as the op has them, or absolute in the tree they are in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source that has no wildcard is not there; or a link among what was named leads nowhere.
    #[error("\"{path}\": not found")]
    NotFound {
        /// The source as written.
        path: String,
        /// Why, as far as known.
        absence: Absence,
    },
    /// A source with wildcards is no pattern.
    #[error("\"{path}\" is not a pattern")]
    Pattern {
        /// The source as written.
        path: String,
        /// What is wrong.
        source: BadPattern,
    },
    /// A directory is to go where something else is.
    #[error("cannot copy to non-directory: {path}")]
    NotADirectory {
        /// Where.
        path: String,
    },
    /// Something else is to go where a directory is.
    #[error("cannot replace to directory {path} with file")]
    IsADirectory {
        /// Where.
        path: String,
    },
    /// Links lead to links, and on.
    #[error("too many levels of symbolic links: {path}")]
    Links {
        /// Where the first was met.
        path: String,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack {path}")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        source: ArchiveError,
    },
    /// The build was interrupted.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// A file of a stack cannot be read.
    #[error("cannot read {path}")]
    Content {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The temporary file for the members of archives cannot be used.
    #[error("cannot keep the members of an archive in a temporary file")]
    Scratch(#[source] io::Error),
    /// The layer cannot be written.
    #[error("cannot write the layer")]
    Layer(#[from] layer::Error),
}

impl Error {
    /// Returns what would likely mend it.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::NotFound { absence: Absence::Ignored { file, line, pattern }, .. } => {
                Some(format!("it is excluded by `{pattern}`, line {line} of {file}"))
            }
            Error::NotFound { absence: Absence::Missing { nearest: Some(nearest) }, .. } => {
                Some(format!("did you mean `{}`?", String::from_utf8_lossy(nearest)))
            }
            Error::Pattern { .. } => Some("close the `[`; a literal bracket is written `[[]`".to_owned()),
            _ => None,
        }
    }
}

/// Returns a path of an entry as people read it.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
