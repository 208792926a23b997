//! `kiln context`.

mod fold;
mod json;
mod text;

use std::cmp::Reverse;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::session::Session;
use super::{Error, build, name, report};
use crate::context::{Fate, Ignore, Kind, Listed, Listing, Tally};
use crate::engine::{self, BuildOptions, ContextListing, ContextSource};
use fold::Fold;

/// List what is in a build context, and why
///
/// Prints every path that a build could copy, with its size, and the sum. With --why, what the ignore file drops is
/// printed too, and for each path the rule that decided: its file and line, and the path that it matches where that is
/// a directory above. Of what is dropped as a whole, only the directory is printed.
///
/// What makes a context large: `kiln context --depth 1 --sort size`. Why COPY does not find a file:
/// `kiln context . FILE`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Dockerfile, or `-` for stdin (default: Dockerfile in the context); FILE.dockerignore beside it comes first
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print what is dropped, too, and the rule that drops or keeps each path
    #[arg(long)]
    why: bool,
    /// Print no more than N levels, and for the directories of the last the sum of what is below them
    #[arg(long, value_name = "N", conflicts_with_all = ["why", "entries"], value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,
    /// In which order
    #[arg(long, value_enum, default_value_t = Sort::Path)]
    sort: Sort,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Value of an ARG: BUILDKIT_CONTEXT_KEEP_GIT_DIR=1 keeps .git in the context of a git URL (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    #[command(flatten)]
    keys: build::keys::Args,
    /// The build context: a directory, a tar archive, `-` for one on stdin, or the URL of one or of a git repository
    #[arg(value_name = "PATH|URL|-", default_value = ".")]
    context: PathBuf,
    /// Explain these paths of the context, and what is below them, alone
    #[arg(value_name = "ENTRY")]
    entries: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// As they are found: depth first, names in byte order
    Path,
    /// The largest first
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Columns for people
    Text,
    /// One JSON object a line
    Json,
}

/// What is printed of each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    Sizes,
    /// And how many files there are in a directory.
    Sums,
    /// And why.
    Reasons,
}

/// How much was found.
#[derive(Debug, Default)]
struct Totals {
    kept: Tally,
    dropped: Tally,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let listing = open(&args.options(session)?, session)?;
    if let Some(note) = note(&listing, args.columns()) {
        writeln!(io::stderr(), "note: {note}")?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let failed = args.print(&listing, &mut out)?;
    out.flush()?;
    report::several(failed, args.entries.len().max(1))
}

/// Opens the context; a directory can be listed where there can be no store, too.
fn open(options: &BuildOptions, session: &Session) -> Result<ContextListing, Error> {
    match session.engine() {
        Ok(engine) => Ok(engine.context(options, &session.cancel)?),
        Err(error) if matches!(options.context, ContextSource::Directory(_)) => {
            tracing::debug!(%error, "no store, which a directory does not need");
            Ok(engine::context(options, &session.cancel)?)
        }
        Err(error) => Err(error),
    }
}

/// Returns what may have been meant by a path that is not there.
fn hint(listing: &ContextListing, path: &[u8]) -> Option<String> {
    if let Some((link, target)) = listing.link_above(path) {
        let (link, target) = (name::shown(&link), name::shown(&target));
        return Some(format!("{link} is a link to {target}; ask for what it leads to, as COPY will"));
    }
    listing.nearest(path).map(|nearest| format!("did you mean {}?", name::shown(&nearest)))
}

/// Returns what there is to say about the ignore file that is not there.
fn note(listing: &ContextListing, columns: Columns) -> Option<&'static str> {
    match (listing.has_rules(), listing.ignore().file()) {
        _ if listing.is_dockerfile() => Some("this is a Dockerfile alone, without files"),
        (false, _) => Some("ignore files do not apply to this context: all of it is there"),
        (true, None) if columns == Columns::Reasons => Some("there is no ignore file"),
        (true, _) => None,
    }
}

