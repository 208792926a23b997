//! Files inside a root: confined paths, whole-file writes, trees and their extended attributes.
//!
//! A [`Root`] is a directory that nothing under it can lead out of: every path is resolved by the kernel with
//! openat2(2) and `RESOLVE_IN_ROOT`, so a symbolic link to `/etc/passwd` means the root's own file. The other functions
//! are the standard library's with errors that name their path.

mod error;
mod remove;
mod root;
mod sparse;
mod write;
mod xattr;

pub use error::{At, Error};
pub use remove::{remove_at, remove_tree};
pub use root::{Root, os_path};
pub use sparse::{SparseReader, SparseWriter};
pub use write::write_atomic;
pub use xattr::{Xattrs, get_xattr, set_xattr, xattrs};
