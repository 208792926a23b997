use std::io;
use std::path::PathBuf;

use super::Difference;
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::sys::Cancelled;
use crate::{compare, container, context, dockerfile, exec, image, layer, registry, remote, store};

/// A step whose process failed.
#[derive(Debug)]
pub struct FailedStep {
    /// The step.
    pub title: String,
    /// Where it was written.
    pub origin: Option<(Source, Span)>,
    /// How the process ended, in words that complete "the process …".
    pub status: String,
    /// The last lines of its output.
    pub tail: Vec<String>,
    /// All of its output.
    pub log: Option<PathBuf>,
    /// What is kept of it.
    pub left: Option<Left>,
}

/// What is kept of a failed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The name of the container with its files.
    pub container: String,
    /// The archive with its files.
    pub bundle: Option<PathBuf>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration file says what kiln does not understand.
    #[error("{}:{line}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// There is no build to go on with.
    #[error("there is nothing to resume: the last build that began in this directory, if any, did not fail")]
    NothingToResume,
    /// A build cannot be asked for again.
    #[error("build {build} cannot be resumed: what it read from stdin, or a password in its command line, is not kept")]
    CannotResume {
        /// The build.
        build: String,
    },
    /// No step that failed is kept.
    #[error("there is no failed step to look into: none has failed lately")]
    NothingFailed,
    /// What a step has left cannot be told from another container.
    #[error("it is not known any more what the step was that has left {container}")]
    NoRecipe {
        /// Its name.
        container: String,
    },
    /// What a failed step has left is not run again.
    #[error("{container} is what a failed step has left; `kiln shell {container}` looks into it")]
    IsAFailure {
        /// Its name.
        container: String,
    },
    /// Two builds of one thing made two images.
    #[error("the build is not reproducible: {0}")]
    NotReproducible(Difference),
    /// The build file has errors.
    #[error("{} cannot be built", file.name())]
    Diagnostics {
        /// The text.
        file: Source,
        /// What was found, errors among it.
        found: Vec<Diagnostic>,
    },
    /// A step's process failed.
    #[error("`{}` {}", .0.title, .0.status)]
    StepFailed(FailedStep),
    /// A step could not be done, and its place in the text does not help.
    #[error("`{title}` could not be done")]
    Step {
        /// The step.
        title: String,
        /// Why.
        source: exec::Error,
    },
    /// The operation was stopped.
    #[error("interrupted")]
    Cancelled,
    /// There is no such image in the store.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// The context is not a directory.
    #[error("there is no context directory {}", path.display())]
    NoContext {
        /// What was given.
        path: PathBuf,
    },
    /// There is no build file.
    #[error("there is no Dockerfile in {context}; name one with `-f`")]
    NoDockerfile {
        /// The context, as it was given.
        context: String,
    },
    /// The context is the text of a build file, and another one is named.
    #[error("standard input is a Dockerfile, and `-f` names another one")]
    TwoDockerfiles,
    /// The context is a file of another kind than it should be.
    #[error("the context {} is neither a directory nor a tar archive", path.display())]
    NotAnArchive {
        /// What was given.
        path: PathBuf,
    },
    /// The name of a context.
    #[error("invalid context name {name}")]
    ContextName {
        /// As it was given.
        name: String,
        /// Why.
        source: crate::oci::ReferenceError,
    },
    /// A context in a repository.
    #[error("the context {context} is nothing that a repository has")]
    GitContext {
        /// The repository.
        context: String,
        /// What is wrong with what stands behind it.
        source: crate::graph::GitError,
    },
    /// A context from elsewhere.
    #[error("cannot load the build context")]
    Remote(#[source] remote::Error),
    /// A source may not be used.
    #[error(transparent)]
    Policy(#[from] super::PolicyError),
    /// What is to say what time it is.
    #[error("cannot find out the time of SOURCE_DATE_EPOCH")]
    Epoch(#[source] remote::Error),
    /// A context that comes as a stream.
    #[error("cannot read the context from standard input")]
    Stream(#[source] io::Error),
    /// The build file asks for an error where lint finds anything, and it did.
    #[error("lint violation found for rules: {}", rules.join(", "))]
    LintViolation {
        /// The rules, in alphabetical order.
        rules: Vec<&'static str>,
    },
    /// The build file is on standard input, and cannot be mended.
    #[error("a Dockerfile from standard input cannot be fixed; name a file")]
    NothingToFix,
    /// A file could not be written.
    #[error(transparent)]
    Files(crate::fs::Error),
    /// The build argument that says which rules are wanted.
    #[error(transparent)]
    LintControls(#[from] dockerfile::lint::InvalidOption),
    /// The build file is no text.
    #[error(transparent)]
    Dockerfile(#[from] dockerfile::Error),
    /// A file named by the user.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done to it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An archive could not be written to where the user wants it.
    #[error("cannot write the archive")]
    Archive(#[source] io::Error),
    /// No place for the store is known.
    #[error("there is no home directory to keep images in; name a directory with `--root`")]
    NoHome,
    /// An index offers no image for the platform.
    #[error("{reference} has no image for {platform}; it has: {offered}")]
    NoPlatform {
        /// The image's name.
        reference: String,
        /// What was asked for.
        platform: crate::oci::Platform,
        /// What there is.
        offered: String,
    },
    /// A manifest or config is not what it should be.
    #[error(transparent)]
    Document(#[from] crate::oci::EncodedError),
    /// The context could not be read.
    #[error(transparent)]
    Context(context::Error),
    /// The store refused.
    #[error(transparent)]
    Store(store::Error),
    /// A registry refused.
    #[error(transparent)]
    Registry(registry::Error),
    /// A layer could not be read or written.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// An archive or image is not what it should be.
    #[error(transparent)]
    Image(image::Error),
    /// What cannot be a side of a comparison.
    #[error("kiln cannot compare `{0}`: only images, archives, OCI layouts and directories, so far")]
    CannotCompare(String),
    /// A build that made no image.
    #[error("the build {build} made no image")]
    NoBuildResult {
        /// Its id.
        build: String,
    },
    /// An image has fewer instructions.
    #[error("{name} has {steps} steps")]
    NoSuchStep {
        /// As it was asked for.
        name: String,
        /// How many it has.
        steps: usize,
    },
    /// An archive has several images, or not the one that was asked for.
    #[error("say which image of {} is meant, as in `docker-archive:FILE:NAME`; it has: {names}", path.display())]
    WhichImage {
        /// The archive.
        path: PathBuf,
        /// What is in it.
        names: String,
    },
    /// Layers that were written anew do not make the same files.
    #[error(
        "the layers written anew would change `{path}`, which is a fault of kiln; without --compact and --squash the build is right"
    )]
    Folding {
        /// The first file that would differ, as people read it.
        path: String,
    },
    /// Two images could not be compared.
    #[error(transparent)]
    Compare(compare::Error),
    /// The user namespace of a container cannot be entered.
    #[error(transparent)]
    UserNamespace(#[from] crate::runtime::UserNamespaceError),
    /// Something could not be done with a container.
    #[error(transparent)]
    Container(container::Error),
    /// Neither the image nor the command line says what is to be run.
    #[error("the image {image} names no command, and neither does the command line")]
    NoCommand {
        /// As it was given.
        image: String,
    },
    /// Files are copied between a container and something else.
    #[error("one of the two must be in a container, as in NAME:/path, and the other must not")]
    CopyEnds,
    /// A container that runs is not removed without being asked to.
    #[error("container {name} is running; stop it first, or remove it with `-f`")]
    ContainerRuns {
        /// Its name.
        name: String,
    },
    /// A layer holds something else than when it was read.
    #[error("layer {0} is not what it was; was its blob written over?")]
    AlteredLayer(crate::oci::DiffId),
    /// A layer could not be fetched or finished.
    #[error(transparent)]
    Exec(exec::Error),
}

impl Error {
    /// Returns the error of a source that was fetched for its time.
    pub(super) fn of_epoch(error: Error) -> Error {
        match error {
            Error::Remote(error) => Error::Epoch(error),
            other => other,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::NoSuchImage { name } => Error::NoSuchImage(name),
            store::Error::Cancelled(_) => Error::Cancelled,
            other => Error::Store(other),
        }
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Error {
        if error.is_cancellation() { Error::Cancelled } else { Error::Registry(error) }
    }
}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Error {
        match error {
            image::Error::Cancelled(_) => Error::Cancelled,
            other => Error::Image(other),
        }
    }
}

impl From<container::Error> for Error {
    fn from(error: container::Error) -> Error {
        match error {
            container::Error::Store(error) => error.into(),
            error if error.is_cancellation() => Error::Cancelled,
            error => Error::Container(error),
        }
    }
}

impl From<exec::Error> for Error {
    fn from(error: exec::Error) -> Error {
        if error.is_cancellation() { Error::Cancelled } else { Error::Exec(error) }
    }
}

impl From<compare::Error> for Error {
    fn from(error: compare::Error) -> Error {
        match error {
            compare::Error::Cancelled => Error::Cancelled,
            other => Error::Compare(other),
        }
    }
}

impl From<context::Error> for Error {
    fn from(error: context::Error) -> Error {
        match error {
            context::Error::Cancelled(_) => Error::Cancelled,
            other => Error::Context(other),
        }
    }
}

impl From<remote::Error> for Error {
    fn from(error: remote::Error) -> Error {
        if error.is_cancellation() { Error::Cancelled } else { Error::Remote(error) }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Error {
        Error::Cancelled
    }
}
