use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::resolve::choose;
use super::{Error, file_error};
use crate::fs::Root;
use crate::image::Image;
use crate::oci::{Descriptor, Digest, Document, Encoded, Index, Manifest, Platform, Reference, media_type};
use crate::store::{LayerBlob, Store};
use crate::sys::Cancel;

/// No manifest or index is larger (distribution-spec, "Pushing Manifests").
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// The annotation that gives a manifest of a layout its tag (image-spec, "Annotations").
const TAG: &str = "org.opencontainers.image.ref.name";

/// An image in an OCI layout: a directory with `index.json` and blobs.
pub(super) struct Layout {
    path: PathBuf,
    root: Root,
    descriptor: Descriptor,
}

impl Layout {
    /// Finds an image by its digest, or by its tag; without either by the tag `latest`, or because it is alone.
    pub(super) fn open(path: &Path, tag: Option<&str>, digest: Option<Digest>) -> Result<Layout, Error> {
        let root = Root::open(path).map_err(|error| file_error("open", path)(io::Error::other(error)))?;
        let index = path.join("index.json");
        let bytes = root.read(b"index.json", MAX_DOCUMENT_BYTES);
        let bytes = bytes.map_err(|error| file_error("read", &index)(io::Error::other(error)))?;
        let index: Encoded<Index> = Encoded::decode("index.json", media_type::OCI_INDEX, bytes)?;
        let manifests = &index.value().manifests;
        let tagged = |wanted: &str| {
            let has = |each: &&Descriptor| each.annotations.get(TAG).is_some_and(|tag| is_tag(tag, wanted));
            manifests.iter().find(has).cloned()
        };
        let found = match (digest, tag, manifests.as_slice()) {
            (Some(digest), ..) => {
                let listed = manifests.iter().find(|each| each.digest == digest).cloned();
                // One that only an index in the layout names is there all the same.
                listed.or_else(|| Some(Descriptor::new(media_type::OCI_MANIFEST, digest, 0)))
            }
            (None, Some(tag), _) => tagged(tag),
            (None, None, [only]) => Some(only.clone()),
            (None, None, _) => tagged("latest"),
        };
        let missing = || Error::NoSuchImage(format!("{}:{}", path.display(), tag.unwrap_or("latest")));
        Ok(Layout { path: path.to_owned(), root, descriptor: found.ok_or_else(missing)? })
    }

    /// Returns the digest of what was found.
    pub(super) fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Takes the image for a platform into the store, with all its layers.
    pub(super) fn take(
        &self,
        reference: &Reference,
        platform: &Platform,
        store: &Store,
        cancel: &Cancel,
    ) -> Result<Image, Error> {
        let (image, unread) = self.take_readable(reference, platform, store, cancel)?;
        unread.into_values().next().map_or(Ok(image), Err)
    }

    /// Takes the image for a platform into the store, with those of its layers that can be read; tells why the others
    /// cannot be, by their numbers from 0.
    pub(super) fn take_readable(
        &self,
        reference: &Reference,
        platform: &Platform,
        store: &Store,
        cancel: &Cancel,
    ) -> Result<(Image, BTreeMap<usize, Error>), Error> {
        let manifest = match self.document(self.descriptor.digest)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => match self.document(choose(&index, reference, platform)?.digest)? {
                Document::Manifest(manifest) => manifest,
                Document::Index(index) => {
                    return Err(crate::oci::EncodedError::NotAnImage {
                        digest: index.digest(),
                        media_type: index.descriptor().media_type.clone(),
                    }
                    .into());
                }
            },
        };
        self.copy(&manifest.value().config, store, cancel)?;
        store.put_bytes(manifest.bytes())?;
        let image = Image::open(store, manifest.digest())?;
        let unread = self.layers(&image, manifest.value(), store, cancel)?;
        Ok((image, unread))
    }

    fn layers(
        &self,
        image: &Image,
        manifest: &Manifest,
        store: &Store,
        cancel: &Cancel,
    ) -> Result<BTreeMap<usize, Error>, Error> {
        let mut unread = BTreeMap::new();
        let layers = image.config().value().rootfs.diff_ids.iter().zip(&manifest.layers);
        for (number, (diff_id, layer)) in layers.enumerate() {
            match self.copy(layer, store, cancel) {
                Ok(()) => {}
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    unread.insert(number, error);
                    continue;
                }
            }
            let blob = LayerBlob { digest: layer.digest, media_type: layer.media_type.clone(), size: layer.size };
            store.link_blob(*diff_id, &blob)?;
        }
        Ok(unread)
    }

    fn document(&self, digest: Digest) -> Result<Document, Error> {
        let name = name(digest);
        let bytes = self.root.read(name.as_bytes(), MAX_DOCUMENT_BYTES).map_err(|error| self.failed(&name, error))?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(crate::store::Error::DigestMismatch { expected: digest, actual }.into());
        }
        Ok(Document::decode("", bytes)?)
    }

    /// Copies a blob into the store unless it is there.
    fn copy(&self, blob: &Descriptor, store: &Store, cancel: &Cancel) -> Result<(), Error> {
        if store.has_blob(blob.digest)? == Some(blob.size) {
            return Ok(());
        }
        let name = name(blob.digest);
        let file = self.root.open_file(name.as_bytes()).map_err(|error| self.failed(&name, error))?;
        let mut ingest = store.ingest()?;
        let copied = io::copy(&mut cancel.guard(file), &mut ingest);
        cancel.check()?;
        copied.map_err(file_error("copy", &self.path.join(&name)))?;
        ingest.commit(Some((blob.digest, blob.size)))?;
        Ok(())
    }

    fn failed(&self, name: &str, error: crate::fs::Error) -> Error {
        file_error("read", &self.path.join(name))(io::Error::other(error))
    }
}

fn name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Some tools write the whole name where the tag belongs.
fn is_tag(written: &str, wanted: &str) -> bool {
    written == wanted || written.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted && !tag.contains('/'))
}
