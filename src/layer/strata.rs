mod builder;

use std::sync::Arc;

use builder::Builder;

use super::view::implied_directory;
use super::{Entry, EntryPath, Index, Kind, Metadata, View, in_tree_order};

/// Every path that any layer of a stack has, with what each layer did to it.
///
/// Where a [`View`] is the tree that one stack makes, strata are the trees of the stack after each of its layers, at
/// once: any two of them are compared in one pass over a few flat arrays, without a look at a layer. Places are in the
/// order of a tree, the root first, so what is below one follows it.
#[derive(Debug, Clone)]
pub struct Strata {
    /// The entries of each layer, whole: an [`Index`] is read in order alone, and these are looked at anywhere.
    layers: Vec<Arc<[Entry]>>,
    names: Vec<u8>,
    places: Vec<Place>,
    versions: Vec<Version>,
}

/// A path of some layer, by its number in the order of a tree.
pub type PlaceId = usize;

/// The root directory.
pub const ROOT: PlaceId = 0;

#[derive(Debug, Clone, Copy)]
struct Place {
    name: usize,
    name_length: u32,
    parent: u32,
    /// The first place that is not below this one.
    end: u32,
    versions: u32,
    version_count: u32,
}

/// What a layer put at a path, or that it took it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Version {
    pub(super) layer: u32,
    /// The entry's place in the layer's index, or one of the two below.
    pub(super) entry: u32,
}

/// Nothing is there any more.
pub(super) const GONE: u32 = u32::MAX;
/// A directory that is there because something is in it.
pub(super) const IMPLIED: u32 = u32::MAX - 1;

/// What is at a place after some layer.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The layer that put it there, counted from 0.
    pub layer: usize,
    /// What it put there; none for a directory that no layer has an entry for.
    pub entry: Option<&'a Entry>,
}

/// How a place differs between two trees of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It is in neither.
    Absent,
    /// It is in both, from the same layer or as good as.
    Unchanged,
    /// A file that was written again as it was, and takes its bytes twice.
    Rewritten,
    /// It is in the second alone.
    Added,
    /// It has another content, type, mode, owner or attribute.
    Modified,
    /// It is in the first alone.
    Removed,
}

/// How two trees of a stack differ, for each place.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Of the place itself.
    pub change: Vec<Change>,
    /// Whether anything below the place differs.
    pub is_changed_inside: Vec<bool>,
    /// Bytes of the files at and below the place; of what is removed, those it had. Another name of a file has none.
    pub bytes: Vec<u64>,
}

impl Strata {
    /// Merges the layers of a stack, base first.
    pub fn of(layers: Vec<Arc<Index>>) -> Strata {
        let entries = |layers: &[Arc<Index>]| layers.iter().map(|layer| layer.entries().collect()).collect();
        let strata = Builder::new(entries(&layers)).build();
        if !strata.leads_through_links() {
            return strata;
        }
        // An entry below a symbolic link of another layer is somewhere else than it says.
        Builder::new(without_links(&layers)).build()
    }

    /// Returns how many places there are: at least the root.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Returns how many layers there are.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Returns the last component of a place's path; none of the root's.
    pub fn name(&self, place: PlaceId) -> &[u8] {
        let Place { name, name_length, .. } = self.places[place];
        &self.names[name..name + name_length as usize]
    }

    /// Returns the directory that a place is in.
    pub fn parent(&self, place: PlaceId) -> Option<PlaceId> {
        (place != ROOT).then(|| self.places[place].parent as usize)
    }

    /// Returns the first place that is not below this one.
    pub fn end(&self, place: PlaceId) -> PlaceId {
        self.places[place].end as usize
    }

