//! `kiln diff`.

mod budget;
mod json;
mod text;

use std::io::{self, BufWriter, IsTerminal, Write};

use super::Error;
use super::progress::{self, Mode};
use super::session::{Session, colours_wanted};
use crate::context::PathGlob;
use crate::engine::{Diff, DiffOptions, LayerDiff};
use crate::oci::Platform;
use budget::Budget;

/// Show what differs between images, layers, builds or containers
///
/// Of two, what differs between them; of one image, what each layer of it changed; of one container, what it changed.
///
/// Files are compared by type, content, link target, mode, owner, extended attributes and time; `A` is added, `C`
/// changed, `D` deleted. Files that differ in nothing but their time are counted and not listed, unless --mtime is
/// given. Then follow which layers the bytes came with, the packages (dpkg, apk, rpm, pip, npm, `cargo install`, and the
/// modules of Go programs), the config and the history, and with --patch the texts.
///
/// Either side is one of:
///   NAME, ID               an image here, or else in its registry
///   NAME@3                 the image after its third instruction (`kiln history`, oldest first; 0 is nothing)
///   docker://NAME          the image as its registry has it
///   FILE, docker-archive:FILE, oci-archive:FILE    an archive, compressed or not
///   DIR, oci:DIR           an OCI layout
///   DIR, dir:DIR           a directory of files
///   NAME, container:NAME   a container as it is now
///   build:ID               the image that a build made (`kiln builds`)
/// `docker-archive:FILE:NAME`, `oci-archive:FILE:TAG` and `oci:DIR:TAG` choose among several images.
/// A bare word is an image before it is a container, and that before it is a file of that name; `./word` is always a
/// file. A single container is compared with its image, and printed as docker does.
///
/// Of images elsewhere, only the layers that differ are fetched. Where the layers that both share are not here, a file
/// of one side may be new or changed: it is listed as `C`, and --fetch-shared fetches what would tell.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Compare only these parts (repeatable)
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// List files that differ in their time alone, too
    #[arg(long)]
    mtime: bool,
    /// Show how texts differ, of files up to 1 MiB
    #[arg(long, short)]
    patch: bool,
    /// Print sums instead of every file
    #[arg(long)]
    stat: bool,
    /// Print at most N files of each list; 0 is all (default: all, but 20 for each layer of a single image)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    /// Exit with 1 if the second is larger by more than this, such as +10MB or +5%: uncompressed layers are counted
    #[arg(long, value_name = "SIZE", requires = "second", allow_hyphen_values = true)]
    budget: Option<Budget>,
    /// Fetch the layers that both images share, too, where they are not here
    #[arg(long)]
    fetch_shared: bool,
    /// Which image of a multi-platform one, such as linux/arm64 (default: this machine's, or the first)
    #[arg(long, value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<Platform>,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    progress: progress::Args,
    /// What is compared
    #[arg(value_name = "A")]
    first: String,
    /// With what; without it, every layer of A with what lies below it
    #[arg(value_name = "B")]
    second: Option<String>,
    /// Compare only these files: paths or patterns such as `etc`, `usr/**/*.so`
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Files and directories
    Files,
    /// What package managers know
    Packages,
    /// How containers run
    Config,
    /// The instructions
    History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// The files of each layer of a single image that are listed without `--limit`.
const LISTED_PER_LAYER: usize = 20;

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let options = args.options()?;
    let engine = session.engine()?;
    // What is found goes to stdout; only waiting for a registry is worth a word.
    let quiet = if io::stderr().is_terminal() { None } else { Some(Mode::Quiet) };
    let display = args.progress.display(quiet, session);
    let Some(second) = &args.second else {
        // As docker, which lists directories by whose time something came or went.
        let with_times = DiffOptions { times: true, ..options.clone() };
        let changes =
            display.watch(|observer| engine.container_diff(&args.first, &with_times, observer, &session.cancel))?;
        if let Some(changes) = changes {
            args.print(|out| args.container(&changes, out))?;
            return if args.exit_code && !changes.files.changes.is_empty() { Err(Error::Reported) } else { Ok(()) };
        }
        let options = DiffOptions { most_per_layer: args.listed_per_layer(), ..options };
        let layers = display.watch(|observer| engine.layer_diffs(&args.first, &options, observer, &session.cancel))?;
        args.print(|out| args.layers(&layers, out))?;
        let is_different = layers.iter().any(|layer| layer.files.counts.total() > 0);
        return if args.exit_code && is_different { Err(Error::Reported) } else { Ok(()) };
    };
    let diff = display.watch(|observer| engine.diff(&args.first, second, &options, observer, &session.cancel))?;
    args.print(|out| args.diff(&diff, out))?;
    args.hold_against_budget(&diff)?;
    if args.exit_code && args.is_different(&diff) { Err(Error::Reported) } else { Ok(()) }
}

