mod settings;

use super::budget::MOST_SUGGESTIONS;
use super::copy::{Copying, absolute};
use super::environment;
use super::expand::{Expander, Undefined};
use super::ground::{Ground, suggest, triggers_of};
use super::mounts::{self, Mounts, Site};
use super::outline::{Argument, Declared};
use super::run::{self, Around, argv, working_directory};
use super::stages::{Planner, Reader, name};
use super::state::State;
use super::titles::{self, Titles};
use super::{PlannedHistory, Problems, all, history, lint, ports, signal};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::dockerfile::instruction::{self, Add, Arg, Command, Copy, Instruction, Pair, Run, Step, Word};
use crate::dockerfile::nearest;
use crate::graph::{self, FileAction, Input, Merge, NodeId, Op, Owner, Place};
use crate::oci::{Empty, Healthcheck};
use std::collections::BTreeSet;

/// More names than a file has whose variables somebody wrote.
const MOST_NAMES: usize = 1000;

/// Bytes of a path with its NUL (`linux/limits.h`). Without it, each of many relative ones would repeat all before.
const PATH_MAX: usize = 4096;

/// A stage as it grows, instruction by instruction.
pub(super) struct Stage<'p, 'a> {
    planner: &'p mut Planner<'a>,
    index: usize,
    state: State,
    titles: Titles,
    /// Variables without a value in the current instruction.
    undefined: Undefined,
    /// Where the last CMD, ENTRYPOINT and HEALTHCHECK of this stage stand.
    last: [Option<Span>; 3],
    /// Whether this stage has a CMD of its own already.
    has_command: bool,
    /// Where the current instruction stands.
    origin: (Source, Span),
    /// Its title and place; for a step that makes a node.
    title: (String, Place),
}

impl<'p, 'a> Stage<'p, 'a> {
    /// Plans a stage whose needs are planned; nothing where it cannot be, which is reported.
    pub(super) fn plan(planner: &'p mut Planner<'a>, index: usize) -> Option<State> {
        let stage = &planner.file.stages[index];
        if planner.is_full() {
            return None;
        }
        let ground = Ground::find(planner, index)?;
        let triggers = planner.report(triggers_of(ground.triggers(), stage.base.span))?;
        let own: &[Step] = if planner.replacement(index).is_some() { &[] } else { &stage.steps };
        let steps = triggers.iter().map(|(_, step)| step).chain(own);
        let count = steps.filter(|step| titles::is_step(&step.instruction)).count();
        let is_pulled = matches!(ground, Ground::Image(_));
        let platform = planner.is_index.then(|| ground.platform());
        let mut titles = Titles::new(platform, title_of(planner.file, index), is_pulled, count);
        let mut state = match ground {
            Ground::State(state) => state,
            Ground::Image(base) => base.state(planner, stage, &mut titles),
        };
        state.config.config.on_build.clear();
        let origin = (planner.source.clone(), stage.span);
        let mut stage = Stage {
            planner,
            index,
            state,
            titles,
            undefined: Undefined::default(),
            last: [None; 3],
            has_command: false,
            origin,
            title: Default::default(),
        };
        stage.fire(&triggers);
        stage.follow(own);
        stage.state.config.config.env = stage.state.exported.to_config();
        Some(stage.state)
    }

    /// Does what the base image asks every image built on it to do (semantics reference, section 11.12).
    fn fire(&mut self, triggers: &[(Source, Step)]) {
        for (source, step) in triggers {
            let before = (self.planner.problems.len(), self.planner.warnings.len());
            let declared = self.planner.declared.len();
            self.origin = (source.clone(), step.span);
            self.instruct(step, "ONBUILD ");
            // What is wrong stands in another text than the one that is shown.
            let span = self.planner.file.stages[self.index].base.span;
            for declared in &mut self.planner.declared[declared..] {
                declared.argument.span = span;
            }
            let problems = self.planner.problems[before.0..].iter_mut();
            for problem in problems.chain(&mut self.planner.warnings[before.1..]) {
                problem.labels = vec![(span, format!("in its trigger `ONBUILD {}`", step.text))];
            }
        }
    }

