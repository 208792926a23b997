use std::io::{Read, Write};
use std::sync::Arc;

use super::{ArchiveFormat, Engine, Error, LoadedImage};
use crate::image::{self, Image, LoadOptions, Saved};
use crate::solve::{Event, Observe};
use crate::sys::Cancel;

impl Engine {
    /// Writes images, by name or id, into one archive; a name becomes that image's name in the archive.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the store and of writing.
    pub fn save(
        &self,
        names: &[String],
        format: ArchiveFormat,
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let saved = names.iter().map(|name| self.saved(name)).collect::<Result<Vec<_>, _>>()?;
        match format {
            ArchiveFormat::Docker => image::save_docker(&self.store, &saved, out, cancel)?,
            ArchiveFormat::Oci => image::save_oci(&self.store, &saved, out, cancel)?,
        }
        Ok(())
    }

    fn saved(&self, name: &str) -> Result<Saved, Error> {
        let record = self.find(name)?;
        let reference = name.parse().ok().filter(|reference| record.references.contains(reference));
        let image = Image::open(&self.store, record.manifest)?;
        let (manifest, config) = (image.manifest().clone(), image.config().clone());
        Ok(Saved { names: reference.into_iter().collect(), manifest, config })
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
