use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::assemble::assemble;
use super::check::plan_options;
use super::contexts::MainContext;
use super::dockerfile::{self, Loaded};
use super::lint;
use super::record::Recorder;
use super::resolve::Resolver;
use super::{BuildOptions, BuildResult, Engine, Error};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::lint::Occasion;
use crate::exec::{self, Agents, Asker, Executor, Library, Secrets, Setting, Stack};
use crate::frontend::{self, Plan, ResolveImage, ResolvedImage, Unresolved};
use crate::graph::{BuildGraph, NodeId};
use crate::image::Image;
use crate::oci::{Platform, Reference};
use crate::solve::{self, Event, Failure, Observe, Settings, Solved};
use crate::store::Outcome;
use crate::sys::Cancel;

/// Name of the context that is given on the command line.
const MAIN_CONTEXT: &str = "context";

/// A finished build: the image, where its layers are, and the tree of the target.
pub(super) struct Built {
    pub(super) image: Image,
    pub(super) library: Arc<Library>,
    pub(super) stack: Stack,
    cached: usize,
    executed: usize,
}

impl Engine {
    /// Builds an image, keeps it in the store under its names, and gives it to every output.
    ///
    /// # Errors
    /// [`Error::Diagnostics`] when the build file is wrong, [`Error::StepFailed`] and [`Error::Step`] when a step is;
    /// [`Error::Cancelled`]; those of the store, the registries and the outputs.
    pub fn build(
        &self,
        options: &BuildOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<BuildResult, Error> {
        let title = options.tags.first().map_or_else(|| options.context.to_string(), Reference::familiar);
        let build = self.store.begin_build(&title)?;
        let recorder = Arc::new(Recorder::new(observer));
        let job = Job { engine: self, options, observer: recorder.clone(), cancel, build: build.clone() };
        let result = job.run();
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(Error::Cancelled) => Outcome::Interrupted,
            Err(_) => Outcome::Failed,
        };
        let recorded = self.store.finish_build(&build, outcome, &recorder.steps());
        // What the build itself has to say is more important than that it is not in the records.
        let result = result?;
        recorded?;
        Ok(result)
    }
}

/// One call of [`Engine::build`].
pub(super) struct Job<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a BuildOptions,
    observer: Arc<Recorder>,
    pub(super) cancel: &'a Cancel,
    build: crate::store::BuildId,
}

