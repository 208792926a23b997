use std::io::{self, Read};

use super::alter::alter;
use super::commit::now;
use crate::engine::assemble::descriptor;
use crate::engine::{Engine, Error};
use crate::exec::Library;
use crate::image::{self, Image};
use crate::layer::{self, Limits};
use crate::oci::{Digest, History, ImageConfig, Platform, Reference, media_type};
use crate::store::{Hashing, LayerBlob};
use crate::sys::Cancel;

/// What becomes of a tar of files.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The image's name; none is an image without one.
    pub reference: Option<Reference>,
    /// Instructions of Dockerfiles that say how it runs.
    pub instructions: Vec<String>,
    /// For the history; none says where the tar is from.
    pub message: Option<String>,
    /// What that is called.
    pub origin: String,
    /// What the files are for; none is this machine.
    pub platform: Option<Platform>,
}

impl Engine {
    /// Makes an image of a tar of files, compressed or not, which becomes its only layer as it is. Returns its id.
    ///
    /// # Errors
    /// [`Error::Diagnostics`] of the instructions, those of the archive and of the store.
    pub fn import(
        &self,
        tar: &mut (dyn Read + Send),
        options: &ImportOptions,
        cancel: &Cancel,
    ) -> Result<Digest, Error> {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let created = now();
        let item = History {
            created: Some(created),
            comment: Some(options.message.clone().unwrap_or_else(|| format!("Imported from {}", options.origin))),
            ..History::default()
        };
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: platform.os_version,
            created: Some(created),
            history: vec![item],
            ..ImageConfig::default()
        };
        // What is wrong with them is said before anything is read.
        let config = alter(&config, &options.instructions)?;
        let layer = self.import_layer(tar, cancel)?;
        let image = Image::assemble(config, &[layer])?;
        image.commit(&self.store, options.reference.as_slice())?;
        Ok(image.id())
    }

    fn import_layer(&self, tar: &mut (dyn Read + Send), cancel: &Cancel) -> Result<image::Layer, Error> {
        let read = || -> Result<LayerBlob, Error> {
            let (_, tar) = layer::decompress(cancel.guard(tar)).map_err(layer::Error::Read)?;
            let mut kept = Keeping { from: tar, to: self.store.ingest_with(Hashing::Caller)? };
            let finished = layer::read(&mut kept, &Limits::default())?;
            let blob = LayerBlob {
                digest: finished.diff_id.digest(),
                media_type: media_type::OCI_LAYER.to_owned(),
                size: finished.size_bytes,
            };
            kept.to.commit(Some((blob.digest, blob.size)))?;
            Library::new(&self.store, self.client(&[])).add(finished)?;
            Ok(blob)
        };
        let blob = read();
        cancel.check()?;
        let blob = blob?;
        Ok(image::Layer { diff_id: crate::oci::DiffId::new(blob.digest), blob: descriptor(blob) })
    }
}

/// Writes what is read.
struct Keeping<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: io::Write> Read for Keeping<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
    }
}
