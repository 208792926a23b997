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
        // What gzip(1) and zstd(1) do when nobody says.
        let level = match self {
            Method::Gzip => 6,
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
            Method::Gzip => DEFLATER.to_owned(),
            Method::Zstd => format!("libzstd {}", zstd::zstd_safe::version_string()),
        }
    }

    /// Compresses a block: of gzip, part of one stream of deflate, which ends on a byte; of zstd, a frame.
    pub(super) fn pack(self, block: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        match self.method {
            Method::Gzip => {
                deflate(block, self.level, if is_last { FlushCompress::Finish } else { FlushCompress::Sync })
            }
            Method::Zstd => zstd::bulk::compress(block, i32::from(self.level)),
        }
    }
}

fn deflate(block: &[u8], level: u8, flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::Compress::new(flate2::Compression::new(u32::from(level)), false);
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
        assert_eq!(Method::Gzip.at(6), Some(Method::Gzip.usual()));
    }

    #[test]
    fn the_library_that_deflates_is_the_one_that_is_linked() {
        let (name, version) = DEFLATER.split_once(' ').unwrap();
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{DEFLATER}");
    }
}
