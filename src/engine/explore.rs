//! An image opened for looking around in it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::builds::Build;
use super::diff::{Job, Side, Source};
use super::{DiffOptions, Engine, Error, Provenance, file_error};
use crate::exec::{Asker, Layer, Library};
use crate::fs::Root;
use crate::image::Image;
use crate::layer::{self, Held, Index, Kind, PlaceId, Strata, Usage};
use crate::oci::{DiffId, Digest};
use crate::registry::{self, ClientOptions};
use crate::solve::{Event, Observe};
use crate::store::Store;
use crate::sys::Cancel;

/// An image, all its layers merged, and the way to the contents of its files.
///
/// Nothing but contents is read after it was opened, so it stays whole when the image is removed meanwhile; and the store
/// is open only while one is, so that nobody has to wait for who looks around.
pub struct Exploration {
    /// How the image was made, and what its layers take.
    pub provenance: Provenance,
    /// The files of all layers that could be read.
    pub strata: Strata,
    /// Why layers could not be read, by their numbers from 0. Nothing is known of what they hold.
    pub unreadable: BTreeMap<usize, Error>,
    contents: Contents,
    root: PathBuf,
}

/// Where the contents of files are.
enum Contents {
    /// In layers; those of a registry's image can be fetched again.
    Layers(Vec<Layer>, ClientOptions),
    Directory(PathBuf, DiffId),
}

/// The beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// How many it has in all.
    pub size_bytes: u64,
}

/// What is known of something before its layers are merged.
struct Survey {
    provenance: Provenance,
    unreadable: BTreeMap<usize, Error>,
    contents: Contents,
}

