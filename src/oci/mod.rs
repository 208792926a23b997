//! The vocabulary of the OCI and Docker image specifications, as values.
//!
//! Everything here is plain data: parsed, compared and serialised, never fetched or stored. A document whose bytes are
//! hashed travels as [`Encoded`], which keeps the bytes beside the parsed view so that nothing is ever re-serialised
//! under a digest it no longer has.

mod config;
mod descriptor;
mod digest;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher, HashingReader, HashingWriter};
pub use manifest::{Document, Encoded, EncodedError, Index, Manifest};
pub use platform::{Platform, PlatformError};
#[doc(hidden)]
pub use reference::RULES;
pub use reference::{Reference, ReferenceError, Selector};
