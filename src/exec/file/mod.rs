//! Changes to files as a stream: copying, unpacking and making directories without a tree on disk.
//!
//! ```text
//!  op + sources ──select──▶ Selection ──write──▶ layer::Writer
//!                           what is copied,      over the base's View
//!                           its digests
//! ```
//!
//! [`select()`] finds what an op reads and digests it: all that a cache key needs, and nothing of the base. [`write()`]
//! applies the actions, in order, to the metadata of the base's [`View`], and then writes what changed in one sorted
//! pass; the bytes of a file go from its source to the layer and nowhere else. Members of archives alone are kept in a
//! temporary file, because a layer has an order of its own.

mod archive;
mod emit;
mod error;
mod filter;
mod inputs;
mod owner;
mod resolve;
mod select;
mod source;
mod staged;

use std::io::{self, Read, Write};
use std::path::PathBuf;

pub use archive::ArchiveError;
pub use error::Error;
pub use select::{Selection, identify, select};

use crate::context::Context;
use crate::layer::{Mtime, Node, View, Writer};
use crate::sys::Cancel;

/// Reads the content of a file of a stack: which layer has it, and where, is in the node.
pub type Content<'a> = dyn Fn(&Node) -> io::Result<Box<dyn Read + Send>> + 'a;

/// A stack of layers: its merged tree, and a way to the bytes of its files.
#[derive(Clone, Copy)]
pub struct Stack<'a> {
    /// The tree.
    pub view: &'a View,
    /// The bytes.
    pub content: &'a Content<'a>,
}

/// What a copy reads from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A directory on this machine.
    Context(&'a Context),
    /// The result of another op.
    Stack(Stack<'a>),
}

/// What writing needs besides files.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The time of what is made rather than copied: now, or the epoch that was asked for.
    pub now: Mtime,
    /// Where temporary files go.
    pub scratch: PathBuf,
    /// Gives up between blocks once it is raised.
    pub cancel: Cancel,
}

/// Writes the layer that `selection` makes over `base`: no entry at all where nothing changes.
///
/// `sources` are those that were selected from, in the order of the op's inputs.
///
/// # Errors
/// When source and destination do not fit, an archive is hostile, or bytes cannot be read or written.
pub fn write<W: Write>(
    selection: Selection,
    sources: &[Option<Source<'_>>],
    base: Stack<'_>,
    options: &WriteOptions,
    writer: Writer<W>,
) -> Result<Writer<W>, Error> {
    let written = write_all(selection, sources, base, options, writer);
    // A reader that gives up can say so only in the shape of an I/O error.
    options.cancel.check()?;
    written
}

fn write_all<W: Write>(
    selection: Selection,
    sources: &[Option<Source<'_>>],
    base: Stack<'_>,
    options: &WriteOptions,
    mut writer: Writer<W>,
) -> Result<Writer<W>, Error> {
    let mut staged = staged::Staged::new(base, options.now);
    let mut spool = archive::Spool::new(options);
    let mut actions = selection.into_actions().into_iter();
    while let Some(action) = actions.next() {
        let is_last = actions.len() == 0;
        staged.apply(action, is_last, sources, &mut spool)?;
    }
    emit::emit(staged, sources, base, &spool, options, &mut writer)?;
    Ok(writer)
}

#[cfg(test)]
mod tests;
