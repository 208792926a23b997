use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Error;
use super::promise::{Keeper, Promise};
use crate::layer::Mtime;
use crate::oci::{ChainId, Descriptor, DiffId, Manifest, Reference};
use crate::snapshot::Tree;

/// A layer, wherever its bytes are: in the store, still in a registry, or being written this moment.
#[derive(Clone)]
pub struct Layer(Arc<State>);

struct State {
    diff_id: Promise<Result<DiffId, Arc<Error>>>,
    origin: Option<Origin>,
    /// Found or made once.
    tree: OnceLock<Tree>,
    /// The layer with no time later than this one, once somebody has wanted it. Held while it is made.
    rewritten: Mutex<Option<(Mtime, Layer)>>,
    /// Held while bytes are fetched or a tree is made, so that two steps do not do it twice.
    work: Mutex<()>,
}

/// Where a layer can be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The image it belongs to.
    pub(crate) reference: Reference,
    /// Its blob.
    pub(crate) blob: Descriptor,
}

impl Layer {
    /// Returns the layers of an image, which can be fetched where `reference` says.
    pub(crate) fn of_image(reference: &Reference, diff_ids: &[DiffId], manifest: &Manifest) -> Vec<Layer> {
        let layer = |(diff_id, blob): (&DiffId, &Descriptor)| {
            let origin = Origin { reference: reference.clone(), blob: blob.clone() };
            Layer::new(Promise::kept(Ok(*diff_id)), Some(origin))
        };
        diff_ids.iter().zip(&manifest.layers).map(layer).collect()
    }

    /// Returns a layer that is in the store.
    pub(crate) fn stored(diff_id: DiffId) -> Layer {
        Layer::new(Promise::kept(Ok(diff_id)), None)
    }

    /// Returns a layer whose files are in `tree`, and the duty to tell its identity once it is written.
    pub(crate) fn pending(tree: Option<Tree>) -> (Layer, Keeper<Result<DiffId, Arc<Error>>>) {
        let (promise, keeper) = Promise::new();
        let layer = Layer::new(promise, None);
        tree.map(|tree| layer.set_tree(tree).clone());
        (layer, keeper)
    }

    fn new(diff_id: Promise<Result<DiffId, Arc<Error>>>, origin: Option<Origin>) -> Layer {
        Layer(Arc::new(State {
            diff_id,
            origin,
            tree: OnceLock::new(),
            rewritten: Mutex::default(),
            work: Mutex::new(()),
        }))
    }

    /// Returns the layer's identity; waits for a layer that is being written.
    pub(crate) fn diff_id(&self) -> Result<DiffId, Error> {
        self.0.diff_id.wait().unwrap_or_else(|| Err(Arc::new(Error::Panicked))).map_err(Error::Behind)
    }

    /// Returns the layer's identity if it is known now.
    pub(crate) fn known_diff_id(&self) -> Option<DiffId> {
        self.0.diff_id.get()?.ok()
    }

    /// Tells whether both are one layer, not only equal ones.
    pub(super) fn is(&self, other: &Layer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    pub(super) fn tree(&self) -> Option<&Tree> {
        self.0.tree.get()
    }

    pub(super) fn set_tree(&self, tree: Tree) -> &Tree {
        self.0.tree.get_or_init(|| tree)
    }

    pub(super) fn rewritten(&self) -> MutexGuard<'_, Option<(Mtime, Layer)>> {
        self.0.rewritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Layers over each other, base first. An empty stack is an empty file system.
#[derive(Clone, Default)]
pub struct Stack {
    layers: Vec<Layer>,
    /// The identity of the stack up to each layer, once somebody has asked for it or a higher one. Stacks that grew from
    /// this one share them: a build of 500 steps asks for 500 stacks, and most of each is known.
    chains: Vec<Arc<OnceLock<ChainId>>>,
}

impl Stack {
    /// Returns a stack of `layers`, base first.
    pub(crate) fn new(layers: Vec<Layer>) -> Stack {
        let chains = layers.iter().map(|_| Arc::default()).collect();
        Stack { layers, chains }
    }

    /// Returns the stack of layers that are in the store, base first.
    pub fn stored(layers: &[DiffId]) -> Stack {
        Stack::new(layers.iter().copied().map(Layer::stored).collect())
    }

    /// Returns this stack with a layer over it that is in the store.
    pub(crate) fn over_stored(&self, top: DiffId) -> Stack {
        self.with(Layer::stored(top))
    }

    /// Returns this stack with `top` over it.
    pub(crate) fn with(&self, top: Layer) -> Stack {
        Stack { layers: grown(&self.layers, top), chains: grown(&self.chains, Arc::default()) }
    }

    /// Returns the layers, base first.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the identities of the layers, base first; waits for those being written.
    pub(crate) fn diff_ids(&self) -> Result<Vec<DiffId>, Error> {
        self.layers.iter().map(Layer::diff_id).collect()
    }

    /// Returns the identity of the stack, `None` for the empty one; waits for layers being written.
    pub(crate) fn chain_id(&self) -> Result<Option<ChainId>, Error> {
        let known = (0..self.chains.len()).rev().find_map(|place| Some((place + 1, *self.chains[place].get()?)));
        let (first, mut chain) = known.map_or((0, None), |(first, chain)| (first, Some(chain)));
        for (layer, place) in self.layers.iter().zip(&self.chains).skip(first) {
            let diff_id = layer.diff_id()?;
            let here = chain.map_or(ChainId::base(diff_id), |below: ChainId| below.extend(diff_id));
            chain = Some(*place.get_or_init(|| here));
        }
        Ok(chain)
    }

    /// Returns the identity of every stack that this one grew over, base first, and its own last; waits as
    /// [`Stack::chain_id`] does.
    pub(crate) fn chain_ids(&self) -> Result<Vec<ChainId>, Error> {
        self.chain_id()?;
        Ok(self.chains.iter().filter_map(|chain| chain.get().copied()).collect())
    }

    /// Tells whether the identity of every layer is known now.
    pub(crate) fn is_known(&self) -> bool {
        self.layers.iter().all(|layer| layer.known_diff_id().is_some())
    }
}

fn grown<T: Clone>(below: &[T], top: T) -> Vec<T> {
    let mut all = Vec::with_capacity(below.len() + 1);
    all.extend_from_slice(below);
    all.push(top);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn the_identity_of_a_stack_is_that_of_its_layers_in_whatever_order_it_is_asked_for() {
        let diff_ids: Vec<DiffId> = (0..5_u8).map(|number| DiffId::new(Digest::of(&[number]))).collect();
        let layer = |place: usize| Layer::stored(diff_ids[place]);
        let expected = |length: usize| ChainId::of(diff_ids[..length].iter().copied());
        for asked_first in [0, 1, 3] {
            let base = Stack::new(vec![layer(0), layer(1)]);
            let middle = base.with(layer(2));
            let top = middle.with(layer(3)).with(layer(4));
            if let Some(stack) = [&base, &middle, &top].get(asked_first) {
                stack.chain_id().unwrap();
            }
            assert_eq!(top.chain_ids().unwrap(), (1..=5).filter_map(expected).collect::<Vec<_>>());
            assert_eq!((base.chain_id().unwrap(), middle.chain_id().unwrap()), (expected(2), expected(3)));
            // Another layer over the same base is another stack.
            assert_ne!(base.with(layer(4)).chain_id().unwrap(), middle.chain_id().unwrap());
        }
        assert_eq!(Stack::default().chain_id().unwrap(), None);
    }
}
