use std::io::Read;

use super::super::Error;
use super::contents::{Wanted, unreadable};
use super::side::Side;
use super::{Job, Patch, PatchText};
use crate::compare::{self, Change, Class, Comparison, File};
use crate::layer::Kind;

/// Nobody reads the differences of larger files.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What all texts of a comparison may have together: they are in memory at once.
const MAX_BYTES: u64 = 128 << 20;

impl Job<'_> {
    /// Compares the texts of the files whose content differs.
    pub(super) fn patches(&self, before: &Side, after: &Side, files: &Comparison) -> Result<Vec<Patch>, Error> {
        let differing: Vec<&Change> = files.changes.iter().filter(|change| has_text(change)).collect();
        let mut left = MAX_BYTES;
        let old = self.texts(before, &differing, |change| change.before.as_ref(), &mut left)?;
        let new = self.texts(after, &differing, |change| change.after.as_ref(), &mut left)?;
        let patch = |((change, old), new): ((&&Change, Text), Text)| {
            let text = match (old, new) {
                (Text::TooLarge, _) | (_, Text::TooLarge) => PatchText::TooLarge,
                (Text::Bytes(old), Text::Bytes(new)) => match (String::from_utf8(old), String::from_utf8(new)) {
                    (Ok(old), Ok(new)) => PatchText::Hunks(compare::hunks(&old, &new)),
                    _ => PatchText::Binary,
                },
                _ => PatchText::Binary,
            };
            Patch { path: change.path.clone(), kind: change.kind, text }
        };
        Ok(differing.iter().zip(old).zip(new).map(patch).collect())
    }

    /// Reads what one side has of each change; nothing of what is no file there.
    fn texts(
        &self,
        side: &Side,
        changes: &[&Change],
        of: impl Fn(&Change) -> Option<&File>,
        left: &mut u64,
    ) -> Result<Vec<Text>, Error> {
        let mut texts: Vec<Text> = Vec::with_capacity(changes.len());
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut places = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            texts.push(Text::Bytes(Vec::new()));
            let Some(file) = of(change).filter(|file| matches!(file.kind, Kind::File { .. })) else { continue };
            let size = file.size_bytes();
            if size > MAX_FILE_BYTES || size > *left {
                texts[place] = Text::TooLarge;
                continue;
            }
            *left -= size;
            places.push(place);
            wanted.push((&change.path, file));
        }
        self.contents(side, &wanted, &mut |index, content| {
            let mut bytes = Vec::new();
            content.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
            texts[places[index]] = if compare::is_text(&bytes) { Text::Bytes(bytes) } else { Text::Binary };
            Ok(())
        })?;
        Ok(texts)
    }
}

enum Text {
    Bytes(Vec<u8>),
    Binary,
    TooLarge,
}

/// Tells whether there may be a difference in text: of a file that came, went, or has another content. What was there
/// before must be known.
fn has_text(change: &Change) -> bool {
    let is_file = |file: &Option<File>| file.as_ref().is_some_and(|file| matches!(file.kind, Kind::File { .. }));
    match change.kind {
        compare::ChangeKind::Added => is_file(&change.after),
        compare::ChangeKind::Removed => is_file(&change.before),
        compare::ChangeKind::Modified => {
            (change.classes.has(Class::Content) || change.classes.has(Class::Type))
                && (is_file(&change.before) || is_file(&change.after))
        }
    }
}
