//! One method per operation a user can ask for.

mod options;
mod stub;

pub use options::{
    ArchiveFormat, BuildOptions, BuildResult, DockerfileSource, ImageDetails, ImageSummary, LoadedImage, Output,
    OutputKind,
};
pub use stub::{Engine, EngineOptions, Error, Removed, TransferOptions};
