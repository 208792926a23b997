use std::cmp::Ordering;

pub(super) use crate::layer::in_tree_order;
use crate::layer::{Entry, Index, IndexReader};

use super::side::Owner;
use super::{Error, Layer};

/// The entries of a layer in the order of a tree.
pub(super) struct Stream {
    pub(super) owner: Owner,
    /// The layer's place in its stack.
    pub(super) slot: u32,
    /// The entry that is next.
    pub(super) entry: Entry,
    /// Where in the layer's own order it stands.
    pub(super) place: u32,
    source: Source,
    layer: Layer,
    before: Vec<u8>,
}

enum Source {
    /// As the layer has them.
    Index(Box<IndexReader>),
    /// Sorted, each with its place.
    Sorted(std::vec::IntoIter<(u32, Entry)>),
}

/// What became of a step forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Moved,
    Ended,
    /// The next entry belongs before this one.
    Unsorted,
}

impl Stream {
    /// Opens a layer before its first entry.
    pub(super) fn open(owner: Owner, slot: u32, layer: &Layer, sorted: bool) -> Result<Stream, Error> {
        let bytes = layer.index.clone().ok_or(Error::MissingIndex(layer.diff_id))?;
        let source = if sorted {
            let index = Index::from_bytes(bytes.as_ref()).map_err(|source| failed(layer, source))?;
            let mut entries: Vec<(u32, Entry)> = (0..).zip(index.entries()).collect();
            // A stable sort: of entries with one path, the layer's own order stays.
            entries.sort_by(|(_, a), (_, b)| in_tree_order(&a.path, &b.path));
            Source::Sorted(entries.into_iter())
        } else {
            Source::Index(Box::new(IndexReader::new(bytes).map_err(|source| failed(layer, source))?))
        };
        let (entry, layer, before) = (Entry::blank(), layer.clone(), Vec::new());
        Ok(Stream { owner, slot, entry, place: u32::MAX, source, layer, before })
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self) -> Result<Step, Error> {
        match &mut self.source {
            Source::Sorted(entries) => {
                let Some((place, entry)) = entries.next() else { return Ok(Step::Ended) };
                (self.place, self.entry) = (place, entry);
            }
            Source::Index(reader) => {
                self.before.clone_from(&self.entry.path);
                if !reader.read(&mut self.entry).map_err(|source| failed(&self.layer, source))? {
                    return Ok(Step::Ended);
                }
                self.place = self.place.wrapping_add(1);
                if in_tree_order(&self.before, &self.entry.path) == Ordering::Greater {
                    return Ok(Step::Unsorted);
                }
            }
        }
        Ok(Step::Moved)
    }
}

fn failed(layer: &Layer, source: crate::layer::Error) -> Error {
    Error::Layer { layer: layer.diff_id, source }
}
