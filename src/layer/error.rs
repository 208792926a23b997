use std::io;
use std::path::PathBuf;

use crate::fs;

/// Why a layer could not be made, read or unpacked. Paths are those of entries, inside the layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file outside of archives could not be used.
    #[error(transparent)]
    File(#[from] fs::Error),
    /// The archive could not be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive could not be written.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    /// What should go into the layer could not be read.
    #[error("cannot read {} for the layer", path.display())]
    Content {
        /// The entry.
        path: PathBuf,
        /// What its reader said.
        source: io::Error,
    },
    /// A file shrank while it was read.
    #[error("{} changed while it was read: it had {expected} bytes and then {actual}", path.display())]
    SizeChanged {
        /// The entry.
        path: PathBuf,
        /// Bytes announced.
        expected: u64,
        /// Bytes found.
        actual: u64,
    },
    /// The entry cannot be written in an archive.
    #[error("{} cannot be stored in a layer: {reason}", path.display())]
    NotStorable {
        /// The entry.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A file would take the place of a directory, or the other way round.
    #[error("{} is a directory on one side only, and cannot be copied over", path.display())]
    Collision {
        /// The entry.
        path: PathBuf,
    },
    /// The archive ends too early.
    #[error("the archive is truncated: it ends at byte {offset}, in the middle of an entry")]
    Truncated {
        /// Where.
        offset: u64,
    },
    /// The archive is not a tar archive, or a damaged one.
    #[error("this is not a valid tar archive: {reason} (at byte {offset})")]
    Damaged {
        /// Where the offending header starts.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry is of a type that layers do not have.
    #[error("the archive has an entry of an unknown type, {flag:?}: {}", path.display())]
    UnknownType {
        /// The entry.
        path: PathBuf,
        /// Its type flag.
        flag: char,
    },
    /// A path leads out of the layer.
    #[error("the archive has a path that leads out of it: {}", path.display())]
    Escape {
        /// As written.
        path: PathBuf,
    },
    /// A path is empty, or too long to be one.
    #[error("the archive has a path that no file can have: {reason} (at byte {offset})")]
    BadPath {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A component of the path above the last is not a directory.
    #[error("the archive has an entry below something that is not a directory: {}", path.display())]
    NotADirectory {
        /// The entry.
        path: PathBuf,
    },
    /// A hard link to nothing.
    #[error("the archive links {} to {}, which is not a file earlier in it", path.display(), target.display())]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// What it should be another name of.
        target: PathBuf,
    },
    /// A deletion of nothing, or of what cannot be deleted.
    #[error("the archive has an invalid whiteout: {}", path.display())]
    Whiteout {
        /// The marker as written.
        path: PathBuf,
    },
    /// The archive is larger than allowed.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much may be.
        limit: u64,
    },
    /// An overlay's upper directory relies on features that kiln switches off.
    #[error("{} uses overlayfs's {feature}, which a layer cannot express", path.display())]
    Overlay {
        /// The file.
        path: PathBuf,
        /// The feature.
        feature: &'static str,
    },
    /// An index was written by another version of kiln.
    #[error("the layer's index has format {0}, which this kiln does not know")]
    IndexVersion(u8),
    /// An index's bytes are not what was written.
    #[error("the layer's index is damaged")]
    IndexDamaged,
    /// An index does not belong to the archive.
    #[error("the layer's archive does not match its index at {}", path.display())]
    IndexMismatch {
        /// The entry.
        path: PathBuf,
    },
}
