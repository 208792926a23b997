use std::collections::HashMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// One entry that an op read, digested as far as it takes to tell that it is another one.
///
/// Short digests keep the list of a large directory small. Nothing but an explanation depends on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Relative to the root of what is read.
    pub path: Vec<u8>,
    /// Of what it holds; 0 for a directory.
    pub content: u64,
    /// Of mode and owner.
    pub metadata: u32,
}

/// Everything an op read, as it is kept beside the op's recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    bytes: Vec<u8>,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputChange {
    /// It holds something else.
    Content,
    /// It has another mode or owner.
    Metadata,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
}

/// How two lists of inputs differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChanges {
    /// How many entries there are now, without directories.
    pub total: usize,
    /// Entries that are there and were, and are not the same.
    pub changed: usize,
    /// Entries that were not there.
    pub added: usize,
    /// Entries that are not there any more.
    pub removed: usize,
    /// The first of them: removed ones last. Text that is not UTF-8 is replaced.
    pub examples: Vec<(String, InputChange)>,
}

/// As many as somebody reads. What is kept of a build must not grow with the number of its files.
const EXAMPLES: usize = 50;

/// Bytes that follow the path of an entry.
const DIGEST_BYTES: usize = 12;

impl Inputs {
    /// Writes a list.
    pub fn new(inputs: impl IntoIterator<Item = Input>) -> Inputs {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory can be written");
        let mut before: Vec<u8> = Vec::new();
        for input in inputs {
            let shared = before.iter().zip(&input.path).take_while(|(a, b)| a == b).count();
            let record = Record { shared: shared as u32, rest: &input.path[shared..] };
            let mut bytes = postcard::to_stdvec(&record).expect("a record in memory can be written to memory");
            bytes.extend(input.content.to_le_bytes());
            bytes.extend(input.metadata.to_le_bytes());
            encoder.write_all(&bytes).expect("memory can be written");
            before = input.path;
        }
        Inputs { bytes: encoder.finish().expect("memory can be written") }
    }

    /// Returns the list of these bytes, which [`Inputs::as_bytes`] gave.
    pub fn from_bytes(bytes: Vec<u8>) -> Inputs {
        Inputs { bytes }
    }

    /// Returns the bytes to keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Calls `visit` with each entry in order.
    fn each(&self, mut visit: impl FnMut(Input)) -> io::Result<()> {
        let mut plain = Vec::new();
        zstd::stream::Decoder::new(&self.bytes[..])?.read_to_end(&mut plain)?;
        let mut rest = &plain[..];
        let mut path: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let damaged = |()| io::Error::from(io::ErrorKind::InvalidData);
            let (record, after) = postcard::take_from_bytes::<Record<'_>>(rest).map_err(|_| damaged(()))?;
            let (digests, after) = after.split_first_chunk::<DIGEST_BYTES>().ok_or(()).map_err(damaged)?;
            if record.shared as usize > path.len() {
                return Err(damaged(()));
            }
            path.truncate(record.shared as usize);
            path.extend(record.rest);
            let (content, metadata) = digests.split_at(8);
            visit(Input {
                path: path.clone(),
                content: u64::from_le_bytes(content.try_into().expect("eight of twelve")),
                metadata: u32::from_le_bytes(metadata.try_into().expect("four of twelve")),
            });
            rest = after;
        }
        Ok(())
    }

    /// Tells what became of these entries; nothing where either list is damaged.
    pub fn compare(&self, newer: &Inputs) -> Option<InputChanges> {
        let mut before: HashMap<Vec<u8>, (u64, u32)> = HashMap::new();
        self.each(|Input { path, content, metadata }| {
            before.insert(path, (content, metadata));
        })
        .ok()?;
        let mut changes = InputChanges::default();
        newer.each(|input| changes.take(&before.remove(&input.path), &input)).ok()?;
        let mut removed: Vec<Vec<u8>> = before.into_keys().collect();
        removed.sort_unstable();
        changes.removed = removed.len();
        removed.iter().for_each(|path| changes.show(path, InputChange::Removed));
        Some(changes)
    }
}

impl InputChanges {
    fn take(&mut self, before: &Option<(u64, u32)>, now: &Input) {
        self.total += usize::from(now.content != 0);
        match before {
            None => {
                self.added += 1;
                self.show(&now.path, InputChange::Added);
            }
            Some((content, _)) if *content != now.content => {
                self.changed += 1;
                self.show(&now.path, InputChange::Content);
            }
            Some((_, metadata)) if *metadata != now.metadata => {
                self.changed += 1;
                self.show(&now.path, InputChange::Metadata);
            }
            Some(_) => {}
        }
    }

    fn show(&mut self, path: &[u8], change: InputChange) {
        if self.examples.len() < EXAMPLES {
            self.examples.push((String::from_utf8_lossy(path).into_owned(), change));
        }
    }
}

/// The path of an entry, of which the first bytes are those of the one before.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    shared: u32,
    rest: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(entries: &[(&str, u64, u32)]) -> Inputs {
        let input = |&(path, content, metadata): &(&str, u64, u32)| Input { path: path.into(), content, metadata };
        Inputs::new(entries.iter().map(input))
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let before = inputs(&[("a", 1, 1), ("d/gone", 1, 1), ("d/mode", 2, 1), ("same", 3, 1)]);
        let after = inputs(&[("a", 9, 9), ("d/mode", 2, 2), ("d/new", 1, 1), ("same", 3, 1)]);
        let changes = before.compare(&after).unwrap();
        assert_eq!((changes.total, changes.changed, changes.added, changes.removed), (4, 2, 1, 1));
        let examples: Vec<_> = changes.examples.iter().map(|(path, change)| (path.as_str(), *change)).collect();
        use InputChange::{Added, Content, Metadata, Removed};
        assert_eq!(examples, [("a", Content), ("d/mode", Metadata), ("d/new", Added), ("d/gone", Removed)]);
        assert_eq!(before.compare(&before).unwrap().changed, 0);
    }

    #[test]
    fn a_long_list_is_short_and_names_a_few() {
        let many = |content| {
            Inputs::new((0..50_000_u32).map(|number| Input {
                path: format!("directory/file-{number:06}").into_bytes(),
                content: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) + content + 1,
                metadata: 420,
            }))
        };
        let (before, after) = (many(0), many(1));
        assert!(before.as_bytes().len() < 50_000 * 16, "{}", before.as_bytes().len());
        let changes = before.compare(&after).unwrap();
        assert_eq!((changes.changed, changes.examples.len()), (50_000, EXAMPLES));
    }

    #[test]
    fn damage_is_noticed() {
        let good = inputs(&[("a", 1, 1)]);
        for bytes in [Vec::new(), b"not zstd".to_vec(), good.as_bytes()[..good.as_bytes().len() - 1].to_vec()] {
            assert_eq!(Inputs::from_bytes(bytes.clone()).compare(&good), None, "{bytes:?}");
        }
        let cut = Inputs::from_bytes(zstd::bulk::compress(&[0, 1, b'a', 0, 0], 1).unwrap());
        assert_eq!(good.compare(&cut), None);
    }
}
