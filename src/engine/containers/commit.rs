use super::alter::alter;
use super::nobody;
use crate::container::Meanwhile;
use crate::engine::assemble::{descriptor, mend_history};
use crate::engine::{Engine, Error, SideLayer};
use crate::exec::{Asker, Layer};
use crate::image::{self, Image};
use crate::layer::IndexBytes;
use crate::oci::{Digest, History, ImageConfig, Reference};
use crate::store::{self, ContainerRecord};
use crate::sys::Cancel;
use jiff::Timestamp;

/// What becomes of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The image's name; none is an image without one.
    pub reference: Option<Reference>,
    /// Instructions of Dockerfiles that change how it runs.
    pub instructions: Vec<String>,
    /// Why, for the history.
    pub message: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// What a container that runs does meanwhile.
    pub meanwhile: Meanwhile,
}

/// The layers below a container's changes, base first.
pub(in crate::engine) struct Below {
    /// All of them.
    pub(in crate::engine) all: Vec<Layer>,
    /// How many are of its image.
    pub(in crate::engine) of_image: usize,
}

impl Engine {
    /// Returns the layers that a container would be committed as, and how that image would run. The last of them goes
    /// from the store again when nobody uses that.
    pub(in crate::engine) fn container_as_image(
        &self,
        name: &str,
        asker: Asker<'_>,
    ) -> Result<(Vec<Layer>, ImageConfig), Error> {
        let container = self.store.find_container(name)?;
        let containers = self.keeper(&[]);
        let base = Image::open(&self.store, container.manifest)?;
        let settings = containers.settings(&container)?;
        let item = History { created_by: Some(settings.argv().join(" ")), ..History::default() };
        let committed = containers.preview(&container, item, asker)?;
        let mut config = ImageConfig { config: settings.config, ..base.config().value().clone() };
        mend_history(&mut config);
        config.history.extend(committed.history);
        config.rootfs.diff_ids.clone_from(&committed.layers);
        Ok((committed.layers.into_iter().map(Layer::stored).collect(), config))
    }

    /// Returns the layers below a container's changes, and the layer these would be; nothing where `name` is rather that
    /// of an image.
    pub(in crate::engine) fn container_changes(
        &self,
        name: &str,
        asker: Asker<'_>,
    ) -> Result<Option<(Below, SideLayer, IndexBytes)>, Error> {
        let prefixed = name.strip_prefix("container:");
        if prefixed.is_none() && !matches!(self.find(name), Err(Error::NoSuchImage(_))) {
            return Ok(None);
        }
        let container = match self.store.find_container(prefixed.unwrap_or(name)) {
            Err(store::Error::NoSuchContainer { .. } | store::Error::AmbiguousContainer { .. })
                if prefixed.is_none() =>
            {
                return Ok(None);
            }
            found => found?,
        };
        let containers = self.keeper(&[]);
        let (stack, finished) = containers.changes(&container, asker)?;
        let of_image = Image::open(&self.store, container.manifest)?.config().value().rootfs.diff_ids.len();
        let layer = SideLayer {
            diff_id: finished.diff_id,
            created_by: Some(containers.settings(&container)?.argv().join(" ")),
            size_bytes: Some(finished.size_bytes),
        };
        let below = Below { all: stack.layers().to_vec(), of_image };
        Ok(Some((below, layer, IndexBytes::new(finished.index.into_bytes()))))
    }

    /// Makes an image of a container: that of its image with the changes as one more layer, which runs as the container
    /// does. Returns its id.
    ///
    /// The cost is that of reading what has changed. The container goes on over the layer.
    ///
    /// # Errors
    /// [`Error::Diagnostics`] of the instructions, those of the store and of reading files.
    pub fn commit_container(&self, name: &str, options: &CommitOptions, cancel: &Cancel) -> Result<Digest, Error> {
        let (container, held) = self.hold(name)?;
        let containers = self.keeper(&[]);
        let base = Image::open(&self.store, container.manifest)?;
        let settings = containers.settings(&container)?;
        let created = now();
        let config = ImageConfig {
            config: settings.config.clone(),
            author: options.author.clone(),
            created: Some(created),
            ..base.config().value().clone()
        };
        let mut config = alter(&config, &options.instructions)?;
        let item = History {
            created: Some(created),
            created_by: Some(settings.argv().join(" ")),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: false,
        };
        let observer = nobody();
        let asker = Asker { step: None, observer: &observer, cancel };
        // Whether it runs may change meanwhile; who has the container does not.
        let running = held.is_none().then_some(options.meanwhile);
        let committed = containers.commit(&container, item, running, asker)?;
        mend_history(&mut config);
        config.history.extend(committed.history);
        let mut layers = layers_of(&container, &base);
        let own = committed.layers[layers.len()..].iter().copied().map(Layer::stored);
        layers.extend(own);
        let library = containers.library();
        let layer = |layer: &Layer| {
            Ok(image::Layer { diff_id: layer.diff_id()?, blob: descriptor(library.blob(layer, asker)?) })
        };
        let image = Image::assemble(config, &layers.iter().map(layer).collect::<Result<Vec<_>, Error>>()?)?;
        image.commit(&self.store, options.reference.as_slice())?;
        Ok(image.id())
    }
}

/// Returns the layers of a container's image, in the very form in which that has them.
fn layers_of(container: &ContainerRecord, image: &Image) -> Vec<Layer> {
    let nowhere = || "localhost/nowhere".parse().expect("it is a name");
    let reference: Reference = container.image.parse().unwrap_or_else(|_| nowhere());
    Layer::of_image(&reference, &image.config().value().rootfs.diff_ids, image.manifest().value())
}

/// Returns the time, as exactly as it is kept elsewhere.
pub(super) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).expect("less exact, not out of range")
}
