use std::cmp::Ordering;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::layer::in_tree_order;

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

/// Everything an op read, as it is kept beside the op's recipe: in the order of a tree.
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
    /// The first of them, in the order of a tree. Text that is not UTF-8 is replaced.
    pub examples: Vec<(String, InputChange)>,
}

/// As many as somebody reads. What is kept of a build must not grow with the number of its files.
const EXAMPLES: usize = 50;

/// Bytes that follow the path of an entry.
const DIGEST_BYTES: usize = 12;

impl Inputs {
    /// Writes a list, which must be in the order of a tree: compared with another, one that is not counts as damaged.
    pub fn new(inputs: impl IntoIterator<Item = Input>) -> Inputs {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory can be written");
        let (mut before, mut bytes): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for input in inputs {
            let shared = before.iter().zip(&input.path).take_while(|(a, b)| a == b).count();
            let record = Record { shared: shared as u32, rest: &input.path[shared..] };
            bytes = postcard::to_extend(&record, bytes).expect("a record in memory can be written to memory");
            bytes.extend(input.content.to_le_bytes());
            bytes.extend(input.metadata.to_le_bytes());
            encoder.write_all(&bytes).expect("memory can be written");
            bytes.clear();
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

    /// Tells what became of these entries; nothing where either list is damaged.
    pub fn compare(&self, newer: &Inputs) -> Option<InputChanges> {
        self.merge(newer).ok()
    }

    /// Both lists are read side by side, so that of neither more than an entry is in memory.
    fn merge(&self, newer: &Inputs) -> io::Result<InputChanges> {
        let (mut older, mut newer) = (Reader::new(&self.bytes)?, Reader::new(&newer.bytes)?);
        let (mut before, mut now) = (older.next()?, newer.next()?);
        let mut changes = InputChanges::default();
        loop {
            let order = match (&before, &now) {
                (None, None) => return Ok(changes),
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(before), Some(now)) => in_tree_order(&before.path, &now.path),
            };
            changes.take(before.as_ref().filter(|_| order.is_le()), now.as_ref().filter(|_| order.is_ge()));
            if order.is_le() {
                before = older.next()?;
            }
            if order.is_ge() {
                now = newer.next()?;
            }
        }
    }
}

/// Reads the entries of a list one by one.
struct Reader<'a> {
    plain: zstd::Decoder<'static, &'a [u8]>,
    /// What is decompressed and not read yet, from `start`.
    buffer: Vec<u8>,
    start: usize,
    path: Vec<u8>,
}

/// How much is decompressed at once. An entry may be longer.
const CHUNK_BYTES: u64 = 64 << 10;

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> io::Result<Reader<'a>> {
        Ok(Reader { plain: zstd::Decoder::with_buffer(bytes)?, buffer: Vec::new(), start: 0, path: Vec::new() })
    }

    /// Returns the next entry, unless there is none.
    fn next(&mut self) -> io::Result<Option<Input>> {
        loop {
            if let Some(input) = self.parse()? {
                return Ok(Some(input));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            match (&mut self.plain).take(CHUNK_BYTES).read_to_end(&mut self.buffer)? {
                0 if self.buffer.is_empty() => return Ok(None),
                0 => return Err(damaged()),
                _ => {}
            }
        }
    }

    /// Returns the next entry if all of it is in the buffer.
    fn parse(&mut self) -> io::Result<Option<Input>> {
        let bytes = &self.buffer[self.start..];
        let (record, rest) = match postcard::take_from_bytes::<Record<'_>>(bytes) {
            Ok(read) => read,
            Err(postcard::Error::DeserializeUnexpectedEnd) => return Ok(None),
            Err(_) => return Err(damaged()),
        };
        let Some((digests, rest)) = rest.split_first_chunk::<DIGEST_BYTES>() else { return Ok(None) };
        let shared = self.path.get(..record.shared as usize).ok_or_else(damaged)?;
        let path = [shared, record.rest].concat();
        if in_tree_order(&path, &self.path).is_lt() {
            return Err(damaged());
        }
        self.path.clone_from(&path);
        self.start += bytes.len() - rest.len();
        let (content, metadata) = digests.split_at(8);
        Ok(Some(Input {
            path,
            content: u64::from_le_bytes(content.try_into().expect("eight of twelve")),
            metadata: u32::from_le_bytes(metadata.try_into().expect("four of twelve")),
        }))
    }
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl InputChanges {
    /// Counts an entry that was, is, or both.
    fn take(&mut self, before: Option<&Input>, now: Option<&Input>) {
        self.total += usize::from(now.is_some_and(|now| now.content != 0));
        let (number, change) = match (before, now) {
            (None, Some(_)) => (&mut self.added, InputChange::Added),
            (Some(_), None) => (&mut self.removed, InputChange::Removed),
            (Some(before), Some(now)) if before.content != now.content => (&mut self.changed, InputChange::Content),
            (Some(before), Some(now)) if before.metadata != now.metadata => (&mut self.changed, InputChange::Metadata),
            _ => return,
        };
        *number += 1;
        if let Some(input) = now.or(before).filter(|_| self.examples.len() < EXAMPLES) {
            self.examples.push((String::from_utf8_lossy(&input.path).into_owned(), change));
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
        assert_eq!(examples, [("a", Content), ("d/gone", Removed), ("d/mode", Metadata), ("d/new", Added)]);
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
        let disordered = inputs(&[("a.b", 1, 1), ("a/b", 1, 1)]);
        assert_eq!(good.compare(&disordered), None);
    }
}
