use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stack::{Layer, Stack};
use super::{Error, Output};
use crate::fs::SparseWriter;
use crate::layer::{
    self, ErofsImage, Index, IndexBytes, Kind as FileKind, Limits, Node, OverlayXattrs, Ownership, Slice, TreeForm,
    TreeKind, TreeOptions, View,
};
use crate::oci::{ChainId, DiffId, Digest, Encoded, Manifest, media_type};
use crate::registry;
use crate::runtime::RootMount;
use crate::snapshot::{self, Active, Kind, Snapshotter, Tree};
use crate::solve::{Observe, Work};
use crate::store::{self, LayerBlob, Store};
use crate::sys::Cancel;

/// Manifests are never larger (distribution-spec, "Pushing Manifests").
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// A layer with fewer entries gets files: they are made sooner than an image of them is mounted for every step.
const LEAST_ENTRIES: usize = 64;

/// An index with more entries is read again by a step that asks for it: most builds of so many files have no such step.
const KEPT_ENTRIES: usize = 100_000;

/// How many directories overlayfs lays over each other (`OVL_MAX_STACK` in Linux's fs/overlayfs/params.c). What has more
/// layers is copied.
const MAX_LOWER: usize = 500;

/// How much of a tar is written at once.
const TEE_BYTES: usize = 256 << 10;

/// Layers fetched and unpacked at once.
const PARALLEL_LAYERS: usize = 4;

/// What is known and what can be had of layers: their indexes, trees and bytes, each made once and only when asked for.
pub struct Library {
    store: Store,
    snapshots: Snapshotter,
    registry: registry::Client,
    indexes: Mutex<HashMap<DiffId, Arc<Index>>>,
    views: Mutex<HashMap<ChainId, View>>,
}

/// Who asks, for progress and interruption.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The step bytes are moved for.
    pub step: Option<crate::solve::StepId>,
    /// Takes transfers.
    pub observer: &'a Arc<dyn Observe>,
    /// Stops them.
    pub cancel: &'a Cancel,
}

impl<'a> Asker<'a> {
    /// Returns a step as one who asks.
    pub(super) fn of(work: &'a Work<'_, Output>) -> Asker<'a> {
        Asker { step: Some(work.id), observer: work.observer, cancel: &work.cancel }
    }
}

