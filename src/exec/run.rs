use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::ledger::Ledger;
use super::library::{Asker, Library};
use super::log::Log;
use super::mounts::Mounted;
use super::output::{Decoder, Tail};
use super::recipe::{Ticket, recipe};
use super::stack::{Layer, Stack};
use super::why::{Asked, Base};
use super::{Error, Executor, Failed, Output, Tree};
use crate::cache::{Cache, Recipe};
use crate::graph::{self, Op};
use crate::layer::{self, TreeKind, Writer};
use crate::oci::{DiffId, Platform};
use crate::runtime::{self, ContainerSpec, DEFAULT_HOSTNAME, Exit, Limit, Network, Security, emulation};
use crate::snapshot::{Active, View};
use crate::solve::{Event, Lookup, Observe, StepId, Stream, Work};
use crate::store::{self, BuildId, Hashing};
use crate::sys::Cancel;

/// A process that is ready to be run.
pub struct Process {
    /// What it depends on besides its op and root.
    reads: Value,
    /// The key to keep its result under; `None` while the identity of its root is not known yet.
    recipe: Option<Recipe>,
}

impl Executor {
    /// Looks a process's result up. Over a root that is still being written the answer is no: the root is new then, so
    /// nothing has been run over it yet, and waiting for its identity would only hold the process up.
    pub(super) fn look_up_run(
        &self,
        work: &Work<'_, Output>,
        run: &graph::Run,
    ) -> Result<Lookup<Output, Ticket>, Error> {
        let root = root(work, run);
        let reads = self.reads_of_mounts(work, run)?;
        let asked = |base| Asked { op: &work.node.op, root: run.root, base, sources: &reads, inputs: None };
        if !root.is_known() {
            self.explain(work, &asked(Base::Pending))?;
            return Ok(Lookup::Miss(Ticket::Run(Process { reads, recipe: None })));
        }
        let chain = root.chain_id()?;
        let recipe = recipe(&work.node.op, chain, reads.clone());
        if let Some(output) = self.look_up(work, &root, &recipe)? {
            return Ok(Lookup::Hit(output));
        }
        self.explain(work, &asked(Base::Known(chain)))?;
        Ok(Lookup::Miss(Ticket::Run(Process { reads, recipe: Some(recipe) })))
    }

    /// Returns what `recipe` led to over `base`, if that is known, still here and wanted.
    pub(super) fn look_up(
        &self,
        work: &Work<'_, Output>,
        base: &Stack,
        recipe: &Recipe,
    ) -> Result<Option<Output>, Error> {
        let fresh_since = self.setting.fresh_since;
        if work.node.step.ignore_cache && fresh_since.is_none() {
            return Ok(None);
        }
        let Some(entry) = self.cache.lookup(&recipe.key())? else { return Ok(None) };
        if work.node.step.ignore_cache && fresh_since.is_some_and(|since| entry.created < since) {
            return Ok(None);
        }
        let Some(diff_id) = entry.result else { return Ok(None) };
        self.setting.ledger.result(work.id, recipe.key().digest(), diff_id);
        let stack = base.with(Layer::stored(diff_id));
        Ok(Some(Output::Tree(Tree { stack, created: Some(entry.created) })))
    }

    /// Runs a process to its end, and begins to make a layer of what it changed.
    pub(super) fn run(&self, work: &Work<'_, Output>, run: &graph::Run, process: Process) -> Result<Output, Error> {
        let root = root(work, run);
        let active = Arc::new(self.library.writable(&root, Asker::of(work))?);
        if let Err(error) = self.process(work, run, &active) {
            if let Some(exit_code) = error.exit_code() {
                let trees = work.inputs.iter().map(Output::as_stack).collect();
                let failed = Failed { active, trees, exit_code };
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(work.id, failed);
            }
            return Err(error);
        }
        let created = super::now();
        let tree = matches!(active.view(), View::Overlay { .. }).then(|| active.tree());
        let (layer, keeper) = Layer::pending(tree);
        let finish = Finish {
            library: self.library.clone(),
            step: work.id,
            observer: work.observer.clone(),
            cache: self.cache.clone(),
            build: self.setting.build.clone(),
            ledger: self.setting.ledger.clone(),
            root: root.clone(),
            op: work.node.op.clone(),
            of: process,
            created,
            cancel: self.setting.cancel.clone(),
        };
        self.behind.start(move || keeper.keep(finish.finish(&active).map_err(Arc::new)));
        Ok(Output::Tree(Tree { stack: root.with(layer), created: Some(created) }))
    }

    fn process(&self, work: &Work<'_, Output>, run: &graph::Run, active: &Active) -> Result<(), Error> {
        let mounted = self.mount(work, run)?;
        let spec = spec(run, active.view(), &mounted, self.hostname(run));
        let (log, path) = self.log(work)?;
        let is_heard = work.observer.hears_output();
        let mut voice = Voice { work, log, tail: Tail::default(), decoders: Default::default(), is_heard };
        let ended = self.runtime.run(&spec, &mut |stream, bytes| voice.hear(stream, bytes), &work.cancel);
        if let Err(source) = voice.log.finish() {
            tracing::warn!(path = %path.display(), %source, "the log of a step is incomplete");
        }
        let Exit { status, cpu, max_rss_bytes } = ended.map_err(|error| in_words(error, run))?;
        work.observer.observe(Event::Used { step: work.id, cpu, peak_memory_bytes: max_rss_bytes });
        match status.success() {
            true => Ok(()),
            false => Err(Error::Process { status, tail: voice.tail.lines(), log: path }),
        }
    }

