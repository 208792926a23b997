use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use super::arguments::multi_platform;
use super::environment::Environment;
use super::epoch::Epoch;
use super::expand::{Expander, Undefined};
use super::named::NamedContext;
use super::outline::{Declared, Outline};
use super::stage::Stage;
use super::state::State;
use super::{Checked, Plan, PlanOptions, PlannedImage, Problems, ResolveImage, ResolvedImage, Unresolved, lint};
use crate::diagnostic::{Diagnostic, Source, Span, Spanned};
use crate::dockerfile::instruction::{self, Instruction, Word};
use crate::dockerfile::nearest;
use crate::graph::{self, BuildGraph, Local, Merge, NodeId, Op, Place, Step};
use crate::oci::{Digest, ImageConfig, Platform, Reference};

/// Images asked for at once.
const PARALLEL_IMAGES: usize = 8;

/// Finds out which stages are needed, and plans each once for each platform.
pub(super) struct Planner<'a> {
    pub(super) source: &'a Source,
    pub(super) file: &'a instruction::Dockerfile,
    pub(super) options: &'a PlanOptions,
    /// The platform that is planned for, where one was asked for.
    pub(super) target_platform: Option<&'a Platform>,
    /// Whether titles tell the platform, because the same steps are there for others.
    pub(super) is_index: bool,
    images: &'a dyn ResolveImage,
    /// Arguments before the first FROM, and those every build has.
    pub(super) global: Environment,
    pub(super) graph: BuildGraph,
    stages: Vec<Slot>,
    /// The stages of each name, in the order of the file.
    names: BTreeMap<&'a str, Vec<usize>>,
    /// What was asked for already, with the answer.
    resolved: BTreeMap<(Reference, Platform), Result<Rc<ResolvedImage>, Unresolved>>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Whether an image that is not found is no problem.
    lenient: bool,
    /// The ARGs of the stages that are planned.
    pub(super) declared: Vec<Declared>,
    /// Bytes of environments and histories in what is planned.
    pub(super) bytes: usize,
}

/// What is known of a stage.
#[derive(Clone, Default)]
struct Slot {
    /// Absent before somebody asked; nothing where the answer is an error that has been reported.
    base: Option<Option<Base>>,
    state: Option<Option<Rc<State>>>,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    Stage(usize),
    Image(Reference, Option<Platform>),
    /// A named context.
    Files(graph::Source),
}

/// Who reads from another stage, for what is said where that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reader {
    /// `COPY --from`.
    Copy,
    /// `RUN --mount` with `from`, which knows no numbers of stages (section 7.5).
    Mount {
        /// As written.
        target: String,
    },
}

impl Base {
    fn of(context: &NamedContext, platform: Option<Platform>) -> Base {
        match context {
            NamedContext::Image(reference) => Base::Image(reference.clone(), platform),
            NamedContext::Files(source) => Base::Files(source.clone()),
        }
    }
}