impl Engine {
    /// Opens whatever [`Engine::diff`] compares; fetches and reads the layers that nobody has read yet. Of the options,
    /// those about images and registries count.
    ///
    /// A layer that cannot be read is left out, and stands in [`Exploration::unreadable`].
    ///
    /// # Errors
    /// Those of finding a side of [`Engine::diff`], and those of the store.
    pub fn explore(
        &self,
        name: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Exploration, Error> {
        let (survey, indexes) = self.survey(name, options, observer, cancel)?;
        // Each reads all indexes.
        let (usage, strata) = rayon::join(|| Usage::of(&indexes), || Strata::of(indexes.clone()));
        let Survey { mut provenance, unreadable, contents } = survey;
        provenance.usage = usage;
        let root = self.store.root().to_owned();
        Ok(Exploration { provenance, strata, unreadable, contents, root })
    }

    /// Returns how something was made, and what its layers take.
    ///
    /// # Errors
    /// As for [`Engine::explore`], and those of a layer that cannot be read.
    pub fn usage(
        &self,
        name: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Provenance, Error> {
        let (mut survey, indexes) = self.survey(name, options, observer, cancel)?;
        if let Some((_, error)) = survey.unreadable.pop_first() {
            return Err(error);
        }
        Ok(Provenance { usage: Usage::of(&indexes), ..survey.provenance })
    }

    /// Finds out what there is to say without merging layers, and what is in them; nothing of what they take yet.
    fn survey(
        &self,
        name: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<(Survey, Vec<Arc<Index>>), Error> {
        let job = Job::new(self, options, observer, cancel);
        let mut side = job.readable_side(name)?;
        let mut unreadable = std::mem::take(&mut side.unreadable);
        let mut indexes = Vec::new();
        for (number, read) in side.indexes(&job)?.into_iter().enumerate() {
            let index = match read {
                Ok(index) => {
                    unreadable.remove(&number);
                    index
                }
                Err(error) => {
                    // Why it is not here tells more than that it is not.
                    unreadable.entry(number).or_insert(error);
                    Arc::default()
                }
            };
            indexes.push(index);
        }
        let build = self.maker(&side, name)?;
        let diff_ids = side.diff_ids();
        let base = build.as_ref().map_or(Ok(None), |build| self.base(build, &diff_ids))?;
        let provenance = Provenance {
            name: name.to_owned(),
            image_id: side.image.as_ref().map(Image::id),
            base,
            items: self.side_items(&side, build.as_ref())?,
            usage: Usage::default(),
        };
        Ok((Survey { provenance, unreadable, contents: self.contents(side, options) }, indexes))
    }

    /// Returns the build that made an image, where one is known.
    fn maker(&self, side: &Side, name: &str) -> Result<Option<Build>, Error> {
        let Some(image) = &side.image else { return Ok(None) };
        // A build of several platforms is known by their index.
        let index = self.find(name).ok().map(|entry| entry.digest());
        self.build_of(image.manifest().digest(), index)
    }

    /// Returns the items of what was asked for; those of the whole image tell where they are written.
    fn side_items(&self, side: &Side, build: Option<&Build>) -> Result<Vec<super::Item>, Error> {
        let Some(config) = &side.config else { return Ok(Vec::new()) };
        let whole = side.image.as_ref().map_or(config, |image| image.config().value());
        let mut items = self.items(whole, build)?;
        items.truncate(config.history.len());
        Ok(items)
    }

    fn contents(&self, side: Side, options: &DiffOptions) -> Contents {
        let is_elsewhere = side.is_elsewhere;
        match side.source {
            Source::Directory { path, diff_id, .. } => Contents::Directory(path, diff_id),
            Source::Layers(layers) if is_elsewhere => {
                let insecure = options.insecure_registries.clone();
                Contents::Layers(layers, ClientOptions { config: self.config.registry.clone(), insecure })
            }
            // What is here is asked for, so no registry is.
            Source::Layers(layers) => {
                let stored = layers.iter().filter_map(Layer::known_diff_id).map(Layer::stored);
                Contents::Layers(stored.collect(), ClientOptions::default())
            }
        }
    }
}

impl Side {
    /// Reads what is in each layer, base first, or tells why that cannot be.
    fn indexes(&self, job: &Job<'_>) -> Result<Vec<Result<Arc<Index>, Error>>, Error> {
        let layers = match &self.source {
            Source::Directory { index, .. } => {
                return Ok(vec![Index::from_bytes(index.as_ref()).map(Arc::new).map_err(Error::from)]);
            }
            Source::Layers(layers) => layers,
        };
        let read = job.library.each(layers, |_, layer| match job.library.index(layer, job.asker()) {
            Err(error) if error.is_cancellation() => Err(error),
            read => Ok(read.map_err(Error::from)),
        })?;
        Ok(read)
    }
}

impl Exploration {
    /// Reads the first bytes of the file at a place after a layer, no more than `most`; nothing if no file is there.
    ///
    /// # Errors
    /// Those of the store, [`exec::Error::LostLayer`](crate::exec::Error::LostLayer) among them where the layer was
    /// removed meanwhile, and [`Error::AlteredLayer`] where it has another content by now.
    pub fn beginning(
        &self,
        place: PlaceId,
        after: usize,
        most: u64,
        cancel: &Cancel,
    ) -> Result<Option<Beginning>, Error> {
        match self.strata.held(place, Some(after)) {
            Some(held) => self.read(held, most, cancel),
            None => Ok(None),
        }
    }

    fn read(&self, held: Held<'_>, most: u64, cancel: &Cancel) -> Result<Option<Beginning>, Error> {
        let Some((number, entry)) = self.strata.content(held) else { return Ok(None) };
        let Kind::File { size, digest, offset } = entry.kind else { return Ok(None) };
        let wanted = size.min(most);
        let mut bytes = Vec::new();
        let mut take = |content: &mut dyn Read| {
            content.take(wanted).read_to_end(&mut bytes).map(drop).map_err(|source| match cancel.check() {
                Ok(()) => Error::Layer(layer::Error::Read(source)),
                Err(_) => Error::Cancelled,
            })
        };
        let diff_id = match &self.contents {
            Contents::Directory(top, diff_id) => {
                let failed = |error| file_error("read", top)(io::Error::other(error));
                let file = Root::open(top).and_then(|root| root.open_file(&entry.path)).map_err(failed)?;
                take(&mut cancel.guard(file))?;
                *diff_id
            }
            Contents::Layers(layers, registries) => {
                let library = Library::new(&Store::open(&self.root)?, registry::Client::new(registries.clone()));
                let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
                let asker = Asker { step: None, observer: &observer, cancel };
                library.contents(&layers[number], &[(offset, wanted)], asker, &mut |_, content| take(content))?;
                layers[number].diff_id()?
            }
        };
        // Of a part nothing is known but its length.
        if bytes.len() as u64 != wanted || (wanted == size && Digest::of(&bytes) != digest) {
            return Err(Error::AlteredLayer(diff_id));
        }
        Ok(Some(Beginning { bytes, size_bytes: size }))
    }
}
