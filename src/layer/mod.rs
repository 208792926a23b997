//! Layers: changes to a file tree, as a tar and as an index.

mod entry;

pub use entry::{Entry, EntryPath, Kind, Metadata, Mtime};