/// What `--from` means.
enum From {
    Stage(usize),
    Image(Reference),
    Files(graph::Source),
    /// `scratch`, where no stage is called that.
    Nothing,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        source: &'a Source,
        file: &'a instruction::Dockerfile,
        options: &'a PlanOptions,
        images: &'a dyn ResolveImage,
    ) -> Planner<'a> {
        let mut names: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let named = file.stages.iter().enumerate().filter_map(|(index, stage)| Some((index, name(stage)?)));
        named.for_each(|(index, name)| names.entry(name).or_default().push(index));
        Planner {
            source,
            file,
            options,
            target_platform: None,
            is_index: false,
            images,
            global: Environment::default(),
            graph: BuildGraph::new(),
            stages: vec![Slot::default(); file.stages.len()],
            names,
            resolved: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            lenient: false,
            declared: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn plan(mut self) -> Result<Plan, Vec<Diagnostic>> {
        self.check_syntax();
        let is_index = multi_platform(self.options);
        self.is_index = self.report(is_index).unwrap_or_default();
        let mut images = Vec::new();
        if let Some(target) = self.target() {
            let platforms: Vec<_> = self.options.platforms.iter().map(Some).collect();
            for platform in if platforms.is_empty() { vec![None] } else { platforms } {
                images.extend(self.plan_for(target, platform));
            }
        }
        let epoch = self.epoch();
        let epoch = self.report(epoch).unwrap_or_default();
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|problem| problem.labels.first().map(|(span, _)| span.start));
            self.problems.dedup();
            return Err(self.problems);
        }
        self.warn_of_unread_arguments();
        let mut told = HashSet::new();
        let mut warnings = self.warnings;
        warnings.retain(|warning| told.insert(warning.clone()));
        let epoch = if let Epoch::At(time) = epoch { Some(time) } else { None };
        Ok(Plan { graph: self.graph, images, is_index: self.is_index, epoch, warnings })
    }

    /// Finds out what [`super::epoch()`] asks for.
    pub(super) fn find_epoch(mut self) -> Result<Epoch, Vec<Diagnostic>> {
        let Some(target) = self.target() else { return Err(self.problems) };
        self.target_platform = self.options.platforms.first();
        self.set_global_arguments(target);
        self.epoch().map_err(|found| found.0)
    }

    /// Plans what [`super::check`] asks for.
    pub(super) fn check(mut self) -> Checked {
        self.lenient = true;
        self.check_syntax();
        if let Some(target) = self.target() {
            self.begin(target, self.options.platforms.first());
            let all = if self.options.target.is_some() { target..target + 1 } else { 0..self.file.stages.len() };
            for stage in all {
                self.state(stage);
            }
            self.warn_of_unread_arguments();
        }
        Checked { errors: self.sorted_problems(), warnings: self.warnings }
    }

    /// Plans what [`super::outline()`] asks for.
    pub(super) fn plan_outline(mut self) -> Result<Outline, Vec<Diagnostic>> {
        self.lenient = true;
        self.check_syntax();
        let Some(target) = self.target() else { return Err(self.problems) };
        self.begin(target, self.options.platforms.first());
        self.state(target);
        let problems = self.sorted_problems();
        if problems.is_empty() { Ok(self.outline(target)) } else { Err(problems) }
    }

    /// Returns what is wrong with the file. What kiln cannot do yet is not the file's fault.
    fn sorted_problems(&mut self) -> Vec<Diagnostic> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.retain(|problem| problem.code != "not-supported-yet");
        problems.sort_by_key(|problem| problem.labels.first().map(|(span, _)| span.start));
        problems
    }

    /// Returns the stages that are planned, with what their words see at their ends.
    pub(super) fn planned_stages(&self) -> impl Iterator<Item = (usize, &Environment)> {
        let stages = self.stages.iter().enumerate();
        stages.filter_map(|(index, slot)| Some((index, slot.state.as_ref()?.as_ref()?.environment())))
    }

    /// Evaluates what stands before the first FROM, and every FROM: what is wrong with one is wrong with the build, also
    /// where its stage is not needed.
    fn begin(&mut self, target: usize, platform: Option<&'a Platform>) {
        self.target_platform = platform;
        self.stages = vec![Slot::default(); self.file.stages.len()];
        self.set_global_arguments(target);
        self.warnings.extend(lint::froms(self.file, &self.global, self.options));
        for stage in 0..self.file.stages.len() {
            self.base(stage);
        }
    }

    /// Plans the image of one platform into the graph of all; nothing where it cannot be, which is reported.
    fn plan_for(&mut self, target: usize, platform: Option<&'a Platform>) -> Option<PlannedImage> {
        self.begin(target, platform);
        let state = self.state(target)?;
        let mut config = state.config.clone();
        config.config.labels.extend(self.options.labels.clone());
        // Whatever the target stage was built on (section 7.10).
        if let Some(platform) = platform {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        Some(PlannedImage { target: state.root, config, history: state.history.clone() })
    }

    /// Takes note of what is wrong.
    pub(super) fn report<T>(&mut self, result: Result<T, Problems>) -> Option<T> {
        result.map_err(|found| self.problems.extend(found.0)).ok()
    }

    /// Returns what a stage comes to; nothing where it cannot be planned, which is then reported.
    ///
    /// What a stage needs stands before it, so the needed ones are planned in the order of the file, and none has to wait
    /// for another inside a call, however long the chain. Only what a trigger of a base image reads is found later.
    pub(super) fn state(&mut self, index: usize) -> Option<Rc<State>> {
        if let Some(known) = &self.stages[index].state {
            return known.clone();
        }
        let needed = self.needed(index);
        self.ask_for_images(&needed);
        for stage in needed {
            if self.stages[stage].state.is_none() {
                let state = Stage::plan(self, stage).map(Rc::new);
                self.stages[stage].state = Some(state);
            }
        }
        self.stages[index].state.clone().flatten()
    }

    /// Returns the stages that one needs and that are not planned, itself included, in the order of the file.
    fn needed(&mut self, target: usize) -> BTreeSet<usize> {
        let (mut needed, mut open) = (BTreeSet::new(), vec![target]);
        while let Some(stage) = open.pop() {
            // Whatever a stage needs that is planned is planned as well.
            if self.stages[stage].state.is_some() || !needed.insert(stage) {
                continue;
            }
            if let Some(Base::Stage(base)) = self.base(stage) {
                open.push(base);
            }
            // What is wrong with a `--from` is said where its instruction is planned.
            let others = self.froms(stage).filter_map(|(from, reader)| match self.meaning(stage, from, &reader) {
                Ok(From::Stage(other)) => Some(other),
                _ => None,
            });
            open.extend(others);
        }
        needed
    }

    fn froms(&self, stage: usize) -> impl Iterator<Item = (&'a Spanned<String>, Reader)> + use<'a> {
        let steps: &'a [instruction::Step] =
            if self.replacement(stage).is_some() { &[] } else { &self.file.stages[stage].steps };
        steps.iter().flat_map(|step| froms_of(&step.instruction))
    }

    /// Resolves the images of stages side by side, because a registry answers slowly.
    fn ask_for_images(&mut self, stages: &BTreeSet<usize>) {
        let mut wanted = BTreeSet::new();
        for &stage in stages {
            let platform = match self.base(stage) {
                Some(Base::Image(reference, platform)) => {
                    let platform = self.platform(platform.as_ref()).clone();
                    wanted.insert((reference, platform.clone()));
                    platform
                }
                _ => self.platform(None).clone(),
            };
            for (from, reader) in self.froms(stage) {
                if let Ok(From::Image(reference)) = self.meaning(stage, from, &reader) {
                    wanted.insert((reference, platform.clone()));
                }
            }
        }
        wanted.retain(|image| !self.resolved.contains_key(image));
        let answers = Mutex::new(Vec::new());
        let (images, open) = (self.images, Mutex::new(wanted.iter()));
        let ask = || {
            // Let go of the lock before the registry is asked.
            let next = || open.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((reference, platform)) = next() {
                let answer = images.resolve(reference, platform);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.push(((reference.clone(), platform.clone()), answer));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL_IMAGES.min(wanted.len()) {
                scope.spawn(ask);
            }
            ask();
        });
        let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.resolved.extend(answers.into_iter().map(|(image, answer)| (image, answer.map(Rc::new))));
    }

    /// Returns the platform that a stage is for where it asks for `own`.
    pub(super) fn platform<'p>(&'p self, own: Option<&'p Platform>) -> &'p Platform {
        own.or(self.target_platform).unwrap_or(&self.options.build_platform)
    }

    /// Returns what an image name means for a platform.
    pub(super) fn image(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        span: Span,
    ) -> Result<Rc<ResolvedImage>, Problems> {
        let key = (reference.clone(), platform.clone());
        let images = self.images;
        let answer =
            self.resolved.entry(key).or_insert_with(|| images.resolve(reference, platform).map(Rc::new)).clone();
        match answer {
            Ok(image) => Ok(image),
            Err(_) if self.lenient => Ok(Rc::new(unknown(reference, platform))),
            Err(unresolved) => Err(unresolved.at(span).into()),
        }
    }

    /// Tells whether nothing is known of an image that was asked for.
    pub(super) fn is_unknown(&self, reference: &Reference, platform: &Platform) -> bool {
        self.resolved.get(&(reference.clone(), platform.clone())).is_some_and(Result::is_err)
    }

    /// Returns what a stage starts from; says what is wrong once.
    pub(super) fn base(&mut self, index: usize) -> Option<Base> {
        if let Some(known) = &self.stages[index].base {
            return known.clone();
        }
        let found = self.find_base(index);
        let base = self.report(found);
        self.stages[index].base = Some(base.clone());
        base
    }

    fn find_base(&self, index: usize) -> Result<Base, Problems> {
        let stage = &self.file.stages[index];
        let undefined = Undefined::default();
        let expander = Expander { escape: self.file.escape, environment: &self.global, undefined: &undefined };
        let platform = stage.platform.as_ref().map(|word| platform(expander, word)).transpose()?;
        if let Some(context) = self.replacement(index) {
            return Ok(Base::of(context, platform));
        }
        let base = expander.word(&stage.base)?;
        if base.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.base.value);
            let problem = Diagnostic::error("blank-base", message, stage.base.span);
            let help = "give the variable a value by an ARG before the first FROM, or by `--build-arg`";
            return Err(problem.with_help(help).into());
        }
        // The names are lower-case, and compared with what is written (section 7.2).
        let same = self.names.get(base.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(&earlier) = same[..same.partition_point(|&stage| stage < index)].last() {
            return Ok(Base::Stage(earlier));
        }
        if base == "scratch" {
            return Ok(Base::Scratch);
        }
        let reference = base.parse::<Reference>().map_err(|error| {
            let message = format!("failed to parse stage name \"{base}\": {error}");
            let problem = Diagnostic::error("invalid-base", message, stage.base.span);
            match self.nearest_stage(index, &base) {
                Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                None => problem,
            }
        })?;
        let known = self.options.contexts.find(&reference, self.platform(platform.as_ref()));
        Ok(known
            .map_or_else(|| Base::Image(reference, platform.clone()), |context| Base::of(context, platform.clone())))
    }

    /// Returns the named context that stands for a whole stage (section 7.3).
    pub(super) fn replacement(&self, index: usize) -> Option<&NamedContext> {
        let stage = &self.file.stages[index];
        self.options.contexts.find_name(name(stage)?, self.platform(None))
    }

    /// Tells whether there is a named context of a stage's name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.options.contexts.find_name(name, self.platform(None)).is_some()
    }

    /// Returns the node of a named context.
    pub(super) fn add_files(&mut self, source: &graph::Source, name: &str, span: Span) -> Result<NodeId, Problems> {
        self.add_remote(source.clone(), format!("[context {name}] load"), (self.source.clone(), span))
    }

    /// Returns the node of a source, which may turn out to be another one.
    pub(super) fn add_remote(
        &mut self,
        source: graph::Source,
        title: String,
        origin: (Source, Span),
    ) -> Result<NodeId, Problems> {
        let admitted = self.images.admit(source).map_err(|refused| Problems::from(refused.at(origin.1)))?;
        Ok(self.add(Op::Source(admitted), Vec::new(), title, Some(origin)))
    }

    /// Returns the node whose files a `--from` of stage `current` names.
    pub(super) fn tree_of(
        &mut self,
        current: usize,
        from: &Spanned<String>,
        reader: &Reader,
        platform: &Platform,
    ) -> Result<Option<NodeId>, Problems> {
        match self.meaning(current, from, reader)? {
            From::Stage(stage) => {
                let Some(state) = self.state(stage) else { return Ok(None) };
                Ok(Some(state.root.unwrap_or_else(|| self.empty_tree())))
            }
            From::Nothing => Ok(Some(self.empty_tree())),
            From::Files(source) => self.add_files(&source, &from.value, from.span).map(Some),
            From::Image(reference) => {
                let image = self.image(&reference, platform, from.span)?;
                let title = format!("FROM {reference}");
                let place = Place { text: title.clone(), ..Place::default() };
                Ok(Some(self.add_image(&image, platform, (title, place), Some(from.span))))
            }
        }
    }

    /// Finds out what a `--from` means (section 7.5): names bind to the last stage of that name in the file.
    fn meaning(&self, current: usize, from: &Spanned<String>, reader: &Reader) -> Result<From, Problems> {
        let text = from.value.as_str();
        let stages = &self.file.stages;
        let by_number = text.parse::<usize>().ok().filter(|_| *reader == Reader::Copy);
        let lowered = text.to_lowercase();
        let found = match by_number {
            Some(number) if number < stages.len() => Some(number),
            Some(number) => {
                let problem = Diagnostic::error("unknown-stage", format!("invalid stage index {number}"), from.span);
                return Err(problem.with_help("stages are counted from 0").into());
            }
            None => self.names.get(lowered.as_str()).and_then(|same| same.last()).copied(),
        };
        if let (None, Some(context)) = (found, self.options.contexts.find_name(text, self.platform(None))) {
            return Ok(match context {
                NamedContext::Image(reference) => From::Image(reference.clone()),
                NamedContext::Files(source) => From::Files(source.clone()),
            });
        }
        let called = |stage: usize| name(&stages[stage]).map_or_else(|| format!("stage-{stage}"), str::to_owned);
        match found {
            Some(stage) if stage < current => Ok(From::Stage(stage)),
            Some(stage) if stage == current => {
                let message = format!("circular dependency detected on stage: {}", called(stage));
                Err(Diagnostic::error("circular-stage", message, from.span).into())
            }
            Some(stage) => {
                let message = match reader {
                    Reader::Copy => format!(
                        "cannot copy from stage \"{}\", it needs to be defined before current stage \"{}\"",
                        called(stage),
                        called(current)
                    ),
                    Reader::Mount { target } => format!(
                        "cannot mount from stage \"{}\" to \"{target}\", stage needs to be defined before current command",
                        called(stage)
                    ),
                };
                let problem = Diagnostic::error("later-stage", message, from.span);
                Err(problem.with_also(stages[stage].span, "it is defined here").into())
            }
            None if text == "scratch" => Ok(From::Nothing),
            None => text.parse().map(From::Image).map_err(|error| {
                let message = format!("`{text}` is neither a stage nor the name of an image: {error}");
                Diagnostic::error("unknown-stage", message, from.span).into()
            }),
        }
    }

    pub(super) fn add(&mut self, op: Op, inputs: Vec<NodeId>, title: String, origin: Option<(Source, Span)>) -> NodeId {
        let place = Place { text: title.clone(), ..Place::default() };
        self.add_step(op, inputs, Step { title, place, origin, ignore_cache: false })
    }

    /// Adds a node, which ignores cached results if its step or the whole build does.
    pub(super) fn add_step(&mut self, op: Op, inputs: Vec<NodeId>, step: Step) -> NodeId {
        let ignore_cache = step.ignore_cache || self.options.no_cache;
        self.graph.add(op, inputs, Step { ignore_cache, ..step })
    }

    pub(super) fn add_image(
        &mut self,
        image: &ResolvedImage,
        platform: &Platform,
        (title, place): (String, Place),
        span: Option<Span>,
    ) -> NodeId {
        let source = graph::Image {
            reference: image.reference.clone(),
            manifest: image.manifest,
            platform: platform.clone(),
            diff_ids: image.config.rootfs.diff_ids.clone(),
        };
        let origin = span.map(|span| (self.source.clone(), span));
        let step = Step { title, place, origin, ignore_cache: false };
        self.add_step(Op::Source(graph::Source::Image(source)), Vec::new(), step)
    }

    /// Returns the node of the build context.
    pub(super) fn context(&mut self) -> NodeId {
        let source = graph::Source::Local(Local { name: "context".to_owned() });
        self.add(Op::Source(source), Vec::new(), "[internal] load build context".to_owned(), None)
    }

    fn empty_tree(&mut self) -> NodeId {
        self.add(Op::Merge(Merge { layers: Vec::new() }), Vec::new(), "[internal] empty tree".to_owned(), None)
    }
}

