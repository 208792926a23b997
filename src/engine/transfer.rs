use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::images::summaries;
use super::resolve::Resolver;
use super::{Engine, Error, ImageSummary};
use crate::exec::{Asker, Layer, Library, Stack};
use crate::image::Image;
use crate::oci::{Descriptor, Digest, Platform, Reference};
use crate::registry;
use crate::solve::{Event, Observe};
use crate::sys::Cancel;

/// Blobs sent at once.
const PARALLEL_BLOBS: usize = 4;

/// How an image is pulled or pushed.
#[derive(Debug, Clone, Default)]
pub struct TransferOptions {
    /// Which image of an index to pull; none is this machine's.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
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
        let record = self.store.find_image(&resolved.manifest().digest().to_string())?;
        let named = summaries(&record).into_iter().find(|each| each.reference.as_ref() == Some(reference));
        named.ok_or_else(|| Error::NoSuchImage(reference.familiar()))
    }

    /// Sends an image to the registry of its name.
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
        let client = self.client(&options.insecure_registries);
        let record = self.find(&reference.to_string())?;
        let image = Image::open(&self.store, record.manifest)?;
        let pushable = self.compressed(&image, cancel)?;
        self.send(&pushable, reference, &client, &observer, cancel)?;
        if pushable.manifest().digest() != record.manifest {
            // From now on the image here is the one that is there.
            pushable.commit(&self.store, &record.references)?;
            self.store.remove_image(&record.manifest.to_string(), true)?;
        }
        Ok(pushable.manifest().digest())
    }

    /// Sends layers, config and manifest, in an order in which the registry always has what it is told of.
    pub(super) fn send(
        &self,
        image: &Image,
        reference: &Reference,
        client: &registry::Client,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let what = format!("push {}", reference.familiar());
        observer.observe(Event::Phase { what: what.clone(), result: None });
        let mut blobs: Vec<&Descriptor> = image.manifest().value().layers.iter().collect();
        blobs.push(&image.manifest().value().config);
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        // The largest first, so that the last ones to end are short.
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        // Once one blob is refused, sending the others is of no use.
        let stop = cancel.child();
        in_parallel(&blobs, &stop, |blob| self.send_blob(blob, reference, client, observer, &stop))?;
        client.push_manifest(reference, image.manifest(), cancel)?;
        observer.observe(Event::Phase { what, result: Some(image.manifest().digest().to_string()) });
        Ok(())
    }

    fn send_blob(
        &self,
        blob: &Descriptor,
        reference: &Reference,
        client: &registry::Client,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let what = format!("push {}", blob.digest.short());
        let tell = |done_bytes: u64, finished: bool| {
            observer.observe(Event::Transfer {
                step: None,
                what: what.clone(),
                done_bytes,
                total_bytes: Some(blob.size),
                finished,
            });
        };
        client.push_blob(reference, blob, &self.store, &|done| tell(done, false), cancel)?;
        tell(blob.size, true);
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
