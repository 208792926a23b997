use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::ahead::{Ahead, Chain, Sending, Watched};
use super::assemble::{Times, assemble};
use super::check::plan_options;
use super::compress::Wanted;
use super::contexts::MainContext;
use super::dockerfile::{self, Loaded};
use super::error::FailedStep;
use super::fetch::Fetch;
use super::lint;
use super::named::{Named, Resolving};
use super::policy::Policy;
use super::record::{Recorder, beginning, with_causes};
use super::reproducible::{EPOCH, commit_time};
use super::resolve::Resolver;
use super::transfer::{Package, Sent};
use super::verify::OTHER_HOSTNAME;
use super::{BuildOptions, BuildResult, DockerfileSource, Engine, Error, OutputKind};
use crate::diagnostic::{self, Diagnostic};
use crate::dockerfile::lint::Occasion;
use crate::exec::{self, Agents, Asker, Executor, Layer, Library, Secrets, Setting, Stack, StatCache};
use crate::frontend::{self, Epoch, Plan, PlanOptions, ResolveImage, ResolvedImage, Unresolved};
use crate::graph::{BuildGraph, NodeId, Op, Source};
use crate::image::{self, Image};
use crate::layer::Mtime;
use crate::oci::{Digest, Encoded, Index, Platform, Reference};
use crate::solve::{self, Event, Execute, Failure, Observe, Settings, Solved};
use crate::sys::Cancel;

/// Name of the context that is given on the command line.
const MAIN_CONTEXT: &str = "context";

/// A finished build: its images, where their layers are, and the trees of the target.
pub(super) struct Built {
    /// One for each platform.
    pub(super) images: Vec<Image>,
    /// The tree of each image.
    pub(super) stacks: Vec<Stack>,
    /// None where the result is one image.
    pub(super) index: Option<Encoded<Index>>,
    pub(super) library: Arc<Library>,
    /// Titles of the steps that made the last layers of each image.
    pub(super) steps: Vec<Vec<String>>,
    /// The time that was asked for.
    pub(super) epoch: Option<Mtime>,
    /// Layers that are already on their way to registries.
    ahead: Option<Ahead>,
    cached: usize,
    executed: usize,
}

impl Built {
    pub(super) fn package(&self) -> Package<'_> {
        Package { images: &self.images, index: self.index.as_ref() }
    }

    /// Returns the digest of the manifest or of the index.
    pub(super) fn root(&self) -> Digest {
        self.package().root().digest
    }

    /// Returns the image id; of an index, its digest.
    pub(super) fn id(&self) -> Digest {
        self.index.as_ref().map_or_else(|| self.images[0].id(), Encoded::digest)
    }
}

/// A build whose steps can be looked up.
pub(super) struct Ready {
    pub(super) plan: Plan,
    /// The last step of each image.
    pub(super) targets: Vec<NodeId>,
    library: Arc<Library>,
    pub(super) executor: Executor,
    pub(super) stat_cache: Option<Arc<StatCache>>,
    pub(super) stop: Cancel,
}

/// Values of ARG instructions.
type Arguments = BTreeMap<String, String>;

impl Engine {
    /// Builds an image, or an index of images for several platforms, keeps it in the store under its names, and gives it
    /// to every output.
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
        let policy = Policy::load(options.source_policy.as_deref())?;
        let title = options.tags.first().map_or_else(|| options.context.to_string(), Reference::familiar);
        let build = self.store.begin_build_with(&title, &beginning(options))?;
        let recorder = Arc::new(Recorder::new(observer));
        let job = Job {
            engine: self,
            options,
            observer: recorder.clone(),
            cancel,
            build: build.clone(),
            policy: &policy,
            is_perturbed: false,
        };
        let result = job.run();
        let recorded = self.store.finish_build(&build, &job.end(&result, |result| result.root.digest));
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
    pub(super) observer: Arc<Recorder>,
    pub(super) cancel: &'a Cancel,
    pub(super) build: crate::store::BuildId,
    pub(super) policy: &'a Policy,
    /// Whether everything that may not matter is another than usual.
    pub(super) is_perturbed: bool,
}