/// Returns what stands for an image of which nothing is known.
pub(super) fn unknown(reference: &Reference, platform: &Platform) -> ResolvedImage {
    let config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    ResolvedImage { reference: reference.clone(), manifest: Digest::of(b""), config }
}

/// Returns an error of something that is not in the text.
pub(super) fn without_place(code: &'static str, message: String) -> Diagnostic {
    Diagnostic { labels: Vec::new(), ..Diagnostic::error(code, message, Span::default()) }
}

/// Returns what an instruction reads from other stages or images.
fn froms_of(instruction: &Instruction) -> Vec<(&Spanned<String>, Reader)> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().map(|from| (from, Reader::Copy)).collect(),
        Instruction::Run(run) => {
            let of_mount = |mount: &'_ Spanned<instruction::Mount>| {
                let target = mount.value.target.as_ref().map(|target| target.value.clone()).unwrap_or_default();
                Reader::Mount { target }
            };
            let is_read = |mount: &&Spanned<instruction::Mount>| {
                matches!(mount.value.kind, instruction::MountKind::Bind | instruction::MountKind::Cache)
            };
            let mounts = run.mounts.iter().filter(is_read);
            mounts.filter_map(|mount| Some((mount.value.from.as_ref()?, of_mount(mount)))).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the name of a stage, in lower case.
