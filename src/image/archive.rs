//! What archives are made of, for both directions.

use std::io::{self, BufReader, Chain, Cursor, Read};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::oci::{DiffId, Digest, HashingReader, media_type};

/// One item of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}

/// A full name, as containerd and BuildKit write it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// A tag, or with some tools a full name (image-spec, "Annotations").
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What a layer's blob turned out to be.
pub(super) struct ReadLayer {
    pub(super) blob: Digest,
    pub(super) diff_id: DiffId,
}

/// How bytes are compressed, by their first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    fn detect(first: &[u8]) -> Compression {
        match first {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, which zstd:chunked puts before or between the others.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Returns the media type of a layer in this form; none where manifests cannot say it.
    pub(super) fn media_type(self) -> Option<&'static str> {
        match self {
            Compression::None => Some(media_type::OCI_LAYER),
            Compression::Gzip => Some(media_type::OCI_LAYER_GZIP),
            Compression::Zstd => Some(media_type::OCI_LAYER_ZSTD),
            Compression::Bzip2 | Compression::Xz => None,
        }
    }
}

type Sniffed<R> = Chain<Cursor<Vec<u8>>, R>;

/// Returns how `reader` is compressed and all of its bytes.
pub(super) fn sniff<R: Read>(mut reader: R) -> io::Result<(Compression, Sniffed<R>)> {
    let mut first = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut first)?;
    Ok((Compression::detect(&first), Cursor::new(first).chain(reader)))
}

/// Returns the plain bytes of `reader`, all members and frames of it.
pub(super) fn decompress<'a, R: Read + 'a>(reader: R) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let (compression, reader) = sniff(reader)?;
    let reader = BufReader::with_capacity(128 * 1024, reader);
    let plain: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    };
    Ok((compression, plain))
}

/// Reads a layer's blob to its end.
pub(super) fn read_layer(blob: impl Read, name: Digest) -> Result<ReadLayer, Error> {
    let fault = |source: io::Error| Error::Layer { digest: name, source: source.into() };
    let mut blob = HashingReader::new(blob);
    let (_, plain) = decompress(&mut blob).map_err(fault)?;
    let mut plain = HashingReader::new(plain);
    io::copy(&mut plain, &mut io::sink()).map_err(fault)?;
    let (_, diff_id, _) = plain.finish();
    // A decoder may stop before trailing bytes, which are part of the blob all the same.
    io::copy(&mut blob, &mut io::sink()).map_err(fault)?;
    Ok(ReadLayer { blob: blob.finish().1, diff_id: DiffId::new(diff_id) })
}
