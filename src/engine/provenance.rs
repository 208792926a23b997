//! Where what is in an image comes from: the steps behind its layers, and behind each of its files.

use std::sync::Arc;
use std::time::Duration;

use super::builds::{BuildStep, step as recorded};
use super::{Build, Engine, Error};
use crate::exec::{Asker, Layer, Library};
use crate::image::Image;
use crate::layer::{EntryPath, Index, Kind, Metadata, Usage, View};
use crate::oci::{DiffId, Digest, History, ImageConfig, Platform, Reference};
use crate::solve::{Event, Observe, Written};
use crate::store::{BuildId, Outcome};
use crate::sys::Cancel;

/// An image with all that is remembered of how it was made.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The name or id that was asked for.
    pub name: String,
    /// The config's digest; none of what is no image, such as a directory.
    pub image_id: Option<Digest>,
    /// The image it was built on, and how many of its layers are from there.
    pub base: Option<(String, usize)>,
    /// One for each item of the history, base first.
    pub items: Vec<Item>,
    /// What the layers take.
    pub usage: Usage,
}

/// An item of an image's history.
#[derive(Debug, Clone)]
pub struct Item {
    /// What the image says of it.
    pub history: History,
    /// The layer it made, counted from 0, base first.
    pub layer: Option<usize>,
    /// The layer's identity.
    pub diff_id: Option<DiffId>,
    /// Where the instruction is written.
    pub written: Option<Written>,
    /// The step of the image's own build, or of whatever build made the layer.
    pub made: Option<Made>,
}

/// A remembered step that led to a layer.
#[derive(Debug, Clone)]
pub struct Made {
    /// The build.
    pub build: BuildId,
    /// The step in it.
    pub step: BuildStep,
    /// How long it took when it ran, then or before; none where that is forgotten.
    pub duration: Option<Duration>,
}

/// An image with its layers.
pub(super) struct Traced {
    pub(super) provenance: Provenance,
    /// Base first, as what is in each.
    pub(super) indexes: Vec<Arc<Index>>,
}

/// What the layers of an image did to one path.
#[derive(Debug, Clone)]
pub struct Blame {
    /// The path without links on the way, relative to the root.
    pub path: EntryPath,
    /// Whether there is something at the end.
    pub is_there: bool,
    /// Base first; empty where no layer ever had anything there.
    pub touches: Vec<Touch>,
}

/// One layer that changed a path.
#[derive(Debug, Clone)]
pub struct Touch {
    /// The layer, counted from 0.
    pub layer: usize,
    /// What it did.
    pub change: TouchKind,
    /// What is there after it, with its size; none where it was removed.
    pub metadata: Option<(Metadata, u64)>,
}

/// What a layer did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchKind {
    /// It is new.
    Added,
    /// It holds something else, or is something else.
    Content,
    /// Its mode, owner or attributes are others.
    Metadata,
    /// It was written again, as it was.
    Rewritten,
    /// It is gone.
    Removed,
}

impl Engine {
    /// Returns how an image was made.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoPlatform`], those of reading layers and of the store.
    pub fn provenance(&self, name: &str, platform: Option<&Platform>, cancel: &Cancel) -> Result<Provenance, Error> {
        Ok(self.trace(name, platform, cancel)?.provenance)
    }

    /// Returns what each layer of an image did to one path.
    ///
    /// # Errors
    /// Those of [`Engine::provenance`].
    pub fn blame(
        &self,
        name: &str,
        platform: Option<&Platform>,
        path: &[u8],
        cancel: &Cancel,
    ) -> Result<(Provenance, Blame), Error> {
        let Traced { provenance, indexes, .. } = self.trace(name, platform, cancel)?;
        let view = View::of(indexes.iter().map(|index| &**index));
        let path = canonical(&view, path);
        let is_there = view.lookup(&path).is_some();
        Ok((provenance, Blame { touches: touches(&indexes, &path), is_there, path }))
    }

    pub(super) fn trace(&self, name: &str, platform: Option<&Platform>, cancel: &Cancel) -> Result<Traced, Error> {
        let entry = self.find(name)?;
        let record = super::images::choose(&entry, name, platform)?.clone();
        let image = Image::open(&self.store, record.manifest)?;
        let indexes = self.indexes(&image, entry.references().first(), cancel)?;
        let build = self.build_of(record.manifest, Some(entry.digest()))?;
        let diff_ids = &image.config().value().rootfs.diff_ids;
        let provenance = Provenance {
            name: name.to_owned(),
            image_id: Some(record.image_id),
            base: build.as_ref().map_or(Ok(None), |build| self.base(build, diff_ids))?,
            items: self.items(image.config().value(), build.as_ref())?,
            usage: Usage::of(&indexes),
        };
        Ok(Traced { provenance, indexes })
    }