    /// Returns a place's path.
    pub fn path(&self, place: PlaceId) -> EntryPath {
        let mut names = Vec::new();
        let mut at = place;
        while let Some(parent) = self.parent(at) {
            names.push(self.name(at));
            at = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Iterates over what is directly in a place, after whatever layer.
    pub fn children(&self, place: PlaceId) -> impl Iterator<Item = PlaceId> {
        let end = self.end(place);
        let within = move |child: PlaceId| (child < end).then_some(child);
        std::iter::successors(within(place + 1), move |&child| within(self.end(child)))
    }

    /// Finds a path.
    pub fn lookup(&self, path: &[u8]) -> Option<PlaceId> {
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match in_tree_order(&self.path(middle), path) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Returns what is at a place after a layer, counted from 0; none is before the first.
    pub fn held(&self, place: PlaceId, after: Option<usize>) -> Option<Held<'_>> {
        self.resolve(self.version(place, after)?)
    }

    /// Returns every layer that put something at a place or took it away, with what it put there, base first.
    pub fn touches(&self, place: PlaceId) -> impl Iterator<Item = (usize, Option<Held<'_>>)> {
        self.versions(place).iter().map(|version| (version.layer as usize, self.resolve(*version)))
    }

    /// Returns the file whose content one name of it has, with the layer that has it.
    pub fn content<'a>(&'a self, held: Held<'a>) -> Option<(usize, &'a Entry)> {
        let entry = held.entry?;
        match &entry.kind {
            Kind::File { .. } => Some((held.layer, entry)),
            Kind::Hardlink { target } => {
                let file = self.linked(target, held.layer as u32)?;
                Some((file.layer as usize, self.at(file)))
            }
            _ => None,
        }
    }

    /// Compares the trees after two layers, each counted from 0; none is the empty tree.
    pub fn between(&self, before: Option<usize>, after: Option<usize>) -> Changes {
        let count = self.places.len();
        let mut changes = Changes {
            change: vec![Change::Absent; count],
            is_changed_inside: vec![false; count],
            bytes: vec![0; count],
        };
        for place in (0..count).rev() {
            let (old, new) = (self.version(place, before), self.version(place, after));
            let change = self.change(old, new);
            changes.change[place] = change;
            changes.bytes[place] += new.or(old).map_or(0, |version| self.own_bytes(version));
            let Some(parent) = self.parent(place) else { continue };
            if !matches!(change, Change::Absent | Change::Unchanged) || changes.is_changed_inside[place] {
                changes.is_changed_inside[parent] = true;
            }
            // What is gone takes nothing of a directory that is still there.
            if new.is_some() || self.version(parent, after).is_none() {
                changes.bytes[parent] += changes.bytes[place];
            }
        }
        changes
    }

    /// Compares what one layer put at a place with what was there before it.
    pub fn touch(&self, place: PlaceId, layer: usize) -> Change {
        self.change(self.version(place, layer.checked_sub(1)), self.version(place, Some(layer)))
    }

    /// Returns the entries of a layer.
    pub(super) fn layer(&self, layer: usize) -> Option<&[Entry]> {
        self.layers.get(layer).map(|entries| &**entries)
    }

    /// Returns the entry of a version that has one.
    pub(super) fn at(&self, Version { layer, entry }: Version) -> &Entry {
        &self.layers[layer as usize][entry as usize]
    }

    /// Returns what is at a place after all layers.
    pub(super) fn last(&self, place: PlaceId) -> Option<Version> {
        self.version(place, self.layers.len().checked_sub(1))
    }

    /// Returns the one with the content of a file, whichever of its names this is.
    pub(super) fn source(&self, name: Version) -> Option<Version> {
        match &self.at(name).kind {
            Kind::File { .. } => Some(name),
            Kind::Hardlink { target } => self.linked(target, name.layer),
            _ => None,
        }
    }

    /// Returns the file that a hard link of a layer names.
    fn linked(&self, target: &[u8], layer: u32) -> Option<Version> {
        /// Links to links come from nowhere but malice.
        const MAX_LINKS: usize = 8;
        let (mut target, mut layer) = (target, layer);
        for _ in 0..MAX_LINKS {
            let file = self.version(self.lookup(target)?, Some(layer as usize)).filter(|file| file.entry < IMPLIED)?;
            match &self.at(file).kind {
                Kind::File { .. } => return Some(file),
                Kind::Hardlink { target: next } => (target, layer) = (next, file.layer),
                _ => return None,
            }
        }
        None
    }

    /// Tells whether a directory was put somewhere.
    pub(super) fn is_directory(&self, version: Version) -> bool {
        version.entry == IMPLIED || version.entry < IMPLIED && self.at(version).kind == Kind::Directory
    }

    pub(super) fn versions(&self, place: PlaceId) -> &[Version] {
        let Place { versions, version_count, .. } = self.places[place];
        &self.versions[versions as usize..][..version_count as usize]
    }

    pub(super) fn version(&self, place: PlaceId, after: Option<usize>) -> Option<Version> {
        let after = after?;
        let last = self.versions(place).iter().rev().find(|version| version.layer as usize <= after);
        last.copied().filter(|version| version.entry != GONE)
    }

    fn resolve(&self, version: Version) -> Option<Held<'_>> {
        let layer = version.layer as usize;
        match version.entry {
            GONE => None,
            IMPLIED => Some(Held { layer, entry: None }),
            _ => Some(Held { layer, entry: Some(self.at(version)) }),
        }
    }

