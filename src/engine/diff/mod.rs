//! What differs between two images, and what each layer of one changed.

mod cause;
mod contents;
mod name;
mod packages;
mod patch;
mod side;

use std::sync::Arc;

use rayon::prelude::*;

pub use cause::Cause;

use super::{Engine, Error};
use crate::compare::{self, ChangeKind, Comparison, ConfigChange, HistoryLine, PackageChange};
use crate::context::PathGlob;
use crate::exec::{Asker, Library};
use crate::layer::EntryPath;
use crate::oci::{DiffId, Digest, Platform};
use crate::solve::Observe;
use crate::sys::Cancel;

pub(super) use side::Found;
pub(super) use side::{Side, Source};

/// What is compared, and how.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Which image of an index; none is this machine's, or of those here the first.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
    /// Which files matter; none is all.
    pub paths: Vec<PathGlob>,
    /// Keep files that differ in nothing but their time.
    pub times: bool,
    /// Do not compare files; then neither packages nor texts.
    pub skip_files: bool,
    /// Do not compare packages.
    pub skip_packages: bool,
    /// Compare the texts of files.
    pub patch: bool,
    /// How many changes of each layer [`Engine::layer_diffs`] keeps, while it counts all; none is all.
    pub most_per_layer: Option<usize>,
    /// Fetch the layers that both images share, too, where they are not here.
    pub fetch_shared: bool,
}

/// How two sides differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// The first.
    pub before: DiffSide,
    /// The second.
    pub after: DiffSide,
    /// How many layers at the bottom are the same.
    pub shared_layers: usize,
    /// How files differ; none if they were not compared.
    pub files: Option<Comparison>,
    /// Which layers are to thank for that, those with the most bytes first.
    pub causes: Vec<Cause>,
    /// How packages differ; none if they were not compared.
    pub packages: Option<Packages>,
    /// How texts differ, if that was wanted, in the order of the files.
    pub patches: Vec<Patch>,
    /// How the configs differ; none where a side has none, or not all of one.
    pub config: Option<Vec<ConfigChange>>,
    /// How the instructions differ; none where a side has none.
    pub history: Option<Vec<HistoryLine>>,
}

/// One side, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffSide {
    /// As it was asked for.
    pub name: String,
    /// The image's id; none of a directory.
    pub image_id: Option<Digest>,
    /// The manifest's digest.
    pub manifest: Option<Digest>,
    /// The layers, base first. A directory is one.
    pub layers: Vec<SideLayer>,
}

/// A layer of a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideLayer {
    /// Which.
    pub diff_id: DiffId,
    /// The instruction that made it, where that is known.
    pub created_by: Option<String>,
    /// Bytes of its tar, where that is known: not of layers that are elsewhere.
    pub size_bytes: Option<u64>,
}

/// How packages differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages {
    /// Which, in the order of managers and names.
    pub changes: Vec<PackageChange>,
    /// Of which files nothing is known.
    pub unread: Vec<UnreadPackages>,
}

/// A file whose packages are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadPackages {
    /// Where it is.
    pub path: EntryPath,
    /// Why, in words that follow its name.
    pub why: String,
}

/// How the text of a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where it is.
    pub path: EntryPath,
    /// Whether it came, went or stayed.
    pub kind: ChangeKind,
    /// How.
    pub text: PatchText,
}

/// The difference of two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchText {
    /// Unified, without names; as hostile as the files are.
    Hunks(String),
    /// One of both is no text.
    Binary,
    /// One of both is larger than is compared.
    TooLarge,
}

/// What one layer of an image changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDiff {
    /// Which.
    pub layer: SideLayer,
    /// How the files differ from those below it.
    pub files: Comparison,
}

impl Diff {
    /// Returns by how many bytes the second side is larger: by the tars of the layers that are not shared.
    pub fn growth_bytes(&self) -> i64 {
        let own = |side: &DiffSide| {
            side.layers[self.shared_layers..].iter().filter_map(|layer| layer.size_bytes).sum::<u64>() as i64
        };
        own(&self.after) - own(&self.before)
    }
}

impl DiffSide {
    /// Returns the bytes of all layers; none if that of one is not known.
    pub fn size_bytes(&self) -> Option<u64> {
        self.layers.iter().map(|layer| layer.size_bytes).sum()
    }
}

