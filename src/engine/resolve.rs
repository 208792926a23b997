use std::sync::Arc;

use super::{Engine, Error};
use crate::image::Image;
use crate::oci::{Descriptor, Document, Encoded, Index, Platform, Reference, media_type};
use crate::registry;
use crate::solve::{Event, Observe};
use crate::sys::Cancel;

/// Finds images: by name here, by what a registry said earlier, or by asking it now.
pub(super) struct Resolver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) registry: &'a registry::Client,
    /// Ask registries even for what is known here.
    pub(super) pull: bool,
    pub(super) observer: &'a Arc<dyn Observe>,
    pub(super) cancel: &'a Cancel,
}

impl Resolver<'_> {
    /// Returns the image that `reference` means for `platform`.
    pub(super) fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Image, Error> {
        // What has a digest cannot have changed.
        if (!self.pull || reference.digest().is_some())
            && let Some(found) = self.known(reference, platform)?
        {
            return Ok(found);
        }
        self.ask(reference, platform)
    }

    /// Returns the image where it is here.
    pub(super) fn known(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Error> {
        let store = &self.engine.store;
        if let Some(digest) = store.tag(reference)?
            && let Some(entry) = store.entry(digest)?
            && let Some(record) = entry.image_for(platform)
        {
            return Ok(Some(Image::open(store, record.manifest)?));
        }
        let Some(resolution) = store.resolution(reference, platform)? else { return Ok(None) };
        match Image::open(store, resolution.manifest) {
            Ok(image) => Ok(Some(image)),
            // A document that is gone, or damaged, is fetched again.
            Err(_) => Ok(None),
        }
    }

    fn ask(&self, reference: &Reference, platform: &Platform) -> Result<Image, Error> {
        let what = format!("resolve {}", reference.familiar());
        self.observer.observe(Event::Phase { what: what.clone(), result: None });
        let manifest = match self.registry.resolve(reference, self.cancel)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let chosen = choose(&index, reference, platform)?;
                let pinned = reference.with_digest(chosen.digest);
                match self.registry.resolve(&pinned, self.cancel)? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(no_platform(&index, reference, platform)),
                }
            }
        };
        let store = &self.engine.store;
        let config = &manifest.value().config;
        self.registry.fetch_blob(reference, config, store, &|_| {}, self.cancel)?;
        store.put_bytes(manifest.bytes())?;
        store.note_resolution(reference, platform, manifest.digest())?;
        self.observer.observe(Event::Phase { what, result: Some(manifest.digest().to_string()) });
        Ok(Image::open(store, manifest.digest())?)
    }
}

/// Returns the descriptor of an index that fits `platform` best.
pub(super) fn choose(index: &Encoded<Index>, reference: &Reference, platform: &Platform) -> Result<Descriptor, Error> {
    let candidates = index.value().manifests.iter().filter(|each| media_type::is_manifest(&each.media_type));
    let ranked = candidates.filter_map(|each| Some((platform.preference(each.platform.as_ref()?)?, each)));
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, each)| each.clone()).ok_or_else(|| no_platform(index, reference, platform))
}

fn no_platform(index: &Encoded<Index>, reference: &Reference, platform: &Platform) -> Error {
    let mut offered: Vec<String> = index
        .value()
        .manifests
        .iter()
        .filter_map(|each| each.platform.as_ref())
        .filter(|offered| offered.os != "unknown")
        .map(Platform::to_string)
        .collect();
    offered.sort();
    offered.dedup();
    Error::NoPlatform { reference: reference.to_string(), platform: platform.clone(), offered: offered.join(", ") }
}
