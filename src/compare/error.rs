use crate::layer;
use crate::oci::DiffId;

/// Why two things cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index of a layer cannot be read.
    #[error("cannot read what is in the layer {layer}")]
    Layer {
        /// Which.
        layer: DiffId,
        /// Why not.
        source: layer::Error,
    },
    /// A layer that one side alone has must be known.
    #[error("it is not known what is in the layer {0}")]
    MissingIndex(DiffId),
    /// What the layers on top mean depends on the shared ones below, which are not known.
    #[error("the shared layers are needed: one above them has a path through a symbolic link")]
    SharedNeeded,
    /// It was stopped.
    #[error("interrupted")]
    Cancelled,
}
