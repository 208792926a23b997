use std::io::Write;
use std::path::Path;

use super::{EntryPath, Error, OverlayXattrs, View, Writer};

/// What a tree is to be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeKind {
    /// The upper directory of an overlay: what is not in it is unchanged.
    Upper(OverlayXattrs),
    /// A whole tree: what is not in it is deleted.
    Whole,
}

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Paths that were made for mounts: left out if they are empty files or directories without changes.
    pub exclude: Vec<EntryPath>,
}

/// Writes the layer that turns `parent` into what `tree` shows (semantics section 13). No changes, no entries.
///
/// # Errors
/// [`Error::File`], [`Error::Overlay`], and those of [`Writer::append`].
pub fn diff<W: Write>(
    _tree: &Path,
    _kind: TreeKind,
    _parent: &View,
    _out: &mut Writer<W>,
    _options: &DiffOptions,
) -> Result<(), Error> {
    unimplemented!()
}
