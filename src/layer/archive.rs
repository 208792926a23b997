use std::io::Read;

use super::{Error, Finished};

/// What a layer from elsewhere may have at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole archive.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 1 << 40, entries: 16 << 20 }
    }
}

/// Reads any layer's archive, uncompressed, to its end, and returns its diff id and index.
///
/// # Errors
/// Every variant that speaks of "the layer".
pub fn read(_reader: impl Read, _limits: &Limits) -> Result<Finished, Error> {
    unimplemented!()
}
