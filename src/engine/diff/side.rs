use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::images::choose;
use super::super::layout::Layout;
use super::super::resolve::Resolver;
use super::super::{Engine, Error, file_error};
use super::name::{Asked, Name, path};
use super::{DiffOptions, DiffSide, Job, SideLayer};
use crate::compare;
use crate::exec;
use crate::image::{self, Image, LoadOptions};
use crate::layer::{self, IndexBytes, TreeKind, View, Writer};
use crate::oci::{DiffId, ImageConfig, Platform, Reference};
use crate::store;
use crate::sys::Cancel;

/// One side of a comparison, found.
pub(in crate::engine) struct Side {
    /// As it was asked for.
    name: String,
    pub(in crate::engine) image: Option<Image>,
    /// The config up to the step that was asked for; none of a directory.
    pub(in crate::engine) config: Option<ImageConfig>,
    /// Whether [`Side::config`] is not that of the whole image.
    pub(super) is_partial: bool,
    /// Whether it is an image of a registry, where layers can be had that are not here.
    pub(in crate::engine) is_elsewhere: bool,
    pub(in crate::engine) source: Source,
    /// Why layers of an OCI layout could not be taken from there, by their numbers.
    pub(in crate::engine) unreadable: BTreeMap<usize, Error>,
}

/// Where the files of a side are.
pub(in crate::engine) enum Source {
    Layers(Vec<exec::Layer>),
    /// A directory, as the one layer that it would be.
    Directory {
        path: PathBuf,
        diff_id: DiffId,
        size_bytes: u64,
        index: IndexBytes,
    },
}

