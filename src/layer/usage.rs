use std::collections::{HashMap, HashSet};

use super::{EntryPath, Index, Kind};

/// What the layers of an image take, and what of it nobody can see any more.
///
/// Sizes are those of the contents of files, in bytes. A file that is replaced or deleted by a later layer is still in its
/// own, is sent with the image, and is of no use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// One for each layer, base first.
    pub layers: Vec<LayerUsage>,
    /// Every path with content that is not seen, the most wasteful first, then in byte order.
    pub wasted: Vec<Waste>,
}

/// What one layer takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerUsage {
    /// Of all its files.
    pub bytes: u64,
    /// Of those that a later layer replaces or deletes.
    pub wasted_bytes: u64,
    /// Files, links and devices.
    pub files: u64,
    /// Names that it deletes.
    pub deletions: u64,
}

/// A path whose content is in an image and not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waste {
    /// As layers have it: relative to the root.
    pub path: EntryPath,
    /// Of all its hidden contents.
    pub bytes: u64,
    /// Layers with hidden content of it, base first, counted from 0.
    pub layers: Vec<usize>,
    /// The layer that hid the last of them.
    pub hidden_by: usize,
}

impl Usage {
    /// Measures a stack of layers, base first.
    pub fn of(layers: &[impl AsRef<Index>]) -> Usage {
        let mut usage = Usage { layers: vec![LayerUsage::default(); layers.len()], wasted: Vec::new() };
        let mut above = Above::default();
        let mut wasted: HashMap<EntryPath, Waste> = HashMap::new();
        for (number, layer) in layers.iter().enumerate().rev() {
            let index = layer.as_ref();
            // Contents that are seen by another name of their layer. What is hidden is kept until all names are known:
            // an index is read once.
            let (mut kept, mut hidden) = (HashSet::new(), Vec::new());
            for entry in index.entries() {
                usage.layers[number].count(&entry.kind);
                match (entry.kind, above.hides(&entry.path)) {
                    (Kind::Hardlink { target }, None) => drop(kept.insert(target)),
                    (Kind::File { size, .. }, Some(hidden_by)) => hidden.push((entry.path, size, hidden_by)),
                    _ => {}
                }
            }
            for (path, size, hidden_by) in hidden.into_iter().filter(|(path, ..)| !kept.contains(path)) {
                usage.layers[number].wasted_bytes += size;
                let new = || Waste { path: path.clone(), bytes: 0, layers: Vec::new(), hidden_by };
                let waste = wasted.entry(path.clone()).or_insert_with(new);
                waste.bytes += size;
                waste.layers.insert(0, number);
            }
            if number > 0 {
                above.add(number, index);
            }
        }
        usage.wasted = wasted.into_values().filter(|waste| waste.bytes > 0).collect();
        usage.wasted.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        usage
    }

    /// Returns the size of all contents.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Returns the size of what is not seen.
    pub fn wasted_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.wasted_bytes).sum()
    }

    /// Returns which part of all contents is seen: 1 where nothing is wasted.
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    pub fn efficiency(&self) -> f64 {
        match self.bytes() {
            0 => 1.0,
            all => 1.0 - self.wasted_bytes() as f64 / all as f64,
        }
    }
}

impl LayerUsage {
    fn count(&mut self, kind: &Kind) {
        match kind {
            Kind::Directory => {}
            Kind::Whiteout | Kind::Opaque => self.deletions += 1,
            Kind::File { size, .. } => {
                self.bytes += size;
                self.files += 1;
            }
            _ => self.files += 1,
        }
    }
}

/// What higher layers hide of lower ones, with the lowest layer that does.
#[derive(Default)]
struct Above {
    /// Hidden themselves, with all below them.
    names: HashMap<EntryPath, usize>,
    /// Directories of which everything below is hidden.
    directories: HashMap<EntryPath, usize>,
}

