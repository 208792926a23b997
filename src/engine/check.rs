use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contexts::MainContext;
use super::dockerfile::{self, Loaded};
use super::policy::Policy;
use super::resolve::Resolver;
use super::{BuildOptions, Engine, Error, build, file_error, lint};
use crate::diagnostic::{Diagnostic, Severity, Source, Span};
use crate::dockerfile::ast;
use crate::dockerfile::lint::{Edit, Occasion, Rule, apply, fixes};
use crate::frontend::{self, NamedContexts, PlanOptions, ResolveImage, ResolvedImage, Unresolved};
use crate::oci::{Platform, Reference};
use crate::runtime::emulation;
use crate::solve::Observe;
use crate::sys::Cancel;

/// What there is to say about a build file.
#[derive(Debug, Clone)]
pub struct Report {
    /// The text.
    pub source: Source,
    /// In the order of their places.
    pub findings: Vec<Finding>,
}

/// One finding of a check.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What is found, and where.
    pub diagnostic: Diagnostic,
    /// The rule that found it; none of an error, or of a warning that no rule makes.
    pub rule: Option<Rule>,
    /// The lines of the instruction, from 1; none of what has no place.
    pub lines: Option<RangeInclusive<usize>>,
}

impl Finding {
    /// Tells whether it forbids a build.
    pub fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }
}

/// How far a check goes for what it wants to know of base images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To the store.
    Store,
    /// To registries, as a build does.
    Registries,
}

impl Engine {
    /// Checks a build file without building anything: every stage, or the one that `options` name.
    ///
    /// # Errors
    /// What forbids to read the file or what belongs to it. What is wrong in it is part of the report.
    pub fn check(
        &self,
        options: &BuildOptions,
        ask: Ask,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Report, Error> {
        let client = self.client(&options.insecure_registries);
        let resolver = Resolver { engine: self, registry: &client, pull: options.pull, observer, cancel };
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let report = match ask {
            Ask::Store => report(options, &context, &Stored(resolver)),
            Ask::Registries => {
                let policy = Policy::load(options.source_policy.as_deref())?;
                report(options, &context, &build::Images { resolver, policy: &policy })
            }
        }?;
        cancel.check()?;
        Ok(report)
    }
}

/// Checks a build file without a store: nothing is known of base images, and the context must be a directory.
///
/// # Errors
/// Those of [`Engine::check`].
pub fn check(options: &BuildOptions) -> Result<Report, Error> {
    report(options, &MainContext::local(&options.context)?, &Nowhere)
}

fn report(options: &BuildOptions, context: &MainContext, images: &dyn ResolveImage) -> Result<Report, Error> {
    let loaded = match dockerfile::load(options.file.as_ref(), context) {
        Ok(loaded) => loaded,
        Err(Error::Diagnostics { file, found }) => {
            return Ok(Report { findings: located(&file, &[], found), source: file });
        }
        Err(error) => return Err(error),
    };
    let found = examine(&loaded, options, images)?;
    Ok(Report { findings: located(&loaded.source, &loaded.ast.instructions, found), source: loaded.source })
}

/// Returns what is found, errors among it.
fn examine(loaded: &Loaded, options: &BuildOptions, images: &dyn ResolveImage) -> Result<Vec<Diagnostic>, Error> {
    let controls = lint::controls(loaded, options)?;
    let checked = frontend::check(&loaded.source, &loaded.file, &plan_options(loaded, options), images);
    let planned = checked.warnings.into_iter().chain(checked.errors);
    Ok(lint::select(loaded, &controls, planned, Occasion::Check))
}

/// Returns what planning depends on.
pub(super) fn plan_options(loaded: &Loaded, options: &BuildOptions) -> PlanOptions {
    PlanOptions {
        build_args: options.build_args.clone(),
        target: options.target.clone(),
        platforms: options.platforms.clone(),
        build_platform: Platform::host(),
        emulated: emulation::emulated(),
        labels: options.labels.clone(),
        network: options.network,
        contexts: NamedContexts::default(),
        allow: options.allow,
        hosts: options.hosts.clone(),
        ulimits: options.ulimits.clone(),
        shm_size_bytes: options.shm_size_bytes,
        no_cache_stages: options.no_cache_stages.clone(),
        no_cache: options.no_cache,
        ignore: Some(loaded.ignore.clone()),
    }
}

fn located(source: &Source, instructions: &[ast::Instruction], found: Vec<Diagnostic>) -> Vec<Finding> {
    let lines = Lines::of(source);
    let locate = |diagnostic: Diagnostic| {
        let place = diagnostic.labels.first().map(|(span, _)| *span);
        let lines = place.map(|place| lines.range(around(instructions, place)));
        Finding { rule: Rule::named(diagnostic.code), lines, diagnostic }
    };
    found.into_iter().map(locate).collect()
}

/// Returns the lines of a place.
pub(super) fn located_lines(source: &Source, span: Span) -> RangeInclusive<usize> {
    Lines::of(source).range(span)
}

/// Returns the place of the instruction that holds `place`.
fn around(instructions: &[ast::Instruction], place: Span) -> Span {
    let after = instructions.partition_point(|instruction| instruction.span.start <= place.start);
    let above = after.checked_sub(1).map(|index| instructions[index].span);
    above.filter(|span| place.start <= span.end).map_or(place, |span| span.to(place))
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(source: &Source) -> Lines {
        let feeds = source.text().match_indices('\n').map(|(place, _)| place + 1);
        Lines(std::iter::once(0).chain(feeds).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }

    pub(super) fn range(&self, span: Span) -> RangeInclusive<usize> {
        // The end may be the beginning of the next line.
        self.line(span.start)..=self.line(span.end.saturating_sub(1).max(span.start))
    }
}

/// Finds images that are here.
pub(super) struct Stored<'a>(pub(super) Resolver<'a>);

impl ResolveImage for Stored<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        match self.0.known(reference, platform) {
            Ok(Some(image)) => Ok(build::resolved(reference, &image)),
            Ok(None) => Nowhere.resolve(reference, platform),
            Err(error) => Err(Unresolved::not_found(error.to_string())),
        }
    }
}