pub(super) fn name(stage: &instruction::Stage) -> Option<&str> {
    stage.name.as_ref().map(|name| name.value.as_str())
}

fn platform(expander: Expander<'_>, word: &Word) -> Result<Platform, Problems> {
    let undefined = Undefined::default();
    let text = Expander { undefined: &undefined, ..expander }.word(word)?;
    // A variable that nobody set is the likelier slip, then a word that no machine is called.
    let variables = undefined.take();
    let known = expander.environment.pairs().iter().map(|(name, _)| name.as_str());
    let variable = variables.first().and_then(|variable| nearest(&variable.value, known));
    let with_help = |problem: Diagnostic, near: Option<String>| match near {
        Some(near) => problem.with_help(format!("did you mean `{near}`?")),
        None => problem,
    };
    if text.is_empty() {
        let message = format!("empty platform value from expression {}", word.value);
        let problem = Diagnostic::error("empty-platform", message, word.span);
        return Err(with_help(problem, variable.map(|name| format!("${name}"))).into());
    }
    text.parse().map_err(|error| {
        let message = format!("failed to parse platform {text}: {error}");
        let problem = Diagnostic::error("invalid-platform", message, word.span);
        let near =
            variable.map(|name| format!("${name}")).or_else(|| nearest(&text, Platform::words()).map(str::to_owned));
        with_help(problem, near).into()
    })
}
