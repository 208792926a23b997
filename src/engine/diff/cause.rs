use std::collections::BTreeMap;

use super::{DiffSide, SideLayer};
use crate::compare::Comparison;
use crate::layer::Kind;

/// A layer, and by how much the files that it has, and the other side has not, weigh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Whether it is a layer of the first side, whose files are gone or replaced; else of the second.
    pub is_before: bool,
    /// The layer's place, from 0.
    pub place: usize,
    /// The layer.
    pub layer: SideLayer,
    /// How many of its files.
    pub files: u64,
    /// Bytes of their contents: what they add to the second side, or took from the first.
    pub bytes: u64,
}

/// Tells which layers brought what differs. A hard link counts as a file of its own.
pub(super) fn causes(files: &Comparison, before: &DiffSide, after: &DiffSide) -> Vec<Cause> {
    let mut sums: BTreeMap<(bool, usize), (u64, u64)> = BTreeMap::new();
    for change in &files.changes {
        for (is_before, file) in [(true, &change.before), (false, &change.after)] {
            if let Some(file) = file
                && let (Some(layer), Kind::File { .. }) = (file.layer, &file.kind)
            {
                let (files, bytes) = sums.entry((is_before, layer as usize)).or_default();
                *files += 1;
                *bytes += file.size_bytes();
            }
        }
    }
    let cause = |((is_before, place), (files, bytes))| {
        let side = if is_before { before } else { after };
        Cause { is_before, place, layer: side.layers[place].clone(), files, bytes }
    };
    let mut causes: Vec<Cause> = sums.into_iter().map(cause).filter(|cause| cause.bytes > 0).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.bytes));
    causes
}
