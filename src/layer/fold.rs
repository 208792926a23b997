use std::collections::{HashMap, HashSet, VecDeque};

use super::strata::{GONE, IMPLIED, Version};
use super::{Entry, Kind, Metadata, PlaceId, ROOT, Strata};

/// Into which layers what is seen is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Each content into the first layer that has it at its path, with the mode and owner that later layers gave it.
    FirstOwner,
    /// All into one.
    One,
}

/// The upper layers of a stack written anew, without what is not seen: over the others they make the same tree as before,
/// to the last byte and attribute.
///
/// What is seen of them, and which deletions hide something below, does not depend on the layer it is in. So any way of
/// sorting it is right, as long as the last layer that has a directory has it as it is seen.
#[derive(Debug)]
pub struct Fold<'a> {
    strata: &'a Strata,
    base: u32,
    sort: Sort,
    rows: Vec<Row>,
    /// Names that become hard links, and what to.
    links: HashMap<PlaceId, PlaceId>,
    /// By place: of a directory, the layer from which on it is as it is seen.
    settled: Vec<u32>,
}

/// Something that goes into a new layer. In the order of the new layers, of those that have the content, and of their
/// archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// The new layer, counted from 0.
    out: u32,
    /// The layer that has it, counted from 0, base first.
    layer: u32,
    /// Its entry there; [`NOWHERE`] of a deletion that no entry spells out.
    entry: u32,
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Row {
    fn source(&self) -> Version {
        Version { layer: self.layer, entry: self.entry }
    }
}

/// The content of a file, where one of its names is, and what is there.
type Name = (Version, PlaceId, Version);

/// One entry of a new layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The entry as it is written. Of a file, `offset` is that in the layer that has the content.
    pub entry: Entry,
    /// The layer that has the content, counted from 0, base first. Contents come in the order of these layers, and of the
    /// archive of each.
    pub layer: usize,
}

impl<'a> Fold<'a> {
    /// Sorts what is seen of the layers over the first `base`.
    pub fn new(strata: &'a Strata, base: usize, sort: Sort) -> Fold<'a> {
        let settled = vec![0; strata.places()];
        let mut fold = Fold { strata, base: base as u32, sort, rows: Vec::new(), links: HashMap::new(), settled };
        fold.add_files();
        fold.add_deletions();
        fold.add_others();
        fold.add_directories();
        fold.rows.sort_unstable();
        fold
    }

    /// Returns how many new layers there are; some may be empty.
    pub fn layers(&self) -> usize {
        match self.sort {
            Sort::FirstOwner => self.strata.layers() - self.base as usize,
            Sort::One => 1,
        }
    }

    /// Tells whether nothing goes into a new layer.
    pub fn is_empty(&self, out: usize) -> bool {
        self.rows_of(out).is_empty()
    }

    /// Returns how many bytes the contents of a new layer have.
    pub fn bytes(&self, out: usize) -> u64 {
        self.rows_of(out).iter().map(|row| self.kind(*row).extent().1).sum()
    }

    /// Iterates over the entries of a new layer.
    pub fn entries(&self, out: usize) -> impl Iterator<Item = Folded> {
        let rows = self.rows_of(out).iter();
        Entries { fold: self, rows, queue: VecDeque::new(), directories: HashSet::new() }
    }

    /// Returns the layer that a new one is equal to, counted from 0, base first.
    pub fn unchanged(&self, out: usize) -> Option<usize> {
        let layer = self.base as usize + out;
        let entries = self.strata.layer(layer)?;
        (self.sort == Sort::FirstOwner && self.entries(out).map(|folded| folded.entry).eq(entries.iter().cloned()))
            .then_some(layer)
    }

    fn rows_of(&self, out: usize) -> &[Row] {
        let start = self.rows.partition_point(|row| (row.out as usize) < out);
        let end = self.rows.partition_point(|row| row.out as usize <= out);
        &self.rows[start..end]
    }

    fn push(&mut self, out: u32, Version { layer, entry }: Version, place: PlaceId) {
        let out = if self.sort == Sort::One { 0 } else { out - self.base };
        self.rows.push(Row { out, layer, entry, place: place as u32 });
    }

    /// Returns what is seen at a place, if an upper layer put it there.
    fn seen(&self, place: PlaceId) -> Option<Version> {
        self.strata.last(place).filter(|version| version.layer >= self.base && version.entry != IMPLIED)
    }

    fn kind(&self, row: Row) -> Kind {
        if let Some(target) = self.links.get(&(row.place as usize)) {
            return Kind::Hardlink { target: self.strata.path(*target) };
        }
        if row.entry == NOWHERE { Kind::Whiteout } else { self.strata.at(row.source()).kind.clone() }
    }

    /// Iterates over what upper layers put at a place, base first.
    fn uppers(&self, place: PlaceId) -> impl DoubleEndedIterator<Item = Version> + use<'a> {
        let versions: &'a [Version] = self.strata.versions(place);
        let base = self.base;
        versions.iter().copied().filter(move |version| version.layer >= base && version.entry < IMPLIED)
    }