    fn follow(&mut self, steps: &[Step]) {
        for step in steps {
            if self.planner.is_full() {
                return;
            }
            self.origin = (self.planner.source.clone(), step.span);
            self.instruct(step, "");
        }
    }

    fn instruct(&mut self, step: &Step, prefix: &str) {
        if titles::is_step(&step.instruction) {
            let text = format!("{prefix}{}", titles::text(step));
            self.title = self.titles.next(&text, &self.state.environment);
        }
        self.watch(step);
        let done = self.instruction(&step.instruction);
        self.planner.report(done);
        self.report_undefined();
    }

    fn warn(&mut self, warning: impl IntoIterator<Item = Diagnostic>) {
        self.planner.warnings.extend(warning);
    }

    /// Warns of variables without a value that no ARG before has declared.
    fn report_undefined(&mut self) {
        let mut used = self.undefined.take();
        let declared = |name: &String| self.state.arguments.contains(name);
        used.retain(|used| !declared(&used.value));
        let mut told = BTreeSet::new();
        used.retain(|used| told.insert(used.value.clone()));
        if used.is_empty() {
            return;
        }
        let told = MOST_SUGGESTIONS.saturating_sub(self.planner.warnings.len());
        let known = if told > 0 { self.known_names() } else { Vec::new() };
        let found: Vec<Diagnostic> = used
            .iter()
            .enumerate()
            .filter_map(|(number, used)| {
                let known = if number < told { &known[..] } else { &[] };
                // What nobody knows may well set it; but a name so near to one of the file's is a slip.
                let is_likely = !self.state.is_unknown || nearest(&used.value, known.iter().copied()).is_some();
                lint::undefined_variable(used, known).filter(|_| is_likely)
            })
            .collect();
        self.warn(found);
    }

    /// Returns the names that a variable without a value may have been meant to be; none where they are too many to look at.
    fn known_names(&self) -> Vec<&str> {
        let (pairs, arguments) = (self.state.environment.pairs(), self.state.arguments.ordered());
        if pairs.len() + arguments.len() > MOST_NAMES {
            return Vec::new();
        }
        pairs.iter().map(|(name, _)| name).chain(arguments).map(String::as_str).collect()
    }

    /// Warns of what can be said before an instruction is followed.
    fn watch(&mut self, step: &Step) {
        let name = step.text.split(char::is_whitespace).next().unwrap_or_default();
        let span = Span::new(step.span.start, step.span.start + name.len());
        let slot = match &step.instruction {
            Instruction::Cmd(_) => 0,
            Instruction::Entrypoint(_) => 1,
            Instruction::Healthcheck(_) => 2,
            _ => return,
        };
        let overridden = self.last[slot].map(|earlier| lint::overridden(name, earlier, span));
        self.last[slot] = Some(span);
        self.warn(overridden);
        if let Instruction::Cmd(Command::Shell(text)) | Instruction::Entrypoint(Command::Shell(text)) =
            &step.instruction
            && self.state.config.config.shell.as_ref().is_none_or(Vec::is_empty)
        {
            self.warn([lint::shell_form(name, text.span)]);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), Problems> {
        match instruction {
            Instruction::Arg(arg) => self.arg(arg),
            Instruction::Env(pairs) => self.env(pairs),
            Instruction::Label(pairs) => self.label(pairs),
            Instruction::Run(run) => self.run(run),
            Instruction::Copy(copy) => self.copy(copy),
            Instruction::Add(add) => self.add(add),
            Instruction::Workdir(path) => self.workdir(path),
            Instruction::User(user) => self.user(user),
            Instruction::Cmd(command) => self.cmd(command),
            Instruction::Entrypoint(command) => self.entrypoint(command),
            Instruction::Expose(words) => self.expose(words),
            Instruction::Volume(words) => self.volume(words),
            Instruction::StopSignal(signal) => self.stop_signal(signal),
            Instruction::Healthcheck(check) => self.healthcheck(check),
            Instruction::Shell(shell) => self.shell(shell),
            Instruction::Onbuild(trigger) => {
                self.state.config.config.on_build.push(trigger.value.clone());
                Ok(())
            }
            Instruction::Maintainer(author) => {
                self.state.config.author = Some(author.value.clone());
                self.note(format!("MAINTAINER {}", author.value))
            }
        }
    }

    fn expander(&self) -> Expander<'_> {
        Expander { escape: self.planner.file.escape, environment: &self.state.environment, undefined: &self.undefined }
    }

