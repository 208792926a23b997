use crate::layer::IndexBytes;
use crate::oci::DiffId;

use super::Error;

/// A layer, as it is compared.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Which.
    pub diff_id: DiffId,
    /// What is in it, as [`Index::to_bytes`](crate::layer::Index::to_bytes) has it; none where that is not known.
    pub index: Option<IndexBytes>,
}

/// Both stacks, and what they begin with together.
pub(super) struct Sides<'a> {
    pub(super) before: &'a [Layer],
    pub(super) after: &'a [Layer],
    /// How many layers are the same at the bottom of both.
    pub(super) shared: usize,
    /// Whether all of these are known.
    seen: bool,
}

/// Whose a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Shared,
    Before,
    After,
}

impl<'a> Sides<'a> {
    pub(super) fn of(before: &'a [Layer], after: &'a [Layer]) -> Result<Sides<'a>, Error> {
        let shared = before.iter().zip(after).take_while(|(a, b)| a.diff_id == b.diff_id).count();
        let own = before[shared..].iter().chain(&after[shared..]);
        if let Some(missing) = own.into_iter().find(|layer| layer.index.is_none()) {
            return Err(Error::MissingIndex(missing.diff_id));
        }
        let seen = before[..shared].iter().all(|layer| layer.index.is_some());
        Ok(Sides { before, after, shared, seen })
    }

    /// Tells whether what the shared layers hold is not known.
    pub(super) fn is_blind(&self) -> bool {
        !self.seen
    }

    /// Returns every layer that is read, with its owner and its place in the stack.
    pub(super) fn layers(&self) -> impl Iterator<Item = (Owner, u32, &'a Layer)> {
        let of = |owner, layers: &'a [Layer], first: usize| {
            layers.iter().enumerate().skip(first).map(move |(slot, layer)| (owner, slot as u32, layer))
        };
        let shared = if self.seen { self.shared } else { 0 };
        of(Owner::Shared, &self.before[..shared], 0).chain(of(Owner::Before, self.before, self.shared)).chain(of(
            Owner::After,
            self.after,
            self.shared,
        ))
    }
}
