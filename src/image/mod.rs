//! An image as a value: a manifest, its config, and the layers both name.
//!
//! [`Image::assemble`] makes one from a config and layers, [`Image::open`] reads one from the store, and [`index()`] binds
//! those of several platforms together. [`save_docker`] and
//! [`save_oci`] write images into the archives that `docker load`, skopeo, podman and umoci read, and [`load()`] reads
//! what they write.

mod archive;
mod error;
mod index;
mod load;
mod save;
mod spool;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use error::Error;
pub use index::index;
pub use load::{LoadOptions, Loaded, load};
pub use save::{Saved, save_docker, save_oci};

use crate::oci::{
    Descriptor, DiffId, Digest, Document, Encoded, EncodedError, ImageConfig, Manifest, Reference, RootFs, media_type,
};
use crate::store::{self, Store};

/// Registries take no larger manifests (distribution-spec, "Pushing Manifests"), and no config comes near.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// A manifest and the config it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    manifest: Encoded<Manifest>,
    config: Encoded<ImageConfig>,
}

/// A layer of an image being assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its tar.
    pub diff_id: DiffId,
    /// The blob that holds the tar, plain or compressed.
    pub blob: Descriptor,
}

impl Image {
    /// Returns the image of `layers` (base first) that runs as `config` says. The config's `rootfs` is replaced.
    ///
    /// The documents are of the OCI family whatever the layers' media types were: the families do not mix, and the
    /// bytes of a layer are the same in both.
    ///
    /// # Errors
    /// [`Error::HistoryCount`] when the config has a history of another number of layers.
    pub fn assemble(config: ImageConfig, layers: &[Layer]) -> Result<Image, Error> {
        let history = config.history.iter().filter(|item| !item.empty_layer).count();
        if !config.history.is_empty() && history != layers.len() {
            return Err(Error::HistoryCount { history, layers: layers.len() });
        }
        let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        let config = ImageConfig { rootfs: RootFs { diff_ids, ..RootFs::default() }, ..config };
        Ok(Image::of(Encoded::encode(media_type::OCI_CONFIG, config), layers))
    }

    /// Returns the same image, its layers in other forms: compressed, say. It keeps its id.
    ///
    /// # Panics
    /// If `layers` are not the image's.
    pub fn with_blobs(&self, layers: &[Layer]) -> Image {
        assert!(layers.iter().map(|layer| layer.diff_id).eq(self.config.value().rootfs.diff_ids.iter().copied()));
        Image::of(self.config.clone(), layers)
    }

    /// Returns the image with exactly this config, whose diff ids are those of `layers`.
    fn of(config: Encoded<ImageConfig>, layers: &[Layer]) -> Image {
        let layers = layers
            .iter()
            .map(|layer| Descriptor { media_type: oci_layer(&layer.blob.media_type).to_owned(), ..layer.blob.clone() });
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..config.descriptor().clone() },
            layers: layers.collect(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        Image { manifest: Encoded::encode(media_type::OCI_MANIFEST, manifest), config }
    }

    /// Returns the image of two documents that came from elsewhere.
    ///
    /// # Errors
    /// [`Error::ConfigMismatch`], [`Error::LayerCount`].
    pub fn new(manifest: Encoded<Manifest>, config: Encoded<ImageConfig>) -> Result<Image, Error> {
        let image = Image { manifest, config };
        image.validate()?;
        Ok(image)
    }

    /// Reads the image with this manifest from the store.
    ///
    /// # Errors
    /// [`Error::Store`] where a document is missing or damaged, [`Error::Document`], and those of [`Image::new`].
    pub fn open(store: &Store, manifest: Digest) -> Result<Image, Error> {
        let bytes = store.read_blob(manifest, MAX_DOCUMENT_BYTES)?;
        let manifest = match Document::decode("", bytes)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let media_type = index.descriptor().media_type.clone();
                return Err(EncodedError::NotAnImage { digest: index.digest(), media_type }.into());
            }
        };
        let config = &manifest.value().config;
        let bytes = store.read_blob(config.digest, MAX_DOCUMENT_BYTES)?;
        let config = Encoded::decode("config", &config.media_type, bytes)?;
        Image::new(manifest, config)
    }

    /// Makes the image visible in the store under all of `tags` at once.
    ///
    /// # Errors
    /// Those of [`Store::commit_image`].
    pub fn commit(&self, store: &Store, tags: &[Reference]) -> Result<(), store::Error> {
        store.commit_image(&self.manifest, &self.config, tags)
    }

    /// Holds the two documents against each other.
    ///
    /// # Errors
    /// [`Error::ConfigMismatch`], [`Error::LayerCount`].
    pub fn validate(&self) -> Result<(), Error> {
        let (manifest, actual) = (self.manifest.value(), self.config.digest());
        if manifest.config.digest != actual {
            let expected = manifest.config.digest;
            return Err(Error::ConfigMismatch { manifest: self.manifest.digest(), expected, actual });
        }
        let (layers, diff_ids) = (manifest.layers.len(), self.config.value().rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::LayerCount { manifest: self.manifest.digest(), layers, diff_ids });
        }
        Ok(())
    }

    /// Reads every layer in the store, and holds its bytes against the manifest and its tar against the config.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], [`Error::Layer`], [`Error::DiffIdMismatch`], [`Error::Store`].
    pub fn verify(&self, store: &Store) -> Result<(), Error> {
        for (place, layer) in self.layers().iter().enumerate() {
            let descriptor = &layer.blob;
            let size = store.has_blob(descriptor.digest)?;
            let actual = size.ok_or(Error::MissingLayer { digest: descriptor.digest })?;
            if actual != descriptor.size {
                let (digest, expected) = (descriptor.digest, descriptor.size);
                return Err(store::Error::SizeMismatch { digest, expected, actual }.into());
            }
            let read = archive::read_layer(store.open_blob(descriptor.digest)?, descriptor.digest)?;
            if read.blob != descriptor.digest {
                return Err(store::Error::DigestMismatch { expected: descriptor.digest, actual: read.blob }.into());
            }
            if read.diff_id != layer.diff_id {
                let (image, expected, actual) = (self.id(), layer.diff_id, read.diff_id);
                return Err(Error::DiffIdMismatch { image, layer: place + 1, expected, actual });
            }
        }
        Ok(())
    }

    /// Returns the image as it goes into an archive, under `names`.
    pub fn saved(&self, names: Vec<Reference>) -> Saved {
        Saved { names, index: None, images: vec![self.clone()] }
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Encoded<Manifest> {
        &self.manifest
    }

    /// Returns the config.
    pub fn config(&self) -> &Encoded<ImageConfig> {
        &self.config
    }

    /// Returns the image id: the config's digest.
    pub fn id(&self) -> Digest {
        self.config.digest()
    }

    /// Returns the layers, base first.
    pub fn layers(&self) -> Vec<Layer> {
        let diff_ids = self.config.value().rootfs.diff_ids.iter();
        let blobs = self.manifest.value().layers.iter();
        diff_ids.zip(blobs).map(|(diff_id, blob)| Layer { diff_id: *diff_id, blob: blob.clone() }).collect()
    }
}

/// Returns the OCI family's name for the media type of a layer.
fn oci_layer(media_type: &str) -> &str {
    match media_type {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => media_type::OCI_LAYER_ZSTD,
        other => other,
    }
}