    fn own_bytes(&self, version: Version) -> u64 {
        let entry = self.resolve(version).and_then(|held| held.entry);
        entry.map_or(0, |entry| entry.kind.extent().1)
    }

    fn change(&self, old: Option<Version>, new: Option<Version>) -> Change {
        let (old, new) = match (old, new) {
            (None, None) => return Change::Absent,
            (None, Some(_)) => return Change::Added,
            (Some(_), None) => return Change::Removed,
            (Some(old), Some(new)) if old == new => return Change::Unchanged,
            (Some(old), Some(new)) => (old, new),
        };
        let (Some(old), Some(new)) = (self.resolve(old), self.resolve(new)) else { return Change::Absent };
        let implied = implied_directory();
        let is_same_metadata = Metadata::is_same_but_for_time(
            old.entry.map_or(&implied, |entry| &entry.metadata),
            new.entry.map_or(&implied, |entry| &entry.metadata),
        );
        match (self.content(old), self.content(new)) {
            (Some((_, a)), Some((_, b))) if is_same_metadata && is_same_kind(&a.kind, &b.kind) => Change::Rewritten,
            (None, None) if is_same_metadata && is_same_kind(old.kind(), new.kind()) => Change::Unchanged,
            _ => Change::Modified,
        }
    }

    /// Tells whether an entry stands below one that is a symbolic link in some layer.
    fn leads_through_links(&self) -> bool {
        let is_link = |place: PlaceId| {
            let mut held = self.touches(place).filter_map(|(_, held)| held);
            held.any(|held| matches!(held.kind(), Kind::Symlink { .. }))
        };
        (0..self.places.len()).any(|place| self.end(place) > place + 1 && is_link(place))
    }
}

impl<'a> Held<'a> {
    /// Returns what it is.
    pub fn kind(&self) -> &'a Kind {
        self.entry.map_or(&Kind::Directory, |entry| &entry.kind)
    }

    /// Returns its mode, owner and the like.
    pub fn metadata(&self) -> Metadata {
        self.entry.map_or_else(implied_directory, |entry| entry.metadata.clone())
    }
}