    fn hostname<'a>(&'a self, run: &'a graph::Run) -> &'a str {
        self.setting.hostname.as_deref().or(run.hostname.as_deref()).unwrap_or(DEFAULT_HOSTNAME)
    }

    fn log(&self, work: &Work<'_, Output>) -> Result<(Log, PathBuf), Error> {
        let number = self.setting.numbers.get(&work.id).copied().unwrap_or_default();
        let path = self.library.store().log_path(&self.setting.build, number)?;
        let log = Log::create(&path).map_err(|source| store::Error::io("create", &path, source))?;
        Ok((log, path))
    }
}

/// What is left to do once a process has ended.
struct Finish {
    library: Arc<Library>,
    step: StepId,
    observer: Arc<dyn Observe>,
    cache: Cache,
    build: BuildId,
    ledger: Arc<Ledger>,
    root: Stack,
    op: Op,
    of: Process,
    created: Timestamp,
    cancel: Cancel,
}

impl Finish {
    /// Makes the layer, keeps its files as its tree, and remembers what led to it.
    fn finish(self, active: &Active) -> Result<DiffId, Error> {
        let asker = Asker { step: None, observer: &self.observer, cancel: &self.cancel };
        let store = self.library.store();
        let before = self.library.view(&self.root, asker)?;
        let ingest = store.ingest_with(Hashing::Caller)?;
        let mut writer = Writer::new(self.cancel.guard(ingest));
        match active.view() {
            View::Overlay { upper, xattrs, .. } => {
                let kind = TreeKind::Upper(*xattrs);
                layer::diff(upper, kind, &before, &mut writer)?;
            }
            View::Whole { path } => {
                layer::diff(path, TreeKind::Whole, &before, &mut writer)?;
            }
        }
        let (ingest, finished) = writer.finish()?;
        ingest.into_inner().commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        self.observer.observe(Event::Kept { step: self.step, layer_bytes: finished.size_bytes });
        let diff_id = self.library.add(finished)?;
        if matches!(active.view(), View::Overlay { .. }) {
            active.bind(diff_id)?;
        }
        let recipe = match self.of.recipe {
            Some(recipe) => recipe,
            None => recipe(&self.op, self.root.chain_id()?, self.of.reads),
        };
        self.cache.insert(&recipe, None, Some(diff_id), &self.build, self.created)?;
        self.ledger.result(self.step, recipe.key().digest(), diff_id);
        Ok(diff_id)
    }
}

/// Tells what it is about a program for another machine that forbids a step.
fn in_words(error: runtime::Error, run: &graph::Run) -> Error {
    let runtime::Error::Program(source) = error else { return error.into() };
    let Some(architecture) = source.foreign_architecture() else { return runtime::Error::Program(source).into() };
    let platform = run.platform.clone();
    let advice = match format!("{}/{architecture}", platform.os).parse::<Platform>() {
        Ok(own) if own.architecture != platform.architecture => {
            format!("the program is of another platform than the step; `--platform={own}` would be for it")
        }
        _ => emulation::advice(architecture),
    };
    Error::Foreign { platform, source, advice }
}

fn root(work: &Work<'_, Output>, run: &graph::Run) -> Stack {
    run.root.map(|input| work.inputs[input.0 as usize].stack().clone()).unwrap_or_default()
}

/// Where a process's output goes: the log, the observer, and the message in case it fails.
struct Voice<'a, 'w> {
    work: &'a Work<'w, Output>,
    log: Log,
    tail: Tail,
    decoders: [Decoder; 2],
    /// Whether anybody wants to know what it writes while it does.
    is_heard: bool,
}

impl Voice<'_, '_> {
    fn hear(&mut self, stream: runtime::Stream, bytes: &[u8]) {
        self.log.write(bytes);
        self.tail.push(bytes);
        if !self.is_heard {
            return;
        }
        let (stream, decoder) = match stream {
            runtime::Stream::Stdout => (Stream::Stdout, &mut self.decoders[0]),
            runtime::Stream::Stderr => (Stream::Stderr, &mut self.decoders[1]),
        };
        let text = decoder.decode(bytes);
        if !text.is_empty() {
            self.work.observer.observe(Event::Output { step: self.work.id, stream, text });
        }
    }
}

pub(super) fn spec(run: &graph::Run, root: &View, mounted: &Mounted, hostname: &str) -> ContainerSpec {
    let limit = |value: i64| u64::try_from(value).ok();
    let limits = run.ulimits.iter().map(|ulimit| Limit {
        name: ulimit.name.clone(),
        soft: limit(ulimit.soft),
        hard: limit(ulimit.hard),
    });
    let default = ContainerSpec::new(root.into(), run.argv.clone());
    ContainerSpec {
        env: run.env.iter().chain(&run.proxy_env).chain(&mounted.env).cloned().collect(),
        cwd: run.cwd.clone(),
        user: run.user.clone(),
        network: match run.network {
            graph::Network::Host => Network::Host,
            graph::Network::None => Network::None,
        },
        security: match run.security {
            graph::Security::Sandbox => Security::Sandbox,
            graph::Security::Insecure => Security::Insecure,
        },
        limits: limits.collect(),
        shm_size_bytes: run.shm_size_bytes.unwrap_or(default.shm_size_bytes),
        mounts: mounted.mounts.clone(),
        resolv_conf: Some(std::fs::read("/etc/resolv.conf").unwrap_or_default()),
        hosts: Some(hosts(hostname, &run.hosts)),
        hostname: hostname.to_owned(),
        ..default
    }
}

/// Returns `/etc/hosts` (semantics reference, section 10.3).
fn hosts(hostname: &str, more: &[graph::Host]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.extend(more.iter().map(|host| format!("{}\t{}\n", host.address, host.name)));
    text.into_bytes()
}