impl Job<'_> {
    fn run(&self) -> Result<BuildResult, Error> {
        let context = MainContext::prepare(self.options, &self.engine.store, self.cancel)?;
        if context.is_local && !matches!(self.options.file, Some(DockerfileSource::Text(_))) {
            self.policy.local("dockerfile")?;
        }
        let mut named = Named::prepare(&self.options.build_contexts, &self.engine.store)?;
        let loaded = dockerfile::load(self.options.file.as_ref(), &context)?;
        let built = self.make(&loaded, &context, &mut named)?;
        if self.options.verify {
            self.verify(&loaded, &context, &built)?;
        }
        let mut built = built;
        let sent = built.ahead.take().map_or_else(|| Ok(Sent::default()), Ahead::finish)?;
        let built = self.keep(built)?;
        for output in &self.options.outputs {
            self.export(&built, output)?;
        }
        if self.options.push {
            self.push(&built, &sent)?;
        }
        Ok(BuildResult {
            image_id: built.id(),
            root: built.package().root().clone(),
            is_index: built.index.is_some(),
            tags: self.options.tags.clone(),
            cached_steps: built.cached,
            executed_steps: built.executed,
        })
    }

    fn is_reproducible(&self) -> bool {
        self.options.verify || self.options.reproducible.unwrap_or(self.engine.config.build.reproducible)
    }

    /// Returns how many steps may run at once. Most of them wait, for a network, a disk or a `sleep`, for longer than they
    /// compute, so there are more than processors.
    pub(super) fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.options.jobs.unwrap_or_else(|| (4 * cores()).max(8))
    }

    /// Returns the build arguments, with a number for the time where they name a source that has it. A reproducible build
    /// has a time in any case.
    fn build_args(&self, loaded: &Loaded, context: &MainContext, named: &Named) -> Result<Arguments, Error> {
        let mut build_args = self.options.build_args.clone();
        let contexts = named.names.clone();
        let options = PlanOptions { contexts, ..plan_options(loaded, self.options) };
        let epoch = match frontend::epoch(&loaded.source, &loaded.file, &options) {
            // Planning tells what is wrong, along with everything else.
            Err(_) | Ok(Epoch::At(_)) => return Ok(build_args),
            Ok(epoch) => epoch,
        };
        let time = match &epoch {
            Epoch::Context => context.time(),
            Epoch::Source(source) => {
                let fetch = Fetch::new(self.options, self.policy, &self.engine.store, self.cancel);
                fetch.time(source).map_err(Error::of_epoch)?
            }
            Epoch::Unset | Epoch::Timeless | Epoch::At(_) => None,
        };
        // The newest file's time, say, would be another in each checkout.
        let time = time.or_else(|| self.is_reproducible().then(|| commit_time(context.directory()).unwrap_or(0)));
        let value = time.map(|second| second.to_string());
        // Nobody sees the name of a source that has no time.
        if let Some(value) = value.or_else(|| (epoch != Epoch::Unset).then(String::new)) {
            build_args.insert(EPOCH.to_owned(), value);
        }
        Ok(build_args)
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

    /// Plans the build, and gets ready to look its steps up.
    pub(super) fn prepare(&self, loaded: &Loaded, context: &MainContext, named: &mut Named) -> Result<Ready, Error> {
        let client = self.engine.client(&self.options.insecure_registries);
        let library = Arc::new(Library::new(&self.engine.store, client));
        let plan = self.plan(loaded, self.build_args(loaded, context, named)?, &library, named)?;
        if plan.is_index && self.options.outputs.iter().any(|output| output.kind == OutputKind::Docker) {
            // What can only end badly had better not begin.
            return Err(image::Error::DockerIndex.into());
        }
        self.warn(loaded, &plan.warnings)?;
        self.observer.set_history(plan.images.first().map_or(&[], |image| &image.history), self.options.folding);
        let targets: Vec<NodeId> = plan.images.iter().filter_map(|image| image.target).collect();
        self.judge_directories(&plan.graph, &targets, context)?;
        let needed = plan.graph.needed(&targets);
        let texts = needed.iter().map(|id| plan.graph.node(*id).step.place.text.clone()).collect();
        let numbers = needed.into_iter().zip(1..).collect();
        let stop = self.cancel.child();
        let (context, stat_cache) = context.open(&loaded.ignore, &self.engine.store)?;
        let mut context = context.cancelled_by(stop.clone());
        let normal = plan.epoch.filter(|_| self.is_reproducible());
        if let Some(epoch) = normal {
            context = context.normalized(mtime(epoch));
        }
        if self.is_perturbed {
            context = context.reversed();
        }
        let mut contexts = named.take_directories(&stop);
        contexts.insert(MAIN_CONTEXT.to_owned(), Arc::new(context));
        let setting = Setting {
            contexts,
            build: self.build.clone(),
            project: self.project(),
            texts,
            ledger: self.observer.ledger(),
            secrets: Secrets::new(self.options.secrets.clone()),
            agents: Agents::new(self.options.agents.clone()),
            require_cached: self.options.require_cached,
            epoch: plan.epoch,
            fresh_since: self.options.fresh_since.filter(|_| !self.is_perturbed),
            is_normalized: normal.is_some(),
            hostname: self.is_perturbed.then(|| OTHER_HOSTNAME.to_owned()),
            numbers,
            cancel: stop.clone(),
        };
        let executor = Executor::new(library.clone(), setting);
        Ok(Ready { plan, targets, library, executor, stat_cache, stop })
    }

    /// Plans the build, gets every needed step done, and puts the image together.
    pub(super) fn make(&self, loaded: &Loaded, context: &MainContext, named: &mut Named) -> Result<Built, Error> {
        let Ready { plan, targets, library, executor, stat_cache, stop } = self.prepare(loaded, context, named)?;
        let ahead = self.ahead(&plan, &library, &stop);
        let watched = Watched { executor: &executor, ahead: ahead.as_ref(), chain: Chain::of(&plan) };
        // What failed ahead has stopped the rest, whose own complaints tell nothing then.
        let told = |error: Error| ahead.as_ref().and_then(Ahead::failure).unwrap_or(error);
        let solved = self.walk(&plan, &targets, &watched, &stop).map_err(|failure| {
            let left = match &failure {
                Failure::Step(node, error) if error.exit_code().is_some() || error.is_in_the_text() => {
                    self.keep_failed(&plan, *node, &executor, &library)
                }
                _ => None,
            };
            match self.told(&plan.graph, failure) {
                Error::StepFailed(step) => Error::StepFailed(FailedStep { left, ..step }),
                Error::Diagnostics { file, found } if left.is_some() => with_way_in(file, found),
                Error::Cancelled => told(Error::Cancelled),
                error => error,
            }
        });
        if solved.is_err() {
            // What is still written behind the build has no use any more.
            stop.cancel();
        }
        let stays = |media_type: &str| {
            self.leaves_bases(ahead.as_ref()) && Wanted::asked(self.options.packing).takes(media_type)
        };
        let made = solved.and_then(|solved| self.assemble(&plan, solved, &library, stays).map_err(told));
        executor.settle();
        let saved = || -> Result<(), Error> {
            executor.save()?;
            stat_cache.map_or(Ok(()), |cache| cache.save())?;
            named.save()
        };
        let saved = saved();
        // Why a build failed is more important than what may follow from it, such as a full disk.
        let made = made?;
        saved?;
        Ok(Built { ahead, ..made })
    }

    /// Begins to push, where that is wanted. A second build is not, nor layers that are not the last form of themselves, and
    /// one that may not be reproducible not yet.
    fn ahead(&self, plan: &Plan, library: &Arc<Library>, stop: &Cancel) -> Option<Ahead> {
        let options = self.options;
        let sending = || Sending {
            library: library.clone(),
            names: options.tags.clone(),
            wanted: Wanted::asked(options.packing),
            epoch: plan.epoch.filter(|_| self.rewrites()).map(mtime),
            observer: self.observer(),
            stop: stop.clone(),
        };
        let is_last = options.folding.is_none() && !options.verify && !self.is_perturbed;
        (options.push && is_last).then(|| Ahead::start(sending()))
    }

    /// Tells whether the layers of base images need not be here in the end: whoever wants nothing but a push has them in
    /// the registry. Of one that is only now said to have no TLS, nobody knows that later.
    fn leaves_bases(&self, ahead: Option<&Ahead>) -> bool {
        ahead.is_some() && self.options.outputs.is_empty() && self.options.insecure_registries.is_empty()
    }

    fn plan(&self, loaded: &Loaded, build_args: Arguments, library: &Library, named: &Named) -> Result<Plan, Error> {
        let observer = self.observer();
        let resolver = Resolver {
            engine: self.engine,
            registry: library.registry(),
            pull: self.options.pull,
            observer: &observer,
            cancel: self.cancel,
        };
        let policy = self.policy;
        let others = Images { resolver, policy };
        let images = Resolving { named, others: &others, policy, store: &self.engine.store, cancel: self.cancel };
        let contexts = named.names.clone();
        let options = PlanOptions { build_args, contexts, ..plan_options(loaded, self.options) };
        frontend::plan(&loaded.source, &loaded.file, &options, &images).map_err(|found| {
            self.cancel.check().err().map_or(Error::Diagnostics { file: loaded.source.clone(), found }, Error::from)
        })
    }

    /// Asks the policy about the directories that are read. What came from elsewhere was judged before it was fetched.
    fn judge_directories(&self, graph: &BuildGraph, targets: &[NodeId], context: &MainContext) -> Result<(), Error> {
        for id in graph.needed(targets) {
            let node = graph.node(id);
            let Op::Source(source @ Source::Local(local)) = &node.op else { continue };
            if local.name == MAIN_CONTEXT && context.is_remote {
                continue;
            }
            if let Err(denied) = self.policy.source(source) {
                let Some((file, span)) = node.step.origin.clone() else { return Err(denied.into()) };
                let found = vec![Diagnostic::error("source-denied", denied.to_string(), span)];
                return Err(Error::Diagnostics { file, found });
            }
        }
        Ok(())
    }

    pub(super) fn solve<E: Execute<Error = exec::Error>>(
        &self,
        plan: &Plan,
        targets: &[NodeId],
        executor: &E,
        stop: &Cancel,
    ) -> Result<Solved<E::Output>, Error> {
        self.walk(plan, targets, executor, stop).map_err(|failure| self.told(&plan.graph, failure))
    }

    fn walk<E: Execute<Error = exec::Error>>(
        &self,
        plan: &Plan,
        targets: &[NodeId],
        executor: &E,
        stop: &Cancel,
    ) -> Result<Solved<E::Output>, Failure<exec::Error>> {
        let settings = Settings { jobs: self.jobs(), observer: self.observer(), cancel: stop.clone() };
        solve::solve(&plan.graph, targets, executor, &settings)
    }

    fn told(&self, graph: &BuildGraph, failure: Failure<exec::Error>) -> Error {
        match failure {
            Failure::Cancelled => Error::Cancelled,
            Failure::Step(node, error) => self.step_error(graph, node, error),
        }
    }

    fn step_error(&self, graph: &BuildGraph, node: NodeId, error: exec::Error) -> Error {
        let step = &graph.node(node).step;
        let (title, origin) = (step.title.clone(), step.origin.clone());
        if self.cancel.is_cancelled() {
            return Error::Cancelled;
        }
        match (error, origin) {
            (exec::Error::Process { status, tail, log }, origin) => {
                let status = status.to_string();
                Error::StepFailed(FailedStep { title, origin, status, tail, log: Some(log), left: None })
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

    /// Puts the images together. Where `stays` tells of a media type that such layers can, those of base images that
    /// no step has read stay in their registry.
    fn assemble(
        &self,
        plan: &Plan,
        solved: Solved<exec::Output>,
        library: &Arc<Library>,
        stays: impl Fn(&str) -> bool + Sync,
    ) -> Result<Built, Error> {
        let made: BTreeMap<NodeId, Option<Timestamp>> =
            solved.outputs.iter().map(|(id, output)| (*id, output.created())).collect();
        let observer = self.observer();
        let asker = Asker { step: None, observer: &observer, cancel: self.cancel };
        let created = |node: NodeId| made.get(&node).copied().flatten();
        let times = Times { epoch: plan.epoch, rewritten: self.rewrites() };
        let (mut images, mut stacks, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for planned in &plan.images {
            let stack = planned.target.map(|target| solved.outputs[&target].stack().clone()).unwrap_or_default();
            let blob = |layer: &Layer| match library.elsewhere(layer, &stays)? {
                Some(blob) => Ok(blob),
                None => library.blob(layer, asker),
            };
            library.each(stack.layers(), |_, layer| blob(layer))?;
            let shaped = self.shaped(planned, &stack, plan.epoch, library, asker)?;
            images.push(assemble(planned, blob, &shaped, created, times)?);
            let of_layers = planned.history.iter().filter_map(|item| item.layer);
            steps.push(shaped.makers(of_layers.map(|node| plan.graph.node(node).step.title.clone())));
            stacks.push(shaped.stack);
        }
        let index = plan.is_index.then(|| image::index(&images));
        let (library, cached, executed) = (library.clone(), solved.cached, solved.executed);
        Ok(Built { images, stacks, index, library, steps, epoch: plan.epoch.map(mtime), ahead: None, cached, executed })
    }

    /// Tells whether no file may be later than the epoch.
    pub(super) fn rewrites(&self) -> bool {
        self.options.rewrite_timestamp || self.is_reproducible()
    }

    /// Makes the images visible in the store, packed as they will leave it.
    fn keep(&self, mut built: Built) -> Result<Built, Error> {
        let what = "writing image".to_owned();
        self.observer.observe(Event::Phase { what: what.clone(), result: None });
        if self.options.push || self.options.packing.is_some() {
            built = self.packed(built)?;
        }
        built.package().commit(&self.engine.store, &self.options.tags)?;
        let result = Some(built.id().to_string());
        self.observer.observe(Event::Phase { what, result });
        Ok(built)
    }

    fn packed(&self, built: Built) -> Result<Built, Error> {
        let wanted = Wanted::asked(self.options.packing);
        let images = self.engine.packer(&self.observer(), self.cancel).images(&built.images, wanted)?;
        let index = built.index.map(|_| image::index(&images));
        Ok(Built { images, index, ..built })
    }

    /// Sends what has not been `sent` yet.
    fn push(&self, built: &Built, sent: &Sent) -> Result<(), Error> {
        let observer = self.observer();
        for tag in &self.options.tags {
            self.engine.send(&built.package(), tag, sent, built.library.registry(), &observer, self.cancel)?;
        }
        Ok(())
    }
}

/// Adds how to look into the step that an error is about.
fn with_way_in(file: diagnostic::Source, mut found: Vec<Diagnostic>) -> Error {
    let way_in = "`kiln shell` looks into the files that it had before it, or was to copy from";
    for one in &mut found {
        let known = one.help.take().map(|help| format!("{help}\n")).unwrap_or_default();
        one.help = Some(known + way_in);
    }
    Error::Diagnostics { file, found }
}

pub(super) fn mtime(time: Timestamp) -> Mtime {
    Mtime { seconds: time.as_second(), nanoseconds: 0 }
}

/// Resolves images for the front end, as the policy says.
pub(super) struct Images<'a> {
    pub(super) resolver: Resolver<'a>,
    pub(super) policy: &'a Policy,
}

impl ResolveImage for Images<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        let used = self.policy.image(reference, self.resolver.pull);
        let used = used.map_err(|error| Unresolved::denied(error.to_string()))?;
        self.tell(&reference.to_string(), &used.to_string());
        let reference = used;
        match self.resolver.resolve(&reference, platform) {
            Ok(image) => Ok(resolved(&reference, &image)),
            Err(error) => {
                let help = match &error {
                    Error::Registry(error) => error.help(),
                    _ => None,
                };
                Err(Unresolved { help, ..Unresolved::not_found(with_causes(&error)) })
            }
        }
    }

    fn admit(&self, source: Source) -> Result<Source, Unresolved> {
        match source {
            // Named by the plan alone; whether it may be read is asked of those that are read.
            Source::Local(_) => Ok(source),
            source => {
                let used = self.policy.source(&source).map_err(|error| Unresolved::denied(error.to_string()))?;
                self.tell(&shown(&source), &shown(&used));
                Ok(used)
            }
        }
    }
}

impl Images<'_> {
    /// Says that something else is used than what is written.
    fn tell(&self, written: &str, used: &str) {
        if written != used {
            let what = format!("source policy for {written}");
            self.resolver.observer.observe(Event::Phase { what, result: Some(used.to_owned()) });
        }
    }
}

/// Returns what people call a source, and how it is pinned.
fn shown(source: &Source) -> String {
    match source {
        Source::Http(http) => match http.checksum {
            Some(checksum) => format!("{}@{checksum}", http.shown()),
            None => http.shown(),
        },
        Source::Git(git) => {
            let reference = git.checksum.as_ref().or(git.reference.as_ref());
            reference.map_or_else(|| git.shown(), |reference| format!("{}#{reference}", git.shown()))
        }
        Source::Local(local) => local.name.clone(),
        Source::Image(image) => image.reference.to_string(),
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
