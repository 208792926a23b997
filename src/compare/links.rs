use std::collections::{HashMap, HashSet};

use crate::layer::{EntryPath, Kind, Metadata};

use super::merge::{Files, Found, Halt};
use super::side::{Owner, Sides};
use super::stream::{Step, Stream};

/// What hard links name.
pub(super) struct Resolved(Files);

/// A link names a file of its own layer, which may itself be a link; more in a row are a circle.
const MAX_LINKS: usize = 64;

impl Resolved {
    /// Returns the file at a path of a layer.
    pub(super) fn file(&self, owner: Owner, slot: u32, path: &[u8]) -> Option<(Kind, Metadata)> {
        let files = self.0.get(&(owner, slot))?;
        let mut entry = files.get(path)?;
        for _ in 0..MAX_LINKS {
            match &entry.kind {
                Kind::Hardlink { target } => entry = files.get(target)?,
                kind => return Some((kind.clone(), entry.metadata.clone())),
            }
        }
        None
    }
}

/// Looks up what those of `found` name that are links, in one pass over each layer that has some; links to links cost a
/// pass more.
pub(super) fn resolve<'f>(sides: &Sides<'_>, found: impl Iterator<Item = &'f Found>) -> Result<Resolved, Halt> {
    let mut wanted: HashMap<(Owner, u32), HashSet<EntryPath>> = HashMap::new();
    for found in found {
        if let Found::Entry(owner, slot, entry) = found
            && let Kind::Hardlink { target } = &entry.kind
        {
            wanted.entry((*owner, *slot)).or_default().insert(target.clone());
        }
    }
    let mut files = Files::new();
    for (owner, slot, layer) in sides.layers() {
        let Some(mut wanted) = wanted.remove(&(owner, slot)) else { continue };
        let known = files.entry((owner, slot)).or_default();
        for _ in 0..MAX_LINKS {
            let mut stream = Stream::open(owner, slot, layer, false)?;
            let mut further = HashSet::new();
            while stream.advance()? != Step::Ended {
                if !wanted.contains(&stream.entry.path) || matches!(stream.entry.kind, Kind::Whiteout | Kind::Opaque) {
                    continue;
                }
                if let Kind::Hardlink { target } = &stream.entry.kind {
                    further.insert(target.clone());
                }
                known.insert(stream.entry.path.clone(), stream.entry.clone());
            }
            further.retain(|path| !known.contains_key(path));
            if further.is_empty() {
                break;
            }
            wanted = further;
        }
    }
    Ok(Resolved(files))
}