impl Args {
    fn options(&self, session: &Session) -> Result<BuildOptions, Error> {
        let here = Path::new("-");
        if self.context == here && self.file.as_deref() == Some(here) {
            return Err(Error::Usage("stdin can be either the context or, with `-f -`, the Dockerfile".to_owned()));
        }
        let mut options = BuildOptions {
            file: self.file.as_deref().map(|path| build::dockerfile(path, session.input())).transpose()?,
            context: build::context::source(&self.context, session.input()),
            build_args: build::build_args(&self.build_arg, |name| std::env::var(name).ok())?,
            ..BuildOptions::default()
        };
        self.keys.add_to(&mut options)?;
        Ok(options)
    }

    fn columns(&self) -> Columns {
        match self.depth {
            _ if self.why || !self.entries.is_empty() => Columns::Reasons,
            Some(_) => Columns::Sums,
            None => Columns::Sizes,
        }
    }

    /// Prints the listing and its sums; returns what was asked for and is not there.
    fn print(&self, listing: &ContextListing, out: &mut impl Write) -> Result<Vec<Error>, Error> {
        let (columns, ignore) = (self.columns(), listing.ignore());
        if self.format == Format::Text {
            text::headings(columns, out)?;
        }
        let mut totals = Totals::default();
        let mut fold = Fold::new(self.depth);
        let mut sorted = Vec::new();
        let mut show = |listed: Listed| -> Result<(), Error> {
            match self.sort {
                Sort::Path => self.row(&listed, ignore, out)?,
                Sort::Size => sorted.push(listed),
            }
            Ok(())
        };
        let failed = self.visit(listing, |listed| {
            totals.add(&listed);
            fold.push(listed, &mut show)
        })?;
        fold.finish(&mut show)?;
        sorted.sort_by(|a, b| Reverse(size_bytes(a)).cmp(&Reverse(size_bytes(b))).then_with(|| a.path.cmp(&b.path)));
        sorted.iter().try_for_each(|listed| self.row(listed, ignore, out))?;
        match self.format {
            Format::Text => text::totals(&totals, columns, out)?,
            Format::Json => writeln!(out, "{}", json::totals(&totals, columns, listing))?,
        }
        Ok(failed)
    }

    fn row(&self, listed: &Listed, ignore: &Ignore, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Text => text::row(listed, self.columns(), ignore, out),
            Format::Json => writeln!(out, "{}", json::entry(listed, self.columns(), ignore)),
        }
    }

    /// Walks what was asked for; returns what of that is not there.
    fn visit(
        &self,
        listing: &ContextListing,
        mut visit: impl FnMut(Listed) -> Result<(), Error>,
    ) -> Result<Vec<Error>, Error> {
        let what = if self.columns() == Columns::Reasons { Listing::All } else { Listing::Kept };
        let everything = [OsString::new()];
        let entries = if self.entries.is_empty() { &everything[..] } else { &self.entries };
        let mut failed = Vec::new();
        for entry in entries {
            let path = cleaned(entry.as_bytes());
            let mut found = listing.walk(&path, what)?.peekable();
            if found.peek().is_none() && !path.is_empty() {
                failed.push(Error::NotInContext { path: name::shown(entry.as_bytes()), hint: hint(listing, &path) });
            }
            found.try_for_each(|listed| visit(listed.map_err(engine::Error::from)?))?;
        }
        Ok(failed)
    }
}

impl Totals {
    fn add(&mut self, listed: &Listed) {
        if is_kept(listed) { self.kept.add(listed) } else { self.dropped.add(listed) }
    }
}

fn is_kept(listed: &Listed) -> bool {
    matches!(listed.fate, Fate::Kept(_) | Fate::Around(_))
}

/// Returns the content bytes of a file, and of what is counted below a directory.
fn size_bytes(listed: &Listed) -> u64 {
    match listed.kind {
        Some(Kind::File { size_bytes }) => size_bytes,
        _ => listed.below.size_bytes,
    }
}

/// Returns a path as COPY takes it: slashes at its ends mean nothing, and `..` does not leave the context.
fn cleaned(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_paths_below_the_context() {
        for (path, expected) in [("/a/b/", "a/b"), ("./a//b/../c", "a/c"), ("../..", ""), (".", "")] {
            assert_eq!(cleaned(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
