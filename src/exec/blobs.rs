//! The blobs of layers: here, or in a registry.

use super::library::{Asker, each};
use super::stack::{Layer, Origin, Stack};
use super::{Error, Library};
use crate::oci::{Descriptor, DiffId};
use crate::registry;
use crate::solve::Event;
use crate::store::LayerBlob;

impl Library {
    /// Makes sure that the bytes of all layers are here, in some form.
    pub fn fetch(&self, stack: &Stack, asker: Asker<'_>) -> Result<(), Error> {
        each(stack.layers(), |layer| self.blob(layer, asker)).map(drop)
    }

    /// Returns a form of a layer that is in the store, fetching one if there is none. That of the image it came with is
    /// preferred, so that what is built on an image has its very blobs; then the plain one.
    pub fn blob(&self, layer: &Layer, asker: Asker<'_>) -> Result<LayerBlob, Error> {
        let diff_id = layer.diff_id()?;
        if let Some(origin) = layer.origin()
            && self.store().has_blob(origin.blob.digest)?.is_some()
        {
            return self.original(layer, asker);
        }
        if let Some(blob) = self.present(diff_id)? {
            return Ok(blob);
        }
        self.original(layer, asker)
    }

    /// Makes sure that the layers are here in the very form in which their image has them, so that it is whole.
    pub fn fetch_originals(&self, stack: &Stack, asker: Asker<'_>) -> Result<(), Error> {
        each(stack.layers(), |layer| self.original(layer, asker)).map(drop)
    }

    /// Returns the form in which a registry has a layer of which none is here, if it suits; fetches nothing. The store
    /// remembers where it is, so that whoever wants to read it later can.
    pub fn elsewhere(&self, layer: &Layer, suits: impl Fn(&str) -> bool) -> Result<Option<LayerBlob>, Error> {
        let (Some(origin), diff_id) = (layer.origin(), layer.diff_id()?) else { return Ok(None) };
        let is_here =
            || Ok::<_, Error>(self.store().has_blob(origin.blob.digest)?.is_some() || self.present(diff_id)?.is_some());
        if !suits(&origin.blob.media_type) || is_here()? {
            return Ok(None);
        }
        let Origin { reference, blob } = origin;
        self.store().guess_source(blob.digest, reference.host(), reference.path())?;
        let blob = layer_blob(blob);
        // What is known of a blob that was here once counts more than what a manifest says.
        if self.store().blobs_of(diff_id)?.iter().all(|known| known.digest != blob.digest) {
            self.store().link_blob(diff_id, &blob)?;
        }
        Ok(Some(blob))
    }

    fn original(&self, layer: &Layer, asker: Asker<'_>) -> Result<LayerBlob, Error> {
        let diff_id = layer.diff_id()?;
        let Some(origin) = layer.origin() else { return self.recovered(diff_id, asker) };
        let here = self.store().has_blob(origin.blob.digest)?;
        if here.is_none() {
            self.download(origin, asker)?;
        }
        // A manifest may say anything of a blob that is not fetched for it.
        let blob = layer_blob(&origin.blob);
        let blob = LayerBlob { size: here.unwrap_or(blob.size), ..blob };
        self.store().link_blob(diff_id, &blob)?;
        Ok(blob)
    }

    /// Fetches some form of a layer that is known to be in a registry.
    fn recovered(&self, diff_id: DiffId, asker: Asker<'_>) -> Result<LayerBlob, Error> {
        let mut refused = Error::LostLayer(diff_id);
        for known in self.store().blobs_of(diff_id)? {
            let blob = Descriptor::new(known.media_type.clone(), known.digest, known.size);
            match self.recover(&blob, asker) {
                Ok(true) => return Ok(known),
                Ok(false) => {}
                Err(error) if error.is_of_registry() => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Fetches a blob from wherever it is known to be, unless it is here; tells whether it is then.
    pub fn recover(&self, blob: &Descriptor, asker: Asker<'_>) -> Result<bool, Error> {
        if self.store().has_blob(blob.digest)?.is_some() {
            return Ok(true);
        }
        if self.store().all_sources(blob.digest)?.is_empty() {
            return Ok(false);
        }
        let fetch = |progress: &dyn Fn(u64)| self.registry().recover_blob(blob, self.store(), progress, asker.cancel);
        Ok(moving(blob, asker, fetch)?)
    }

    pub(super) fn present(&self, diff_id: DiffId) -> Result<Option<LayerBlob>, Error> {
        let mut blobs = self.store().blobs_of(diff_id)?;
        blobs.sort_by_key(|blob| blob.digest != diff_id.digest());
        for blob in blobs {
            if self.store().has_blob(blob.digest)?.is_some() {
                return Ok(Some(blob));
            }
        }
        Ok(None)
    }

    /// Fetches a blob from where its image is named, or from where it is known to be: a name may be one that was given
    /// here to an image that came from elsewhere.
    fn download(&self, origin: &Origin, asker: Asker<'_>) -> Result<(), Error> {
        let Origin { reference, blob } = origin;
        let known = self.store().all_sources(blob.digest)?;
        let is_known = known.iter().any(|(host, path)| host == reference.host() && path == reference.path());
        match self.recover(blob, asker) {
            Ok(true) => return Ok(()),
            Err(error) if is_known || !error.is_of_registry() => return Err(error),
            _ => {}
        }
        let fetch =
            |progress: &dyn Fn(u64)| self.registry().fetch_blob(reference, blob, self.store(), progress, asker.cancel);
        Ok(moving(blob, asker, fetch)?)
    }
}

/// Tells whoever asks how far the work of fetching a blob is.
fn moving<T>(
    blob: &Descriptor,
    asker: Asker<'_>,
    fetch: impl FnOnce(&dyn Fn(u64)) -> Result<T, registry::Error>,
) -> Result<T, registry::Error> {
    let what = format!("pull {}", blob.digest.short());
    let tell = |done_bytes: u64, finished: bool| {
        let (step, what, total_bytes) = (asker.step, what.clone(), Some(blob.size));
        asker.observer.observe(Event::Transfer { step, what, done_bytes, total_bytes, finished });
    };
    let fetched = fetch(&|done_bytes| tell(done_bytes, false))?;
    tell(blob.size, true);
    Ok(fetched)
}

fn layer_blob(blob: &Descriptor) -> LayerBlob {
    LayerBlob { digest: blob.digest, media_type: blob.media_type.clone(), size: blob.size }
}