/// Finds nothing.
struct Nowhere;

impl ResolveImage for Nowhere {
    fn resolve(&self, reference: &Reference, _: &Platform) -> Result<ResolvedImage, Unresolved> {
        Err(Unresolved::not_found(format!("{reference} is not here")))
    }
}

/// What [`fix()`] has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The build file.
    pub path: PathBuf,
    /// How many pieces of text were replaced; with none, the file is untouched.
    pub edits: usize,
}

/// Mends in the build file what can be mended mechanically, and is wanted by its controls. The rest of the text keeps its
/// bytes; the file is replaced as a whole or not at all, and keeps its mode and owner.
///
/// # Errors
/// What is wrong with the file, as [`Error::Diagnostics`], and what forbids to read or write it.
pub fn fix(options: &BuildOptions) -> Result<Fixed, Error> {
    let mut edits = 0;
    let context = MainContext::local(&options.context)?;
    let mut loaded = dockerfile::load(options.file.as_ref(), &context)?;
    let Some(path) = loaded.path.clone() else { return Err(Error::NothingToFix) };
    // A fix may show what another one hid; each round leaves less to mend.
    loop {
        let found = examine(&loaded, options, &Nowhere)?;
        let next = fixes(&loaded.ast, &loaded.source, &found);
        match edited(&loaded, &next) {
            Some(better) if !next.is_empty() => loaded = better,
            _ => break,
        }
        edits += next.len();
    }
    if edits > 0 {
        write(&path, loaded.source.text())?;
    }
    Ok(Fixed { path, edits })
}

/// Returns the file with `edits`; nothing where it could not be read any more, which must not be written.
fn edited(loaded: &Loaded, edits: &[Edit]) -> Option<Loaded> {
    let text = apply(loaded.source.text(), edits);
    dockerfile::parse(Source::new(loaded.source.name(), text), loaded.path.clone(), loaded.ignore.clone()).ok()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    // Through a symbolic link, so that it stays one.
    let path = fs::canonicalize(path).map_err(file_error("find", path))?;
    let before = fs::read(&path).map_err(file_error("read", &path))?;
    let metadata = fs::metadata(&path).map_err(file_error("read", &path))?;
    let mark: &[u8] = if before.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK } else { b"" };
    crate::fs::write_atomic(&path, &[mark, text.as_bytes()].concat()).map_err(Error::Files)?;
    fs::set_permissions(&path, metadata.permissions()).map_err(file_error("write", &path))?;
    let after = fs::metadata(&path).map_err(file_error("read", &path))?;
    if (after.uid(), after.gid()) != (metadata.uid(), metadata.gid()) {
        chown(&path, Some(metadata.uid()), Some(metadata.gid())).map_err(file_error("write", &path))?;
    }
    Ok(())
}

/// What reading a file drops from its beginning.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
