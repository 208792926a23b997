use std::collections::BTreeMap;
use std::sync::Arc;

use super::provenance::Traced;
use super::{Build, Engine, Error, Provenance};
use crate::layer::{EntryPath, Index, Kind};
use crate::store;
use crate::sys::Cancel;

/// All that is remembered of a build, with what its image holds.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The build.
    pub build: Build,
    /// None where no image came of it, or it was removed since.
    pub image: Option<ImageSizes>,
    /// The last lines of the steps that failed, by the step's number.
    pub failures: BTreeMap<usize, Vec<String>>,
}

/// What an image holds.
#[derive(Debug, Clone)]
pub struct ImageSizes {
    /// How it was made.
    pub provenance: Provenance,
    /// For each layer, base first, its directories with the size of all contents below them, the largest first.
    pub directories: Vec<Vec<(EntryPath, u64)>>,
}

/// How deep directories are told apart: `usr/lib`.
const DEPTH: usize = 2;
/// Lines of the log of a step that failed.
const TAIL_LINES: usize = 20;

impl Engine {
    /// Returns all there is to say of a build; the last one where none is named.
    ///
    /// # Errors
    /// [`store::Error::NoSuchBuild`], [`store::Error::AmbiguousBuild`], those of reading layers and of the store.
    pub fn summary(&self, id: Option<&str>, cancel: &Cancel) -> Result<Summary, Error> {
        let build = self.recorded(id)?;
        let image = match build.image {
            Some(image) => match self.trace(&image.to_string(), None, cancel) {
                Ok(Traced { provenance, indexes, .. }) => {
                    Some(ImageSizes { provenance, directories: indexes.iter().map(directories).collect() })
                }
                Err(Error::NoSuchImage(_)) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let mut failures = BTreeMap::new();
        for step in build.steps.iter().filter(|step| step.outcome == store::Outcome::Failed) {
            let log = self.step_log(&build.id, step.number)?;
            let lines: Vec<String> = log.lines().map(str::to_owned).collect();
            failures.insert(step.number, lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec());
        }
        Ok(Summary { build, image, failures })
    }
}

fn directories(index: &Arc<Index>) -> Vec<(EntryPath, u64)> {
    let mut sizes: BTreeMap<EntryPath, u64> = BTreeMap::new();
    for entry in index.entries() {
        if let Kind::File { size, .. } = entry.kind {
            let directory = top(&entry.path);
            match sizes.get_mut(directory) {
                Some(sum) => *sum += size,
                None => drop(sizes.insert(directory.to_vec(), size)),
            }
        }
    }
    let mut sizes: Vec<(EntryPath, u64)> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    sizes
}

/// Returns the directory that a file is counted for: it itself where it is not deeper.
fn top(path: &[u8]) -> &[u8] {
    let mut slashes = (0..path.len()).filter(|&at| path[at] == b'/');
    slashes.nth(DEPTH - 1).map_or(path, |end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_for_directories_that_are_not_deep() {
        for (path, expected) in [("a", "a"), ("a/b", "a/b"), ("a/b/c", "a/b"), ("usr/lib/x/y/z", "usr/lib")] {
            assert_eq!(top(path.as_bytes()), expected.as_bytes());
        }
    }
}