impl Job<'_> {
    fn run(&self) -> Result<BuildResult, Error> {
        let context = MainContext::prepare(&self.options.context, &self.engine.store, self.cancel)?;
        let loaded = dockerfile::load(self.options.file.as_ref(), &context)?;
        let built = self.make(&loaded, &context)?;
        let built = self.keep(built)?;
        for output in &self.options.outputs {
            self.export(&built, output)?;
        }
        if self.options.push {
            self.push(&built)?;
        }
        Ok(BuildResult {
            image_id: built.image.id(),
            manifest: built.image.manifest().digest(),
            manifest_size_bytes: built.image.manifest().descriptor().size,
            tags: self.options.tags.clone(),
            cached_steps: built.cached,
            executed_steps: built.executed,
        })
    }

    fn epoch(&self) -> Option<Timestamp> {
        self.options.source_date_epoch.and_then(|second| Timestamp::from_second(second).ok())
    }

    pub(super) fn observer(&self) -> Arc<dyn Observe> {
        self.observer.clone()
    }

    /// Says what there is to say about the build file, and fails where the file wants that.
    fn warn(&self, loaded: &Loaded, planned: &[Diagnostic]) -> Result<(), Error> {
        let controls = lint::controls(loaded, self.options)?;
        let found = lint::select(loaded, &controls, planned.iter().cloned(), Occasion::Build);
        found.iter().for_each(|finding| self.observer.observe(lint::event(&loaded.source, finding)));
        lint::verdict(&controls, &found)
    }

    /// Plans the build, gets every needed step done, and puts the image together.
    fn make(&self, loaded: &Loaded, context: &MainContext) -> Result<Built, Error> {
        let client = self.engine.client(&self.options.insecure_registries);
        let library = Arc::new(Library::new(&self.engine.store, client));
        let plan = self.plan(loaded, &library)?;
        self.warn(loaded, &plan.warnings)?;
        let targets: Vec<NodeId> = plan.images.iter().filter_map(|image| image.target).collect();
        let numbers = plan.graph.needed(&targets).into_iter().zip(1..).collect();
        let stop = self.cancel.child();
        let (context, stat_cache) = context.open(&loaded.ignore, &self.engine.store)?;
        let context = context.cancelled_by(stop.clone());
        let setting = Setting {
            contexts: HashMap::from([(MAIN_CONTEXT.to_owned(), Arc::new(context))]),
            build: self.build.clone(),
            epoch: self.epoch(),
            secrets: Secrets::new(self.options.secrets.clone()),
            agents: Agents::new(self.options.agents.clone()),
            numbers,
            cancel: stop.clone(),
        };
        let executor = Executor::new(library.clone(), setting);
        let solved = self.solve(&plan, &targets, &executor);
        if solved.is_err() {
            // What is still written behind the build has no use any more.
            stop.cancel();
        }
        let made = solved.and_then(|solved| self.assemble(&plan, solved, &library));
        executor.settle();
        stat_cache.map_or(Ok(()), |cache| cache.save())?;
        made
    }

    fn plan(&self, loaded: &Loaded, library: &Library) -> Result<Plan, Error> {
        let observer = self.observer();
        let resolver = Resolver {
            engine: self.engine,
            registry: library.registry(),
            pull: self.options.pull,
            observer: &observer,
            cancel: self.cancel,
        };
        let images = Images(resolver);
        let options = plan_options(loaded, self.options);
        frontend::plan(&loaded.source, &loaded.file, &options, &images).map_err(|found| {
            self.cancel.check().err().map_or(Error::Diagnostics { file: loaded.source.clone(), found }, Error::from)
        })
    }

    fn solve(&self, plan: &Plan, targets: &[NodeId], executor: &Executor) -> Result<Solved<exec::Output>, Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let settings = Settings {
            jobs: self.options.jobs.unwrap_or(cores),
            observer: self.observer(),
            cancel: self.cancel.clone(),
        };
        solve::solve(&plan.graph, targets, executor, &settings).map_err(|failure| match failure {
            Failure::Cancelled => Error::Cancelled,
            Failure::Step(node, error) => self.step_error(&plan.graph, node, error),
        })
    }

    fn step_error(&self, graph: &BuildGraph, node: NodeId, error: exec::Error) -> Error {
        let step = &graph.node(node).step;
        let (title, origin) = (step.title.clone(), step.origin.clone());
        if self.cancel.is_cancelled() {
            return Error::Cancelled;
        }
        match (error, origin) {
            (exec::Error::Process { status, tail, log }, origin) => {
                Error::StepFailed { title, origin, status: status.to_string(), tail, log: Some(log) }
            }
            // What the user wrote is wrong, and the place where they did tells more than the step's name.
            (error, Some((file, span))) if error.is_in_the_text() => {
                let mut diagnostic = Diagnostic::error("step-failed", with_causes(&error), span);
                diagnostic.help = error.help();
                Error::Diagnostics { file, found: vec![diagnostic] }
            }
            (source, _) => Error::Step { title, source },
        }
    }

    fn assemble(&self, plan: &Plan, solved: Solved<exec::Output>, library: &Arc<Library>) -> Result<Built, Error> {
        let planned = &plan.images[0];
        let stack = planned.target.map(|target| solved.outputs[&target].stack().clone()).unwrap_or_default();
        let times: BTreeMap<NodeId, Option<Timestamp>> =
            solved.outputs.iter().map(|(id, output)| (*id, output.created())).collect();
        let observer = self.observer();
        let asker = Asker { step: None, observer: &observer, cancel: self.cancel };
        library.fetch(&stack, asker)?;
        let created = |node: NodeId| times.get(&node).copied().flatten();
        let image = assemble(planned, library, stack.layers(), created, self.epoch(), asker)?;
        Ok(Built { image, library: library.clone(), stack, cached: solved.cached, executed: solved.executed })
    }

    /// Makes the image visible in the store, compressed if it will leave as such.
    fn keep(&self, mut built: Built) -> Result<Built, Error> {
        let what = "writing image".to_owned();
        self.observer.observe(Event::Phase { what: what.clone(), result: None });
        if self.options.push {
            built.image = self.engine.compressed(&built.image, self.cancel)?;
        }
        built.image.commit(&self.engine.store, &self.options.tags)?;
        let result = Some(built.image.id().to_string());
        self.observer.observe(Event::Phase { what, result });
        Ok(built)
    }

    fn push(&self, built: &Built) -> Result<(), Error> {
        let observer = self.observer();
        for tag in &self.options.tags {
            self.engine.send(&built.image, tag, built.library.registry(), &observer, self.cancel)?;
        }
        Ok(())
    }
}

/// Resolves images for the front end.
pub(super) struct Images<'a>(pub(super) Resolver<'a>);

impl ResolveImage for Images<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        match self.0.resolve(reference, platform) {
            Ok(image) => Ok(resolved(reference, &image)),
            Err(error) => {
                let help = match &error {
                    Error::Registry(error) => error.help(),
                    _ => None,
                };
                Err(Unresolved { message: with_causes(&error), help })
            }
        }
    }
}

/// Returns what planning needs to know of an image.
pub(super) fn resolved(reference: &Reference, image: &Image) -> ResolvedImage {
    ResolvedImage {
        reference: reference.clone(),
        manifest: image.manifest().digest(),
        config: image.config().value().clone(),
    }
}

/// Returns an error and what led to it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