    /// Adds an item without a layer to the history.
    fn note(&mut self, created_by: String) -> Result<(), Problems> {
        self.planner.count(created_by.len(), self.origin.1);
        self.remember(created_by, None);
        Ok(())
    }

    fn remember(&mut self, created_by: String, layer: Option<NodeId>) {
        let origin = Some(self.origin.clone());
        self.state.history.push(PlannedHistory { created_by, layer, origin });
    }

    /// Adds a node over the root, which becomes the new root, and its item to the history.
    fn grow(&mut self, op: Op, others: Vec<NodeId>, created_by: String) -> Result<(), Problems> {
        let environment = if let Op::Run(run) = &op { environment::bytes(&run.env) } else { 0 };
        self.planner.count(created_by.len() + environment, self.origin.1);
        let inputs = self.state.root.into_iter().chain(others).collect();
        let step = graph::Step { ignore_cache: self.ignores_cache(&op), ..self.step() };
        let node = self.planner.add_step(op, inputs, step);
        self.state.root = Some(node);
        self.remember(created_by, Some(node));
        Ok(())
    }

    /// Returns what is known of the step of the current instruction.
    fn step(&self) -> graph::Step {
        let (title, place) = self.title.clone();
        graph::Step { title, place, origin: Some(self.origin.clone()), ignore_cache: false }
    }

    /// Tells whether `--no-cache-filter` names this stage; making the working directory is not meant (section 14.4).
    fn ignores_cache(&self, op: &Op) -> bool {
        let is_workdir = matches!(op, Op::File(file) if matches!(file.actions[..], [FileAction::MakeDirectory { .. }]));
        let named = name(&self.planner.file.stages[self.index]);
        let is_named = |filter: &String| named == Some(filter.as_str());
        !is_workdir && self.planner.options.no_cache_stages.iter().any(is_named)
    }

