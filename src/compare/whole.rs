//! The comparison of two merged trees in memory, for stacks whose entries must be applied in their order.

use crate::layer::{EntryPath, Index, Node, View};

use super::change::State;
use super::side::{Owner, Sides};
use super::{Change, Comparison, Error, File, Options};

pub(super) fn compare(sides: &Sides<'_>, options: &Options<'_>) -> Result<Comparison, Error> {
    let mut shared = View::empty();
    let mut own = None;
    for (owner, slot, layer) in sides.layers() {
        let bytes = layer.index.as_ref().ok_or(Error::MissingIndex(layer.diff_id))?;
        let index =
            Index::from_bytes(bytes.as_ref()).map_err(|source| Error::Layer { layer: layer.diff_id, source })?;
        if owner == Owner::Shared {
            shared.apply(slot, &index);
            continue;
        }
        let (before, after) = own.get_or_insert_with(|| (shared.clone(), shared.clone()));
        if owner == Owner::Before { before.apply(slot, &index) } else { after.apply(slot, &index) }
    }
    let mut comparison = Comparison::default();
    if let Some((before, after)) = own {
        let mut walk = Walk { path: Vec::new(), options, comparison: &mut comparison };
        walk.pair(Some(before.root()), Some(after.root()))?;
    }
    Ok(comparison)
}

struct Walk<'a> {
    path: EntryPath,
    options: &'a Options<'a>,
    comparison: &'a mut Comparison,
}

/// What is left to compare: two nodes at a path of so many bytes of the current one, and a name below.
type Pending<'n> = (usize, Vec<u8>, Option<&'n Node>, Option<&'n Node>);

impl Walk<'_> {
    /// Compares two nodes and all below. A list instead of calls, for a layer can nest directories deeply.
    fn pair<'n>(&mut self, before: Option<&'n Node>, after: Option<&'n Node>) -> Result<(), Error> {
        let mut pending: Vec<Pending<'n>> = vec![(0, Vec::new(), before, after)];
        while let Some((length, name, before, after)) = pending.pop() {
            if (self.options.cancelled)() {
                return Err(Error::Cancelled);
            }
            self.path.truncate(length);
            join(&mut self.path, &name);
            let state = |node: Option<&Node>| node.map_or(State::Absent, |node| State::Present(File::of(node)));
            if let Some(change) = Change::between(&self.path, state(before), state(after)) {
                self.comparison.take(change, self.options);
            }
            let here = self.path.len();
            let old = before.into_iter().flat_map(Node::children);
            let below =
                old.map(|(name, old)| (here, name.to_vec(), Some(old), after.and_then(|node| node.child(name))));
            pending.extend(below);
            let new = after.into_iter().flat_map(Node::children);
            let new = new.filter(|(name, _)| before.is_none_or(|node| node.child(name).is_none()));
            pending.extend(new.map(|(name, new)| (here, name.to_vec(), None, Some(new))));
        }
        Ok(())
    }
}

fn join(path: &mut EntryPath, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
