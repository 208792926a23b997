use std::io::Read;
use std::path::Path;

use super::Error;
use crate::engine::{ContextSource, Stream};

/// Returns where the context argument says the files are.
pub(super) fn source(path: &Path, stdin: impl Read + Send + 'static) -> Result<ContextSource, Error> {
    let text = path.to_string_lossy();
    if text == "-" {
        return Ok(ContextSource::Stream(Stream::new(stdin)));
    }
    let remote = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    if remote.iter().any(|prefix| text.starts_with(prefix)) {
        return Err(Error::NotSupported { flag: format!("the remote context {text}") });
    }
    Ok(if path.is_file() { ContextSource::Archive(path.to_owned()) } else { ContextSource::Directory(path.to_owned()) })
}
