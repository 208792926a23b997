//! What is kept of a step that failed: its files as those of a container, and on demand as an archive for elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::assemble::descriptor;
use super::build::Job;
use super::compress::Wanted;
use super::containers::nobody;
use super::export::write_file;
use super::record::with_causes;
use super::shell::process;
use super::{Error, Left, OnFailure};
use crate::container::{Containers, FailedStep, Image as ImageOf, Recipe};
use crate::exec::{Asker, Executor, Failed, Layer, Library, Stack};
use crate::frontend::{Plan, is_secret_name};
use crate::graph::{BuildGraph, CopySource, File, FileAction, Input, MountKind, NodeId, Op, Run, Source};
use crate::image::{self, Image};
use crate::oci::{ContainerConfig, History, ImageConfig, Platform, Reference};
use crate::solve::Event;
use crate::store::ContainerRecord;
use crate::sys::Cancel;

/// The label by which an archive of a failed step is told from other images. Labels outlive every change of format.
pub(super) const LABEL: &str = "kiln.failed-step";

/// What that label says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bundled {
    /// What the step was.
    pub(super) recipe: Recipe,
    /// How many of the layers are those that it began with.
    pub(super) below: usize,
    /// How it ended, as shells count.
    pub(super) exit_code: Option<i32>,
    /// Where it had something mounted that is not in the archive.
    pub(super) missing_mounts: Vec<String>,
}

impl Job<'_> {
    /// Keeps what a failed step has left, as it was asked for. What forbids that is less important than why the step
    /// failed, and only said.
    pub(super) fn keep_failed(
        &self,
        plan: &Plan,
        node: NodeId,
        executor: &Executor,
        library: &Arc<Library>,
    ) -> Option<Left> {
        // The results of the other steps are not to be lost either.
        executor.settle();
        let failed = executor.take_failed(node)?;
        if self.is_perturbed || self.cancel.is_cancelled() || self.options.on_failure == OnFailure::Discard {
            return None;
        }
        let (title, run) = match &plan.graph.node(node).op {
            Op::Run(run) => (plan.graph.node(node).step.title.clone(), run.clone()),
            Op::File(file) => around_copy(&plan.graph, node, file, &failed)?,
            _ => return None,
        };
        let containers = Containers::new(library.clone());
        let step = Step { job: self, containers: &containers, graph: &plan.graph, node, run: &run };
        match step.keep(title, failed) {
            Ok(left) => left,
            Err(error) => {
                let message = format!("the files of the failed step are not kept: {}", with_causes(&error));
                self.observer().observe(Event::Warning { message });
                None
            }
        }
    }
}

/// A step that failed.
struct Step<'a> {
    job: &'a Job<'a>,
    containers: &'a Containers,
    graph: &'a BuildGraph,
    node: NodeId,
    run: &'a Run,
}

impl Step<'_> {
    fn keep(&self, title: String, failed: Failed) -> Result<Option<Left>, Error> {
        let Some(failed) = self.containers.make_room(failed)? else {
            let message = "the files of the failed step are not kept, because the disk is nearly full".to_owned();
            self.job.observer().observe(Event::Warning { message });
            return Ok(None);
        };
        let recipe = Recipe::new(title, self.run, &failed.trees).map_err(Error::Container)?;
        let below = self.run.root.map(|input| failed.trees[input.0 as usize].clone()).unwrap_or_default();
        let image = self.before(&recipe, &below)?;
        self.job.engine.store.put_image_documents(image.manifest(), image.config())?;
        let tag = self.job.options.tags.first().map(Reference::familiar);
        let step = FailedStep {
            name: format!("failed-{}", self.job.build),
            image: ImageOf {
                name: tag.unwrap_or_else(|| self.job.options.context.to_string()),
                manifest: image.manifest().digest(),
                config: image.id(),
            },
            project: self.job.project(),
            recipe,
        };
        let record = self.containers.keep_failure(step, &failed)?;
        let bundle = match &self.job.options.on_failure {
            OnFailure::Bundle(path) => self.bundle(&record, path.as_deref()),
            OnFailure::Keep | OnFailure::Discard => Ok(None),
        };
        let bundle = bundle.unwrap_or_else(|error| {
            let message = format!("there is no archive of the failed step: {}", with_causes(&error));
            self.job.observer().observe(Event::Warning { message });
            None
        });
        Ok(Some(Left { container: record.name, bundle }))
    }

    /// Returns the files that the step began with as an image that would do what the step did.
    fn before(&self, recipe: &Recipe, below: &Stack) -> Result<Image, Error> {
        let platform = &self.run.platform;
        let mut said = said(self.graph, self.run.root.map(|input| self.input(input)));
        if said.len() != below.layers().len() {
            said = vec![None; below.layers().len()];
        }
        let item = |created_by| History { created_by, ..History::default() };
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: recipe.config(),
            history: said.into_iter().map(item).collect(),
            ..ImageConfig::default()
        };
        let observer = self.job.observer();
        let asker = Asker { step: None, observer: &observer, cancel: self.job.cancel };
        let library = self.containers.library();
        let layer = |layer: &Layer| {
            Ok(image::Layer { diff_id: layer.diff_id()?, blob: descriptor(library.blob(layer, asker)?) })
        };
        Ok(Image::assemble(config, &below.layers().iter().map(layer).collect::<Result<Vec<_>, Error>>()?)?)
    }

    fn input(&self, input: Input) -> NodeId {
        self.graph.node(self.node).inputs[input.0 as usize]
    }

    /// Writes an archive of the files that a failed step has left, with what is needed to look at them elsewhere.
    fn bundle(&self, record: &ContainerRecord, path: Option<&Path>) -> Result<Option<PathBuf>, Error> {
        let engine = self.job.engine;
        let observer = nobody();
        let asker = Asker { step: None, observer: &observer, cancel: self.job.cancel };
        let recipe = self.containers.recipe(record)?.expect("it was just kept with one");
        let base = Image::open(&engine.store, record.manifest)?;
        let item = History { created_by: Some(recipe.title.clone()), ..History::default() };
        let made = self.containers.preview(record, item, asker)?;
        let trees = self.run.mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Tree { .. }));
        let label = Bundled {
            recipe: recipe.portable(&secret_arguments(self.run)),
            below: base.layers().len(),
            exit_code: record.exit_code,
            missing_mounts: trees.map(|mount| mount.target.clone()).collect(),
        };
        let text = serde_json::to_string(&label).expect("recipes are plain data");
        let labels = BTreeMap::from([(LABEL.to_owned(), text)]);
        let mut config = base.config().value().clone();
        config.history.extend(made.history);
        config.config = ContainerConfig { labels, ..label.recipe.config() };
        let mut layers = base.layers();
        for diff_id in &made.layers[layers.len()..] {
            let blob = descriptor(self.containers.library().blob(&Layer::stored(*diff_id), asker)?);
            layers.push(image::Layer { diff_id: *diff_id, blob });
        }
        let image = Image::assemble(config, &layers)?;
        let images = engine.packer(&self.job.observer(), self.job.cancel).images(&[image], Wanted::asked(None))?;
        let path = path.map_or_else(|| PathBuf::from(format!("{}.oci.tar", record.name)), Path::to_owned);
        save(&engine.store, &images[0], &path, self.job.cancel)?;
        Ok(Some(path))
    }
}

