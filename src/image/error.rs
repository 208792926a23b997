use std::io;

use crate::oci::{DiffId, Digest, EncodedError, Platform, ReferenceError};
use crate::store;
use crate::sys::Cancelled;

/// Why an image cannot be put together, written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A document is not what it should be.
    #[error(transparent)]
    Document(#[from] EncodedError),
    /// Manifest and config do not tell of the same number of layers.
    #[error("manifest {manifest} has {layers} layers and its config {diff_ids}")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// Its layers.
        layers: usize,
        /// The config's.
        diff_ids: usize,
    },
    /// A history that is there must have one item for each layer besides the empty ones.
    #[error("the history tells of {history} layers where the image has {layers}")]
    HistoryCount {
        /// Items that are not empty.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// The manifest names another config than the one at hand.
    #[error("manifest {manifest} has the config {expected}, not {actual}")]
    ConfigMismatch {
        /// The manifest.
        manifest: Digest,
        /// What it names.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// A layer's tar is not the one the config promises.
    #[error("layer {layer} of image {image} has the diff id {actual} where its config says {expected}")]
    DiffIdMismatch {
        /// The image's config.
        image: Digest,
        /// From 1, base first.
        layer: usize,
        /// What the config says.
        expected: DiffId,
        /// What the tar has.
        actual: DiffId,
    },
    /// A layer is not a tar, or not compressed in a way kiln knows.
    #[error("layer {digest} cannot be read")]
    Layer {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer that must be written into an archive is not in the store.
    #[error("layer {digest} is not in the store; pull the image again")]
    MissingLayer {
        /// The blob.
        digest: Digest,
    },
    /// Docker's archives hold single images alone.
    #[error("docker exporter does not currently support exporting manifest lists; the OCI format does")]
    DockerIndex,
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        source: io::Error,
    },
    /// The archive ends too early, or is not a tar, or not compressed in a way kiln knows.
    #[error("cannot read the archive")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The tar holds neither `manifest.json` nor `index.json`.
    #[error("the archive is neither a docker nor an OCI archive: it has no {}", if *.legacy { "manifest.json (it is of a Docker before 1.10)" } else { "manifest.json and no index.json" })]
    NotAnArchive {
        /// Whether it has `repositories`, as the oldest Docker wrote.
        legacy: bool,
    },
    /// Something the archive's documents name is not in it.
    #[error("the archive has no `{path}`, which its `{named_by}` names")]
    MissingEntry {
        /// The entry.
        path: String,
        /// The document.
        named_by: String,
    },
    /// A name in the archive leads out of it.
    #[error("the archive's entry `{path}` leads outside of the archive")]
    Escape {
        /// The entry.
        path: String,
    },
    /// Symbolic links of the archive lead around in a circle.
    #[error("the archive's entry `{path}` is a circle of links")]
    LinkLoop {
        /// The entry.
        path: String,
    },
    /// A document of the archive is not JSON of the right shape.
    #[error("the archive's `{path}` is not valid")]
    Json {
        /// The document.
        path: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A name in a document of the archive is not a reference.
    #[error("the archive's `{path}` names an image `{name}`")]
    Reference {
        /// The document.
        path: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A document of the archive is larger than any sensible one.
    #[error("the archive's `{path}` has {size} bytes where at most {max} are read")]
    DocumentTooLarge {
        /// The document.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// An entry is not the blob its name promises.
    #[error("the archive's `{path}` has the digest {actual}")]
    NameMismatch {
        /// The entry.
        path: String,
        /// What it is.
        actual: Digest,
    },
    /// An entry has not the size its descriptor says.
    #[error("the archive's `{path}` has {actual} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// The entry.
        path: String,
        /// What the descriptor says.
        expected: u64,
        /// What it has.
        actual: u64,
    },
    /// More entries, or deeper nested indexes, than any image has.
    #[error("the archive has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// An index in the archive has no image.
    #[error("the archive's index {index} has no image for {platform}")]
    NoImage {
        /// The index.
        index: Digest,
        /// What was looked for.
        platform: Platform,
    },
    /// The operation was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