    fn add_files(&mut self) {
        let is_file = |place: &PlaceId| {
            let kind = self.seen(*place).map(|version| &self.strata.at(version).kind);
            matches!(kind, Some(Kind::File { .. } | Kind::Hardlink { .. }))
        };
        let with_source = |place: PlaceId| {
            let version = self.seen(place)?;
            Some((self.strata.source(version)?, place, version))
        };
        let mut names: Vec<Name> = (0..self.strata.places()).filter(is_file).filter_map(with_source).collect();
        names.sort_unstable();
        let own: Vec<Version> = names.chunk_by(|a, b| a.0 == b.0).map(|names| names[0].0).collect();
        let mut taken = HashSet::new();
        for names in names.chunk_by(|a, b| a.0 == b.0) {
            let moved = self.first_owner(names).filter(|source| own.binary_search(source).is_err());
            let moved = moved.filter(|source| taken.insert(*source));
            self.add_file(moved.unwrap_or(names[0].0), moved.is_some(), names);
        }
    }

    /// Adds all names of one file, whose content `source` has.
    fn add_file(&mut self, source: Version, is_moved: bool, names: &[Name]) {
        let entry = |&(_, place, seen): &Name| {
            let moved = || self.uppers(place).find(|version| self.strata.source(*version) == Some(source));
            (if is_moved { moved() } else { Some(seen) }.unwrap_or(source), place)
        };
        let mut entries: Vec<(Version, PlaceId)> = names.iter().map(entry).collect();
        // The name with the content may not be seen any more; then another one gets it.
        let first = entries.iter().position(|(entry, _)| *entry == source).unwrap_or(0);
        entries[first].0 = source;
        self.links.extend(entries.iter().map(|(_, place)| (*place, entries[first].1)).filter(|(a, b)| a != b));
        let out = if is_moved { source.layer } else { names[0].2.layer };
        for (entry, place) in entries {
            self.push(out, entry, place);
        }
    }

    /// Returns where the content of a file is first under one of its names.
    fn first_owner(&self, names: &[Name]) -> Option<Version> {
        let &(own, _, seen) = names.first().filter(|_| self.sort == Sort::FirstOwner)?;
        let earlier = |place| self.uppers(place).take_while(|version| version.layer < seen.layer);
        let within = |version: Version| self.strata.source(version).filter(|source| source.layer == version.layer);
        let sources = names.iter().flat_map(|(_, place, _)| earlier(*place)).filter_map(within);
        sources.filter(|source| self.is_same_content(*source, own)).min()
    }

    fn is_same_content(&self, one: Version, other: Version) -> bool {
        let content = |source| match &self.strata.at(source).kind {
            Kind::File { size, digest, .. } => Some((*size, *digest)),
            _ => None,
        };
        content(one).is_some() && content(one) == content(other)
    }

