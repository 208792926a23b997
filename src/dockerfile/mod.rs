//! Dockerfile text to values: [`parse`] yields what was written ([`ast`]), [`lower`] what it means ([`instruction`]).
//!
//! Pure: text in, values out. Nothing here expands a variable against an environment or looks at a file.
//!
//! ```text
//! &str ──parse──▶ ast::Dockerfile ──lower──▶ instruction::Dockerfile
//! ```

pub mod ast;
pub mod instruction;
mod lower;
mod parse;
pub mod shell;
mod suggest;
mod text;

pub use lower::{lower, parse_trigger, read};
pub use parse::{Parsed, parse};
#[doc(hidden)]
pub use parse::{RULES, accepts};

use crate::diagnostic::Source;

/// Why bytes are no text to read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some byte is not UTF-8.
    #[error("{name}:{line} is not UTF-8 text (byte {offset} of the file)")]
    NotUtf8 {
        /// The name of the file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// How many bytes precede the one that is wrong.
        offset: usize,
        /// What is wrong with it.
        source: std::str::Utf8Error,
    },
}

/// Returns the bytes of a file as a source, without the byte-order mark some editors write.
///
/// # Errors
/// [`Error::NotUtf8`] with the place of the first wrong byte.
pub fn source_from_bytes(name: &str, bytes: &[u8]) -> Result<Source, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text))),
        Err(source) => {
            let offset = source.valid_up_to();
            let line = bytes[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Err(Error::NotUtf8 { name: name.to_owned(), line, offset, source })
        }
    }
}
