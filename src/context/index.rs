use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::pattern::PathPattern;

/// Finds the patterns that match a path without trying them all.
///
/// A literal pattern is looked up. Another is filed under a few bytes that every path it matches must hold, and is tried
/// where a path holds them; only what has no such bytes, as `*`, is tried everywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    patterns: Vec<PathPattern>,
    exact: HashMap<Vec<u8>, Vec<usize>>,
    grams: Vec<Grams>,
    everywhere: Vec<usize>,
}

/// How many bytes a pattern is filed under, and how many times as many paths hold so many as hold eight, by a guess: a
/// pattern goes under few bytes where those others that have more in common with it are too many.
const GRAMS: [(usize, usize); 4] = [(8, 1), (4, 4), (2, 32), (1, 256)];

/// Patterns by the bytes they need, in ascending order of their numbers.
#[derive(Debug, Clone)]
struct Grams {
    bytes: usize,
    commonness: usize,
    buckets: HashMap<u64, Vec<usize>, BuildHasherDefault<Mix>>,
}

impl Index {
    /// Files `patterns`, each with whether it is an exception. Its place among them is its number.
    pub(super) fn new(patterns: Vec<(PathPattern, bool)>) -> Index {
        let grams = GRAMS.map(|(bytes, commonness)| Grams { bytes, commonness, buckets: HashMap::default() });
        let mut index = Index { grams: grams.into(), ..Index::default() };
        let mut run = HashSet::new();
        let mut exceptions = false;
        for (number, (pattern, exception)) in patterns.iter().enumerate() {
            if exceptions != *exception {
                run.clear();
            }
            exceptions = *exception;
            // Among rules of one kind only the first of equal ones can change anything.
            if run.insert(pattern) {
                index.file(number, pattern);
            }
        }
        index.grams.retain(|grams| !grams.buckets.is_empty());
        Index { patterns: patterns.into_iter().map(|(pattern, _)| pattern).collect(), ..index }
    }

    fn file(&mut self, number: usize, pattern: &PathPattern) {
        if let PathPattern::Exact(path) = pattern {
            return self.exact.entry(path.clone()).or_default().push(number);
        }
        let literals = pattern.literals();
        let rarest = self.grams.iter().enumerate().filter_map(|(place, grams)| {
            let (gram, others) = grams.rarest(&literals)?;
            Some(((others + 1) * grams.commonness, place, gram))
        });
        match rarest.min() {
            Some((_, place, gram)) => self.grams[place].buckets.entry(gram).or_default().push(number),
            None => self.everywhere.push(number),
        }
    }

    /// Returns the numbers of the patterns that match `path`, in order.
    pub(super) fn all(&self, path: &[u8]) -> Vec<usize> {
        let mut found: Vec<usize> = self.exact.get(path).cloned().unwrap_or_default();
        for bucket in self.buckets(path) {
            found.extend(bucket.iter().filter(|&&number| self.patterns[number].matches(path)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the highest number of a pattern that matches `path`, where there is one.
    pub(super) fn last(&self, path: &[u8]) -> Option<usize> {
        let mut last = self.exact.get(path).and_then(|numbers| numbers.last()).copied();
        for bucket in self.buckets(path) {
            let higher = bucket.iter().rev().copied().take_while(|&number| Some(number) > last);
            last = higher.into_iter().find(|&number| self.patterns[number].matches(path)).or(last);
        }
        last
    }

    /// Tells whether the pattern of this number matches `path`.
    pub(super) fn matches(&self, number: usize, path: &[u8]) -> bool {
        self.patterns.get(number).is_some_and(|pattern| pattern.matches(path))
    }

    /// Returns the buckets with all patterns that may match `path` and are not literal.
    fn buckets<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a [usize]> {
        let filed = self.grams.iter().flat_map(|grams| grams.buckets(path));
        std::iter::once(&self.everywhere[..]).chain(filed)
    }
}

impl Grams {
    /// Returns those of a pattern's bytes that the fewest others are filed under, and how many these are; nothing where
    /// its texts are too short.
    fn rarest(&self, literals: &[&[u8]]) -> Option<(u64, usize)> {
        let grams = literals.iter().flat_map(|literal| literal.windows(self.bytes)).map(packed);
        grams.map(|gram| (gram, self.buckets.get(&gram).map_or(0, Vec::len))).min_by_key(|&(_, others)| others)
    }

    fn buckets<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a [usize]> {
        let mut before = None;
        // Names that repeat one character would try one bucket over and over.
        let grams = path.windows(self.bytes).map(packed).filter(move |&gram| before.replace(gram) != Some(gram));
        grams.filter_map(|gram| self.buckets.get(&gram)).map(Vec::as_slice)
    }
}

fn packed(gram: &[u8]) -> u64 {
    gram.iter().fold(0, |packed, &byte| packed << 8 | u64::from(byte))
}

/// Hashes a number with one multiplication: every path looks up each of its bytes several times.
#[derive(Debug, Clone, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio. The table takes the low bits for the place, which the product leaves poor.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}
