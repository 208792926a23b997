//! Instructions, build arguments and platform into a build graph and an image config.
//!
//! ```text
//!  instruction::Dockerfile ─▶ which stages the target needs ─▶ images resolved, all at once
//!      └▶ stage by stage, instruction by instruction: words expanded, ops added, config and history grown ─▶ Plan
//! ```
//!
//! Planning reads no file and runs nothing; what it must know about images it asks a [`ResolveImage`].

mod arguments;
mod budget;
mod copy;
mod environment;
mod epoch;
mod expand;
mod ground;
mod history;
mod lint;
mod mounts;
mod named;
mod outline;
mod ports;
mod remote;
mod run;
mod signal;
mod stage;
mod stages;
mod state;
mod titles;

use std::collections::BTreeMap;

use crate::context::Ignore;
use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::dockerfile::instruction;
use crate::graph::{self, BuildGraph, Host, Network, NodeId, Ulimit};
use crate::oci::{Digest, ImageConfig, Platform, Reference};

pub use epoch::Epoch;
pub use lint::is_secret_name;
pub use named::{NamedContext, NamedContexts};
pub use outline::{Argument, Given, Outline};
pub use signal::signal_number;

use stages::Planner;

/// Finds images by their names.
pub trait ResolveImage: Sync {
    /// Returns the image that `reference` means for `platform`. Called for several images at once.
    ///
    /// # Errors
    /// Why there is none, in words for the user.
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved>;

    /// Returns what is to be fetched for `source`, a file or a repository.
    ///
    /// # Errors
    /// Why nothing is, in words for the user.
    fn admit(&self, source: graph::Source) -> Result<graph::Source, Unresolved> {
        Ok(source)
    }
}

/// An image as planning needs it.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Where its blobs are.
    pub reference: Reference,
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: ImageConfig,
}

/// Why an image was not found, or a source may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unresolved {
    /// The code of the diagnostic.
    pub code: &'static str,
    /// The whole cause.
    pub message: String,
    /// What would likely mend it.
    pub help: Option<String>,
}

impl Unresolved {
    /// Returns why an image was not found.
    pub fn not_found(message: String) -> Unresolved {
        Unresolved { code: "image-not-found", message, help: None }
    }

    /// Returns why a source may not be used.
    pub fn denied(message: String) -> Unresolved {
        Unresolved { code: "source-denied", message, help: None }
    }

    fn at(self, span: Span) -> Diagnostic {
        Diagnostic { help: self.help, ..Diagnostic::error(self.code, self.message, span) }
    }
}

/// What a plan depends on besides the text.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Values of ARG instructions.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build; none is the last.
    pub target: Option<String>,
    /// The platforms asked for, each once; none is `build_platform`, or whatever platform the base image has.
    pub platforms: Vec<Platform>,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// Other platforms whose programs this machine can run.
    pub emulated: Vec<Platform>,
    /// Labels set last.
    pub labels: BTreeMap<String, String>,
    /// What RUN reaches where it does not say so itself; none is the host's network.
    pub network: Option<Network>,
    /// What RUN may ask for beyond the usual.
    pub allow: Allow,
    /// Names that RUN can look up.
    pub hosts: Vec<Host>,
    /// Resource limits of RUN.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN, in bytes.
    pub shm_size_bytes: Option<u64>,
    /// What stands for images and stages of certain names.
    pub contexts: NamedContexts,
    /// Whether cached results are ignored.
    pub no_cache: bool,
    /// What the context does not hold, where a warning about that is wanted.
    pub ignore: Option<Ignore>,
    /// Stages, in lower case, whose RUN, COPY and ADD ignore cached results.
    pub no_cache_stages: Vec<String>,
}

/// Privileges that who builds grants to the file (semantics reference, section 15.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allow {
    /// `RUN --network=host`.
    pub network_host: bool,
    /// `RUN --security=insecure`.
    pub security_insecure: bool,
}

/// What to do, and what the images will say about themselves.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The work for all platforms: what does not depend on the platform is one node.
    pub graph: BuildGraph,
    /// One for each platform, in the order in which they were asked for; at least one.
    pub images: Vec<PlannedImage>,
    /// Whether the result is an index, even of one image.
    pub is_index: bool,
    /// The time to give to what is made (`SOURCE_DATE_EPOCH`), where it is said by a number.
    pub epoch: Option<Timestamp>,
    /// What does not forbid a build.
    pub warnings: Vec<Diagnostic>,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct PlannedImage {
    /// The node whose tree is the image's; none for an image without layers.
    pub target: Option<NodeId>,
    /// The config, with the history and the layers of the base image only.
    pub config: ImageConfig,
    /// What this build adds to the history.
    pub history: Vec<PlannedHistory>,
}

/// An item of the history (image-spec, "Image Configuration") whose time is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHistory {
    /// The instruction, as BuildKit writes it.
    pub created_by: String,
    /// The node that makes its layer; none where there is no layer.
    pub layer: Option<NodeId>,
    /// Where it is written.
    pub origin: Option<(Source, Span)>,
}

/// Plans the build of a Dockerfile.
///
/// # Errors
/// Everything that forbids the build in the stages the target needs, in the order of its places.
pub fn plan(
    source: &Source,
    file: &instruction::Dockerfile,
    options: &PlanOptions,
    images: &dyn ResolveImage,
) -> Result<Plan, Vec<Diagnostic>> {
    Planner::new(source, file, options, images).plan()
}

/// Finds out what `SOURCE_DATE_EPOCH` says. Planning takes a number alone: who builds puts one in its place.
///
/// # Errors
/// What is wrong with it; planning tells that, too.
pub fn epoch(source: &Source, file: &instruction::Dockerfile, options: &PlanOptions) -> Result<Epoch, Vec<Diagnostic>> {
    Planner::new(source, file, options, &epoch::NoImages).find_epoch()
}

/// What planning finds out about a file without building anything.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// What does not forbid a build.
    pub warnings: Vec<Diagnostic>,
    /// What does, in the order of its places.
    pub errors: Vec<Diagnostic>,
}

/// Plans the stage that `options` ask for, or every stage where they ask for none, for what there is to say about them.
/// An image that is not found is taken for one of which nothing is known.
pub fn check(
    source: &Source,
    file: &instruction::Dockerfile,
    options: &PlanOptions,
    images: &dyn ResolveImage,
) -> Checked {
    Planner::new(source, file, options, images).check()
}

/// Plans the stage that `options` ask for, for what a build of it can be given. An image that is not found is taken for one
/// of which nothing is known.
///
/// # Errors
/// Everything that forbids the build, in the order of its places.
pub fn outline(
    source: &Source,
    file: &instruction::Dockerfile,
    options: &PlanOptions,
    images: &dyn ResolveImage,
) -> Result<Outline, Vec<Diagnostic>> {
    Planner::new(source, file, options, images).plan_outline()
}

/// Builds up a list of what is wrong; any one of them is also an error of its own.
#[derive(Debug, Default)]
struct Problems(Vec<Diagnostic>);

impl From<Diagnostic> for Problems {
    fn from(problem: Diagnostic) -> Problems {
        Problems(vec![problem])
    }
}

impl From<Vec<Diagnostic>> for Problems {
    fn from(problems: Vec<Diagnostic>) -> Problems {
        Problems(problems)
    }
}

/// Returns all values, or all that is wrong.
fn all<T>(results: impl IntoIterator<Item = Result<T, Problems>>) -> Result<Vec<T>, Problems> {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(found) => problems.extend(found.0),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(Problems(problems)) }
}

#[cfg(test)]
mod tests;