    fn arg(&mut self, arg: &Arg) -> Result<(), Problems> {
        let mut created_by = "ARG".to_owned();
        for declaration in &arg.declarations {
            let name = &declaration.name.value;
            self.warn(lint::secret_name("ARG", name, declaration.name.span));
            let given = self.planner.options.build_args.get(name).cloned();
            let is_bare = given.is_none() && declaration.default.is_none();
            let value = match (given, &declaration.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expander().word(default)?),
                (None, None) => self.planner.global.get(name).map(str::to_owned),
            };
            self.report_undefined();
            self.planner.declared.push(Declared {
                stage: self.index,
                argument: Argument { name: name.clone(), value: value.clone(), span: declaration.name.span },
                is_inherited: is_bare && value.is_some(),
            });
            self.state.arguments.insert(name);
            created_by += &format!(" {name}");
            if let Some(value) = value {
                created_by += &format!("={value}");
                self.state.environment.set(name, &value);
            }
        }
        self.note(created_by)
    }

    fn pairs(&mut self, instruction: &str, pairs: &[Pair]) -> Result<Vec<(String, String)>, Problems> {
        let legacy = pairs.iter().filter(|pair| pair.legacy);
        self.warn(legacy.map(|pair| lint::legacy_pair(instruction, pair.key.span.to(pair.value.span))));
        let expander = self.expander();
        all(pairs.iter().map(|pair| {
            // The parser refuses a blank name; one that expands to nothing is taken, as BuildKit takes it.
            Ok((expander.word(&pair.key)?, expander.word(&pair.value)?))
        }))
    }

    fn env(&mut self, pairs: &[Pair]) -> Result<(), Problems> {
        let written = pairs;
        let pairs = self.pairs("ENV", pairs)?;
        for ((name, _), pair) in pairs.iter().zip(written) {
            self.warn(lint::secret_name("ENV", name, pair.key.span));
        }
        for (name, value) in &pairs {
            self.state.environment.set(name, value);
            self.state.exported.set(name, value);
        }
        self.note(format!("ENV {}", joined(&pairs)))
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<(), Problems> {
        let pairs = self.pairs("LABEL", pairs)?;
        let created_by = format!("LABEL {}", joined(&pairs));
        self.state.config.config.labels.extend(pairs);
        self.note(created_by)
    }

    fn run(&mut self, run: &Run) -> Result<(), Problems> {
        let Some(mut mounts) = self.mounts(run)? else { return Ok(()) };
        let inputs = std::mem::take(&mut mounts.inputs);
        let around = Around {
            config: &self.state.config.config,
            environment: &self.state.environment,
            arguments: self.state.arguments.ordered(),
            platform: &self.state.platform,
            options: self.planner.options,
            has_root: self.state.root.is_some(),
        };
        let op = run::run(run, mounts, &around)?;
        let created_by = self.ran(&op.argv);
        self.grow(Op::Run(op), inputs, created_by)
    }

    /// Plans the mounts of a RUN; nothing where a stage they read cannot be planned, which has been reported.
    fn mounts(&mut self, run: &Run) -> Result<Option<Mounts>, Problems> {
        let site = Site {
            stage: self.index,
            platform: &self.state.platform,
            working_directory: &working_directory(&self.state.config.config),
            expander: Expander {
                escape: self.planner.file.escape,
                environment: &self.state.environment,
                undefined: &self.undefined,
            },
            first_input: usize::from(self.state.root.is_some()),
        };
        mounts::plan(&run.mounts, &site, self.planner)
    }

    /// Returns what the history calls a process: its arguments after those of the build.
    fn ran(&self, argv: &[String]) -> String {
        let mut words = vec!["RUN".to_owned()];
        let arguments = self.state.arguments.ordered();
        if !arguments.is_empty() {
            words.push(format!("|{}", arguments.len()));
            let value = |name: &String| self.state.environment.get(name).unwrap_or_default();
            words.extend(arguments.iter().map(|name| format!("{name}={}", value(name))));
        }
        words.extend_from_slice(argv);
        words.join(" ") + " # buildkit"
    }

    fn copy(&mut self, copy: &Copy) -> Result<(), Problems> {
        let copying = Copying::copy(copy, self.expander())?;
        if copy.from.is_none() {
            self.warn_of_ignored(false, &copy.sources, &copying);
        }
        let from = match &copy.from {
            None => None,
            Some(from) => {
                let platform = self.state.platform.clone();
                let tree = self.planner.tree_of(self.index, from, &Reader::Copy, &platform);
                match tree.map_err(|problems| suggest(self.planner, self.index, &from.value, problems))? {
                    Some(tree) => Some(tree),
                    // The other stage cannot be planned, which has been reported.
                    None => return Ok(()),
                }
            }
        };
        self.file(&copying, from)
    }

    fn add(&mut self, add: &Add) -> Result<(), Problems> {
        let copying = Copying::add(add, self.expander())?;
        self.warn_of_ignored(true, &add.sources, &copying);
        self.file(&copying, None)
    }

    fn warn_of_ignored(&mut self, add: bool, words: &[Word], copying: &Copying) {
        let options = self.planner.options;
        let sources = copying.paths().iter().zip(words).zip(copying.remotes());
        let sources = sources.filter_map(|(source, remote)| remote.is_none().then_some(source));
        self.warn(sources.filter_map(|(source, word)| lint::ignored_source(add, source, options, word.span)));
    }

    /// Copies from a tree, or from the context, or from elsewhere.
    fn file(&mut self, copying: &Copying, from: Option<NodeId>) -> Result<(), Problems> {
        // A linked copy looks names up among its own files, where there are none.
        if !copying.is_linked() {
            self.names_nobody(copying.owner())?;
        }
        let base = self.state.root.filter(|_| !copying.is_linked()).map(|_| Input(0));
        let (sources, inputs) = self.sources(copying, from, u32::from(base.is_some()))?;
        let actions = copying.actions(&inputs, &working_directory(&self.state.config.config));
        let op = Op::File(graph::File { base, actions });
        if copying.is_linked() {
            return self.link(op, sources, copying.created_by());
        }
        self.grow(op, sources, copying.created_by())
    }

    /// Adds a node that does not depend on the root, and puts what it makes over the root.
    fn link(&mut self, op: Op, inputs: Vec<NodeId>, created_by: String) -> Result<(), Problems> {
        let node = self.planner.add_step(op, inputs, self.step());
        self.state.root = Some(match self.state.root {
            None => node,
            Some(root) => {
                let merge = Op::Merge(Merge { layers: vec![Input(0), Input(1)] });
                let title = titles::of_link(&self.title.0);
                self.planner.add(merge, vec![root, node], title, Some(self.origin.clone()))
            }
        });
        self.remember(created_by, Some(node));
        Ok(())
    }

    /// Returns the nodes that a copy reads, and for each source which of them, counted from `first`.
    fn sources(
        &mut self,
        copying: &Copying,
        from: Option<NodeId>,
        first: u32,
    ) -> Result<(Vec<NodeId>, Vec<Input>), Problems> {
        let (mut nodes, mut inputs) = (Vec::new(), Vec::new());
        for remote in copying.remotes() {
            let node = match remote {
                Some((remote, span)) => {
                    let origin = (self.origin.0.clone(), *span);
                    self.planner.add_remote(remote.source(), remote.title(), origin)?
                }
                None => from.unwrap_or_else(|| self.planner.context()),
            };
            let place = nodes.iter().position(|&known| known == node).unwrap_or_else(|| {
                nodes.push(node);
                nodes.len() - 1
            });
            inputs.push(Input(first + place as u32));
        }
        Ok((nodes, inputs))
    }

    /// Refuses names of users where no file says who they are: BuildKit does, and does not take them for root as it takes
    /// those that a file does not hold.
    fn names_nobody(&self, owner: &str) -> Result<(), Problems> {
        let known = |part: &&str| part.is_empty() || *part == "root" || part.parse::<i32>().is_ok();
        match owner.splitn(2, ':').find(|part| !known(part)) {
            Some(name) if self.state.root.is_none() && !self.state.is_unknown => {
                let message = format!("nothing says who `{name}` is: the stage has no files yet");
                let problem = Diagnostic::error("unknown-owner", message, self.origin.1);
                Err(problem.with_help("write a number").into())
            }
            _ => Ok(()),
        }
    }

    fn workdir(&mut self, word: &Word) -> Result<(), Problems> {
        let path = self.expander().word(word)?;
        if !self.state.has_directory {
            self.warn(lint::relative_directory(&path, word.span));
        }
        self.state.has_directory = true;
        let path = absolute(&working_directory(&self.state.config.config), &path);
        if path.len() >= PATH_MAX {
            let message =
                format!("the directory's path has {} bytes, and Linux takes fewer than {PATH_MAX}", path.len());
            // So that it is said once, and not of all that begins there.
            "/".clone_into(&mut self.state.config.config.working_dir);
            return Err(Diagnostic::error("path-too-long", message, word.span).into());
        }
        self.state.config.config.working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            return self.note(created_by);
        }
        let user = &self.state.config.config.user;
        self.names_nobody(user)?;
        let owner = (!user.is_empty()).then(|| Owner { text: user.clone() });
        let action = FileAction::MakeDirectory { path, owner };
        let file = graph::File { base: self.state.root.map(|_| Input(0)), actions: vec![action] };
        self.grow(Op::File(file), Vec::new(), created_by)
    }

    fn user(&mut self, word: &Word) -> Result<(), Problems> {
        let user = self.expander().word(word)?;
        self.state.config.config.user.clone_from(&user);
        self.note(format!("USER {user}"))
    }

    fn argv(&self, command: &Command) -> Vec<String> {
        argv(command, self.state.config.config.shell.as_deref())
    }
}

/// Returns what titles call a stage; nothing where it is the only one.
fn title_of(file: &instruction::Dockerfile, index: usize) -> Option<String> {
    let stage = &file.stages[index];
    (file.stages.len() > 1).then(|| name(stage).map_or_else(|| format!("stage-{index}"), str::to_owned))
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}
