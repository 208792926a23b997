use std::io;

use super::assemble::descriptor;
use super::{Engine, Error};
use crate::image::{self, Image};
use crate::layer::{Compression, Compressor};
use crate::oci::{HashingWriter, media_type};
use crate::store::{Hashing, LayerBlob};
use crate::sys::Cancel;

impl Engine {
    /// Returns `image` with every plain layer gzipped. What was compressed once is remembered by the layer.
    pub(super) fn compressed(&self, image: &Image, cancel: &Cancel) -> Result<Image, Error> {
        let layers = image.layers();
        if layers.iter().all(|layer| !is_plain(&layer.blob.media_type)) {
            return Ok(image.clone());
        }
        let compressed = |layer: &image::Layer| {
            let mut compressed = self.compressed_layer(layer, cancel)?;
            compressed.blob.annotations.clone_from(&layer.blob.annotations);
            Ok(compressed)
        };
        let layers = layers.iter().map(compressed).collect::<Result<Vec<_>, Error>>()?;
        Ok(image.with_blobs(&layers))
    }

    fn compressed_layer(&self, layer: &image::Layer, cancel: &Cancel) -> Result<image::Layer, Error> {
        let diff_id = layer.diff_id;
        if !is_plain(&layer.blob.media_type) {
            return Ok(layer.clone());
        }
        for known in self.store.blobs_of(diff_id)? {
            if known.media_type == media_type::OCI_LAYER_GZIP && self.store.has_blob(known.digest)?.is_some() {
                return Ok(image::Layer { diff_id, blob: descriptor(known) });
            }
        }
        let mut tar = cancel.guard(self.store.open_blob(layer.blob.digest)?);
        let ingest = self.store.ingest_with(Hashing::Caller)?;
        let path = ingest.path().to_owned();
        let failed = |source: io::Error| match cancel.is_cancelled() {
            true => Error::Cancelled,
            false => crate::store::Error::io("compress a layer into", &path, source).into(),
        };
        let mut encoder = Compressor::new(Compression::Gzip, HashingWriter::new(ingest)).map_err(failed)?;
        io::copy(&mut tar, &mut encoder).map_err(failed)?;
        let (ingest, digest, size) = encoder.finish().map_err(failed)?.finish();
        ingest.commit(Some((digest, size)))?;
        let blob = LayerBlob { digest, media_type: media_type::OCI_LAYER_GZIP.to_owned(), size };
        self.store.link_blob(diff_id, &blob)?;
        Ok(image::Layer { diff_id, blob: descriptor(blob) })
    }
}

fn is_plain(media_type: &str) -> bool {
    matches!(media_type, media_type::OCI_LAYER | media_type::DOCKER_LAYER)
}