impl Job<'_> {
    /// Finds a side; fetches no layer.
    pub(super) fn side(&self, text: &str) -> Result<Side, Error> {
        self.readable_side(text)?.whole()
    }

    /// Finds a side, of which layers may be missing.
    pub(in crate::engine) fn readable_side(&self, text: &str) -> Result<Side, Error> {
        let (mut side, step) = self.untruncated(text)?;
        if let (Some(step), Some(config), Source::Layers(layers), true) =
            (step, &mut side.config, &mut side.source, side.image.is_some())
        {
            truncate(config, step, text)?;
            layers.truncate(config.rootfs.diff_ids.len());
            side.is_partial = true;
        }
        Ok(side)
    }

    /// Finds a side with all its instructions, and the step up to which it was asked for.
    fn untruncated(&self, text: &str) -> Result<(Side, Option<usize>), Error> {
        let asked = Asked::parse(text)?;
        let name = match asked.name {
            Name::Any(name) => self.any(&name)?,
            other => Where::Name(other),
        };
        let is_elsewhere = matches!(name, Where::Name(Name::Image(_) | Name::Any(_)));
        let mut unreadable = BTreeMap::new();
        let (image, reference) = match name {
            Where::Found(image, reference) => (*image, reference),
            Where::Name(Name::Directory(path)) => return Ok((self.directory(text, &path)?, asked.step)),
            Where::Name(Name::Archive(path, name)) => (self.archive(&path, name.as_deref())?, None),
            Where::Name(Name::Layout(path, tag)) => {
                let layout = Layout::open(&path, tag.as_deref(), None)?;
                let name = "localhost/layout".parse().expect("it is a name");
                let image;
                (image, unreadable) = layout.take_readable(&name, &self.platform(), &self.engine.store, self.cancel)?;
                (image, None)
            }
            Where::Name(Name::Build(id)) => self.build(&id)?,
            Where::Name(Name::Container(name)) => return Ok((self.container(text, &name)?, asked.step)),
            Where::Name(Name::Image(name) | Name::Any(name)) => self.fetched(&name)?,
        };
        let config = image.config().value().clone();
        let diff_ids = &config.rootfs.diff_ids;
        let layers = match reference {
            Some(reference) => exec::Layer::of_image(&reference, diff_ids, image.manifest().value()),
            None => diff_ids.iter().copied().map(exec::Layer::stored).collect(),
        };
        let source = Source::Layers(layers);
        let name = text.to_owned();
        let (image, config) = (Some(image), Some(config));
        Ok((Side { name, image, config, is_partial: false, is_elsewhere, source, unreadable }, asked.step))
    }

    /// Returns a container as the image that it would be committed as.
    fn container(&self, text: &str, name: &str) -> Result<Side, Error> {
        let (layers, config) = self.engine.container_as_image(name, self.asker())?;
        let source = Source::Layers(layers);
        Ok(Side {
            name: text.to_owned(),
            image: None,
            config: Some(config),
            is_partial: false,
            is_elsewhere: false,
            source,
            unreadable: BTreeMap::new(),
        })
    }

    /// Finds what a bare name means: an image or a container that is here, then a path, then an image elsewhere.
    fn any(&self, name: &str) -> Result<Where, Error> {
        match self.engine.find(name) {
            Ok(entry) => {
                let record = choose(&entry, name, self.options.platform.as_ref())?;
                let image = Image::open(&self.engine.store, record.manifest)?;
                // Where a layer that is lost here can be had again.
                let reference = name.parse().ok().or_else(|| entry.references().first().cloned());
                Ok(Where::Found(Box::new(image), reference))
            }
            Err(Error::NoSuchImage(_)) if self.engine.store.find_container(name).is_ok() => {
                Ok(Where::Name(Name::Container(name.to_owned())))
            }
            Err(Error::NoSuchImage(_)) if Path::new(name).exists() => Ok(Where::Name(path(name))),
            Err(Error::NoSuchImage(_)) => Ok(Where::Name(Name::Image(name.to_owned()))),
            Err(error) => Err(error),
        }
    }

    /// Asks a registry for an image; its manifest and config become known here, and nothing else.
    fn fetched(&self, name: &str) -> Result<(Image, Option<Reference>), Error> {
        let Ok(reference) = name.parse::<Reference>() else { return Err(Error::NoSuchImage(name.to_owned())) };
        let client = self.library.registry();
        let (observer, cancel) = (&self.observer, self.cancel);
        let resolver = Resolver { engine: self.engine, registry: client, pull: true, observer, cancel };
        Ok((resolver.resolve(&reference, &self.platform())?, Some(reference)))
    }

    /// Returns the image that a build made.
    fn build(&self, id: &str) -> Result<(Image, Option<Reference>), Error> {
        let record = self.engine.store.find_build(Some(id))?;
        let none = || Error::NoBuildResult { build: record.id.to_string() };
        let entry = self.engine.find(&record.image.ok_or_else(none)?.to_string())?;
        let chosen = choose(&entry, id, self.options.platform.as_ref())?;
        Ok((Image::open(&self.engine.store, chosen.manifest)?, entry.references().first().cloned()))
    }

    fn archive(&self, path: &Path, name: Option<&str>) -> Result<Image, Error> {
        let file = File::open(path).map_err(file_error("open", path))?;
        let options = LoadOptions { platform: self.options.platform.clone(), hidden: true };
        let mut loaded = image::load(&self.engine.store, file, &options, self.cancel)?;
        let names = loaded.iter().flat_map(|each| &each.references).map(Reference::familiar).collect::<Vec<_>>();
        if let Some(name) = name {
            let wanted = name.parse::<Reference>().ok();
            let is_it = |reference: &Reference| {
                Some(reference) == wanted.as_ref() || reference.tag().is_some_and(|tag| tag == name)
            };
            loaded.retain(|each| each.references.iter().any(is_it));
        }
        match (loaded.pop(), loaded.len()) {
            (Some(found), 0) => Ok(found.image),
            _ => Err(Error::WhichImage { path: path.to_owned(), names: names.join(", ") }),
        }
    }

    fn directory(&self, name: &str, path: &Path) -> Result<Side, Error> {
        if !path.is_dir() {
            return Err(file_error("open", path)(io::ErrorKind::NotFound.into()));
        }
        let mut out = Writer::new(Sink(self.cancel));
        let written = layer::diff(path, TreeKind::Whole, &View::empty(), &mut out).and_then(|()| out.finish());
        self.cancel.check()?;
        let (_, finished) = written?;
        let source = Source::Directory {
            path: path.to_owned(),
            diff_id: finished.diff_id,
            size_bytes: finished.size_bytes,
            index: IndexBytes::new(finished.index.into_bytes()),
        };
        Ok(Side {
            name: name.to_owned(),
            image: None,
            config: None,
            is_partial: false,
            is_elsewhere: false,
            source,
            unreadable: BTreeMap::new(),
        })
    }

    fn platform(&self) -> Platform {
        self.options.platform.clone().unwrap_or_else(Platform::host)
    }
}

/// An image, or what a container would be as one, for who looks into it.
pub(in crate::engine) struct Found {
    /// Its config, up to the end.
    pub(in crate::engine) config: ImageConfig,
    /// Its layers, base first.
    pub(in crate::engine) layers: Vec<exec::Layer>,
    /// After which instruction it was asked for.
    pub(in crate::engine) step: Option<usize>,
}

impl Found {
    /// Returns the number of instructions; without a history, of layers.
    pub(in crate::engine) fn steps(&self) -> usize {
        if self.config.history.is_empty() { self.layers.len() } else { self.config.history.len() }
    }

