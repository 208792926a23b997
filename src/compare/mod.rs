//! What differs between two images: files, packages, and how they run.
//!
//! A *side* of a comparison is a stack of layers, each known by its index alone. [`compare()`] merges the entries of
//! all layers of both sides in the order of a tree, and at every path asks what each side has there:
//!
//! ```text
//!  shared   ┌ a ─ a/x ─ a/y ─ b ─ … ┐
//!  before   │     a/x               ├─▶ at a/x: before has this, after has that ─▶ Change
//!  after    └     a/x ─ a/.wh.y     ┘   at b:   both have the same of one layer ─▶ nothing
//! ```
//!
//! Entries are read one by one and none is kept, so memory grows with the depth of the tree and the number of changes,
//! not with the number of files. Contents are compared by the digests in the indexes; no file is read. Layers that
//! both sides begin with are read once; where they are not here, what the others say is compared as far as it goes.
//!
//! A few layers mean something that depends on what lies below: an entry whose directory is a symbolic link there, say.
//! Stacks with such a layer are compared as two [`View`](crate::layer::View)s, which take memory for every file.

mod change;
mod config;
mod error;
mod history;
mod links;
mod merge;
mod packages;
mod side;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod whole;

pub use change::{Change, ChangeKind, Class, Classes, File};
pub use config::{ConfigChange, configs};
pub use error::Error;
pub use history::{HistoryLine, histories};
pub use packages::{Manager, Package, PackageChange, PackageFile, Unreadable, packages};
pub use side::Layer;
pub use text::{hunks, is_text};

use merge::Halt;
use side::Sides;

/// Tells whether a path matters.
pub type Chosen<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// What is wanted of a comparison.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Which paths matter; none is all.
    pub paths: Option<&'a Chosen<'a>>,
    /// Keep changes of nothing but the time.
    pub times: bool,
    /// How many changes are kept, the first ones, while all are counted; none is all.
    pub most: Option<usize>,
    /// Asked between entries; an answer of true ends the comparison.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { paths: None, times: false, most: None, cancelled: &|| false }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Every difference that was to be kept, in the order of a tree: a directory before what is in it, names in the order
    /// of their bytes.
    pub changes: Vec<Change>,
    /// How many differences there are, kept or not.
    pub counts: Counts,
    /// How many more paths differ in nothing but their time; none if those were wanted.
    pub only_times: u64,
    /// Whether the layers that both sides share were not to be had, so that what they hold is not known.
    pub blind: bool,
}

/// How many paths differ in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that are new.
    pub added: u64,
    /// Those that are there still, and others.
    pub modified: u64,
    /// Those that are gone.
    pub removed: u64,
}

impl Counts {
    /// Returns how many paths differ.
    pub fn total(self) -> u64 {
        self.added + self.modified + self.removed
    }

    fn count(&mut self, kind: ChangeKind) {
        match kind {
            ChangeKind::Added => self.added += 1,
            ChangeKind::Modified => self.modified += 1,
            ChangeKind::Removed => self.removed += 1,
        }
    }
}

/// How many changes more than wanted are held before they are sorted, and the last of them dropped.
const SPARE_CHANGES: usize = 4096;

impl Comparison {
    fn take(&mut self, change: Change, options: &Options<'_>) {
        if options.paths.is_some_and(|matter| !matter(&change.path)) {
            return;
        }
        if !options.times && change.kind == ChangeKind::Modified && change.classes == Classes::of(&[Class::Mtime]) {
            self.only_times += 1;
            return;
        }
        self.counts.count(change.kind);
        self.changes.push(change);
        // A directory is compared after what is in it, so the first ones are not those that come first.
        if options.most.is_some_and(|most| self.changes.len() >= most.saturating_add(SPARE_CHANGES)) {
            self.put_in_order(options);
        }
    }

    fn put_in_order(&mut self, options: &Options<'_>) {
        self.changes.sort_by(|a, b| stream::in_tree_order(&a.path, &b.path));
        self.changes.truncate(options.most.unwrap_or(usize::MAX));
    }
}

/// Compares two stacks of layers, base first.
///
/// A path is compared by what both sides show there after all layers. A hard link is the file it names. Times are
/// compared in whole seconds, for layers keep no more.
///
/// # Errors
/// [`Error::Layer`] for an index that cannot be read, [`Error::MissingIndex`] where a layer of one side alone has none,
/// [`Error::SharedNeeded`] where the answer needs shared layers that have none, [`Error::Cancelled`].
pub fn compare(before: &[Layer], after: &[Layer], options: &Options<'_>) -> Result<Comparison, Error> {
    let sides = Sides::of(before, after)?;
    let mut sorted = Vec::new();
    let mut comparison = loop {
        match merge::merge(&sides, &sorted, options) {
            Ok(comparison) => break comparison,
            // From a tool that writes in another order. Such layers are sorted in memory, each found in its turn.
            Err(Halt::Unsorted(layer)) => sorted.push(layer),
            Err(Halt::Odd) if sides.is_blind() => return Err(Error::SharedNeeded),
            Err(Halt::Odd) => break whole::compare(&sides, options)?,
            Err(Halt::Failed(error)) => return Err(error),
        }
    };
    comparison.put_in_order(options);
    comparison.blind = sides.is_blind();
    Ok(comparison)
}
