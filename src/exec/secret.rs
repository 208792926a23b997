use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// A secret is at most this large (semantics reference, section 10.5).
const MOST_BYTES: u64 = 500 << 10;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of kiln's own environment.
    Variable(String),
}

/// The secrets of one build, by their ids. Their values are read when a step asks, and kept nowhere.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, SecretSource>);

/// Why a secret could not be given.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The build has none of this name.
    #[error("secret {id}: not found")]
    NotGiven {
        /// What the step asked for.
        id: String,
    },
    /// It cannot be read.
    #[error("cannot read the secret {id} from {}", path.display())]
    Read {
        /// The secret.
        id: String,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than secrets may be.
    #[error("the secret {id} has more than {MOST_BYTES} bytes")]
    TooLarge {
        /// The secret.
        id: String,
    },
    /// It is to be a variable, and cannot be one.
    #[error("the secret {id} cannot be a variable, because it is not text without NUL")]
    NoText {
        /// The secret.
        id: String,
    },
    /// It is to be the header of a request, and cannot be one.
    #[error("the secret {id} cannot be a header, because it is empty or not one line of text")]
    NoHeader {
        /// The secret.
        id: String,
    },
}

impl Secrets {
    /// Returns these secrets.
    pub fn new(sources: BTreeMap<String, SecretSource>) -> Secrets {
        Secrets(sources)
    }

    /// Returns the value of a secret; nothing where there is none.
    ///
    /// # Errors
    /// [`SecretError::Read`], [`SecretError::TooLarge`].
    pub fn get(&self, id: &str) -> Result<Option<Vec<u8>>, SecretError> {
        use std::os::unix::ffi::OsStringExt;
        let value = match self.0.get(id) {
            None => return Ok(None),
            Some(SecretSource::Variable(name)) => match std::env::var_os(name) {
                Some(value) => value.into_vec(),
                None => return Ok(None),
            },
            Some(SecretSource::File(path)) => {
                let read = || {
                    let mut value = Vec::new();
                    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut value)?;
                    Ok(value)
                };
                read().map_err(|source| SecretError::Read { id: id.to_owned(), path: path.clone(), source })?
            }
        };
        if value.len() as u64 > MOST_BYTES {
            return Err(SecretError::TooLarge { id: id.to_owned() });
        }
        Ok(Some(value))
    }

    /// Returns the value of a secret as a step needs it: none, where the step can do without.
    ///
    /// # Errors
    /// [`SecretError::NotGiven`] where it cannot; those of [`Secrets::get`].
    pub(super) fn ask(&self, id: &str, required: bool) -> Result<Option<Vec<u8>>, SecretError> {
        match self.get(id)? {
            None if required => Err(SecretError::NotGiven { id: id.to_owned() }),
            value => Ok(value),
        }
    }

    /// Returns the value of a secret as a variable; empty where there is none and the step can do without.
    ///
    /// # Errors
    /// [`SecretError::NoText`]; those of [`Secrets::get`].
    pub(super) fn text(&self, id: &str, required: bool) -> Result<String, SecretError> {
        let value = String::from_utf8(self.ask(id, required)?.unwrap_or_default());
        value.ok().filter(|text| !text.contains('\0')).ok_or_else(|| SecretError::NoText { id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(path: &std::path::Path) -> Secrets {
        let file = SecretSource::File(path.to_owned());
        Secrets::new(BTreeMap::from([
            ("file".to_owned(), file),
            ("unset".to_owned(), SecretSource::Variable("KILN_NO_SUCH_VARIABLE".to_owned())),
        ]))
    }

    #[test]
    fn values_come_from_where_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"x\xff").unwrap();
        let secrets = secrets(file.path());
        assert_eq!(secrets.get("file").unwrap().unwrap(), b"x\xff");
        assert_eq!(secrets.get("unset").unwrap(), None);
        assert_eq!(secrets.text("none", false).unwrap(), "");
        assert!(matches!(secrets.text("file", false), Err(SecretError::NoText { .. })));
        assert!(matches!(secrets.ask("none", true), Err(SecretError::NotGiven { .. })));
    }

    #[test]
    fn secrets_have_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secrets = secrets(file.path());
        file.as_file().set_len(MOST_BYTES).unwrap();
        assert_eq!(secrets.get("file").unwrap().unwrap().len() as u64, MOST_BYTES);
        file.as_file().set_len(MOST_BYTES + 1).unwrap();
        assert!(matches!(secrets.get("file"), Err(SecretError::TooLarge { .. })));
    }
}
