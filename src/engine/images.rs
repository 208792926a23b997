use std::io;

use super::{Engine, Error, ImageDetails, ImageSummary, Removed};
use crate::image::{self, Image};
use crate::oci::{Encoded, Index, Platform, Reference};
use crate::store::{Entry, ImageRecord, IndexRecord, Outcome};

impl Engine {
    /// Returns all images, one item for each name; images without one too.
    ///
    /// # Errors
    /// Those of the store.
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        Ok(self.store.entries()?.iter().flat_map(summaries).collect())
    }

    /// Returns everything about one image, by name, id or beginning of an id. Of an index it is the image for `platform`;
    /// without one, that for this machine, or else the first.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoPlatform`], those of the store.
    pub fn inspect(&self, name: &str, platform: Option<&Platform>) -> Result<ImageDetails, Error> {
        let entry = self.find(name)?;
        let record = choose(&entry, name, platform)?.clone();
        let index = match &entry {
            Entry::Index(index) => Some(self.index(index)?),
            Entry::Image(_) => None,
        };
        let image = Image::open(&self.store, record.manifest)?;
        let sizes = self.store.image_layers(record.manifest)?;
        Ok(ImageDetails {
            image_id: record.image_id,
            manifest_digest: record.manifest,
            references: entry.references().to_vec(),
            config_bytes: image.config().bytes().to_vec(),
            manifest: image.manifest().value().clone(),
            config: image.config().value().clone(),
            layer_sizes: sizes.into_iter().map(|(_, size)| size.unwrap_or(0)).collect(),
            index,
        })
    }

    /// Gives an image or index another name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], those of the store.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<(), Error> {
        let entry = self.find(name)?;
        Ok(self.store.set_tag(reference, entry.digest())?)
    }

    /// Removes a name, and the image or index with its last one.
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

    pub(super) fn step_log(&self, build: &crate::store::BuildId, step: usize) -> Result<String, Error> {
        let Some(path) = self.store.step_log(build, step)? else { return Ok(String::new()) };
        match std::fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(Error::File { action: "read", path, source }),
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<Entry, Error> {
        Ok(self.store.find(name)?)
    }

    /// Reads an index from the store.
    pub(super) fn index(&self, record: &IndexRecord) -> Result<Encoded<Index>, Error> {
        let bytes = self.store.read_blob(record.digest, image::MAX_DOCUMENT_BYTES)?;
        Ok(Encoded::decode("index", &record.media_type, bytes)?)
    }

    /// Reads the images of an index from the store.
    pub(super) fn images_of(&self, record: &IndexRecord) -> Result<Vec<Image>, Error> {
        record.images.iter().map(|image| Ok(Image::open(&self.store, image.manifest)?)).collect()
    }
}

/// Returns the image for `platform`; without one, that for this machine, or else the first.
pub(super) fn choose<'a>(entry: &'a Entry, name: &str, platform: Option<&Platform>) -> Result<&'a ImageRecord, Error> {
    let images = match entry {
        Entry::Image(image) => std::slice::from_ref(image),
        Entry::Index(index) => &index.images,
    };
    let found = match platform {
        Some(platform) => entry.image_for(platform),
        None => entry.image_for(&Platform::host()).or_else(|| images.first()),
    };
    found.ok_or_else(|| {
        let offered: Vec<String> = images.iter().map(|image| image.platform.to_string()).collect();
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        Error::NoPlatform { reference: name.to_owned(), platform, offered: offered.join(", ") }
    })
}

/// Returns one summary for each name.
pub(super) fn summaries(entry: &Entry) -> Vec<ImageSummary> {
    let (image_id, images) = match entry {
        Entry::Image(image) => (image.image_id, std::slice::from_ref(image)),
        Entry::Index(index) => (index.digest, index.images.as_slice()),
    };
    let summary = |reference| ImageSummary {
        reference,
        image_id,
        manifest: entry.digest(),
        created: images.iter().filter_map(|image| image.created).max(),
        size_bytes: images.iter().map(|image| image.size_bytes).sum(),
        platforms: images.iter().map(|image| image.platform.clone()).collect(),
    };
    if entry.references().is_empty() {
        vec![summary(None)]
    } else {
        entry.references().iter().cloned().map(|reference| summary(Some(reference))).collect()
    }
}