impl Library {
    /// Returns the library of `store`, which fetches what is not there with `registry`.
    pub fn new(store: &Store, registry: registry::Client) -> Library {
        Library {
            store: store.clone(),
            snapshots: Snapshotter::new(store),
            registry,
            indexes: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the client that fetches layers.
    pub fn registry(&self) -> &registry::Client {
        &self.registry
    }

    /// Returns a manifest that is in the store.
    pub(super) fn manifest(&self, digest: Digest) -> Result<Encoded<Manifest>, Error> {
        let bytes = self.store.read_blob(digest, MAX_MANIFEST_BYTES)?;
        Ok(Encoded::decode("manifest", media_type::OCI_MANIFEST, bytes)?)
    }

    /// Returns a writable view over `stack`.
    pub(crate) fn writable(&self, stack: &Stack, asker: Asker<'_>) -> Result<Active, Error> {
        match self.snapshots.kind()? {
            Kind::Overlay(xattrs) if stack.layers().len() <= MAX_LOWER => {
                let trees = self.trees(stack, xattrs, asker)?;
                Ok(self.snapshots.over(&trees, xattrs)?)
            }
            Kind::Overlay(_) | Kind::FullCopy => {
                let active = self.snapshots.empty()?;
                for layer in stack.layers() {
                    self.unpack_onto(layer, active.files(), asker)?;
                }
                Ok(active)
            }
        }
    }

    /// Returns the changes of a view over any stack in which nothing was changed; none where views are copies.
    pub(super) fn untouched(&self) -> Result<Option<Active>, Error> {
        match self.snapshots.kind()? {
            Kind::Overlay(xattrs) => Ok(Some(self.snapshots.over(&[], xattrs)?)),
            Kind::FullCopy => Ok(None),
        }
    }

    /// Returns the writable view over `stack` whose changes are kept in `tree`, of which nobody else may be making use.
    pub(crate) fn reopen(&self, stack: &Stack, tree: &store::Tree, asker: Asker<'_>) -> Result<snapshot::View, Error> {
        let lower = match self.snapshots.kind()? {
            Kind::Overlay(xattrs) => self.trees(stack, xattrs, asker)?,
            Kind::FullCopy => Vec::new(),
        };
        Ok(self.snapshots.reopen(tree, &lower)?)
    }

    /// Returns the directory of the changes that `tree` has kept, and what it is to be read as.
    pub(crate) fn changes(&self, tree: &store::Tree) -> Result<(PathBuf, TreeKind), Error> {
        Ok(self.snapshots.changes(tree)?)
    }

    /// Returns an empty directory for further changes over a stack whose top the directory `upper` becomes.
    pub(crate) fn beside(&self, upper: &Path, xattrs: OverlayXattrs) -> Result<Active, Error> {
        Ok(self.snapshots.beside(upper, xattrs)?)
    }

    /// Returns a stack whose top are the changes that `tree` has kept, which nobody may be changing; none where they have
    /// to be made a layer first. The identity of the top is not known.
    pub(crate) fn laid_over(&self, stack: &Stack, tree: &store::Tree) -> Result<Option<Stack>, Error> {
        let (upper, kind) = self.snapshots.changes(tree)?;
        Ok(match kind {
            TreeKind::Upper(_) => Some(stack.with(Layer::pending(Some(Tree::of_changes(upper))).0)),
            TreeKind::Whole => None,
        })
    }

    /// Returns the trees of a stack that the changes in `upper` are laid over, in a form that only shows them.
    pub(crate) fn merged(
        &self,
        stack: &Stack,
        upper: &Path,
        xattrs: OverlayXattrs,
        asker: Asker<'_>,
    ) -> Result<RootMount, Error> {
        let trees = self.trees(stack, xattrs, asker)?;
        let view = snapshot::overlay(upper.to_owned(), &trees, xattrs);
        let snapshot::View::Overlay { lower, images, upper, .. } = view else {
            unreachable!("it was made as an overlay")
        };
        let layers = std::iter::once(upper).chain(lower).collect();
        Ok(RootMount::Merged { layers, images, userxattr: xattrs == OverlayXattrs::User })
    }

    /// Unpacks a layer over the files of those below it, taking away what it takes away.
    pub(super) fn unpack_onto(&self, layer: &Layer, target: &Path, asker: Asker<'_>) -> Result<(), Error> {
        let _work = layer.lock();
        self.unpack(layer, target, TreeForm::Plain, asker).map(drop)
    }

    /// Makes the files of a layer: from its index where there is one, for only that knows nanoseconds, by which a later
    /// comparison tells what did not change.
    fn unpack(&self, layer: &Layer, target: &Path, form: TreeForm, asker: Asker<'_>) -> Result<DiffId, Error> {
        let diff_id = layer.diff_id()?;
        let options = options(form, asker.cancel);
        if self.store.has_blob(diff_id.digest())?.is_some() && self.store.layer_index(diff_id)?.is_some() {
            let tar = self.store.open_blob(diff_id.digest())?;
            layer::materialize(&*self.index_of(diff_id)?, &tar, target, &options)?;
        } else {
            let (diff_id, tar) = self.tar(layer, asker)?;
            let finished = layer::unpack(asker.cancel.guard(tar), target, &options)?;
            self.learn(diff_id, finished)?;
        }
        Ok(diff_id)
    }

    /// Returns the trees of all layers, making the missing ones side by side.
    fn trees(&self, stack: &Stack, xattrs: OverlayXattrs, asker: Asker<'_>) -> Result<Vec<Tree>, Error> {
        // In the middle of a stage all are there but, perhaps, that of the last layer.
        if stack.layers().iter().filter(|layer| layer.tree().is_none()).count() <= 1 {
            return stack.layers().iter().map(|layer| self.tree(layer, xattrs, asker)).collect();
        }
        each(stack.layers(), |layer| self.tree(layer, xattrs, asker))
    }

    fn tree(&self, layer: &Layer, xattrs: OverlayXattrs, asker: Asker<'_>) -> Result<Tree, Error> {
        if let Some(tree) = layer.tree() {
            return Ok(tree.clone());
        }
        let _work = layer.lock();
        if let Some(tree) = layer.tree() {
            return Ok(tree.clone());
        }
        let diff_id = layer.diff_id()?;
        if let Some(tree) = self.snapshots.tree_of(diff_id)? {
            return Ok(layer.set_tree(tree).clone());
        }
        let active = Arc::new(self.snapshots.empty()?);
        if !self.image(layer, &active, xattrs, asker)? {
            // What an image would have stood on.
            let _ = std::fs::remove_file(active.image().data);
            self.unpack(layer, active.files(), TreeForm::Overlay(xattrs), asker)?;
        }
        active.bind(diff_id)?;
        Ok(layer.set_tree(active.tree()).clone())
    }

    /// Makes an image of a layer, where the kernel takes one and that is less work than making its files; tells whether
    /// it has.
    fn image(&self, layer: &Layer, active: &Active, xattrs: OverlayXattrs, asker: Asker<'_>) -> Result<bool, Error> {
        if !self.snapshots.mounts_images()? {
            return Ok(false);
        }
        let (diff_id, data) = (layer.diff_id()?, active.image().data);
        let is_plain = self.store.has_blob(diff_id.digest())?.is_some();
        if !is_plain {
            // What is in a compressed layer shows on the way.
            self.keep_tar(layer, &data, asker)?;
        } else if self.store.layer_size(diff_id)?.is_none() {
            self.index_by_reading(layer, asker)?;
        }
        let index = self.index_of(diff_id)?;
        if index.len() < LEAST_ENTRIES {
            return Ok(false);
        }
        let size = self.store.layer_size(diff_id)?.ok_or(Error::LostLayer(diff_id))?;
        let image = match ErofsImage::new(&index, size, xattrs) {
            Ok(image) => image,
            Err(unfit) => {
                tracing::debug!(%diff_id, %unfit, "a layer gets files");
                return Ok(false);
            }
        };
        // The layer's tar may be removed with its last image, while somebody still works on this tree.
        if is_plain && std::fs::hard_link(self.store.blob_path(diff_id.digest()), &data).is_err() {
            return Ok(false);
        }
        active.write_image(&image)?;
        Ok(true)
    }

    /// Writes the tar of a compressed layer to `path`, and learns what is in it.
    fn keep_tar(&self, layer: &Layer, path: &Path, asker: Asker<'_>) -> Result<(), Error> {
        let (diff_id, tar) = self.tar(layer, asker)?;
        let failed = |source| store::Error::io("write", path, source);
        let file = SparseWriter::new(File::create(path).map_err(failed)?);
        let mut tee = Tee { from: asker.cancel.guard(tar), to: BufWriter::with_capacity(TEE_BYTES, file) };
        let finished = layer::read(&mut tee, &Limits::default())?;
        let file = tee.to.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(SparseWriter::finish).map_err(failed)?;
        self.learn(diff_id, finished)
    }

    /// Returns the index of a layer.
    pub fn index(&self, layer: &Layer, asker: Asker<'_>) -> Result<Arc<Index>, Error> {
        let diff_id = layer.diff_id()?;
        if let Some(index) = lock(&self.indexes).get(&diff_id) {
            return Ok(index.clone());
        }
        let _work = layer.lock();
        if self.store.layer_size(diff_id)?.is_none() {
            self.index_by_reading(layer, asker)?;
        }
        self.index_of(diff_id)
    }

    /// Returns the index of a layer as it is stored, which takes less memory; fetches the layer if it must.
    pub fn index_bytes(&self, layer: &Layer, asker: Asker<'_>) -> Result<IndexBytes, Error> {
        let diff_id = layer.diff_id()?;
        if let Some(bytes) = self.store.layer_index(diff_id)? {
            return Ok(IndexBytes::new(bytes));
        }
        let _work = layer.lock();
        self.index_by_reading(layer, asker)?;
        let bytes = self.store.layer_index(diff_id)?;
        bytes.map(IndexBytes::new).ok_or(Error::LostLayer(diff_id))
    }

    /// Does `work` for every layer, a few at once, and returns the results in order; `work` gets the layer's place, too.
    pub fn each<T: Send>(
        &self,
        layers: &[Layer],
        work: impl Fn(usize, &Layer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        each_placed(layers, work)
    }

    /// Tells whether the index of a layer is to be had without fetching anything.
    pub fn is_here(&self, layer: &Layer) -> Result<bool, Error> {
        let diff_id = layer.diff_id()?;
        let of_image = || match layer.origin() {
            Some(origin) => self.store.has_blob(origin.blob.digest),
            None => Ok(None),
        };
        Ok(self.store.layer_size(diff_id)?.is_some() || self.present(diff_id)?.is_some() || of_image()?.is_some())
    }

    /// Reads contents out of a layer in one pass: each of `wanted` is where one starts in the tar and how many bytes it
    /// has, in ascending order, and `take` gets them with their places in the list.
    pub fn contents<E: From<Error>>(
        &self,
        layer: &Layer,
        wanted: &[(u64, u64)],
        asker: Asker<'_>,
        take: &mut dyn FnMut(usize, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let diff_id = layer.diff_id().map_err(E::from)?;
        if self.store.has_blob(diff_id.digest()).map_err(Error::from)?.is_some() {
            for (place, &(offset, size)) in wanted.iter().enumerate() {
                let file = self.store.open_blob(diff_id.digest()).map_err(Error::from)?;
                take(place, &mut asker.cancel.guard(Slice::new(file, offset, size)))?;
            }
            return Ok(());
        }
        // A compressed layer can only be read from its beginning.
        let (_, tar) = self.tar(layer, asker)?;
        let mut tar = asker.cancel.guard(tar);
        let mut position = 0;
        for (place, &(offset, size)) in wanted.iter().enumerate() {
            skip(&mut tar, offset.saturating_sub(position))?;
            let mut content = (&mut tar).take(size);
            take(place, &mut content)?;
            // Whatever of it was not wanted.
            let left = content.limit();
            skip(&mut tar, left)?;
            position = offset + size;
        }
        Ok(())
    }

    fn index_by_reading(&self, layer: &Layer, asker: Asker<'_>) -> Result<(), Error> {
        let (diff_id, tar) = self.tar(layer, asker)?;
        self.learn(diff_id, layer::read(asker.cancel.guard(tar), &Limits::default())?)
    }

    /// Returns the index of a layer that has one.
    fn index_of(&self, diff_id: DiffId) -> Result<Arc<Index>, Error> {
        if let Some(index) = lock(&self.indexes).get(&diff_id) {
            return Ok(index.clone());
        }
        let bytes = self.store.layer_index(diff_id)?.ok_or(Error::LostLayer(diff_id))?;
        let index = Arc::new(Index::from_bytes(&bytes)?);
        Ok(lock(&self.indexes).entry(diff_id).or_insert(index).clone())
    }

    /// Keeps what reading a whole layer told, if it is the layer it should be.
    fn learn(&self, diff_id: DiffId, finished: layer::Finished) -> Result<(), Error> {
        if finished.diff_id != diff_id {
            return Err(Error::WrongLayer { expected: diff_id, actual: finished.diff_id });
        }
        let layer::Finished { size_bytes, index, .. } = finished;
        if index.len() > KEPT_ENTRIES {
            return Ok(self.store.put_layer(diff_id, size_bytes, &index.into_bytes())?);
        }
        self.store.put_layer(diff_id, size_bytes, &index.to_bytes())?;
        lock(&self.indexes).insert(diff_id, Arc::new(index));
        Ok(())
    }

    /// Keeps a layer that was just written into the store.
    pub(crate) fn add(&self, finished: layer::Finished) -> Result<DiffId, Error> {
        let diff_id = finished.diff_id;
        let blob = LayerBlob {
            digest: diff_id.digest(),
            media_type: media_type::OCI_LAYER.to_owned(),
            size: finished.size_bytes,
        };
        self.learn(diff_id, finished)?;
        self.store.link_blob(diff_id, &blob)?;
        Ok(diff_id)
    }

    /// Returns the files of a stack, merged; reads no file and makes no tree.
    pub fn view(&self, stack: &Stack, asker: Asker<'_>) -> Result<View, Error> {
        let chains = stack.chain_ids()?;
        let Some(&whole) = chains.last() else { return Ok(View::empty()) };
        // Most stacks are one layer over one that was asked for before.
        let below = {
            let known = lock(&self.views);
            (0..chains.len()).rev().find_map(|place| Some((place + 1, known.get(&chains[place])?.clone())))
        };
        let (first, mut view) = below.unwrap_or_default();
        let indexes = each(&stack.layers()[first..], |layer| self.index(layer, asker))?;
        for (slot, index) in (first..).zip(&indexes) {
            view.apply(slot as u32, index);
        }
        lock(&self.views).insert(whole, view.clone());
        Ok(view)
    }

    /// Opens the content of a file of a stack.
    pub(super) fn content(&self, stack: &Stack, node: &Node, asker: Asker<'_>) -> Result<Box<dyn Read + Send>, Error> {
        let FileKind::File { offset, size, .. } = node.kind else { return Ok(Box::new(io::empty())) };
        let layer = stack.layers().get(node.id.slot as usize).ok_or(Error::Panicked)?;
        let diff_id = layer.diff_id()?;
        if self.store.has_blob(diff_id.digest())?.is_some() {
            let file = self.store.open_blob(diff_id.digest())?;
            return Ok(Box::new(Slice::new(file, offset, size)));
        }
        // A compressed layer cannot be entered in its middle; its tree can, and somebody may need it again.
        let xattrs = match self.snapshots.kind()? {
            Kind::Overlay(xattrs) => xattrs,
            Kind::FullCopy => OverlayXattrs::User,
        };
        let tree = self.tree(layer, xattrs, asker)?;
        if let Some(tar) = tree.tar() {
            let file = File::open(tar).map_err(|source| store::Error::io("open", tar, source))?;
            return Ok(Box::new(Slice::new(file, offset, size)));
        }
        let index = self.index(layer, asker)?;
        let entry = index.get(node.id.entry as usize).ok_or(Error::LostLayer(diff_id))?;
        Ok(Box::new(crate::fs::Root::open(tree.path())?.open_file(&entry.path)?))
    }

    /// Returns the bytes of a layer, decompressed as they are read.
    pub(super) fn tar(&self, layer: &Layer, asker: Asker<'_>) -> Result<(DiffId, Box<dyn Read + Send>), Error> {
        let diff_id = layer.diff_id()?;
        let digest = match self.store.has_blob(diff_id.digest())? {
            Some(_) => diff_id.digest(),
            None => self.blob(layer, asker)?.digest,
        };
        let file = self.store.open_blob(digest)?;
        let (_, tar) = layer::decompress(file).map_err(layer::Error::Read)?;
        Ok((diff_id, tar))
    }
}

/// Reads past so many bytes.
fn skip(reader: &mut impl Read, bytes: u64) -> Result<(), Error> {
    match io::copy(&mut reader.take(bytes), &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(source) => Err(layer::Error::Read(source).into()),
    }
}

/// Keeps what is read.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(buffer)?;
        self.to.write_all(&buffer[..got])?;
        Ok(got)
    }
}

/// Does `work` for every layer, a few at once, and returns the results in order.
pub(super) fn each<T: Send>(
    layers: &[Layer],
    work: impl Fn(&Layer) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    each_placed(layers, |_, layer| work(layer))
}

fn each_placed<T: Send>(
    layers: &[Layer],
    work: impl Fn(usize, &Layer) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    if layers.len() <= 1 {
        return layers.iter().enumerate().map(|(place, layer)| work(place, layer)).collect();
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<T, Error>>>> = layers.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_LAYERS.min(layers.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(layer) = layers.get(index) else { return };
                    *lock(&results[index]) = Some(work(index, layer));
                }
            });
        }
    });
    let taken = results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    taken.map(|result| result.unwrap_or(Err(Error::Panicked))).collect()
}

fn options(form: TreeForm, cancel: &Cancel) -> TreeOptions {
    let ownership = if has_single_id() { Ownership::AsPermitted } else { Ownership::Exact };
    TreeOptions { form, ownership, cancel: cancel.clone(), ..TreeOptions::default() }
}

/// Tells whether this process may give files to one user alone, itself (user_namespaces(7)).
fn has_single_id() -> bool {
    matches!(crate::runtime::ids(), crate::runtime::Ids::Single { .. })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
