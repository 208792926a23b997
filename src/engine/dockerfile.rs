use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::contexts::MainContext;
use super::{DockerfileSource, Error, file_error};
use crate::context::Ignore;
use crate::diagnostic::Source;
use crate::dockerfile::{self, ast, instruction};
use crate::fs::Root;

/// The name looked for in a context; where there is none, the same in lower case.
const NAME: &str = "Dockerfile";

/// More than any Dockerfile has; what is larger is something else given by mistake.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Returns what is said of a larger one.
pub(super) fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {} MiB, and so no Dockerfile", MAX_BYTES >> 20),
    )
}

/// A Dockerfile as it was read.
pub(super) struct Loaded {
    /// Its text.
    pub(super) source: Source,
    /// Where it was read from; none for standard input.
    pub(super) path: Option<PathBuf>,
    /// What was written.
    pub(super) ast: ast::Dockerfile,
    /// What it means.
    pub(super) file: instruction::Dockerfile,
    /// Its rules for the context.
    pub(super) ignore: Ignore,
    /// Warnings, in order of the text.
    pub(super) warnings: Vec<crate::diagnostic::Diagnostic>,
}

/// Reads the build file that `file` names and the ignore file that goes with it.
pub(super) fn load(file: Option<&DockerfileSource>, context: &MainContext) -> Result<Loaded, Error> {
    let (source, path) = text(file, context)?;
    let loaded = parse(source, path, Ignore::none())?;
    // What others send has been chosen already (semantics reference, section 8.2).
    let ignore = if context.is_local { ignore(context.directory(), loaded.path.as_deref())? } else { Ignore::none() };
    Ok(Loaded { ignore, ..loaded })
}

/// Reads a build file whose text is here.
pub(super) fn parse(source: Source, path: Option<PathBuf>, ignore: Ignore) -> Result<Loaded, Error> {
    let parsed = dockerfile::parse(&source);
    let (file, warnings) = dockerfile::read_parsed(&parsed, &source)
        .map_err(|found| Error::Diagnostics { file: source.clone(), found })?;
    Ok(Loaded { source, path, ast: parsed.ast, file, ignore, warnings })
}

/// Returns the rules for a local context, whose build file need not be there unless `file` names it.
pub(super) fn ignore_of(file: Option<&DockerfileSource>, context: &MainContext) -> Result<Ignore, Error> {
    let path = match file {
        Some(DockerfileSource::Text(_)) => None,
        Some(DockerfileSource::Path(path)) => {
            let (path, opened) = open(path, context);
            opened.map_err(file_error("read", &path))?;
            Some(path)
        }
        None => Some(open(&context.directory().join(NAME), context).0),
    };
    ignore(context.directory(), path.as_deref())
}

/// Returns the text, and where a file of this machine has it.
fn text(file: Option<&DockerfileSource>, context: &MainContext) -> Result<(Source, Option<PathBuf>), Error> {
    let path = match (file, &context.text) {
        (Some(DockerfileSource::Path(_)), Some(_)) => return Err(Error::TwoDockerfiles),
        (Some(DockerfileSource::Text(text)), _) => return Ok((Source::new(NAME, text.as_str()), None)),
        (None, Some(text)) => return Ok((dockerfile::source_from_bytes(NAME, text)?, None)),
        (Some(DockerfileSource::Path(path)), None) => path.clone(),
        (None, None) if context.is_local => context.directory().join(NAME),
        (None, None) => PathBuf::from(NAME),
    };
    let (path, opened) = match open(&path, context) {
        (_, Err(error)) if is_missing(&error) && file.is_none() => {
            return Err(Error::NoDockerfile { context: context.name.clone() });
        }
        (path, opened) => {
            let opened = opened.map_err(file_error("read", &path))?;
            (path, opened)
        }
    };
    let bytes = read(opened).map_err(file_error("read", &path))?;
    let name = path.strip_prefix(context.directory()).unwrap_or(&path).display().to_string();
    Ok((dockerfile::source_from_bytes(&name, &bytes)?, context.is_local.then_some(path)))
}

/// Opens a build file; where there is none of its name, one of the same in lower case. Returns the name that it has.
fn open(path: &Path, context: &MainContext) -> (PathBuf, io::Result<File>) {
    let open = |path: &Path| if context.is_local { File::open(path) } else { open_inside(context.directory(), path) };
    match open(path) {
        Err(error) if is_missing(&error) && path.file_name() == Some(NAME.as_ref()) => {
            let lower = path.with_file_name(NAME.to_lowercase());
            match open(&lower) {
                Err(error) if is_missing(&error) => (path.to_owned(), Err(error)),
                opened => (lower, opened),
            }
        }
        opened => (path.to_owned(), opened),
    }
}

/// Opens a file of a directory that somebody else filled: no link in it leads out.
fn open_inside(directory: &Path, path: &Path) -> io::Result<File> {
    let refused = |error: crate::fs::Error| error.io().map_or(io::ErrorKind::Other.into(), copied);
    Root::open(directory).and_then(|root| root.open_file(path.as_os_str().as_bytes())).map_err(refused)
}

fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// Returns the rules of `<dockerfile>.dockerignore` next to the build file, else of `.dockerignore` in the context.
pub(super) fn ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore, Error> {
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