fn is_same_kind(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::File { digest: one, .. }, Kind::File { digest: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

/// Returns the layers with every entry where it really is.
fn without_links(layers: &[Arc<Index>]) -> Vec<Arc<[Entry]>> {
    let mut view = View::empty();
    let mut plain = Vec::new();
    for (slot, layer) in (0..).zip(layers) {
        let below = view.clone();
        view.apply(slot, layer);
        let real = |entry: Entry| {
            let found = match entry.kind {
                Kind::Opaque => below.resolve(&entry.path),
                Kind::Whiteout => below.resolve_parent(&entry.path),
                _ => view.resolve_parent(&entry.path),
            };
            match found {
                Ok(found) => Entry { path: found.full_path(), ..entry },
                Err(_) => entry,
            }
        };
        plain.push(layer.entries().map(real).collect());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

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

    fn link(target: &str) -> Kind {
        Kind::Symlink { target: target.as_bytes().to_vec() }
    }

    const DIRECTORY: Kind = Kind::Directory;

    /// Returns `A path size` for each place that is in either of the trees before and after a layer.
    fn told(strata: &Strata, layer: usize) -> Vec<String> {
        let changes = strata.between(layer.checked_sub(1), Some(layer));
        let row = |place: PlaceId| {
            let letter = match changes.change[place] {
                Change::Absent => return None,
                Change::Unchanged => '=',
                Change::Rewritten => 'W',
                Change::Added => 'A',
                Change::Modified => 'M',
                Change::Removed => 'R',
            };
            let path = String::from_utf8(strata.path(place)).unwrap();
            Some(format!("{letter} {path} {}", changes.bytes[place]))
        };
        (1..strata.places()).filter_map(row).collect()
    }

    #[test]
    fn every_layer_is_compared_with_the_one_below() {
        let strata = Strata::of(vec![
            index(&[
                ("d", DIRECTORY, 0o755),
                ("d/a", file("1"), 0o644),
                ("d/b", file("bb"), 0o644),
                ("e", link("d"), 0),
            ]),
            index(&[("d", DIRECTORY, 0o755), ("d/a", file("333"), 0o644), ("d/c/x", file("c"), 0o644)]),
            index(&[("d/a", Kind::Whiteout, 0), ("d/b", file("bb"), 0o644)]),
            index(&[("d/b", file("bb"), 0o755), ("d/c", Kind::Whiteout, 0)]),
            index(&[("d", DIRECTORY, 0o700), ("d", Kind::Opaque, 0), ("d/n", file("new"), 0o644)]),
            index(&[("d", file("x"), 0o644)]),
        ]);
        assert_eq!(told(&strata, 0), ["A d 3", "A d/a 1", "A d/b 2", "A e 0"]);
        assert_eq!(told(&strata, 1), ["= d 6", "M d/a 3", "= d/b 2", "A d/c 1", "A d/c/x 1", "= e 0"]);
        assert_eq!(told(&strata, 2), ["= d 3", "R d/a 3", "W d/b 2", "= d/c 1", "= d/c/x 1", "= e 0"]);
        assert_eq!(told(&strata, 3), ["= d 2", "M d/b 2", "R d/c 1", "R d/c/x 1", "= e 0"]);
        assert_eq!(told(&strata, 4), ["M d 3", "R d/b 2", "A d/n 3", "= e 0"]);
        assert_eq!(told(&strata, 5), ["M d 1", "R d/n 3", "= e 0"]);
    }

    /// The trees after each layer are those that a [`View`] has.
    #[test]
    fn trees_are_those_of_views() {
        let layers = vec![
            index(&[("usr/bin", DIRECTORY, 0o755), ("bin", link("usr/bin"), 0o777), ("usr/bin/sh", file("sh"), 0o755)]),
            index(&[("bin/tool", file("tool"), 0o755), ("bin/sh", Kind::Whiteout, 0)]),
            index(&[("a", file("file"), 0o644), ("b", Kind::Hardlink { target: b"a".to_vec() }, 0o644)]),
            index(&[("usr", Kind::Opaque, 0), ("bin", DIRECTORY, 0o700), ("bin/x", file("x"), 0o644)]),
            index(&[("", Kind::Opaque, 0), ("z/y/x", file("z"), 0o644)]),
            index(&[("z", Kind::Whiteout, 0), ("z/other", file("o"), 0o644)]),
            index(&[("z/y/again", file("o"), 0o644)]),
        ];
        let strata = Strata::of(layers.clone());
        for after in 0..layers.len() {
            let view = View::of(layers[..=after].iter().map(|layer| &**layer));
            let expected: Vec<EntryPath> = view.walk(b"").map(|(path, _)| path).collect();
            let is_there = |place: &PlaceId| strata.held(*place, Some(after)).is_some();
            let paths: Vec<EntryPath> = (1..strata.places()).filter(is_there).map(|place| strata.path(place)).collect();
            assert_eq!(paths, expected, "after layer {after}");
        }
    }

    #[test]
    fn a_link_has_the_content_of_its_file() {
        let hard = Kind::Hardlink { target: b"a".to_vec() };
        let own = Kind::Hardlink { target: b"own".to_vec() };
        let strata = Strata::of(vec![index(&[("a", file("1"), 0o644), ("b", hard, 0o644), ("own", own, 0)])]);
        let content = |path: &[u8]| {
            let held = strata.held(strata.lookup(path).unwrap(), Some(0)).unwrap();
            strata.content(held).map(|(layer, entry)| (layer, entry.path.clone()))
        };
        assert_eq!(content(b"b"), Some((0, b"a".to_vec())));
        assert_eq!(content(b"own"), None, "a link to itself leads nowhere");
        assert_eq!(strata.lookup(b"c"), None);
    }

    #[test]
    fn no_layers_are_an_empty_root() {
        let strata = Strata::of(Vec::new());
        assert_eq!((strata.places(), strata.children(ROOT).count()), (1, 0));
        assert_eq!(strata.between(None, None).bytes, [0]);
    }
}
