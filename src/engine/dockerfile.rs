use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BuildOptions, DockerfileSource, Error};
use crate::context::Ignore;
use crate::diagnostic::Source;
use crate::dockerfile::{self, ast, instruction};

/// Names looked for in the context, in this order.
const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// More than any Dockerfile has; what is larger is something else given by mistake.
const MAX_BYTES: u64 = 16 << 20;

/// A Dockerfile as it was read.
pub(super) struct Loaded {
    /// Its text.
    pub(super) source: Source,
    /// What was written.
    pub(super) ast: ast::Dockerfile,
    /// What it means.
    pub(super) file: instruction::Dockerfile,
    /// Its rules for the context.
    pub(super) ignore: Ignore,
    /// Warnings, in order of the text.
    pub(super) warnings: Vec<crate::diagnostic::Diagnostic>,
}

/// Reads the build file of `options` and the ignore file that goes with it.
pub(super) fn load(options: &BuildOptions) -> Result<Loaded, Error> {
    if !options.context.is_dir() {
        return Err(Error::NoContext { path: options.context.clone() });
    }
    let (source, path) = text(options)?;
    let parsed = dockerfile::parse(&source);
    let (file, warnings) = dockerfile::read_parsed(&parsed, &source)
        .map_err(|found| Error::Diagnostics { file: source.clone(), found })?;
    let ignore = ignore(&options.context, path.as_deref())?;
    Ok(Loaded { source, ast: parsed.ast, file, ignore, warnings })
}

fn text(options: &BuildOptions) -> Result<(Source, Option<PathBuf>), Error> {
    let path = match &options.file {
        Some(DockerfileSource::Text(text)) => return Ok((Source::new("Dockerfile", text.as_str()), None)),
        Some(DockerfileSource::Path(path)) => path.clone(),
        None => {
            let candidates = NAMES.map(|name| options.context.join(name));
            let found = candidates.into_iter().find(|path| path.exists());
            found.ok_or_else(|| Error::NoDockerfile { context: options.context.clone() })?
        }
    };
    let bytes = read(&path)?;
    let name = path.strip_prefix(&options.context).unwrap_or(&path).display().to_string();
    Ok((dockerfile::source_from_bytes(&name, &bytes)?, Some(path)))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read(path).map_err(failed)
}

/// Returns the rules of `<dockerfile>.dockerignore` next to the build file, else of `.dockerignore` in the context.
fn ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore, Error> {
    let beside = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let common = context.join(".dockerignore");
    for path in beside.iter().chain([&common]) {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::File { action: "read", path: path.clone(), source }),
        };
        let name = path.strip_prefix(context).unwrap_or(path).display().to_string();
        let source = dockerfile::source_from_bytes(&name, &bytes)?;
        return Ignore::parse(&source).map_err(|found| Error::Diagnostics { file: source, found: vec![found] });
    }
    Ok(Ignore::none())
}
