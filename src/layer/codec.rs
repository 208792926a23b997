use std::io;
use std::ops::RangeInclusive;

use flate2::FlushCompress;

use crate::oci::media_type;

/// The library that deflates. It cannot be asked for its version, so a test holds this against what is linked.
const DEFLATER: &str = "zlib-rs 0.6.8";

/// A way in which kiln compresses layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// gzip, RFC 1952.
    Gzip,
    /// zstd, RFC 8878.
    Zstd,
}

/// A method at a level. Equal content gives equal bytes, on any number of processors, while the
/// [`library`](Codec::library) stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec {
    method: Method,
    level: u8,
}

impl Method {
    /// Returns the levels there are: the higher, the smaller and the slower.
    pub fn levels(self) -> RangeInclusive<u8> {
        match self {
            Method::Gzip => 0..=9,
            Method::Zstd => 0..=22,
        }
    }

    /// Returns the method at its usual level.
    pub fn usual(self) -> Codec {
        let level = match self {
            // Up to 0.4 % larger than at 6, gzip(1)'s, for programs and sources, in 0.75 to 0.82 of the time; 2 % in 0.57 for
            // text that hardly repeats. Other builders' layers are of that size too. 4 saves no time worth its bytes.
            Method::Gzip => 5,
            // As zstd(1).
            Method::Zstd => 3,
        };
        Codec { method: self, level }
    }

    /// Returns the method at a level; none if it has no such level.
    pub fn at(self, level: u8) -> Option<Codec> {
        let level = match (self, level) {
            // zstd takes 0 for whatever level is usual.
            (Method::Zstd, 0) => self.usual().level,
            (_, level) => level,
        };
        self.levels().contains(&level).then_some(Codec { method: self, level })
    }

    /// Returns what people call it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Gzip => "gzip",
            Method::Zstd => "zstd",
        }
    }

    /// Returns the media type of a layer that is compressed this way (image-spec, "Layer").
    pub fn media_type(self) -> &'static str {
        match self {
            Method::Gzip => media_type::OCI_LAYER_GZIP,
            Method::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// Returns how many bytes are compressed on their own. What is found more often than once is found within a block
    /// alone, and a larger one keeps more in memory and waits for more.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            // Deflate looks back no further than 32 KiB: blocks of this size cost well under a percent.
            Method::Gzip => 1 << 20,
            // zstd looks back 2 MiB at its usual level, 128 MiB at its last.
            Method::Zstd => 4 << 20,
        }
    }
}

impl Codec {
    /// Returns the method.
    pub fn method(self) -> Method {
        self.method
    }

    /// Returns the level.
    pub fn level(self) -> u8 {
        self.level
    }

    /// Returns the name and version of what compresses: another one may make other bytes of the same content.
    pub fn library(self) -> String {
        match self.method {
            // The number counts how kiln has cut the stream; whoever changes that raises it.
            Method::Gzip => format!("{DEFLATER}, cut 2"),
            Method::Zstd => format!("libzstd {}", zstd::zstd_safe::version_string()),
        }
    }

    /// Compresses a block: of gzip, part of one stream of deflate, which ends on a byte; of zstd, a frame.
    pub(super) fn pack(self, block: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        match self.method {
            Method::Gzip => {
                let mut bytes = Vec::with_capacity(block.len() / 2 + 64);
                let runs = runs(block);
                for (number, (run, shrinks)) in runs.iter().enumerate() {
                    let is_end = is_last && number + 1 == runs.len();
                    let flush = if is_end { FlushCompress::Finish } else { FlushCompress::Sync };
                    deflate(run, if *shrinks { self.level } else { 0 }, flush, &mut bytes)?;
                }
                Ok(bytes)
            }
            Method::Zstd => zstd::bulk::compress(block, i32::from(self.level)),
        }
    }
}

/// How much of a block is looked at as one: what shrinks, and what does not, comes in stretches of whole files.
const PIECE_BYTES: usize = 128 << 10;

