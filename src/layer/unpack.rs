use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Error, Finished, Index, TreeOptions};

/// Reads any layer's archive, uncompressed, to its end, and makes its tree in the directory `target` meanwhile.
///
/// # Errors
/// Those of [`super::read`] and [`Error::File`]. What was made so far stays.
pub fn unpack(_reader: impl Read, _target: &Path, _options: &TreeOptions) -> Result<Finished, Error> {
    unimplemented!()
}

/// Makes the tree of a layer in the directory `target` from its archive, uncompressed, and its index, which brings
/// what the archive has no room for: nanoseconds and all extended attributes.
///
/// # Errors
/// [`Error::File`] and [`Error::IndexMismatch`]. What was made so far stays.
pub fn materialize(_index: &Index, _archive: &File, _target: &Path, _options: &TreeOptions) -> Result<(), Error> {
    unimplemented!()
}
