//! Layers: changes to a file tree, as a tar and as an index.
//!
//! A *layer* is an uncompressed tar archive, named by its diff id, and an [`Index`] of the archive: every entry with its
//! metadata, the digest of its content and where in the archive the content starts. A stack of layers merges into a
//! [`View`], a file tree in memory that is made from indexes alone. A *tree* is a layer as a directory, in the form
//! that overlayfs takes as a lower directory or with all its deletions applied ([`TreeForm`]).
//!
//! ```text
//!            Writer ◀── files, or entries of other layers
//!              │
//!              ▼            read                              View::apply
//!   tree ◀── archive ─────────────────▶ Index ───────────────────────────▶ View
//!    │  unpack ▲  materialize                                                │
//!    └─────────┴── diff: a tree compared with the View of what lies under it ┘
//! ```

mod archive;
mod codec;
mod compression;
mod compressor;
mod diff;
mod entry;
mod erofs;
mod error;
mod fold;
mod header;
mod index;
mod packed;
mod resolve;
mod strata;
mod tree;
mod unpack;
mod usage;
mod view;
mod writer;

pub use archive::{Limits, read};
pub use codec::{Codec, Method};
pub use compression::{Compression, decompress};
pub use compressor::Compressor;
pub use diff::{Devices, TreeKind, diff, diff_but, pack};
pub use entry::{Entry, EntryPath, Kind, Metadata, Mtime, in_tree_order};
pub use erofs::{Image as ErofsImage, Unfit};
pub use error::Error;
pub use fold::{Fold, Folded, Sort};
pub use index::{Index, IndexBytes, IndexReader};
pub use packed::{Packed, Unpacked};
pub use resolve::{Resolution, ResolveError};
pub use strata::{Change, Changes, Held, PlaceId, ROOT, Strata};
pub use tree::{Collision, OverlayXattrs, Ownership, TreeForm, TreeOptions};
pub use unpack::{extract, materialize, merge, unpack};
pub use usage::{LayerUsage, Usage, Waste};
pub use view::{FileId, Node, View, Walk};
pub use writer::{Content, Finished, Slice, Writer};

#[cfg(test)]
mod tests;