    /// Returns the indexes of an image's layers, base first. Of one that was never looked into, its layers are read once.
    pub(super) fn indexes(
        &self,
        image: &Image,
        reference: Option<&Reference>,
        cancel: &Cancel,
    ) -> Result<Vec<Arc<Index>>, Error> {
        let library = Library::new(&self.store, self.client(&[]));
        let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
        let asker = Asker { step: None, observer: &observer, cancel };
        let diff_ids = &image.config().value().rootfs.diff_ids;
        let layers: Vec<Layer> = match reference {
            // Layers that no build has read may still be where the image came from.
            Some(reference) => Layer::of_image(reference, diff_ids, image.manifest().value()),
            None => diff_ids.iter().copied().map(Layer::stored).collect(),
        };
        layers.iter().map(|layer| Ok(library.index(layer, asker)?)).collect()
    }

    /// Returns the newest build that made an image, alone or in an index.
    pub(super) fn build_of(&self, manifest: Digest, index: Option<Digest>) -> Result<Option<Build>, Error> {
        let found = match (self.store.build_of(manifest)?, index) {
            (None, Some(index)) => self.store.build_of(index)?,
            (found, _) => found,
        };
        found.map(|build| self.whole(build)).transpose()
    }

    /// Returns the image that a build began with, and how many layers it gave.
    pub(super) fn base(&self, build: &Build, diff_ids: &[DiffId]) -> Result<Option<(String, usize)>, Error> {
        for step in &build.steps {
            let (Some(name), Some(manifest)) = (step.place.text.strip_prefix("FROM "), step.key) else { continue };
            // It may have been removed since.
            let Ok(base) = Image::open(&self.store, manifest) else { continue };
            let layers = &base.config().value().rootfs.diff_ids;
            if !layers.is_empty() && diff_ids.starts_with(layers) {
                return Ok(Some((name.to_owned(), layers.len())));
            }
        }
        Ok(None)
    }

    pub(super) fn items(&self, config: &ImageConfig, build: Option<&Build>) -> Result<Vec<Item>, Error> {
        let written = build.map_or(&[][..], |build| &build.facts.history);
        let first_own = config.history.len().saturating_sub(written.len());
        let mut layers = config.rootfs.diff_ids.iter().enumerate();
        let mut items = Vec::new();
        for (place, history) in config.history.iter().enumerate() {
            let layer = if history.empty_layer { None } else { layers.next() };
            let made = match layer {
                Some((number, diff_id)) => {
                    let before = config.rootfs.diff_ids[..number].iter().filter(|other| *other == diff_id).count();
                    self.made(*diff_id, before, build)?
                }
                None => None,
            };
            let own = place.checked_sub(first_own).and_then(|place| written.get(place).cloned().flatten());
            // Layers that were written anew are no step's, but the instructions still are.
            let made = made.or_else(|| wrote(build?, own.as_ref()?));
            items.push(Item {
                history: history.clone(),
                layer: layer.map(|(number, _)| number),
                diff_id: layer.map(|(_, diff_id)| *diff_id),
                written: own.or_else(|| made.as_ref().and_then(|made| made.step.facts.written())),
                made,
            });
        }
        Ok(items)
    }

    /// Returns the step that led to a layer: in this build if it is there, else in the one that ran it. Steps that change
    /// nothing lead to equal layers, of which so many stand `before` this one.
    fn made(&self, layer: DiffId, before: usize, build: Option<&Build>) -> Result<Option<Made>, Error> {
        let all: Vec<(BuildId, BuildStep)> =
            self.store.steps_making(layer)?.into_iter().map(|(build, step)| (build, recorded(step))).collect();
        let ran = all.iter().find(|(_, step)| step.outcome == Outcome::Done);
        let own = all.iter().find(|(id, _)| build.is_some_and(|build| build.id == *id));
        let Some((of, _)) = own.or(ran).or(all.last()) else { return Ok(None) };
        let alike: Vec<&BuildStep> = all.iter().filter(|(id, _)| id == of).map(|(_, step)| step).collect();
        let step = (*alike.get(before).unwrap_or(&alike[alike.len() - 1])).clone();
        let ran = all.iter().find(|(_, other)| other.outcome == Outcome::Done && other.place == step.place);
        Ok(Some(Made { build: of.clone(), duration: ran.map(|(_, step)| step.duration), step }))
    }
}

