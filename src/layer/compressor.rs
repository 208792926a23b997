use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, sync_channel};

use super::codec::{Codec, Method};

/// Blocks under way beside those that are compressed: one that is ready or waits to be written, and one for the thread
/// that is done next, so that reading and writing go on meanwhile. Memory is bounded by that.
const BLOCKS_IN_WAITING: usize = 2;

/// Compresses what is written to it, in blocks, on all of rayon's threads. Where pieces of the input end, and how many
/// threads there are, does not change the bytes.
///
/// What comes out is one member of gzip, or frames of zstd one after another, which are one stream to every reader (RFC
/// 8878, section 3.1).
pub struct Compressor<W> {
    out: W,
    codec: Codec,
    /// What is not under way yet.
    block: Vec<u8>,
    /// In the order of the input.
    under_way: VecDeque<Receiver<io::Result<Packed>>>,
    most: usize,
    checksum: flate2::Crc,
    has_begun: bool,
}

/// A compressed block, and what the end of gzip says of its content.
struct Packed {
    bytes: Vec<u8>,
    checksum: flate2::Crc,
}

impl<W: Write> Compressor<W> {
    /// Returns a compressor into `out`.
    pub fn new(codec: Codec, out: W) -> Compressor<W> {
        Compressor {
            out,
            codec,
            block: Vec::new(),
            under_way: VecDeque::new(),
            most: rayon::current_num_threads() + BLOCKS_IN_WAITING,
            checksum: flate2::Crc::new(),
            has_begun: false,
        }
    }

    /// Writes what is left and returns the writer below.
    ///
    /// # Errors
    /// Those of that writer, and of a codec without memory.
    pub fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        // Most layers are smaller than a block, and need no other thread.
        let last = if self.under_way.is_empty() { pack(self.codec, &last, true)? } else { self.finish_behind(last)? };
        self.put(&last)?;
        if self.codec.method() == Method::Gzip {
            self.out.write_all(&self.checksum.sum().to_le_bytes())?;
            // The length modulo 2^32, as the format has it.
            self.out.write_all(&self.checksum.amount().to_le_bytes())?;
        }
        Ok(self.out)
    }

    /// Compresses the last block while those before it are written.
    fn finish_behind(&mut self, last: Vec<u8>) -> io::Result<Packed> {
        let last = start(self.codec, last, true);
        while let Some(next) = self.under_way.pop_front() {
            self.put(&wait(&next)?)?;
        }
        wait(&last)
    }

    /// Writes a block.
    fn put(&mut self, packed: &Packed) -> io::Result<()> {
        if !self.has_begun && self.codec.method() == Method::Gzip {
            // No name and no time: equal content, equal bytes. 255 is an unknown operating system (RFC 1952).
            self.out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        }
        self.has_begun = true;
        self.checksum.combine(&packed.checksum);
        self.out.write_all(&packed.bytes)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.codec.method().block_bytes();
        // A full block waits for the next byte, as the last block ends in another way than others.
        if self.block.len() == size && !bytes.is_empty() {
            let full = std::mem::take(&mut self.block);
            self.under_way.push_back(start(self.codec, full, false));
            if self.under_way.len() > self.most
                && let Some(next) = self.under_way.pop_front()
            {
                self.put(&wait(&next)?)?;
            }
        }
        if self.block.capacity() == 0 {
            self.block.reserve_exact(size);
        }
        let taken = bytes.len().min(size - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Where blocks end decides what the bytes are, so a flush must not end one.
        Ok(())
    }
}

fn pack(codec: Codec, block: &[u8], is_last: bool) -> io::Result<Packed> {
    let mut checksum = flate2::Crc::new();
    if codec.method() == Method::Gzip {
        checksum.update(block);
    }
    Ok(Packed { bytes: codec.pack(block, is_last)?, checksum })
}