impl Above {
    /// Returns the layer that hides what a lower layer has at `path`.
    fn hides(&self, path: &[u8]) -> Option<usize> {
        let own = self.names.get(path).copied();
        let slashes = (0..path.len()).filter(|&at| path[at] == b'/');
        let parents = slashes.filter_map(|at| {
            let parent = &path[..at];
            self.names.get(parent).into_iter().chain(self.directories.get(parent)).min().copied()
        });
        let root = self.directories.get(&b""[..]).copied();
        parents.chain(own).chain(root).min()
    }

    /// Adds a layer, which is lower than those before.
    fn add(&mut self, number: usize, index: &Index) {
        for entry in index.entries() {
            match entry.kind {
                Kind::Opaque => self.directories.insert(entry.path.clone(), number),
                // A directory over another one hides nothing.
                Kind::Directory => continue,
                _ => self.names.insert(entry.path.clone(), number),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Metadata};
    use super::*;
    use crate::oci::Digest;

    fn index(entries: &[(&str, Kind)]) -> std::sync::Arc<Index> {
        let entry = |(path, kind): &(&str, Kind)| Entry {
            path: path.as_bytes().to_vec(),
            kind: kind.clone(),
            metadata: Metadata::default(),
        };
        std::sync::Arc::new(entries.iter().map(entry).collect())
    }

    fn file(size: u64) -> Kind {
        Kind::File { size, digest: Digest::of(b""), offset: 0 }
    }

    fn link(target: &str) -> Kind {
        Kind::Hardlink { target: target.as_bytes().to_vec() }
    }

    fn wasted(layers: &[std::sync::Arc<Index>]) -> Vec<(String, u64, Vec<usize>, usize)> {
        let usage = Usage::of(layers);
        assert_eq!(usage.wasted_bytes(), usage.wasted.iter().map(|waste| waste.bytes).sum::<u64>());
        let row = |waste: Waste| (String::from_utf8(waste.path).unwrap(), waste.bytes, waste.layers, waste.hidden_by);
        usage.wasted.into_iter().map(row).collect()
    }

    #[test]
    fn what_a_later_layer_hides_is_wasted() {
        let base = index(&[("d", Kind::Directory), ("d/a", file(10)), ("d/b", file(20)), ("c", file(5))]);
        assert_eq!(wasted(std::slice::from_ref(&base)), []);
        for (above, expected) in [
            (vec![("d/a", file(1))], vec![("d/a", 10)]),
            (vec![("d/a", Kind::Whiteout)], vec![("d/a", 10)]),
            (vec![("d", Kind::Whiteout)], vec![("d/b", 20), ("d/a", 10)]),
            (vec![("d", Kind::Directory), ("d", Kind::Opaque)], vec![("d/b", 20), ("d/a", 10)]),
            (vec![("d", Kind::Symlink { target: b"x".to_vec() })], vec![("d/b", 20), ("d/a", 10)]),
            (vec![("d", Kind::Directory)], vec![]),
            (vec![("", Kind::Opaque)], vec![("d/b", 20), ("d/a", 10), ("c", 5)]),
        ] {
            let expected: Vec<_> = expected.iter().map(|&(path, bytes)| (path.to_owned(), bytes, vec![0], 1)).collect();
            assert_eq!(wasted(&[base.clone(), index(&above)]), expected, "{above:?}");
        }
    }

    #[test]
    fn every_hidden_copy_counts() {
        let layers = [index(&[("a", file(10))]), index(&[("a", file(10))]), index(&[("a", Kind::Whiteout)])];
        assert_eq!(wasted(&layers), [("a".to_owned(), 20, vec![0, 1], 2)]);
        let usage = Usage::of(&layers);
        assert_eq!((usage.layers[1].wasted_bytes, usage.layers[2].deletions), (10, 1));
        assert!(usage.efficiency().abs() < 1e-9);
        assert!((Usage::of(&layers[..1]).efficiency() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn content_with_another_name_is_seen() {
        let base = index(&[("a", file(10)), ("b", link("a"))]);
        assert_eq!(wasted(&[base.clone(), index(&[("a", Kind::Whiteout)])]), []);
        let both = index(&[("a", Kind::Whiteout), ("b", file(1))]);
        assert_eq!(wasted(&[base, both]), [("a".to_owned(), 10, vec![0], 1)]);
    }
}
