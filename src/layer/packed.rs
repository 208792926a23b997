use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A list that is written once and read in order, at a fraction of what a `Vec` takes.
///
/// Trees of a million files are lists of paths, times and owners that resemble each other: encoded and compressed, an
/// item of 250 bytes takes about 60, most of which is its digest.
#[derive(Clone)]
pub struct Packed<T> {
    sealed: Vec<Block>,
    /// Encoded items that are not compressed yet.
    open: Vec<u8>,
    length: usize,
    /// How many items are in `sealed`.
    sealed_length: usize,
    items: PhantomData<fn() -> T>,
}

#[derive(Clone)]
struct Block {
    items: usize,
    compressed: Box<[u8]>,
    plain_bytes: usize,
}

/// How much is compressed at once, more or less. Larger blocks compress hardly better, and each reader holds one.
const BLOCK_BYTES: usize = 64 << 10;

impl<T> Packed<T> {
    /// Returns an empty list.
    pub fn new() -> Packed<T> {
        Packed { sealed: Vec::new(), open: Vec::new(), length: 0, sealed_length: 0, items: PhantomData }
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Tells whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends all items of `other`.
    pub fn append(&mut self, mut other: Packed<T>) {
        if !other.sealed.is_empty() {
            self.seal();
            self.sealed.append(&mut other.sealed);
            self.sealed_length += other.sealed_length;
        }
        self.length += other.length;
        if self.open.is_empty() {
            self.open = other.open;
        } else {
            self.open.extend_from_slice(&other.open);
        }
        self.seal_if_full();
    }

    fn seal_if_full(&mut self) {
        if self.open.len() >= BLOCK_BYTES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let plain_bytes = self.open.len();
        let compressed = zstd::bulk::compress(&self.open, 1).expect("memory can be compressed").into();
        self.sealed.push(Block { items: self.length - self.sealed_length, compressed, plain_bytes });
        self.sealed_length = self.length;
        self.open.clear();
    }
}

impl<T: Serialize> Packed<T> {
    /// Appends an item.
    pub fn push(&mut self, item: &T) {
        let open = std::mem::take(&mut self.open);
        self.open = postcard::to_extend(item, open).expect("an item in memory can be written to memory");
        self.length += 1;
        self.seal_if_full();
    }
}

impl<T: DeserializeOwned> Packed<T> {
    /// Returns the item at `place`; reads no more than one block.
    pub fn get(&self, mut place: usize) -> Option<T> {
        for block in &self.sealed {
            if place < block.items {
                return nth(&block.plain(), place);
            }
            place -= block.items;
        }
        nth(&self.open, place)
    }

    /// Iterates over the items, each made anew.
    pub fn iter(&self) -> Unpacked<'_, T> {
        let sealed = self.sealed.iter().map(|block| Cow::Owned(block.plain()));
        Unpacked::new(self.length, sealed.chain(iter::once(Cow::Borrowed(&self.open[..]))))
    }
}

fn nth<T: DeserializeOwned>(bytes: &[u8], place: usize) -> Option<T> {
    Unpacked::new(place + 1, iter::once(Cow::Borrowed(bytes))).nth(place)
}

impl Block {
    fn plain(&self) -> Vec<u8> {
        zstd::bulk::decompress(&self.compressed, self.plain_bytes).expect("what was compressed can be decompressed")
    }
}

/// The items of a [`Packed`]. One that owns them gives the memory of each block back as it goes.
pub struct Unpacked<'a, T> {
    blocks: Box<dyn Iterator<Item = Cow<'a, [u8]>> + Send + 'a>,
    block: Cow<'a, [u8]>,
    at: usize,
    left: usize,
    items: PhantomData<fn() -> T>,
}

impl<'a, T> Unpacked<'a, T> {
    fn new(left: usize, blocks: impl Iterator<Item = Cow<'a, [u8]>> + Send + 'a) -> Unpacked<'a, T> {
        Unpacked { blocks: Box::new(blocks), block: Cow::Borrowed(&[]), at: 0, left, items: PhantomData }
    }
}

impl<T: DeserializeOwned> Iterator for Unpacked<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while self.at == self.block.len() {
            (self.block, self.at) = (self.blocks.next()?, 0);
        }
        let rest = &self.block[self.at..];
        let (item, after) = postcard::take_from_bytes(rest).expect("what was encoded can be decoded");
        self.at += rest.len() - after.len();
        self.left -= 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: DeserializeOwned> ExactSizeIterator for Unpacked<'_, T> {}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Packed<T> {
    type Item = T;
    type IntoIter = Unpacked<'a, T>;

    fn into_iter(self) -> Unpacked<'a, T> {
        self.iter()
    }
}

impl<T: DeserializeOwned> IntoIterator for Packed<T> {
    type Item = T;
    type IntoIter = Unpacked<'static, T>;

    fn into_iter(self) -> Unpacked<'static, T> {
        let sealed = self.sealed.into_iter().map(|block| Cow::Owned(block.plain()));
        Unpacked::new(self.length, sealed.chain(iter::once(Cow::Owned(self.open))))
    }
}

impl<T: Serialize> FromIterator<T> for Packed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Packed<T> {
        let mut packed = Packed::new();
        items.into_iter().for_each(|item| packed.push(&item));
        packed
    }
}

impl<T: DeserializeOwned + PartialEq> PartialEq for Packed<T> {
    fn eq(&self, other: &Packed<T>) -> bool {
        self.length == other.length && self.iter().eq(other.iter())
    }
}

impl<T: DeserializeOwned + Eq> Eq for Packed<T> {}

impl<T> Default for Packed<T> {
    fn default() -> Packed<T> {
        Packed::new()
    }
}

impl<T: DeserializeOwned + fmt::Debug> fmt::Debug for Packed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_order_however_they_were_put_together() {
        // Some counts fill no block, some several.
        for (first, second) in [(0, 0), (0, 3), (3, 0), (10, 20_000), (20_000, 10), (50_000, 50_000)] {
            let item = |number: u32| (number, format!("name{number}").into_bytes());
            let mut packed: Packed<(u32, Vec<u8>)> = (0..first).map(item).collect();
            packed.append((first..first + second).map(item).collect());
            assert_eq!(packed.len(), (first + second) as usize);
            for place in (0..first + second).step_by(977) {
                assert_eq!(packed.get(place as usize), Some(item(place)), "{first} {second}");
            }
            assert_eq!(packed.get(packed.len()), None, "{first} {second}");
            assert!(packed.iter().eq((0..first + second).map(item)), "{first} {second}");
            assert!(packed.into_iter().eq((0..first + second).map(item)), "{first} {second}");
        }
    }

    #[test]
    fn what_resembles_each_other_takes_little() {
        let packed: Packed<Vec<u8>> =
            (0..100_000).map(|number| format!("some/directory/{number}").into_bytes()).collect();
        let bytes: usize = packed.sealed.iter().map(|block| block.compressed.len()).sum();
        assert!(bytes < 100_000 * 10, "{bytes}");
    }
}
