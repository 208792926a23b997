use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::assemble::descriptor;
use super::{Engine, Error, Form, Packing};
use crate::image::{self, Image};
use crate::layer::{self, Codec, Compressor, Method};
use crate::oci::{Descriptor, DiffId, HashingReader, HashingWriter, media_type};
use crate::solve::{Event, Observe};
use crate::store::{self, Encoding, Hashing, LayerBlob, Store};
use crate::sys::Cancel;

/// Read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How often progress is told.
const INTERVAL: Duration = Duration::from_millis(50);

/// In what form layers are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// Compressed somehow: what everybody expects of a registry.
    Compressed,
    /// In a form that whoever reads docker's archives can read; zstd is none.
    ForDocker,
    /// As somebody asks.
    As(Packing),
}

impl Wanted {
    /// Returns what was asked for, or else what is usual where layers are compressed.
    pub(super) fn asked(packing: Option<Packing>) -> Wanted {
        packing.map_or(Wanted::Compressed, Wanted::As)
    }

    /// Tells whether a layer that is nowhere but in a registry can stay as it is there.
    pub(super) fn takes(self, media_type: &str) -> bool {
        self.form(Now::of(media_type), false).is_none()
    }

    /// Returns the form that a layer has to get; none leaves it as it is.
    fn form(self, now: Now, has_tar: bool) -> Option<Form> {
        match (self, now) {
            (_, Now::Other) | (Wanted::Compressed, Now::Packed(_)) => None,
            (Wanted::Compressed, Now::Plain) => Some(Form::Packed(Method::Gzip)),
            (Wanted::ForDocker, now) => (now == Now::Packed(Method::Zstd)).then_some(Form::Plain),
            (Wanted::As(Packing { form, force: true }), _) => Some(match form {
                // Whatever was made before, here or elsewhere, decides nothing.
                Form::Packed(method) => Form::Exact(method.usual()),
                form => form,
            }),
            (Wanted::As(Packing { form: Form::Plain, .. }), Now::Plain) => None,
            (Wanted::As(Packing { form: Form::Packed(method), .. }), Now::Packed(is)) if is == method => None,
            // What is here as a tar was made here, and is nobody else's blob.
            (Wanted::As(Packing { form, .. }), now) => (has_tar || now == Now::Plain).then_some(form),
        }
    }
}

/// The form that a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    Plain,
    Packed(Method),
    /// One that kiln does not know, such as an encrypted one.
    Other,
}

impl Now {
    fn of(media_type: &str) -> Now {
        match media_type {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Now::Plain,
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Now::Packed(Method::Gzip),
            media_type::OCI_LAYER_ZSTD => Now::Packed(Method::Zstd),
            _ => Now::Other,
        }
    }
}

/// Gives layers the form in which they leave the store. Nothing is compressed twice in the same way.
pub(super) struct Packer<'a> {
    pub(super) store: &'a Store,
    pub(super) observer: &'a Arc<dyn Observe>,
    pub(super) cancel: &'a Cancel,
}

impl Engine {
    pub(super) fn packer<'a>(&'a self, observer: &'a Arc<dyn Observe>, cancel: &'a Cancel) -> Packer<'a> {
        Packer { store: &self.store, observer, cancel }
    }
}

