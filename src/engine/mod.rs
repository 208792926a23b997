//! One method per operation a user can ask for.

mod options;

pub use options::{
    ArchiveFormat, BuildOptions, BuildResult, DockerfileSource, ImageDetails, ImageSummary, LoadedImage, Output,
    OutputKind,
};
