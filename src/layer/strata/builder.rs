use std::sync::Arc;

use super::{GONE, IMPLIED, Place, ROOT, Strata, Version};
use crate::layer::view::{components, join};
use crate::layer::{Entry, EntryPath, Kind, PlaceId, in_tree_order};

/// Puts places together, in the order of a tree.
pub(super) struct Builder {
    strata: Strata,
    /// The directories from the root to the place that was added last, and that itself; those past `depth` are spare.
    frames: Vec<Frame>,
    depth: usize,
    path: EntryPath,
}

/// A place whose content is still to come.
#[derive(Default)]
struct Frame {
    place: PlaceId,
    path_length: usize,
    /// What layers put there, base first.
    own: Vec<Version>,
    /// Layers that take away what lower ones put there, base first.
    removed_by: Vec<u32>,
    /// And those that take away what lower ones put below it.
    emptied_by: Vec<u32>,
}

impl Frame {
    fn is_there(&self, after: u32) -> bool {
        let last = self.own.iter().rev().find(|version| version.layer <= after);
        last.is_some_and(|last| !self.removed_by.iter().any(|&layer| last.layer < layer && layer <= after))
    }

    fn imply(&mut self, layer: u32) {
        let place = self.own.partition_point(|version| version.layer <= layer);
        self.own.insert(place, Version { layer, entry: IMPLIED });
    }
}

impl Builder {
    pub(super) fn new(layers: Vec<Arc<[Entry]>>) -> Builder {
        let strata = Strata { layers, names: Vec::new(), places: Vec::new(), versions: Vec::new() };
        Builder { strata, frames: Vec::new(), depth: 0, path: Vec::new() }
    }

    pub(super) fn build(mut self) -> Strata {
        let layers = self.strata.layers.clone();
        let entry = |&(layer, place): &(u32, u32)| &layers[layer as usize][place as usize];
        let all = (0..).zip(&layers).flat_map(|(layer, entries)| (0..entries.len() as u32).map(move |at| (layer, at)));
        let mut sorted: Vec<(u32, u32)> = all.collect();
        // A stable sort, which finds what is sorted already, as most layers are.
        sorted.sort_by(|a, b| in_tree_order(&entry(a).path, &entry(b).path));
        self.strata.places.reserve(sorted.len() + 1);
        self.strata.versions.reserve(sorted.len() + 1);
        self.open(b"");
        self.frames[0].imply(0);
        for same in sorted.chunk_by(|a, b| entry(a).path == entry(b).path) {
            self.go_to(&entry(&same[0]).path);
            for each in same {
                self.add(entry(each), Version { layer: each.0, entry: each.1 });
            }
        }
        while self.depth > 0 {
            self.close();
        }
        self.strata
    }

    /// Makes the place at `path` the last one, with all above it.
    fn go_to(&mut self, path: &[u8]) {
        while !is_at_or_below(path, &self.path) {
            self.close();
        }
        let rest = path.get(self.path.len()..).unwrap_or_default();
        for name in components(rest) {
            self.open(name);
        }
    }

    fn open(&mut self, name: &[u8]) {
        let place = self.strata.places.len();
        let parent = self.depth.checked_sub(1).map_or(ROOT, |last| self.frames[last].place);
        let start = self.strata.names.len();
        self.strata.names.extend_from_slice(name);
        self.strata.places.push(Place {
            name: start,
            name_length: name.len() as u32,
            parent: parent as u32,
            end: 0,
            versions: 0,
            version_count: 0,
        });
        if !name.is_empty() {
            join(&mut self.path, name);
        }
        if self.frames.len() == self.depth {
            self.frames.push(Frame::default());
        }
        let (above, rest) = self.frames.split_at_mut(self.depth);
        let frame = &mut rest[0];
        (frame.place, frame.path_length) = (place, self.path.len());
        frame.own.clear();
        frame.removed_by.clear();
        frame.removed_by.extend(above.last().into_iter().flat_map(|parent| &parent.emptied_by));
        frame.emptied_by.clone_from(&frame.removed_by);
        self.depth += 1;
    }

    /// Adds what one layer says of the last place.
    fn add(&mut self, entry: &Entry, version: Version) {
        let (above, rest) = self.frames.split_at_mut(self.depth - 1);
        let (frame, layer) = (&mut rest[0], version.layer);
        if entry.kind == Kind::Whiteout {
            insert(&mut frame.removed_by, layer);
        }
        if entry.kind != Kind::Directory {
            insert(&mut frame.emptied_by, layer);
        }
        if matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            return;
        }
        // Whatever a layer has twice, the second one replaces the first.
        frame.own.retain(|other| other.layer != layer);
        let place = frame.own.partition_point(|other| other.layer < layer);
        frame.own.insert(place, version);
        for parent in above.iter_mut().rev() {
            if parent.is_there(layer) {
                break;
            }
            parent.imply(layer);
        }
    }

    /// Ends the last place.
    fn close(&mut self) {
        self.depth -= 1;
        let frame = &self.frames[self.depth];
        let versions = &mut self.strata.versions;
        let first = versions.len();
        let mut removals = frame.removed_by.iter().copied().peekable();
        let mut is_there = false;
        for version in &frame.own {
            while let Some(layer) = removals.next_if(|&layer| layer <= version.layer) {
                if is_there && layer < version.layer {
                    versions.push(Version { layer, entry: GONE });
                    is_there = false;
                }
            }
            versions.push(*version);
            is_there = true;
        }
        if let Some(layer) = removals.next().filter(|_| is_there) {
            versions.push(Version { layer, entry: GONE });
        }
        let end = self.strata.places.len() as u32;
        let place = &mut self.strata.places[frame.place];
        (place.end, place.versions, place.version_count) = (end, first as u32, (versions.len() - first) as u32);
        let parent = self.depth.checked_sub(1).map_or(0, |above| self.frames[above].path_length);
        self.path.truncate(parent);
    }
}

fn insert(layers: &mut Vec<u32>, layer: u32) {
    if let Err(place) = layers.binary_search(&layer) {
        layers.insert(place, layer);
    }
}

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    path.starts_with(directory)
        && (directory.is_empty() || path.len() == directory.len() || path[directory.len()] == b'/')
}
