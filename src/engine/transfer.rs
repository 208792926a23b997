use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::compress::Wanted;
use super::images::summaries;
use super::resolve::Resolver;
use super::{Engine, Error, ImageSummary, Packing};
use crate::exec::{Asker, Layer, Library, Stack};
use crate::image::{self, Image};
use crate::oci::{Descriptor, Digest, Encoded, Index, Platform, Reference};
use crate::registry;
use crate::solve::{Event, Observe};
use crate::store::{Entry, Store};
use crate::sys::Cancel;

/// Blobs sent at once.
pub(super) const PARALLEL_BLOBS: usize = 4;

/// How an image is pulled or pushed.
#[derive(Debug, Clone, Default)]
pub struct TransferOptions {
    /// Which image of an index to pull; none is this machine's.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
    /// How the layers of a push are packed; none compresses what is not compressed.
    pub packing: Option<Packing>,
}

impl Engine {
    /// Fetches an image with all its layers.
    ///
    /// # Errors
    /// Those of the registry and of the store, [`Error::NoPlatform`], [`Error::Cancelled`].
    pub fn pull(
        &self,
        reference: &Reference,
        options: &TransferOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<ImageSummary, Error> {
        let client = self.client(&options.insecure_registries);
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let resolver = Resolver { engine: self, registry: &client, pull: true, observer: &observer, cancel };
        let resolved = resolver.resolve(reference, &platform)?;
        let library = Library::new(&self.store, client);
        let layers =
            Layer::of_image(reference, &resolved.config().value().rootfs.diff_ids, resolved.manifest().value());
        library.fetch_originals(&Stack::new(layers), Asker { step: None, observer: &observer, cancel })?;
        resolved.commit(&self.store, std::slice::from_ref(reference))?;
        let entry = self.find(&resolved.manifest().digest().to_string())?;
        let named = summaries(&entry).into_iter().find(|each| each.reference.as_ref() == Some(reference));
        named.ok_or_else(|| Error::NoSuchImage(reference.familiar()))
    }

    /// Sends an image, or an index with its images, to the registry of its name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the registry and of the store, [`Error::Cancelled`].
    pub fn push(
        &self,
        reference: &Reference,
        options: &TransferOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Digest, Error> {
        let library = Library::new(&self.store, self.client(&options.insecure_registries));
        let entry = self.find(&reference.to_string())?;
        let images = match &entry {
            Entry::Image(image) => vec![Image::open(&self.store, image.manifest)?],
            Entry::Index(index) => self.images_of(index)?,
        };
        if options.packing.is_some() {
            complete(&images, &library, Asker { step: None, observer: &observer, cancel })?;
        }
        let pushable = self.packer(&observer, cancel).images(&images, Wanted::asked(options.packing))?;
        let index = match &entry {
            Entry::Image(_) => None,
            // One that came from elsewhere stays as it is if its images do.
            Entry::Index(index) if pushable == images => Some(self.index(index)?),
            Entry::Index(_) => Some(image::index(&pushable)),
        };
        let package = Package { images: &pushable, index: index.as_ref() };
        self.send(&package, reference, &Sent::default(), library.registry(), &observer, cancel)?;
        if package.digest() != entry.digest() {
            // From now on what is here is what is there.
            package.commit(&self.store, entry.references())?;
            self.store.remove_image(&entry.digest().to_string(), true)?;
        }
        Ok(package.digest())
    }

    /// Sends layers, configs, manifests and the index, in an order in which the registry always has what it is told of;
    /// but no blob that was `sent` before.
    pub(super) fn send(
        &self,
        package: &Package<'_>,
        reference: &Reference,
        sent: &Sent,
        client: &registry::Client,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let what = format!("push {}", reference.familiar());
        observer.observe(Event::Phase { what: what.clone(), result: None });
        let manifests = || package.images.iter().map(|image| image.manifest());
        let mut blobs: Vec<&Descriptor> = manifests().flat_map(|manifest| &manifest.value().layers).collect();
        blobs.extend(manifests().map(|manifest| &manifest.value().config));
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        if self.was_sent(&blobs, reference)? && client.has_manifest(reference, package.digest(), cancel)? {
            // Who has a manifest has what it tells of.
            observer.observe(Event::Phase { what, result: Some(package.digest().to_string()) });
            return Ok(());
        }
        blobs.retain(|blob| !sent.has(reference, blob.digest));
        // The largest first, so that the last ones to end are short.
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        // Once one blob is refused, sending the others is of no use.
        let stop = cancel.child();
        in_parallel(&blobs, &stop, |blob| send_blob(blob, reference, client, &self.store, observer, &stop))?;
        for manifest in manifests() {
            // Those of an index have no name but their digest.
            let name = if package.index.is_some() { &reference.with_digest(manifest.digest()) } else { reference };
            client.push_manifest(name, manifest, cancel)?;
        }
        if let Some(index) = package.index {
            client.push_manifest(reference, index, cancel)?;
        }
        observer.observe(Event::Phase { what, result: Some(package.digest().to_string()) });
        Ok(())
    }

    /// Tells whether the repository is known to have had all the blobs: whoever sends an image for the first time need not
    /// ask whether it is there.
    fn was_sent(&self, blobs: &[&Descriptor], reference: &Reference) -> Result<bool, Error> {
        for blob in blobs {
            let sources = self.store.sources(blob.digest, reference.host())?;
            if !sources.iter().any(|path| path == reference.path()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Fetches the layers that images have in registries alone. Of what is nowhere, whoever reads it tells.
pub(super) fn complete(images: &[Image], library: &Library, asker: Asker<'_>) -> Result<(), Error> {
    for layer in images.iter().flat_map(Image::layers) {
        library.recover(&layer.blob, asker)?;
    }
    Ok(())
}

/// Sends one blob, and tells how far it is. One that is not here may be in another repository, or is fetched from there.
pub(super) fn send_blob(
    blob: &Descriptor,
    reference: &Reference,
    client: &registry::Client,
    store: &Store,
    observer: &Arc<dyn Observe>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let what = format!("push {}", blob.digest.short());
    let tell = |done_bytes: u64, finished: bool| {
        let total_bytes = Some(blob.size);
        observer.observe(Event::Transfer { step: None, what: what.clone(), done_bytes, total_bytes, finished });
    };
    let is_here = store.has_blob(blob.digest)?.is_some();
    if is_here || !client.lend_blob(reference, blob, store, cancel)? {
        if !is_here {
            client.recover_blob(blob, store, &|done| tell(done, false), cancel)?;
        }
        client.push_blob(reference, blob, store, &|done| tell(done, false), cancel)?;
    }
    tell(blob.size, true);
    Ok(())
}

/// Blobs that repositories are known to have.
#[derive(Debug, Default)]
pub(super) struct Sent(BTreeSet<(String, String, Digest)>);

impl Sent {
    pub(super) fn add(&mut self, reference: &Reference, blob: Digest) {
        self.0.insert(Sent::key(reference, blob));
    }

    fn has(&self, reference: &Reference, blob: Digest) -> bool {
        self.0.contains(&Sent::key(reference, blob))
    }

    fn key(reference: &Reference, blob: Digest) -> (String, String, Digest) {
        (reference.host().to_owned(), reference.path().to_owned(), blob)
    }
}

/// One image, or an index with its images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package<'a> {
    pub(super) images: &'a [Image],
    pub(super) index: Option<&'a Encoded<Index>>,
}

impl Package<'_> {
    /// Returns the descriptor of the index, or of the one manifest.
    pub(super) fn root(&self) -> &Descriptor {
        self.index.map_or_else(|| self.images[0].manifest().descriptor(), Encoded::descriptor)
    }

    pub(super) fn digest(&self) -> Digest {
        self.root().digest
    }

    /// Makes it visible in the store.
    pub(super) fn commit(&self, store: &Store, tags: &[Reference]) -> Result<(), Error> {
        match self.index {
            None => self.images[0].commit(store, tags)?,
            Some(index) => {
                let documents = self.images.iter().map(|image| (image.manifest(), image.config()));
                store.commit_index(index, documents, tags)?;
            }
        }
        Ok(())
    }
}

/// Does `work` for every item, a few at once; the first error stops the rest, by raising `stop`.
fn in_parallel<T: Sync>(
    items: &[T],
    stop: &Cancel,
    work: impl Fn(&T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_BLOBS.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        next.store(items.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        stop.cancel();
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
