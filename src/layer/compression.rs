use std::io::{self, BufRead, BufReader, Read, Write};

/// How a layer or archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd, RFC 8878.
    Zstd,
}

impl Compression {
    /// How many bytes [`Compression::detect`] looks at.
    pub const DETECT_BYTES: usize = 6;

    /// Tells by the first bytes of a stream; with fewer than [`Compression::DETECT_BYTES`], of the whole stream.
    pub fn detect(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Returns the content of `reader`, which must be compressed this way; of all its members or frames.
    ///
    /// # Errors
    /// When no decoder can be made. The reader's own errors are those of `reader` and, for bytes that are not what they
    /// should be, of kind `InvalidData` or `InvalidInput`.
    pub fn decompress<'a>(self, reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Compression::None => Box::new(reader),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
            Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(reader)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        })
    }
}

/// Finds out how `reader` is compressed, and returns that with the content.
///
/// # Errors
/// Those of the first read, and of [`Compression::decompress`].
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut reader = reader;
    let mut start = Vec::with_capacity(Compression::DETECT_BYTES);
    reader.by_ref().take(Compression::DETECT_BYTES as u64).read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let whole = BufReader::with_capacity(64 << 10, io::Cursor::new(start).chain(reader));
    Ok((compression, compression.decompress(whole)?))
}

/// Compresses what is written to it. Equal content gives equal bytes, on any number of processors.
pub struct Compressor<W: Write>(Encoder<W>);

enum Encoder<W: Write> {
    None(W),
    Gzip(Gzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Returns a compressor into `out`.
    ///
    /// # Errors
    /// When no encoder can be made, as for bzip2 and xz, which kiln only reads.
    pub fn new(compression: Compression, out: W) -> io::Result<Compressor<W>> {
        Ok(Compressor(match compression {
            Compression::None => Encoder::None(out),
            Compression::Gzip => Encoder::Gzip(Gzip::new(out)),
            Compression::Zstd => {
                Encoder::Zstd(zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?)
            }
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// Writes what is left and returns the writer below.
    ///
    /// # Errors
    /// Those of that writer.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(gzip) => gzip.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::None(out) => out.write(bytes),
            Encoder::Gzip(gzip) => gzip.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Where blocks end decides what the bytes are, so a flush must not end one.
        Ok(())
    }
}

/// Bytes that are compressed on their own. What is found more often than once is found within a block alone, which
/// costs well under a percent of the size at this one; a smaller block costs more, a larger one waits for more.
const BLOCK_BYTES: usize = 1 << 20;

/// One gzip member whose blocks of deflate (RFC 1951) were compressed side by side and end on byte boundaries.
struct Gzip<W> {
    out: W,
    blocks: Vec<Vec<u8>>,
    /// Blocks that are compressed at once.
    most: usize,
    checksum: flate2::Crc,
    has_header: bool,
}

impl<W: Write> Gzip<W> {
    fn new(out: W) -> Gzip<W> {
        let most = rayon::current_num_threads();
        Gzip { out, blocks: Vec::new(), most, checksum: flate2::Crc::new(), has_header: false }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK_BYTES) {
            if self.blocks.len() == self.most {
                self.compress(flate2::FlushCompress::Sync)?;
            }
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        }
        let block = self.blocks.last_mut().expect("one was just made");
        let taken = bytes.len().min(BLOCK_BYTES - block.len());
        block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Compresses and writes what has gathered; `last` is how the last of its blocks ends.
    fn compress(&mut self, last: flate2::FlushCompress) -> io::Result<()> {
        use rayon::prelude::*;
        if !self.has_header {
            // No name and no time: equal content, equal bytes. 255 is an unknown operating system (RFC 1952).
            self.out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
            self.has_header = true;
        }
        let final_block = self.blocks.len().saturating_sub(1);
        let compress = |(place, block): (usize, &Vec<u8>)| {
            let flush = if place == final_block { last } else { flate2::FlushCompress::Sync };
            let mut checksum = flate2::Crc::new();
            checksum.update(block);
            deflate(block, flush).map(|bytes| (bytes, checksum))
        };
        let compressed: Vec<_> = self.blocks.par_iter().enumerate().map(compress).collect::<io::Result<_>>()?;
        for (bytes, checksum) in &compressed {
            self.out.write_all(bytes)?;
            self.checksum.combine(checksum);
        }
        self.blocks.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        if self.blocks.is_empty() {
            self.blocks.push(Vec::new());
        }
        self.compress(flate2::FlushCompress::Finish)?;
        self.out.write_all(&self.checksum.sum().to_le_bytes())?;
        // The length modulo 2^32, as the format has it.
        self.out.write_all(&self.checksum.amount().to_le_bytes())?;
        Ok(self.out)
    }
}

fn deflate(block: &[u8], flush: flate2::FlushCompress) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::Compress::new(flate2::Compression::default(), false);
    let mut bytes = Vec::with_capacity(block.len() / 2 + 64);
    loop {
        let read = encoder.total_in() as usize;
        let status = encoder.compress_vec(&block[read..], &mut bytes, flush)?;
        // Room that is left over says that all is written.
        if status == flate2::Status::StreamEnd || bytes.len() < bytes.capacity() {
            return Ok(bytes);
        }
        bytes.reserve(bytes.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(compression: Compression, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(compression, Vec::new()).unwrap();
        for piece in bytes.chunks(piece) {
            compressor.write_all(piece).unwrap();
            compressor.flush().unwrap();
        }
        compressor.finish().unwrap()
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
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 17] {
                let bytes = sample(length);
                let packed = compressed(compression, &bytes, 100_000);
                let (found, mut reader) = decompress(&packed[..]).unwrap();
                let mut back = Vec::new();
                reader.read_to_end(&mut back).unwrap();
                assert!(back == bytes && found == compression, "{compression:?} {length}");
            }
        }
        assert!(Compressor::new(Compression::Xz, Vec::new()).is_err());
    }

    #[test]
    fn neither_threads_nor_pieces_change_the_bytes() {
        let bytes = sample(4 * BLOCK_BYTES + 5);
        let expected = compressed(Compression::Gzip, &bytes, bytes.len());
        assert!(expected.len() < bytes.len() * 6 / 10);
        assert!(compressed(Compression::Gzip, &bytes, 4097) == expected);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| compressed(Compression::Gzip, &bytes, 1 << 16)) == expected, "{threads}");
        }
        // One member, which the simplest of readers reads whole.
        let mut whole = Vec::new();
        flate2::read::GzDecoder::new(&expected[..]).read_to_end(&mut whole).unwrap();
        assert!(whole == bytes);
    }
}
