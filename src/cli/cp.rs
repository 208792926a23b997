use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::session::Session;
use crate::engine::{CopyEnd, CopyOptions};

/// Copy files into a container or out of one
///
/// One of SOURCE and TARGET is CONTAINER:PATH, where PATH is from the container's root. The other is a path here, or `-`
/// for a tar on stdin or stdout. A directory is copied with all in it; `DIRECTORY/.` means what is in it. What goes into a
/// directory that is there keeps its name; else it gets that of TARGET, whose own directory must be there.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Leave files to the users and groups they belong to
    #[arg(short, long)]
    archive: bool,
    /// Copy what SOURCE leads to if it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Accepted, as docker's; kiln tells nothing anyway
    #[arg(short, long, hide = true)]
    quiet: bool,
    /// What
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "TARGET")]
    target: String,
}

/// One end as it is written.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Container(String, PathBuf),
    Here(PathBuf),
    Tar,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let (source, target) = (end(&args.source)?, end(&args.target)?);
    let container = match (&source, &target) {
        (End::Container(name, _), End::Here(_) | End::Tar) | (End::Here(_) | End::Tar, End::Container(name, _)) => name,
        _ => {
            let message = "one of the two must be in a container, as in NAME:/path, and the other must not";
            return Err(Error::Usage(message.to_owned()));
        }
    };
    if target == End::Tar && io::stdout().is_terminal() {
        return Err(Error::Usage("refusing to write an archive to a terminal".to_owned()));
    }
    let engine = session.engine_beside(container)?;
    let options = CopyOptions { follow: args.follow_link, archive: args.archive };
    let (mut input, mut output) = (session.input(), BufWriter::new(io::stdout().lock()));
    let from = match source {
        End::Container(name, path) => CopyEnd::Container { name, path },
        End::Here(path) => CopyEnd::Here(path),
        End::Tar => CopyEnd::Read(&mut input),
    };
    let to = match target {
        End::Container(name, path) => CopyEnd::Container { name, path },
        End::Here(path) => CopyEnd::Here(path),
        End::Tar => CopyEnd::Write(&mut output),
    };
    engine.copy(from, to, options, &session.cancel)?;
    Ok(output.flush()?)
}

/// Reads an end: a `:` before any `/` stands behind a container's name, unless the text begins like a path.
fn end(text: &str) -> Result<End, Error> {
    if text == "-" {
        return Ok(End::Tar);
    }
    if !text.starts_with(['/', '.'])
        && let Some((name, path)) = text.split_once(':')
        && !name.contains('/')
        && !name.is_empty()
    {
        return Ok(End::Container(name.to_owned(), absolute(Path::new("/"), path)));
    }
    let here = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
    Ok(End::Here(absolute(&here, text)))
}

/// Puts a directory before a path, whose end stays as it is: `Path::join` would take a `/.` for nothing.
fn absolute(directory: &Path, path: &str) -> PathBuf {
    if path.starts_with('/') {
        return path.into();
    }
    let mut whole = OsString::from(directory);
    if directory != Path::new("/") {
        whole.push("/");
    }
    // `.` alone is `./.`: what is in the directory.
    whole.push(if path == "." { "./." } else { path });
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let container = |name: &str, path: &str| End::Container(name.to_owned(), path.into());
        for (text, expected) in [
            ("-", End::Tar),
            ("web:/etc/.", container("web", "/etc/.")),
            ("web:etc", container("web", "/etc")),
            ("web:", container("web", "/")),
            ("/a:b", End::Here("/a:b".into())),
            ("/a/", End::Here("/a/".into())),
        ] {
            assert_eq!(end(text).unwrap(), expected, "{text}");
        }
        assert!(matches!(end("./a:b").unwrap(), End::Here(path) if path.ends_with("a:b")));
        assert!(matches!(end("d/x:y").unwrap(), End::Here(_)));
        assert_eq!(absolute(Path::new("/w"), ".").as_os_str(), "/w/./.");
        assert_eq!(absolute(Path::new("/w"), "d/.").as_os_str(), "/w/d/.");
    }
}