impl Engine {
    /// Compares two of: an image here or in a registry, an image up to a step, an archive, an OCI layout, a directory, a
    /// container.
    ///
    /// What is read of registries and archives is kept in the store under no name. Of layers that both sides share, none
    /// is fetched unless the options say so; [`Comparison::blind`] tells that one was missed.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoSuchStep`], [`Error::WhichImage`], [`Error::CannotCompare`], those of the
    /// registry and of the store, [`Error::Cancelled`].
    pub fn diff(
        &self,
        before: &str,
        after: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Diff, Error> {
        let job = Job::new(self, options, observer, cancel);
        let (before, after) = (job.side(before)?, job.side(after)?);
        job.compare(&before, &after)
    }

    /// Tells what a container has changed of its image; nothing where `name` is rather that of an image.
    ///
    /// # Errors
    /// As for [`Engine::diff`].
    pub fn container_diff(
        &self,
        name: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Option<LayerDiff>, Error> {
        let job = Job::new(self, options, observer, cancel);
        let Some((before, layer, index)) = self.container_changes(name, job.asker())? else { return Ok(None) };
        let stored = |layer: &crate::exec::Layer| {
            let index = Some(job.library.index_bytes(layer, job.asker())?);
            Ok(compare::Layer { diff_id: layer.diff_id()?, index })
        };
        let mut after = before.all.iter().map(stored).collect::<Result<Vec<_>, Error>>()?;
        let image = after[..before.of_image].to_vec();
        after.push(compare::Layer { diff_id: layer.diff_id, index: Some(index) });
        Ok(Some(LayerDiff { layer, files: job.files(&image, &after, None)? }))
    }

    /// Compares every layer of one such thing with what lies below it, base first.
    ///
    /// # Errors
    /// As for [`Engine::diff`].
    pub fn layer_diffs(
        &self,
        name: &str,
        options: &DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Vec<LayerDiff>, Error> {
        let job = Job::new(self, options, observer, cancel);
        let side = job.side(name)?;
        let layers = side.layers(0, 0, &job)?;
        let summary = side.summary(&self.store)?;
        let diff = |(place, layer): (usize, SideLayer)| {
            let files = job.files(&layers[..place], &layers[..=place], options.most_per_layer)?;
            Ok(LayerDiff { layer, files })
        };
        // Each reads all indexes below it, and holds no more of them than one entry of each.
        summary.layers.into_par_iter().enumerate().map(diff).collect()
    }
}

/// One comparison, or a look at one side.
pub(super) struct Job<'a> {
    engine: &'a Engine,
    options: &'a DiffOptions,
    observer: Arc<dyn Observe>,
    cancel: &'a Cancel,
    pub(super) library: Library,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        options: &'a DiffOptions,
        observer: Arc<dyn Observe>,
        cancel: &'a Cancel,
    ) -> Job<'a> {
        let library = Library::new(&engine.store, engine.client(&options.insecure_registries));
        Job { engine, options, observer, cancel, library }
    }

    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { step: None, observer: &self.observer, cancel: self.cancel }
    }

    fn compare(&self, before: &Side, after: &Side) -> Result<Diff, Error> {
        let shared_layers = shared(&before.diff_ids(), &after.diff_ids());
        let files = if self.options.skip_files { None } else { Some(self.side_files(before, after, shared_layers)?) };
        let (first, second) = (before.summary(&self.engine.store)?, after.summary(&self.engine.store)?);
        let causes = files.as_ref().map_or(Vec::new(), |files| cause::causes(files, &first, &second));
        let packages = files.as_ref().filter(|_| !self.options.skip_packages);
        let packages = packages.map(|files| self.packages(before, after, files)).transpose()?;
        let patches = match &files {
            Some(files) if self.options.patch => self.patches(before, after, files)?,
            _ => Vec::new(),
        };
        let (config, history) = match (&before.config, &after.config) {
            (Some(old), Some(new)) => {
                let config = (!before.is_partial && !after.is_partial).then(|| compare::configs(old, new));
                (config, Some(compare::histories(old, new)))
            }
            _ => (None, None),
        };
        Ok(Diff { before: first, after: second, shared_layers, files, causes, packages, patches, config, history })
    }

    fn side_files(&self, before: &Side, after: &Side, shared_layers: usize) -> Result<Comparison, Error> {
        let mut own = if self.options.fetch_shared { 0 } else { shared_layers };
        loop {
            let old = before.layers(0, own, self)?;
            let mut new = after.layers(shared_layers, shared_layers, self)?;
            new[..shared_layers].clone_from_slice(&old[..shared_layers]);
            match self.files(&old, &new, None) {
                Err(Error::Compare(compare::Error::SharedNeeded)) if own > 0 => own = 0,
                result => return result,
            }
        }
    }

    fn files(
        &self,
        before: &[compare::Layer],
        after: &[compare::Layer],
        most: Option<usize>,
    ) -> Result<Comparison, Error> {
        let chosen = |path: &[u8]| self.options.paths.iter().any(|glob| glob.chooses(path));
        let cancelled = || self.cancel.is_cancelled();
        let options = compare::Options {
            paths: if self.options.paths.is_empty() { None } else { Some(&chosen) },
            times: self.options.times,
            most,
            cancelled: &cancelled,
        };
        Ok(compare::compare(before, after, &options)?)
    }
}

fn shared(before: &[DiffId], after: &[DiffId]) -> usize {
    before.iter().zip(after).take_while(|(old, new)| old == new).count()
}
