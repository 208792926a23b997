use std::io::Read;

use super::super::Error;
use super::contents::{Wanted, unreadable};
use super::side::{Side, Source};
use super::{Job, Packages, UnreadPackages};
use crate::compare::{self, Change, Class, Comparison, File, Package, PackageFile, Unreadable};
use crate::layer::Kind;

/// Databases up to this size are kept in the store once they were read out of a compressed layer, so that they need not
/// be read out of it again.
const MAX_KEPT_BYTES: u64 = 16 << 20;

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
        let mut found = Vec::new();
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut kinds = Vec::new();
        let mut read = |kind: PackageFile, path: &[u8], content: &mut dyn Read| match kind.read(path, content) {
            Ok(packages) => {
                found.extend(packages);
                Ok(())
            }
            // The bytes of a layer that cannot be read are no matter of packages.
            Err(Unreadable::Io(error)) => Err(unreadable(error)),
            Err(error) => {
                unread.push(UnreadPackages { path: path.to_vec(), why: error.to_string() });
                Ok(())
            }
        };
        for change in changes {
            let Some(file) = of(change) else { continue };
            let Some(kind) = PackageFile::of(&change.path, file) else { continue };
            if !kind.has_content() {
                read(kind, &change.path, &mut std::io::empty())?;
            } else if let Some(bytes) = self.kept(kind, file)? {
                read(kind, &change.path, &mut &bytes[..])?;
            } else {
                wanted.push((&change.path, file));
                kinds.push(kind);
            }
        }
        self.contents(side, &wanted, &mut |index, content| {
            let ((path, file), kind) = (wanted[index], kinds[index]);
            if !is_kept(kind, file) || matches!(side.source, Source::Directory { .. }) {
                return read(kind, path, content);
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(unreadable)?;
            self.engine.store.put_bytes(&bytes)?;
            read(kind, path, &mut &bytes[..])
        })?;
        Ok(found)
    }

    /// Returns the content of a database that was read before.
    fn kept(&self, kind: PackageFile, file: &File) -> Result<Option<Vec<u8>>, Error> {
        let Kind::File { digest, size, .. } = file.kind else { return Ok(None) };
        if !is_kept(kind, file) || self.engine.store.has_blob(digest)? != Some(size) {
            return Ok(None);
        }
        Ok(Some(self.engine.store.read_blob(digest, MAX_KEPT_BYTES)?))
    }
}

fn is_kept(kind: PackageFile, file: &File) -> bool {
    kind.is_database() && file.size_bytes() <= MAX_KEPT_BYTES
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