fn save(store: &crate::store::Store, image: &Image, path: &Path, cancel: &Cancel) -> Result<(), Error> {
    let name = "localhost/kiln-failed-step:latest".parse().expect("it is a name");
    write_file(path, |out| Ok(image::save_oci(store, &[image.saved(vec![name])], out, cancel)?))
}

/// Returns what to look into when a copy has failed: what it copies from, where that is a tree, or else to; with a process
/// like the last one before it.
fn around_copy(graph: &BuildGraph, node: NodeId, file: &File, failed: &Failed) -> Option<(String, Run)> {
    let from = file.actions.iter().find_map(|action| match action {
        FileAction::Copy { source: CopySource::Path { from, .. }, .. } => Some(*from),
        _ => None,
    });
    let is_tree = |input: &Input| !failed.trees[input.0 as usize].layers().is_empty();
    let root = from.filter(is_tree).or(file.base.filter(is_tree))?;
    let tree = graph.node(node).inputs[root.0 as usize];
    let process = process(&ContainerConfig::default(), platform(graph, tree));
    let like = last_run(graph, tree).unwrap_or(&process).clone();
    let Run { env, arguments, cwd, user, platform, .. } = like;
    let run = Run { root: Some(root), env, arguments, cwd, user, platform, ..process };
    Some((graph.node(tree).step.title.clone(), run))
}

fn last_run(graph: &BuildGraph, node: NodeId) -> Option<&Run> {
    std::iter::successors(Some(node), |&node| graph.below(node)).find_map(|node| match &graph.node(node).op {
        Op::Run(run) => Some(run),
        _ => None,
    })
}

fn platform(graph: &BuildGraph, node: NodeId) -> Platform {
    let of = |node| match &graph.node(node).op {
        Op::Source(Source::Image(image)) => Some(image.platform.clone()),
        _ => None,
    };
    std::iter::successors(Some(node), |&node| graph.below(node)).find_map(of).unwrap_or_else(Platform::host)
}

/// Returns the arguments of a build that its Dockerfile or command line calls as one calls secrets.
fn secret_arguments(run: &Run) -> Vec<String> {
    run.arguments.iter().filter(|name| is_secret_name(name)).cloned().collect()
}

/// Returns what made each layer of a node's tree, base first; of an image's layers nothing is said.
fn said(graph: &BuildGraph, node: Option<NodeId>) -> Vec<Option<String>> {
    let Some(node) = node.map(|id| graph.node(id)) else { return Vec::new() };
    let below = |input: Option<Input>| said(graph, input.map(|input| node.inputs[input.0 as usize]));
    let and_own = |mut layers: Vec<Option<String>>| {
        layers.push(Some(node.step.title.clone()));
        layers
    };
    match &node.op {
        Op::Source(Source::Image(image)) => vec![None; image.diff_ids.len()],
        Op::Source(_) => Vec::new(),
        Op::Run(run) => and_own(below(run.root)),
        Op::File(file) => and_own(below(file.base)),
        Op::Merge(_) => {
            let mut inputs = node.inputs.iter();
            let mut layers = said(graph, inputs.next().copied());
            layers.extend(inputs.filter_map(|&input| said(graph, Some(input)).pop()));
            layers
        }
    }
}