/// Parts a block into stretches that shrink and such that do not: compressed pictures and archives, keys, random numbers.
/// Those are stored, as deflate would do in the end, and after fifty times the work.
fn runs(block: &[u8]) -> Vec<(&[u8], bool)> {
    let (mut runs, mut start, mut shrank) = (Vec::new(), 0, None);
    for (number, piece) in block.chunks(PIECE_BYTES).enumerate() {
        let shrinks = shrinks(piece);
        if shrank.is_some_and(|before| before != shrinks) {
            runs.push((&block[start..number * PIECE_BYTES], !shrinks));
            start = number * PIECE_BYTES;
        }
        shrank = Some(shrinks);
    }
    runs.push((&block[start..], shrank.unwrap_or(true)));
    runs
}

/// Tells whether a piece would shrink. A wrong guess costs some bytes or some time.
fn shrinks(piece: &[u8]) -> bool {
    const SAMPLE: usize = 4096;
    const TRIED: usize = 32 << 10;
    if piece.len() < TRIED || piece.chunks(PIECE_BYTES / 4).any(|part| !is_even(&part[..part.len().min(SAMPLE)])) {
        return true;
    }
    // Even, but perhaps with repetitions.
    let mut tried = Vec::with_capacity(TRIED + 1024);
    let result = deflate(&piece[..TRIED], 1, FlushCompress::Finish, &mut tried);
    result.is_err() || tried.len() < TRIED - TRIED / 50
}

/// Tells whether all bytes are about equally frequent. For `n` even ones the squares of the 256 counts add up to about
/// `n + n²/256`; those of any text or program are a multiple of that.
fn is_even(sample: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    sample.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    let (squares, n): (u64, u64) = (counts.iter().map(|count| count * count).sum(), sample.len() as u64);
    squares * 10 < (n + n * n / 256) * 11
}

/// Appends `run`, deflated by itself, to `bytes`.
fn deflate(run: &[u8], level: u8, flush: FlushCompress, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::Compress::new(flate2::Compression::new(u32::from(level)), false);
    loop {
        bytes.reserve(run.len() / 2 + 64);
        let read = encoder.total_in() as usize;
        let status = encoder.compress_vec(&run[read..], bytes, flush)?;
        // Room that is left over says that all is written.
        if status == flate2::Status::StreamEnd || bytes.len() < bytes.capacity() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_levels() {
        for (method, level, expected) in [
            (Method::Gzip, 0, Some(0)),
            (Method::Gzip, 9, Some(9)),
            (Method::Gzip, 10, None),
            (Method::Zstd, 0, Some(3)),
            (Method::Zstd, 22, Some(22)),
            (Method::Zstd, 23, None),
        ] {
            assert_eq!(method.at(level).map(Codec::level), expected, "{method:?} {level}");
        }
        assert_eq!(Method::Gzip.at(5), Some(Method::Gzip.usual()));
    }

    #[test]
    fn what_does_not_shrink_is_stored_and_what_does_is_not() {
        let mut state = 1_u64;
        let mut random = |bytes: usize| -> Vec<u8> {
            let step = |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            };
            (0..bytes).map(step).collect()
        };
        let noise = random(3 * PIECE_BYTES);
        let text = b"what is said again and again ".repeat(3 * PIECE_BYTES / 29 + 1);
        let repeated = noise[..2048].repeat(2 * PIECE_BYTES / 2048);
        let block = [&noise, &text[..3 * PIECE_BYTES], &repeated, &noise[..PIECE_BYTES + 9]].concat();
        let found: Vec<_> = runs(&block).iter().map(|(run, shrinks)| (run.len(), *shrinks)).collect();
        assert_eq!(found, [(3 * PIECE_BYTES, false), (5 * PIECE_BYTES, true), (PIECE_BYTES, false), (9, true)]);
        let packed = Method::Gzip.usual().pack(&block, true).unwrap();
        assert!(packed.len() < 4 * PIECE_BYTES + PIECE_BYTES / 4, "{}", packed.len());
        let mut read = Vec::new();
        io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&packed[..]), &mut read).unwrap();
        assert!(read == block);
        assert_eq!(runs(b"").len(), 1);
    }

    #[test]
    fn the_library_that_deflates_is_the_one_that_is_linked() {
        let (name, version) = DEFLATER.split_once(' ').unwrap();
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{DEFLATER}");
    }
}
