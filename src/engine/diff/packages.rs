use std::collections::BTreeMap;
use std::io::Read;

use super::super::Error;
use super::contents::{Wanted, unreadable};
use super::side::{Side, Source};
use super::{Job, Packages, UnreadPackages};
use crate::compare::{self, Change, Class, Comparison, File, Package, PackageFile, Unreadable};
use crate::layer::{EntryPath, Kind};
use crate::oci::DiffId;

/// What a file tells: its packages, or why they are not known.
type Told = Result<Vec<Package>, String>;

/// What files of one layer tell, by path and by where their contents are. Remembered with the layer: programs and lists
/// would otherwise be decompressed anew by every comparison.
type Known = BTreeMap<(EntryPath, u64), Told>;

impl Job<'_> {
    /// Compares the packages that the files which differ tell of.
    pub(super) fn packages(&self, before: &Side, after: &Side, files: &Comparison) -> Result<Packages, Error> {
        let changes = files.changes.iter().filter(|change| has_other_content(change));
        let (unseen, changes): (Vec<&Change>, Vec<&Change>) = changes.partition(|change| is_half_known(change));
        let mut unread: Vec<UnreadPackages> = unseen.into_iter().filter_map(unseen_list).collect();
        let old = self.side_packages(before, &changes, |change| change.before.as_ref(), &mut unread)?;
        let new = self.side_packages(after, &changes, |change| change.after.as_ref(), &mut unread)?;
        unread.dedup_by(|a, b| a.path == b.path && a.why == b.why);
        Ok(Packages { changes: compare::packages(&old, &new), unread })
    }

    fn side_packages(
        &self,
        side: &Side,
        changes: &[&Change],
        of: impl Fn(&Change) -> Option<&File>,
        unread: &mut Vec<UnreadPackages>,
    ) -> Result<Vec<Package>, Error> {
        let mut known: BTreeMap<u32, Known> = BTreeMap::new();
        let mut told: Vec<(&Change, Told)> = Vec::new();
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut asked: Vec<(PackageFile, &Change)> = Vec::new();
        for change in changes {
            let Some(file) = of(change) else { continue };
            let Some(kind) = PackageFile::of(&change.path, file) else { continue };
            if !kind.has_content() {
                told.push((change, read(kind, &change.path, &mut std::io::empty())?));
            } else if let Some(before) = self.remembered(side, &mut known, &change.path, file)? {
                told.push((change, before));
            } else {
                wanted.push((&change.path, file));
                asked.push((kind, change));
            }
        }
        let mut new: BTreeMap<u32, Known> = BTreeMap::new();
        self.contents(side, &wanted, &mut |index, content| {
            let ((path, file), (kind, change)) = (wanted[index], asked[index]);
            let packages = read(kind, path, content)?;
            if let Some((layer, offset)) = place(file) {
                new.entry(layer).or_default().insert((path.to_vec(), offset), packages.clone());
            }
            told.push((change, packages));
            Ok(())
        })?;
        for (layer, more) in new {
            let mut all = known.remove(&layer).unwrap_or_default();
            all.extend(more);
            self.remember(side, layer, &all)?;
        }
        let mut found = Vec::new();
        for (change, told) in told {
            match told {
                Ok(packages) => found.extend(packages),
                Err(why) => unread.push(UnreadPackages { path: change.path.clone(), why }),
            }
        }
        Ok(found)
    }

    /// Returns what a file told before, and reads what is remembered of its layer if that is not in `known` yet.
    fn remembered(
        &self,
        side: &Side,
        known: &mut BTreeMap<u32, Known>,
        path: &[u8],
        file: &File,
    ) -> Result<Option<Told>, Error> {
        let (Some((layer, offset)), Some(diff_id)) = (place(file), diff_id(side, file.layer)) else { return Ok(None) };
        if let std::collections::btree_map::Entry::Vacant(vacant) = known.entry(layer) {
            let bytes = self.engine.store.layer_packages(diff_id)?;
            // What an other kiln remembered in its own way is read anew.
            vacant.insert(bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default());
        }
        Ok(known[&layer].get(&(path.to_vec(), offset)).cloned())
    }

    fn remember(&self, side: &Side, layer: u32, known: &Known) -> Result<(), Error> {
        let Some(diff_id) = diff_id(side, Some(layer)) else { return Ok(()) };
        let bytes = postcard::to_stdvec(known).expect("it is made of texts and numbers");
        Ok(self.engine.store.put_layer_packages(diff_id, &bytes)?)
    }
}

fn read(kind: PackageFile, path: &[u8], content: &mut dyn Read) -> Result<Told, Error> {
    match kind.read(path, content) {
        Ok(packages) => Ok(Ok(packages)),
        // The bytes of a layer that cannot be read are no matter of packages.
        Err(Unreadable::Io(error)) => Err(unreadable(error)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Returns in which layer a file is, and where its content is in it.
fn place(file: &File) -> Option<(u32, u64)> {
    match file.kind {
        Kind::File { offset, .. } => Some((file.layer?, offset)),
        _ => None,
    }
}

/// Returns the layer of an image; a directory has none that stays the same.
fn diff_id(side: &Side, layer: Option<u32>) -> Option<DiffId> {
    match side.source {
        Source::Layers(_) => side.diff_ids().get(layer? as usize).copied(),
        Source::Directory { .. } => None,
    }
}

/// Tells whether one side of a change is hidden in shared layers that are not here.
fn is_half_known(change: &Change) -> bool {
    change.kind == compare::ChangeKind::Modified && (change.before.is_none() || change.after.is_none())
}

/// Returns what to say of a list of packages, one side of which is hidden. Files that tell of one package each are passed
/// over: of nearly all of them there was none before.
fn unseen_list(change: &Change) -> Option<UnreadPackages> {
    let file = change.after.as_ref().or(change.before.as_ref())?;
    PackageFile::of(&change.path, file).filter(|kind| kind.is_database())?;
    let why = "the other one is in shared layers that are not here (--fetch-shared)".to_owned();
    Some(UnreadPackages { path: change.path.clone(), why })
}

/// Tells whether what a file says may have changed.
fn has_other_content(change: &Change) -> bool {
    change.kind != compare::ChangeKind::Modified
        || change.before.is_none()
        || change.classes.has(Class::Content)
        || change.classes.has(Class::Type)
}