impl Args {
    fn options(&self) -> Result<DiffOptions, Error> {
        let glob = |pattern: &String| {
            PathGlob::parse(pattern).map_err(|error| Error::Usage(format!("the path {pattern}: {error}")))
        };
        Ok(DiffOptions {
            platform: self.platform.clone(),
            insecure_registries: self.insecure_registry.clone(),
            paths: self.paths.iter().map(glob).collect::<Result<_, _>>()?,
            times: self.mtime,
            skip_files: !self.wants(Part::Files) && !self.wants(Part::Packages) && self.budget.is_none() && !self.patch,
            skip_packages: !self.wants(Part::Packages),
            patch: self.patch,
            fetch_shared: self.fetch_shared,
            most_per_layer: None,
        })
    }

    /// Returns how many files of each layer of a single image are listed; none is all.
    fn listed_per_layer(&self) -> Option<usize> {
        match self.limit {
            _ if self.is_json() => None,
            _ if self.stat => Some(0),
            None => Some(LISTED_PER_LAYER),
            Some(limit) => Some(limit).filter(|&limit| limit > 0),
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn is_different(&self, diff: &Diff) -> bool {
        let files = diff.files.as_ref().is_some_and(|files| !files.changes.is_empty());
        let config = diff.config.as_ref().is_some_and(|config| !config.is_empty());
        let packages = diff.packages.as_ref().is_some_and(|packages| !packages.changes.is_empty());
        let history = diff.history.as_ref().is_some_and(|lines| lines.iter().any(|line| line.kind.is_some()));
        (files && self.wants(Part::Files))
            || (packages && self.wants(Part::Packages))
            || (config && self.wants(Part::Config))
            || (history && self.wants(Part::History))
    }

    fn print(&self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        let mut out = BufWriter::new(io::stdout().lock());
        print(&mut out)?;
        Ok(out.flush()?)
    }

    fn is_json(&self) -> bool {
        self.json || self.format == Format::Json
    }

    fn diff(&self, diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
        if self.is_json() {
            return json::diff(diff, &|part| self.wants(part), self.patch, out);
        }
        let limit = self.limit.filter(|&limit| limit > 0).unwrap_or(usize::MAX);
        let mut page = text::Page { out, limit: if self.stat { 0 } else { limit }, coloured: coloured() };
        page.diff(diff, &|part| self.wants(part))
    }

    fn container(&self, changes: &LayerDiff, out: &mut dyn Write) -> io::Result<()> {
        if self.is_json() {
            return json::layers(std::slice::from_ref(changes), out);
        }
        text::docker(&changes.files, out)
    }

    fn layers(&self, layers: &[LayerDiff], out: &mut dyn Write) -> io::Result<()> {
        if self.is_json() {
            return json::layers(layers, out);
        }
        let limit = self.listed_per_layer().unwrap_or(usize::MAX);
        text::Page { out, limit, coloured: coloured() }.layers(layers)
    }

    fn hold_against_budget(&self, diff: &Diff) -> Result<(), Error> {
        let Some(budget) = self.budget else { return Ok(()) };
        let size = diff.before.size_bytes();
        let allowed = budget.bytes(size).ok_or_else(|| Error::UnknownSize(diff.before.name.clone()))?;
        let growth = diff.growth_bytes();
        match u64::try_from(growth) {
            Ok(growth) if growth > allowed => Err(Error::OverBudget {
                before: diff.before.name.clone(),
                after: diff.after.name.clone(),
                growth: super::human::size(growth),
                budget: budget.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// Tells whether stdout shows colours.
fn coloured() -> bool {
    io::stdout().is_terminal() && colours_wanted()
}