    /// Adds links, devices and pipes.
    fn add_others(&mut self) {
        for place in 0..self.strata.places() {
            let Some(seen) = self.seen(place) else { continue };
            let kind = &self.strata.at(seen).kind;
            if matches!(kind, Kind::File { .. } | Kind::Hardlink { .. } | Kind::Directory) {
                continue;
            }
            let first = self.uppers(place).find(|version| self.strata.at(*version).kind == *kind);
            let source = first.filter(|_| self.sort == Sort::FirstOwner).unwrap_or(seen);
            self.push(source.layer, source, place);
        }
    }

    /// Adds the deletions that hide something of the base.
    fn add_deletions(&mut self) {
        let is_directory = |place| self.strata.last(place).is_some_and(|version| self.strata.is_directory(version));
        let mut deleted = Vec::new();
        for place in ROOT + 1..self.strata.places() {
            let was_there = self.base > 0 && self.strata.version(place, Some(self.base as usize - 1)).is_some();
            let in_directory = self.strata.parent(place).is_some_and(is_directory);
            if let Some(last) = self.strata.versions(place).last().filter(|last| last.entry == GONE)
                && was_there
                && in_directory
            {
                deleted.push((place, last.layer));
            }
        }
        let mut spelled = HashSet::new();
        for layer in self.base..self.strata.layers() as u32 {
            for (entry, marker) in (0..).zip(self.strata.layer(layer as usize).unwrap_or_default()) {
                if marker.kind == Kind::Whiteout
                    && let Some(place) = self.strata.lookup(&marker.path)
                    && deleted.binary_search(&(place, layer)).is_ok()
                    && spelled.insert(place)
                {
                    self.push(layer, Version { layer, entry }, place);
                }
            }
        }
        for (place, layer) in deleted {
            if !spelled.contains(&place) {
                self.push(layer, Version { layer, entry: NOWHERE }, place);
            }
        }
    }

    /// Adds directories, where they were last changed: a layer that nothing was moved into or out of stays as it was.
    /// Layers that would have nothing else give them to lower ones.
    fn add_directories(&mut self) {
        let all = (ROOT + 1..self.strata.places()).filter_map(|place| Some((place, self.seen(place)?)));
        let all = all.filter(|(_, seen)| self.strata.is_directory(*seen));
        // One that is as the base has it, as layers have them for what is in them, is so in all new layers.
        let mut directories: Vec<_> = all.filter(|(place, seen)| !self.is_as_in_base(*place, *seen)).collect();
        if self.sort == Sort::FirstOwner {
            self.drop_layers_of_directories(&mut directories);
        }
        for (place, version) in directories {
            self.settled[place] = version.layer;
            self.push(version.layer, version, place);
        }
    }

    fn drop_layers_of_directories(&self, directories: &mut [(PlaceId, Version)]) {
        let others: HashSet<u32> = self.rows.iter().map(|row| row.out + self.base).collect();
        let lower = |(place, version): (PlaceId, Version)| {
            let mut lower = self.uppers(place).rev().skip_while(|other| other.layer >= version.layer);
            lower.find(|other| self.strata.is_directory(*other))
        };
        for layer in (self.base..self.strata.layers() as u32).rev().filter(|layer| !others.contains(layer)) {
            let mut here: Vec<_> = directories.iter_mut().filter(|(_, version)| version.layer == layer).collect();
            if here.iter().all(|directory| lower(**directory).is_some()) {
                for directory in &mut here {
                    directory.1 = lower(**directory).expect("it was just seen");
                }
            }
        }
    }

    /// Tells whether a directory is just as the base has it.
    fn is_as_in_base(&self, place: PlaceId, seen: Version) -> bool {
        let below = self.base.checked_sub(1).and_then(|last| self.strata.version(place, Some(last as usize)));
        below.is_some_and(|below| {
            below.entry < IMPLIED
                && self.strata.is_directory(below)
                && self.strata.at(below).metadata == self.strata.at(seen).metadata
        })
    }

