use std::collections::HashMap;

use rayon::prelude::*;

use super::{Context, Entry, Kind};
use crate::context::{Error, StatKey};
use crate::oci::Digest;

/// Digests files of a context, part by part. Names of one file are read once: a tree of hard links would be read as often
/// as it has names.
pub struct Digests<'a> {
    context: &'a Context,
    /// Of files with several names.
    linked: HashMap<StatKey, Digest>,
}

impl<'a> Digests<'a> {
    pub(super) fn new(context: &'a Context) -> Digests<'a> {
        Digests { context, linked: HashMap::new() }
    }

    /// Returns the digest of the content of each regular file among `entries`; of anything else, of nothing.
    ///
    /// # Errors
    /// When a file cannot be read, or changes while it is.
    pub fn of(&mut self, entries: &[Entry]) -> Result<Vec<Digest>, Error> {
        let empty = Digest::of(b"");
        let mut digests = self.known(entries, empty);
        let mut first: HashMap<StatKey, usize> = HashMap::new();
        let is_first = |&index: &usize| {
            let entry = &entries[index];
            digests[index].is_none() && (entry.links < 2 || *first.entry(entry.key).or_insert(index) == index)
        };
        let unknown: Vec<usize> = (0..entries.len()).filter(is_first).collect();
        let hashed: Vec<(Digest, bool)> =
            unknown.par_iter().map(|&index| self.context.hash(&entries[index])).collect::<Result<_, Error>>()?;
        let mut settled = Vec::new();
        for (index, (digest, is_settled)) in unknown.into_iter().zip(hashed) {
            digests[index] = Some(digest);
            let Entry { key, links, .. } = entries[index];
            settled.extend(is_settled.then_some((key, digest)));
            if links > 1 {
                self.linked.insert(key, digest);
            }
        }
        if let Some(cache) = &self.context.cache {
            cache.put(&settled);
        }
        let of_first = |entry: &Entry| self.linked.get(&entry.key).copied();
        let all = entries.iter().zip(&digests).map(|(entry, digest)| digest.or_else(|| of_first(entry)));
        Ok(all.map(|digest| digest.unwrap_or(empty)).collect())
    }

    /// Returns the digests that need no file: those read before, and that of nothing.
    fn known(&self, entries: &[Entry], empty: Digest) -> Vec<Option<Digest>> {
        let has_content = |entry: &Entry| matches!(entry.kind, Kind::File { size_bytes: 1.. });
        let here = |entry: &Entry| match has_content(entry) {
            true => self.linked.get(&entry.key).copied(),
            false => Some(empty),
        };
        let mut digests: Vec<Option<Digest>> = entries.iter().map(here).collect();
        let Some(cache) = &self.context.cache else { return digests };
        let asked: Vec<usize> = (0..entries.len()).filter(|&index| digests[index].is_none()).collect();
        let keys: Vec<StatKey> = asked.iter().map(|&index| entries[index].key).collect();
        asked.into_iter().zip(cache.get(&keys)).for_each(|(index, digest)| digests[index] = digest);
        digests
    }
}
