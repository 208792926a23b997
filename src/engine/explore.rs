//! An image opened for looking around in it.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::provenance::Traced;
use super::{Engine, Error, Provenance};
use crate::exec::{Asker, Layer, Library};
use crate::layer::{self, Held, Kind, PlaceId, Strata};
use crate::oci::{DiffId, Digest, Platform};
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
    /// The files of all layers.
    pub strata: Strata,
    layers: Vec<DiffId>,
    root: PathBuf,
}

/// The beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// How many it has in all.
    pub size_bytes: u64,
}

impl Engine {
    /// Opens an image that is here; reads its layers if nobody has yet.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoPlatform`], those of reading layers and of the store.
    pub fn explore(&self, name: &str, platform: Option<&Platform>, cancel: &Cancel) -> Result<Exploration, Error> {
        let Traced { provenance, diff_ids, indexes } = self.trace(name, platform, cancel)?;
        Ok(Exploration {
            provenance,
            strata: Strata::of(indexes),
            layers: diff_ids,
            root: self.store.root().to_owned(),
        })
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
        // What is here is asked for, so no registry is.
        let library = Library::new(&Store::open(&self.root)?, registry::Client::new(ClientOptions::default()));
        let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
        let asker = Asker { step: None, observer: &observer, cancel };
        let wanted = size.min(most);
        let mut bytes = Vec::new();
        let layer = Layer::stored(self.layers[number]);
        library.contents(&layer, &[(offset, wanted)], asker, &mut |_, content: &mut dyn Read| {
            content.read_to_end(&mut bytes).map(drop).map_err(|source| match cancel.check() {
                Ok(()) => Error::Layer(layer::Error::Read(source)),
                Err(_) => Error::Cancelled,
            })
        })?;
        // Of a part nothing is known but its length.
        if bytes.len() as u64 != wanted || (wanted == size && Digest::of(&bytes) != digest) {
            return Err(Error::AlteredLayer(self.layers[number]));
        }
        Ok(Some(Beginning { bytes, size_bytes: size }))
    }
}
