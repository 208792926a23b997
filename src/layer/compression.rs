use std::io::{self, BufRead, BufReader, Read};

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