impl Packer<'_> {
    /// Returns `images`, their layers as they are wanted.
    pub(super) fn images(&self, images: &[Image], wanted: Wanted) -> Result<Vec<Image>, Error> {
        images.iter().map(|image| self.image(image, wanted)).collect()
    }

    fn image(&self, image: &Image, wanted: Wanted) -> Result<Image, Error> {
        let layers = image.layers();
        let packed = layers.iter().map(|layer| self.layer(layer, wanted)).collect::<Result<Vec<_>, _>>()?;
        // An image that came from elsewhere keeps its manifest, byte for byte.
        Ok(if packed == layers { image.clone() } else { image.with_blobs(&packed) })
    }

    /// Returns a layer as it is wanted.
    pub(super) fn layer(&self, layer: &image::Layer, wanted: Wanted) -> Result<image::Layer, Error> {
        let diff_id = layer.diff_id;
        let has_tar = self.store.has_blob(diff_id.digest())?.is_some();
        let blob = match wanted.form(Now::of(&layer.blob.media_type), has_tar) {
            None => return Ok(layer.clone()),
            Some(Form::Plain) => self.plain(layer)?,
            Some(Form::Exact(codec)) => self.encoded(layer, codec)?,
            Some(Form::Packed(method)) => match self.known(diff_id, method)? {
                Some(blob) => blob,
                None => self.encoded(layer, method.usual())?,
            },
        };
        let annotations = layer.blob.annotations.clone();
        Ok(image::Layer { diff_id, blob: Descriptor { annotations, ..descriptor(blob) } })
    }

    /// Returns a blob of the layer that was compressed by a method, whoever did it.
    fn known(&self, diff_id: DiffId, method: Method) -> Result<Option<LayerBlob>, Error> {
        for known in self.store.blobs_of(diff_id)? {
            if Now::of(&known.media_type) == Now::Packed(method) && self.store.has_blob(known.digest)?.is_some() {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Returns the blob that a codec makes of the layer.
    fn encoded(&self, layer: &image::Layer, codec: Codec) -> Result<LayerBlob, Error> {
        let method = codec.method();
        let encoding = Encoding { method: method.name(), level: codec.level(), library: codec.library() };
        if let Some(known) = self.store.encoded(layer.diff_id, &encoding)?
            && self.store.has_blob(known.digest)?.is_some()
        {
            return Ok(known);
        }
        let ingest = self.store.ingest_with(Hashing::Caller)?;
        let path = ingest.path().to_owned();
        let failed = |source| self.failed(&path, source);
        let mut encoder = Compressor::new(codec, HashingWriter::new(ingest));
        self.copy(layer, &path, &mut encoder)?;
        let (ingest, digest, size) = encoder.finish().map_err(failed)?.finish();
        ingest.commit(Some((digest, size)))?;
        let blob = LayerBlob { digest, media_type: method.media_type().to_owned(), size };
        self.store.link_encoded(layer.diff_id, &encoding, &blob)?;
        Ok(blob)
    }

    /// Returns the layer's tar as a blob.
    fn plain(&self, layer: &image::Layer) -> Result<LayerBlob, Error> {
        let digest = layer.diff_id.digest();
        let size = match self.store.has_blob(digest)? {
            Some(size) => size,
            None => {
                let mut ingest = self.store.ingest_with(Hashing::Caller)?;
                let path = ingest.path().to_owned();
                let size = self.copy(layer, &path, &mut ingest)?;
                ingest.commit(Some((digest, size)))?;
                size
            }
        };
        let blob = LayerBlob { digest, media_type: media_type::OCI_LAYER.to_owned(), size };
        self.store.link_blob(layer.diff_id, &blob)?;
        Ok(blob)
    }

    /// Copies the layer's tar on its way into the file at `path`, and returns its size.
    fn copy(&self, layer: &image::Layer, path: &std::path::Path, out: &mut dyn Write) -> Result<u64, Error> {
        let expected = layer.diff_id.digest();
        if let Some(size) = self.store.has_blob(expected)? {
            let mut tar = self.store.open_blob(expected)?;
            return self.stream(&mut tar, out, layer, Some(size)).map_err(|source| self.failed(path, source));
        }
        let size = self.store.layer_size(layer.diff_id)?;
        let (_, tar) = layer::decompress(self.store.open_blob(layer.blob.digest)?).map_err(layer::Error::Read)?;
        let mut tar = HashingReader::new(tar);
        let copied = self.stream(&mut tar, out, layer, size).map_err(|source| self.failed(path, source))?;
        let (_, actual, _) = tar.finish();
        if actual != expected {
            return Err(store::Error::DigestMismatch { expected, actual }.into());
        }
        Ok(copied)
    }

    fn stream(
        &self,
        tar: &mut dyn Read,
        out: &mut dyn Write,
        layer: &image::Layer,
        total_bytes: Option<u64>,
    ) -> io::Result<u64> {
        let what = format!("compress {}", layer.diff_id.digest().short());
        let tell = |done_bytes, finished| {
            let event = Event::Transfer { step: None, what: what.clone(), done_bytes, total_bytes, finished };
            self.observer.observe(event);
        };
        let (mut chunk, mut done, mut told) = (vec![0; CHUNK_BYTES], 0, Instant::now());
        let mut tar = self.cancel.guard(tar);
        loop {
            let got = match tar.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => got,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(source),
            };
            out.write_all(&chunk[..got])?;
            done += got as u64;
            if told.elapsed() >= INTERVAL {
                tell(done, false);
                told = Instant::now();
            }
        }
        tell(done, true);
        Ok(done)
    }

    fn failed(&self, path: &std::path::Path, source: io::Error) -> Error {
        match self.cancel.is_cancelled() {
            true => Error::Cancelled,
            false => store::Error::io("compress a layer into", path, source).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_changes_its_form_only_where_that_is_wanted() {
        let (gzip, zstd) = (Now::Packed(Method::Gzip), Now::Packed(Method::Zstd));
        let best = Form::Exact(Method::Gzip.at(9).unwrap());
        let usual = Form::Exact(Method::Gzip.usual());
        let asked = |form| Wanted::As(Packing { form, force: false });
        let forced = |form| Wanted::As(Packing { form, force: true });
        let (as_gzip, as_zstd) = (Form::Packed(Method::Gzip), Form::Packed(Method::Zstd));
        for (wanted, now, has_tar, expected) in [
            (Wanted::Compressed, Now::Plain, true, Some(as_gzip)),
            (Wanted::Compressed, zstd, true, None),
            (Wanted::ForDocker, Now::Plain, true, None),
            (Wanted::ForDocker, gzip, true, None),
            (Wanted::ForDocker, zstd, false, Some(Form::Plain)),
            (asked(as_zstd), Now::Plain, true, Some(as_zstd)),
            (asked(as_zstd), gzip, true, Some(as_zstd)),
            (asked(as_zstd), gzip, false, None),
            (asked(as_gzip), gzip, true, None),
            (asked(best), gzip, true, Some(best)),
            (asked(best), gzip, false, None),
            (asked(Form::Plain), gzip, true, Some(Form::Plain)),
            (asked(Form::Plain), gzip, false, None),
            (asked(Form::Plain), Now::Plain, true, None),
            (forced(as_gzip), gzip, false, Some(usual)),
            (forced(best), zstd, false, Some(best)),
            (forced(Form::Plain), gzip, false, Some(Form::Plain)),
            (forced(as_gzip), Now::Other, false, None),
        ] {
            assert_eq!(wanted.form(now, has_tar), expected, "{wanted:?} {now:?} {has_tar}");
        }
    }
}
