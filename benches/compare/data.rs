//! Contents that are the same on every machine: half text, half binary that compresses to a half, as in packages.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::Path;

/// Files of one directory: as many as packages have there, and few enough that no file system minds.
const FILES_PER_DIRECTORY: u64 = 100;
const BLOCK_BYTES: usize = 64 << 10;
const WORDS: &[&str] = &[
    "return", "static", "self", "the", "of", "import", "value", "if", "const", "error", "result", "and", "None",
    "string", "length", "def", "license", "for", "export", "type", "0x00", "==", "{", "}", "();", "buffer", "is",
    "struct", "public", "void", "size", "include", "not", "index", "offset", "to", "be", "in", "file", "=",
];

/// Marsaglia's xorshift: no seed but 0 is a bad one, and the `max` keeps that out.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A reader of so many bytes: of text where the seed is even, else of binary.
struct Content {
    random: Random,
    text: bool,
    left: u64,
    block: Vec<u8>,
    used: usize,
}

impl Content {
    fn new(seed: u64, size_bytes: u64) -> Content {
        Content {
            random: Random::new(seed),
            text: seed.is_multiple_of(2),
            left: size_bytes,
            block: Vec::new(),
            used: 0,
        }
    }

    fn refill(&mut self) {
        self.block.clear();
        self.used = 0;
        let wanted = BLOCK_BYTES.min(usize::try_from(self.left).unwrap_or(BLOCK_BYTES));
        while self.block.len() < wanted {
            let next = self.random.next();
            if self.text {
                let word = WORDS[usize::try_from(next % WORDS.len() as u64).unwrap_or(0)];
                self.block.extend_from_slice(word.as_bytes());
                self.block.push(if next & (7 << 40) == 0 { b'\n' } else { b' ' });
            } else {
                self.block.extend_from_slice(&next.to_le_bytes()[..4]);
                self.block.extend_from_slice(&[0; 4]);
            }
        }
        self.block.truncate(wanted);
        self.left -= wanted as u64;
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.refill();
        }
        let count = buffer.len().min(self.block.len() - self.used);
        buffer[..count].copy_from_slice(&self.block[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// Sizes around `mean`, from a quarter of it to seven: what they add up to differs from `files * mean` by little.
fn sizes(files: u64, mean: u64, seed: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut random = Random::new(seed);
    (0..files).map(move |number| (number, mean / 4 + random.next() % (mean * 3 / 2).max(1)))
}

fn path_of(number: u64) -> String {
    format!("d{}/f{number}", number / FILES_PER_DIRECTORY)
}

/// Writes one file of so many bytes.
pub(crate) fn file(path: &Path, seed: u64, size_bytes: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(BLOCK_BYTES, File::create(path)?);
    io::copy(&mut Content::new(seed, size_bytes), &mut file)?;
    file.into_inner()?.sync_data()
}

/// Writes a tree of `files` files with `total_bytes` together, a hundred to a directory.
pub(crate) fn tree(directory: &Path, files: u64, total_bytes: u64, seed: u64) -> io::Result<()> {
    for (number, size) in sizes(files, total_bytes / files, seed) {
        let path = directory.join(path_of(number));
        if number % FILES_PER_DIRECTORY == 0 {
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
        }
        io::copy(&mut Content::new(seed + number, size), &mut File::create(path)?)?;
    }
    Ok(())
}

/// Writes the same as a tar archive, for a RUN to unpack.
pub(crate) fn archive(path: &Path, files: u64, total_bytes: u64, seed: u64) -> io::Result<()> {
    let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    for (number, size) in sizes(files, total_bytes / files, seed) {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path_of(number), Content::new(seed + number, size))?;
    }
    builder.into_inner()?.into_inner()?.sync_data()
}