    /// Returns how many layers the first `step` instructions made.
    pub(in crate::engine) fn layers_at(&self, step: usize) -> usize {
        let history = &self.config.history;
        let made = history.iter().take(step).filter(|item| !item.empty_layer).count();
        // Base images exist whose history tells of other layers than they have.
        if history.is_empty() { step.min(self.layers.len()) } else { made.min(self.layers.len()) }
    }
}

impl Engine {
    /// Finds an image as [`Engine::diff`] does.
    ///
    /// # Errors
    /// As there; [`Error::NoSuchImage`] of what has no layers.
    pub(in crate::engine) fn find_side(
        &self,
        text: &str,
        options: &DiffOptions,
        asker: exec::Asker<'_>,
    ) -> Result<Found, Error> {
        let (side, step) = Job::new(self, options, asker.observer.clone(), asker.cancel).untruncated(text)?;
        let side = side.whole()?;
        match (side.config, side.source) {
            (Some(config), Source::Layers(layers)) => Ok(Found { config, layers, step }),
            _ => Err(Error::NoSuchImage(text.to_owned())),
        }
    }
}

enum Where {
    /// An image, and where its layers can be had if they are not here.
    Found(Box<Image>, Option<Reference>),
    Name(Name),
}

/// Keeps the first `step` instructions of an image, and the layers they made.
fn truncate(config: &mut ImageConfig, step: usize, name: &str) -> Result<(), Error> {
    let has_history = !config.history.is_empty();
    let all = if has_history { config.history.len() } else { config.rootfs.diff_ids.len() };
    if step > all {
        return Err(Error::NoSuchStep { name: name.to_owned(), steps: all });
    }
    config.history.truncate(step);
    let layers = config.history.iter().filter(|item| !item.empty_layer).count();
    config.rootfs.diff_ids.truncate(if has_history { layers } else { step });
    Ok(())
}

impl Side {
    /// Returns the side if all of it could be read.
    fn whole(mut self) -> Result<Side, Error> {
        self.unreadable.pop_first().map_or(Ok(self), |(_, error)| Err(error))
    }

    /// Returns the layers, with their indexes where these are here; those from `own` on are fetched if need be, and those
    /// before `known` have none: an index of a million files is not read twice.
    pub(super) fn layers(&self, known: usize, own: usize, job: &Job<'_>) -> Result<Vec<compare::Layer>, Error> {
        match &self.source {
            Source::Directory { diff_id, index, .. } => {
                Ok(vec![compare::Layer { diff_id: *diff_id, index: Some(index.clone()) }])
            }
            Source::Layers(layers) => {
                let asker = job.asker();
                job.library
                    .each(layers, |place, layer| {
                        let wanted = place >= known && (place >= own || job.library.is_here(layer)?);
                        let index = if wanted { Some(job.library.index_bytes(layer, asker)?) } else { None };
                        Ok(compare::Layer { diff_id: layer.diff_id()?, index })
                    })
                    .map_err(Error::from)
            }
        }
    }

    /// Returns the identities of the layers.
    pub(in crate::engine) fn diff_ids(&self) -> Vec<DiffId> {
        match (&self.source, &self.config) {
            (Source::Directory { diff_id, .. }, _) => vec![*diff_id],
            (_, config) => config.as_ref().map_or(Vec::new(), |config| config.rootfs.diff_ids.clone()),
        }
    }

    /// Returns what is told of it. Sizes of layers are known once their indexes are.
    pub(super) fn summary(&self, store: &store::Store) -> Result<DiffSide, Error> {
        let mut layers = Vec::new();
        match &self.source {
            Source::Directory { diff_id, size_bytes, .. } => {
                layers.push(SideLayer { diff_id: *diff_id, created_by: None, size_bytes: Some(*size_bytes) });
            }
            Source::Layers(_) => {
                let config = self.config.as_ref();
                let history = config.into_iter().flat_map(|config| &config.history).filter(|item| !item.empty_layer);
                let mut created_by = history.map(|item| item.created_by.clone());
                for diff_id in self.diff_ids() {
                    let size_bytes = store.layer_size(diff_id)?;
                    layers.push(SideLayer { diff_id, created_by: created_by.next().flatten(), size_bytes });
                }
            }
        }
        Ok(DiffSide {
            name: self.name.clone(),
            image_id: self.image.as_ref().map(Image::id),
            manifest: self.image.as_ref().map(|image| image.manifest().digest()),
            layers,
        })
    }
}

/// Takes everything until it is told to stop.
struct Sink<'a>(&'a Cancel);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.check().map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
