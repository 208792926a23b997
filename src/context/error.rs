use std::io;
use std::path::PathBuf;

use crate::layer;
use crate::sys::Cancelled;

/// Why a context cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An archive of a context cannot be unpacked.
    #[error("cannot unpack the build context")]
    Archive(#[from] layer::Error),
    /// The build was interrupted.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A file changed between being looked at and being read.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
}
