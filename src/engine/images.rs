use std::io;

use super::{Engine, Error, ImageDetails, ImageSummary, Removed};
use crate::image::Image;
use crate::oci::Reference;
use crate::store::{ImageRecord, Outcome};

impl Engine {
    /// Returns all images, one item for each name; images without one too.
    ///
    /// # Errors
    /// Those of the store.
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        let images = self.store.images()?;
        Ok(images.iter().flat_map(summaries).collect())
    }

    /// Returns everything about one image, by name, id or beginning of an id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the store.
    pub fn inspect(&self, name: &str) -> Result<ImageDetails, Error> {
        let record = self.find(name)?;
        let image = Image::open(&self.store, record.manifest)?;
        let sizes = self.store.image_layers(record.manifest)?;
        Ok(ImageDetails {
            image_id: record.image_id,
            manifest_digest: record.manifest,
            references: record.references,
            config_bytes: image.config().bytes().to_vec(),
            manifest: image.manifest().value().clone(),
            config: image.config().value().clone(),
            layer_sizes: sizes.into_iter().map(|(_, size)| size.unwrap_or(0)).collect(),
        })
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the store.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<(), Error> {
        let record = self.find(name)?;
        Ok(self.store.set_tag(reference, record.manifest)?)
    }

    /// Removes a name, and the image with its last one.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the store.
    pub fn remove(&self, name: &str, force: bool) -> Result<Removed, Error> {
        Ok(self.store.remove_image(name, force)?)
    }

    /// Returns what the steps of a build wrote: of the last build where none is named, of all steps or of one (from 1).
    ///
    /// # Errors
    /// Those of the store, such as for a step that is not there.
    pub fn log(&self, build: Option<&str>, step: Option<usize>) -> Result<String, Error> {
        let build = self.store.find_build(build)?.id;
        if let Some(step) = step {
            return self.step_log(&build, step);
        }
        let mut text = String::new();
        for step in self.store.steps(&build)?.into_iter().filter(|step| step.outcome != Outcome::Skipped) {
            let log = self.step_log(&build, step.number)?;
            let cached = if step.outcome == Outcome::Cached { " (cached)" } else { "" };
            text += &format!("#{} {}{cached}\n{log}", step.number, step.title);
            if !log.is_empty() && !log.ends_with('\n') {
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn step_log(&self, build: &crate::store::BuildId, step: usize) -> Result<String, Error> {
        let Some(path) = self.store.step_log(build, step)? else { return Ok(String::new()) };
        match std::fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(Error::File { action: "read", path, source }),
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<ImageRecord, Error> {
        Ok(self.store.find_image(name)?)
    }
}

/// Returns one summary for each name.
pub(super) fn summaries(record: &ImageRecord) -> Vec<ImageSummary> {
    let summary = |reference| ImageSummary {
        reference,
        image_id: record.image_id,
        manifest: record.manifest,
        created: record.created,
        size_bytes: record.size_bytes,
        platform: record.platform.clone(),
    };
    if record.references.is_empty() {
        vec![summary(None)]
    } else {
        record.references.iter().cloned().map(|reference| summary(Some(reference))).collect()
    }
}