/// Returns the step of a build that an instruction became.
fn wrote(build: &Build, written: &Written) -> Option<Made> {
    let step = build.steps.iter().find(|step| step.facts.written().as_ref() == Some(written))?.clone();
    let duration = (step.outcome == Outcome::Done).then_some(step.duration);
    Some(Made { build: build.id.clone(), duration, step })
}

/// Returns a path without the links in its directories; of one that is not there, as it was given.
fn canonical(view: &View, path: &[u8]) -> EntryPath {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let plain = parts.collect::<Vec<_>>().join(&b'/');
    view.resolve_parent(&plain).map_or(plain, |found| found.full_path())
}

fn touches(indexes: &[Arc<Index>], path: &[u8]) -> Vec<Touch> {
    let mut touches = Vec::new();
    let mut before: Option<(Kind, Metadata)> = None;
    for (layer, index) in indexes.iter().enumerate() {
        let is_removed = before.is_some() && index.entries().any(|entry| removes(&entry.kind, &entry.path, path));
        if is_removed {
            before = None;
        }
        let found = index.entries().find(|entry| entry.path == path && !is_deletion(&entry.kind));
        let Some(entry) = found else {
            if is_removed {
                touches.push(Touch { layer, change: TouchKind::Removed, metadata: None });
            }
            continue;
        };
        let kind = content_of(index, &entry.kind);
        let change = match &before {
            None => TouchKind::Added,
            Some((old, _)) if !is_same(old, &kind) => TouchKind::Content,
            Some((_, old)) if old.is_same_but_for_time(&entry.metadata) => TouchKind::Rewritten,
            Some(_) => TouchKind::Metadata,
        };
        let size = if let Kind::File { size, .. } = kind { size } else { 0 };
        touches.push(Touch { layer, change, metadata: Some((entry.metadata.clone(), size)) });
        before = Some((kind, entry.metadata.clone()));
    }
    touches
}

fn is_deletion(kind: &Kind) -> bool {
    matches!(kind, Kind::Whiteout | Kind::Opaque)
}

/// Tells whether an entry of a later layer takes away what was at `path`.
fn removes(kind: &Kind, at: &[u8], path: &[u8]) -> bool {
    let is_above = path.len() > at.len() && path.starts_with(at) && (at.is_empty() || path[at.len()] == b'/');
    match kind {
        Kind::Whiteout => at == path || is_above,
        Kind::Directory => false,
        // What is no directory has nothing below it.
        _ => is_above,
    }
}

/// Returns what a name of a layer is, where it is another name of a file of the same layer.
fn content_of(index: &Index, kind: &Kind) -> Kind {
    let Kind::Hardlink { target } = kind else { return kind.clone() };
    let file = index.entries().find(|entry| entry.path == *target && matches!(entry.kind, Kind::File { .. }));
    file.map_or_else(|| kind.clone(), |file| file.kind.clone())
}

fn is_same(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::File { digest: one, .. }, Kind::File { digest: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Entry;

    fn index(entries: &[(&str, Kind, u32)]) -> Arc<Index> {
        let entry = |(path, kind, mode): &(&str, Kind, u32)| Entry {
            path: path.as_bytes().to_vec(),
            kind: kind.clone(),
            metadata: Metadata { mode: *mode, ..Metadata::default() },
        };
        Arc::new(entries.iter().map(entry).collect())
    }

    fn file(text: &str) -> Kind {
        Kind::File { size: text.len() as u64, digest: Digest::of(text.as_bytes()), offset: 0 }
    }

    #[test]
    fn every_touch_of_a_path_is_told() {
        use TouchKind::{Added, Content, Metadata, Removed, Rewritten};
        let layers = [
            index(&[("d", Kind::Directory, 0o755), ("d/a", file("1"), 0o644), ("d/b", file("b"), 0o644)]),
            index(&[("d/a", file("2"), 0o644)]),
            index(&[("d/a", file("2"), 0o755)]),
            index(&[("d/a", file("2"), 0o755)]),
            index(&[("other", file("x"), 0o644)]),
            index(&[("d", Kind::Whiteout, 0)]),
            index(&[("d", Kind::Directory, 0o755), ("d/a", file("2"), 0o755)]),
            index(&[("d", Kind::Directory, 0o755), ("d", Kind::Opaque, 0)]),
        ];
        let told = |path: &str| -> Vec<(usize, TouchKind)> {
            touches(&layers, path.as_bytes()).into_iter().map(|touch| (touch.layer, touch.change)).collect()
        };
        let expected =
            [(0, Added), (1, Content), (2, Metadata), (3, Rewritten), (5, Removed), (6, Added), (7, Removed)];
        assert_eq!(told("d/a"), expected);
        assert_eq!(told("d/b"), [(0, Added), (5, Removed)]);
        assert_eq!(told("nope"), []);
    }
}
