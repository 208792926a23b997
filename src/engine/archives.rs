use std::io::{Read, Write};
use std::sync::Arc;

use super::compress::Wanted;
use super::images::choose;
use super::transfer::complete;
use super::{ArchiveFormat, Engine, Error, LoadedImage, SaveOptions};
use crate::exec::{Asker, Library};
use crate::image::{self, Image, LoadOptions, Saved};
use crate::solve::{Event, Observe};
use crate::store::Entry;
use crate::sys::Cancel;

impl Engine {
    /// Writes images and indexes, by name or id, into one archive; a name becomes that image's name in the archive.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoPlatform`], those of the store and of writing.
    pub fn save(
        &self,
        names: &[String],
        options: &SaveOptions,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        // Seldom is anything compressed or fetched here, and an archive on stdout wants a quiet stderr.
        let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
        let library = Library::new(&self.store, self.client(&[]));
        let asker = Asker { step: None, observer: &observer, cancel };
        let saved = names.iter().map(|name| self.saved(name, options, &library, asker));
        let saved = saved.collect::<Result<Vec<_>, _>>()?;
        match options.format {
            ArchiveFormat::Docker => image::save_docker(&self.store, &saved, out, cancel)?,
            ArchiveFormat::Oci => image::save_oci(&self.store, &saved, out, cancel)?,
        }
        Ok(())
    }

    fn saved(&self, name: &str, options: &SaveOptions, library: &Library, asker: Asker<'_>) -> Result<Saved, Error> {
        let entry = self.find(name)?;
        let names = name.parse().ok().filter(|reference| entry.references().contains(reference)).into_iter().collect();
        let packed = |images: &[Image]| {
            complete(images, library, asker)?;
            let packer = self.packer(asker.observer, asker.cancel);
            let asked = options.packing.map(|packing| packer.images(images, Wanted::As(packing))).transpose()?;
            let images = asked.as_deref().unwrap_or(images);
            match options.format {
                ArchiveFormat::Docker => packer.images(images, Wanted::ForDocker),
                ArchiveFormat::Oci => Ok(images.to_vec()),
            }
        };
        match &entry {
            Entry::Index(index) if options.platform.is_none() => {
                let images = self.images_of(index)?;
                let packed = packed(&images)?;
                // One that came from elsewhere stays as it is if its images do.
                let index = if packed == images { self.index(index)? } else { image::index(&packed) };
                Ok(Saved::index(names, index, packed))
            }
            _ => {
                let record = choose(&entry, name, options.platform.as_ref())?;
                Ok(packed(&[Image::open(&self.store, record.manifest)?])?[0].saved(names))
            }
        }
    }

    /// Takes all images of an archive into the store: what docker, podman, skopeo and kiln save, compressed or not.
    ///
    /// # Errors
    /// Those of the archive and of the store; then no image of it is visible.
    pub fn load(
        &self,
        archive: &mut dyn Read,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Vec<LoadedImage>, Error> {
        let what = "reading the archive".to_owned();
        observer.observe(Event::Phase { what: what.clone(), result: None });
        let loaded = image::load(&self.store, archive, &LoadOptions::default(), cancel)?;
        observer.observe(Event::Phase { what, result: Some(format!("{} images", loaded.len())) });
        let image = |each: image::Loaded| LoadedImage { references: each.references, image_id: each.image.id() };
        Ok(loaded.into_iter().map(image).collect())
    }
}