fn start(codec: Codec, block: Vec<u8>, is_last: bool) -> Receiver<io::Result<Packed>> {
    let (sender, receiver) = sync_channel(1);
    rayon::spawn_fifo(move || {
        // Nobody waits for it where writing has failed.
        let _ = sender.send(pack(codec, &block, is_last));
    });
    receiver
}

fn wait(block: &Receiver<io::Result<Packed>>) -> io::Result<Packed> {
    // A thread of rayon's own must not sleep while its pool, perhaps itself alone, has the block to compress.
    while let Some(rayon::Yield::Executed) = rayon::yield_now() {}
    block.recv().unwrap_or_else(|_| Err(io::Error::other("compressing a block has panicked")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::{Compression, decompress};
    use super::*;

    const GZIP_BLOCK: usize = 1 << 20;

    fn compressed(codec: Codec, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(codec, Vec::new());
        for piece in bytes.chunks(piece) {
            compressor.write_all(piece).unwrap();
            compressor.flush().unwrap();
        }
        compressor.finish().unwrap()
    }

    fn plain(packed: &[u8]) -> (Compression, Vec<u8>) {
        let (found, mut reader) = decompress(packed).unwrap();
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        (found, back)
    }

    /// Bytes that compress to about half.
    fn sample(length: usize) -> Vec<u8> {
        let step = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 28) as u8 + b'a')
        };
        let mut state = 1;
        std::iter::from_fn(|| step(&mut state)).take(length).collect()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for (method, kind) in [(Method::Gzip, Compression::Gzip), (Method::Zstd, Compression::Zstd)] {
            let block = method.block_bytes();
            for length in [0, 1, block - 1, block, block + 1, 2 * block + 17] {
                let bytes = sample(length);
                let (found, back) = plain(&compressed(method.usual(), &bytes, 100_000));
                assert!(back == bytes && found == kind, "{method:?} {length}");
            }
        }
    }

    #[test]
    fn every_level_comes_back_and_higher_ones_are_smaller() {
        // Noise has nothing that looking longer would find.
        let text: String = (0..170_000_u64).map(|number| format!("{}\n", number * 7919 % 10_007)).collect();
        let bytes = text.into_bytes();
        assert!(bytes.len() < GZIP_BLOCK, "one block, so that this is quick");
        for method in [Method::Gzip, Method::Zstd] {
            let at = |level: u8| compressed(method.at(level).unwrap(), &bytes, bytes.len());
            for level in [0, 1, 4, *method.levels().end()] {
                assert!(plain(&at(level)).1 == bytes, "{method:?} {level}");
            }
            assert!(at(*method.levels().end()).len() < at(1).len(), "{method:?}");
        }
        assert!(compressed(Method::Gzip.at(0).unwrap(), &bytes, bytes.len()).len() > bytes.len());
    }

    #[test]
    fn neither_threads_nor_pieces_change_the_bytes() {
        for method in [Method::Gzip, Method::Zstd] {
            let (codec, bytes) = (method.usual(), sample(4 * method.block_bytes() + 5));
            let expected = compressed(codec, &bytes, bytes.len());
            assert!(expected.len() < bytes.len() * 6 / 10);
            assert!(compressed(codec, &bytes, 4097) == expected);
            for threads in [1, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(|| compressed(codec, &bytes, 1 << 16)) == expected, "{method:?} {threads}");
            }
        }
    }

    #[test]
    fn gzip_is_one_member() {
        let bytes = sample(2 * GZIP_BLOCK + 5);
        let mut whole = Vec::new();
        // The simplest of readers stops after the first.
        let packed = compressed(Method::Gzip.usual(), &bytes, bytes.len());
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut whole).unwrap();
        assert!(whole == bytes);
    }

    /// A writer that fails after some bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_fails_is_heard() {
        let mut compressor = Compressor::new(Method::Gzip.usual(), Full(1000));
        let bytes = sample(3 * GZIP_BLOCK);
        let written = compressor.write_all(&bytes).and_then(|()| compressor.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
