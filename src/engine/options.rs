use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContextSource, Folding, NamedSource};
use crate::exec::{AgentSource, SecretSource};
use crate::frontend::Allow;
use crate::graph::{Host, Network, Ulimit};
use crate::layer::{Codec, Method};
use crate::oci::{Descriptor, Digest, Encoded, ImageConfig, Index, Manifest, Platform, Reference};

/// What to build and how.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Where the files come from.
    pub context: ContextSource,
    /// Further contexts by name (`--build-context`).
    pub build_contexts: BTreeMap<String, NamedSource>,
    /// The Dockerfile; none means `Dockerfile`, then `dockerfile`, in the context.
    pub file: Option<DockerfileSource>,
    /// Names the result gets.
    pub tags: Vec<Reference>,
    /// `--build-arg`, in order; a value of none is taken from the environment by the command line.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build; none is the last.
    pub target: Option<String>,
    /// Labels added last.
    pub labels: BTreeMap<String, String>,
    /// Ignore cached results.
    pub no_cache: bool,
    /// Do not ignore those that were made since then.
    pub fresh_since: Option<Timestamp>,
    /// How all this was asked for; none is not to be asked for again.
    pub invocation: Option<Invocation>,
    /// Fail instead of running a step.
    pub require_cached: bool,
    /// Ask registries even for tags that are known here.
    pub pull: bool,
    /// Network of RUN.
    pub network: Option<Network>,
    /// What RUN may ask for beyond the usual.
    pub allow: Allow,
    /// Names that RUN can look up.
    pub hosts: Vec<Host>,
    /// Resource limits of RUN.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN, in bytes; none is 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// Stages, in lower case, whose steps ignore cached results.
    pub no_cache_stages: Vec<String>,
    /// Secrets for `RUN --mount=type=secret` and for sources elsewhere, by id. Their values are in nothing that is kept.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Agents for `RUN --mount=type=ssh`, by id; the one called `default` opens repositories, too.
    pub agents: BTreeMap<String, AgentSource>,
    /// A file of rules about what may be used, in BuildKit's form; none allows everything.
    pub source_policy: Option<PathBuf>,
    /// What becomes of the result besides the store; empty means the store alone.
    pub outputs: Vec<Output>,
    /// Push every tag.
    pub push: bool,
    /// How the layers of the image that is kept, and pushed, are packed; none compresses them for a push alone.
    pub packing: Option<Packing>,
    /// Steps at once; none is the number of processors.
    pub jobs: Option<usize>,
    /// The platforms to build for, each once; several make an index. None is this machine's, or the base image's.
    pub platforms: Vec<Platform>,
    /// Registries that may be asked without TLS, or with a certificate nobody vouches for.
    pub insecure_registries: Vec<String>,
    /// How the layers that are made are put together; none leaves each step its own.
    pub folding: Option<Folding>,
    /// No file of the layers that are made is later than `SOURCE_DATE_EPOCH` says.
    pub rewrite_timestamp: bool,
    /// The same image from the same content, on any machine; none is what the configuration says.
    pub reproducible: Option<bool>,
    /// Build twice, and fail unless both images are equal; implies `reproducible`.
    pub verify: bool,
    /// What becomes of the files of a step that fails.
    pub on_failure: OnFailure,
}

/// How a build was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The working directory.
    pub directory: String,
    /// The command line; none where it cannot be had again.
    pub words: Option<Vec<String>>,
    /// Build arguments whose values are not in it.
    pub unsaid: Vec<String>,
}

/// What becomes of the files of a step that fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are kept for a while, as those of a container.
    #[default]
    Keep,
    /// They are kept, and written into an archive; without a path, into one in the working directory.
    Bundle(Option<PathBuf>),
    /// They are removed.
    Discard,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A path: relative to the working directory for a context that is a directory here, else in the context.
    Path(PathBuf),
    /// Standard input, already read.
    Text(String),
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Form of the result.
    pub kind: OutputKind,
    /// Where; none is standard output.
    pub destination: Option<PathBuf>,
    /// A name written into archives besides the tags.
    pub name: Option<Reference>,
    /// How the layers of an archive are packed; none is what its readers are used to.
    pub packing: Option<Packing>,
}

/// How layers leave the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// What they become.
    pub form: Form,
    /// Whether that goes for all of them: else those that are here as somebody else packed them stay as they are.
    pub force: bool,
}

/// The form of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The tar itself.
    Plain,
    /// Compressed by a method, at whatever level it was done before, or else at the usual one.
    Packed(Method),
    /// Compressed just so.
    Exact(Codec),
}

/// Form of a build result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// OCI archive.
    Oci,
    /// Archive for `docker load`.
    Docker,
    /// The files, in a directory.
    Local,
    /// The files, as a tar.
    Tar,
    /// The image, in the store.
    Image,
    /// The image, in the registry.
    Registry,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The config's digest: the image id. Of an index, its own digest.
    pub image_id: Digest,
    /// Of the manifest or the index.
    pub root: Descriptor,
    /// Whether it is an index.
    pub is_index: bool,
    /// The names it got.
    pub tags: Vec<Reference>,
    /// Steps whose results were known.
    pub cached_steps: usize,
    /// Steps that were executed.
    pub executed_steps: usize,
}

/// One line of `kiln images`.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The name; none for an image without one.
    pub reference: Option<Reference>,
    /// The config's digest. Of an index, its own digest.
    pub image_id: Digest,
    /// The digest of the manifest or index.
    pub manifest: Digest,
    /// When its last layer was made.
    pub created: Option<jiff::Timestamp>,
    /// Bytes of its layers, uncompressed where known.
    pub size_bytes: u64,
    /// What it is for: of an index, the platforms of its images.
    pub platforms: Vec<Platform>,
}

/// An image, whole.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// The config's digest.
    pub image_id: Digest,
    /// The manifest's digest.
    pub manifest_digest: Digest,
    /// All its names here.
    pub references: Vec<Reference>,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// The config's exact bytes.
    pub config_bytes: Vec<u8>,
    /// Uncompressed bytes of each layer, base first; 0 where not known.
    pub layer_sizes: Vec<u64>,
    /// The index that has the names, where the image is one of several.
    pub index: Option<Encoded<Index>>,
}

/// Form of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// For `docker load`; also a valid OCI layout.
    #[default]
    Docker,
    /// OCI layout alone.
    Oci,
}

/// How images are written into an archive.
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    /// Form of the archive.
    pub format: ArchiveFormat,
    /// Which image of an index; none is the whole index.
    pub platform: Option<Platform>,
    /// How layers are packed; none leaves them as they are.
    pub packing: Option<Packing>,
}

/// What one image of an archive became.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// Names it got; empty for an image without one.
    pub references: Vec<Reference>,
    /// The config's digest.
    pub image_id: Digest,
}