    /// Returns what a place is like in a new layer.
    fn metadata(&self, place: PlaceId, out: u32) -> Option<Metadata> {
        let layer = self.base + out;
        let before = (self.sort == Sort::FirstOwner && layer < self.settled[place]).then_some(layer as usize);
        let before = before.and_then(|layer| self.strata.version(place, Some(layer)));
        let version =
            before.filter(|version| self.strata.is_directory(*version)).or_else(|| self.strata.last(place))?;
        // All names of a file are like the one with the content.
        let like = |version| self.strata.source(version).unwrap_or(version);
        (version.entry < IMPLIED).then(|| self.strata.at(like(version)).metadata.clone())
    }
}

struct Entries<'a> {
    fold: &'a Fold<'a>,
    rows: std::slice::Iter<'a, Row>,
    queue: VecDeque<Folded>,
    /// Those that were written.
    directories: HashSet<PlaceId>,
}

impl Iterator for Entries<'_> {
    type Item = Folded;

    fn next(&mut self) -> Option<Folded> {
        while self.queue.is_empty() {
            let row = *self.rows.next()?;
            self.add(row);
        }
        self.queue.pop_front()
    }
}

impl Entries<'_> {
    fn add(&mut self, row: Row) {
        let (strata, place) = (self.fold.strata, row.place as usize);
        let above = std::iter::successors(strata.parent(place), |place| strata.parent(*place));
        let above: Vec<PlaceId> = above.take_while(|place| *place != ROOT).collect();
        for directory in above.into_iter().rev() {
            self.put(directory, row, Kind::Directory);
        }
        self.put(place, row, self.fold.kind(row));
    }

    fn put(&mut self, place: PlaceId, row: Row, kind: Kind) {
        if kind == Kind::Directory && !self.directories.insert(place) {
            return;
        }
        let metadata =
            if kind == Kind::Whiteout { Some(Metadata::default()) } else { self.fold.metadata(place, row.out) };
        // A directory that no layer says anything of needs no entry here either.
        let Some(metadata) = metadata else { return };
        let entry = Entry { path: self.fold.strata.path(place), kind, metadata };
        self.queue.push_back(Folded { entry, layer: row.layer as usize });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{EntryPath, Index, Mtime, Usage, View};
    use super::*;
    use crate::oci::Digest;

    const NAMES: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];

    /// What a layer may do at one of the names.
    #[derive(Debug, Clone)]
    enum Act {
        Nothing,
        File(u8),
        Directory,
        Link,
        Hardlink(usize),
        Remove,
        Empty,
    }

    fn act(with_opaque: bool) -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Nothing),
            4 => (0..3_u8).prop_map(Act::File),
            2 => Just(Act::Directory),
            1 => Just(Act::Link),
            2 => (0..NAMES.len()).prop_map(Act::Hardlink),
            2 => Just(Act::Remove),
            u32::from(with_opaque) => Just(Act::Empty),
        ]
    }

    /// A layer as kiln writes them: with the directories of everything in it.
    fn layer(acts: &[(Act, u32)]) -> Index {
        let mut entries: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
        let new = |path: &str, kind, mode: u32| Entry {
            path: path.as_bytes().to_vec(),
            kind,
            metadata: Metadata {
                mode,
                mtime: Mtime { seconds: i64::from(mode), nanoseconds: 0 },
                ..Metadata::default()
            },
        };
        for (name, (act, mode)) in NAMES.iter().zip(acts) {
            let mut above = name.match_indices('/').filter_map(|(at, _)| entries.get(&name[..at]));
            let is_in_nothing =
                above.any(|above| above.iter().any(|entry| !matches!(entry.kind, Kind::Directory | Kind::Opaque)));
            if is_in_nothing {
                continue;
            }
            let link = |target: &usize| {
                let target = entries.get(NAMES[*target])?.first()?;
                matches!(target.kind, Kind::File { .. }).then(|| Kind::Hardlink { target: target.path.clone() })
            };
            let kind = match act {
                Act::Nothing => continue,
                Act::File(content) => {
                    Kind::File { size: 10 + u64::from(*content), digest: Digest::of(&[*content]), offset: 0 }
                }
                Act::Directory | Act::Empty => Kind::Directory,
                Act::Link => Kind::Symlink { target: b"nowhere".to_vec() },
                Act::Hardlink(target) => link(target).unwrap_or(Kind::Fifo),
                Act::Remove => Kind::Whiteout,
            };
            let above: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
            for at in above {
                entries.entry(&name[..at]).or_insert_with(|| vec![new(&name[..at], Kind::Directory, *mode)]);
            }
            let metadata = if kind == Kind::Whiteout { 0 } else { *mode };
            let mut here = vec![new(name, kind, metadata)];
            if let Act::Empty = act {
                here.push(new(name, Kind::Opaque, 0));
            }
            entries.insert(name, here);
        }
        let mut entries: Vec<Entry> = entries.into_values().flatten().collect();
        for (place, entry) in (0..).zip(&mut entries) {
            if let Kind::File { offset, .. } = &mut entry.kind {
                *offset = 1000 * place;
            }
        }
        entries.into_iter().collect()
    }

    /// A tree as a list of what can be told of it from within.
    fn tree(layers: &[Arc<Index>]) -> Vec<(EntryPath, Kind, Metadata, usize)> {
        let view = View::of(layers.iter().map(|layer| &**layer));
        let mut files = HashMap::new();
        let seen = |(path, node): (EntryPath, &super::super::Node)| {
            let count = files.len();
            let file = if node.is_directory() { 0 } else { *files.entry(node.id).or_insert(count + 1) };
            let mut kind = node.kind.clone();
            if let Kind::File { offset, .. } = &mut kind {
                *offset = 0;
            }
            (path, kind, node.metadata.clone(), file)
        };
        view.walk(b"").map(seen).collect()
    }

    fn folded(layers: &[Arc<Index>], base: usize, sort: Sort) -> Vec<Arc<Index>> {
        let strata = Strata::of(layers.to_vec());
        let fold = Fold::new(&strata, base, sort);
        let new = (0..fold.layers()).map(|out| {
            let entries: Vec<Folded> = fold.entries(out).collect();
            // Contents can be copied in one pass over each layer.
            let order: Vec<_> = entries
                .iter()
                .filter(|folded| matches!(folded.entry.kind, Kind::File { .. }))
                .map(|folded| (folded.layer, folded.entry.kind.extent().0))
                .collect();
            assert!(order.is_sorted(), "{order:?}");
            let bytes: u64 = entries.iter().map(|folded| folded.entry.kind.extent().1).sum();
            assert_eq!(fold.bytes(out), bytes);
            assert_eq!(fold.is_empty(out), entries.is_empty());
            let index: Index = entries.into_iter().map(|folded| folded.entry).collect();
            if let Some(same) = fold.unchanged(out) {
                assert_eq!(index, *layers[same]);
            }
            Arc::new(index)
        });
        layers[..base].iter().cloned().chain(new).collect()
    }

    fn stacks() -> impl Strategy<Value = (Vec<Arc<Index>>, usize)> {
        let acts = |with_opaque| proptest::collection::vec((act(with_opaque), 1..4_u32), NAMES.len());
        let base = proptest::collection::vec(acts(true), 0..3);
        let own = proptest::collection::vec(acts(false), 1..5);
        (base, own)
            .prop_map(|(base, own)| (base.iter().chain(&own).map(|acts| Arc::new(layer(acts))).collect(), base.len()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_tree_stays_the_same_and_nothing_is_wasted((layers, base) in stacks()) {
            let before = tree(&layers);
            for sort in [Sort::FirstOwner, Sort::One] {
                for base in [base, 0] {
                    let after = folded(&layers, base, sort);
                    prop_assert_eq!(&before, &tree(&after), "{:?} over {}: {:#?}", sort, base, after);
                    prop_assert_eq!(Usage::of(&after[base..]).wasted_bytes(), 0, "{:?} over {}: {:#?}", sort, base, after);
                }
            }
        }
    }
}
