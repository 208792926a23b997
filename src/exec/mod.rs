//! Runs one op: gathers what it reads, calls a mechanism, keeps the result as a layer.
//!
//! ```text
//!  Source(image)  ─▶ Stack of layers that may still be in a registry
//!  Source(local)  ─▶ Context
//!  Source(http, git)  ─▶ a directory of the store ─▶ Context
//!  Run            ─▶ snapshot::prepare ─▶ runtime::run ─▶ tree ┄┄ behind the build ┄▶ layer, cache
//!  File           ─▶ file::select ─▶ file::write ─▶ layer, cache
//! ```
//!
//! Bytes are fetched, unpacked and read only when something asks for them: a [`Library`] does that once for each layer.
//! What a process changed becomes a layer behind the build, while the next process runs over the same tree; only who
//! needs to know the layer's identity or its files waits for it.

mod again;
mod agent;
mod behind;
mod blobs;
mod change;
mod error;
mod fetch;
pub mod file;
mod fold;
mod forecast;
mod keyring;
mod ledger;
mod library;
mod log;
mod mounts;
mod output;
mod promise;
mod recipe;
mod rewrite;
mod run;
mod secret;
mod source;
mod stack;
mod stat_cache;
pub mod tree;
mod why;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

pub use again::{Again, Prepared};
pub use agent::{AgentError, AgentSource, Agents};
pub use error::Error;
pub use fetch::Remote;
pub use fold::Refolded;
pub use forecast::Forecast;
pub use keyring::{Keyring, Opened};
pub use ledger::{Ledger, Trace};
pub use library::{Asker, Library};
pub use secret::{SecretError, SecretSource, Secrets};
pub use stack::{Layer, Stack};
pub use stat_cache::StatCache;

use crate::cache::{Cache, Miss};
use crate::context::Context;
use crate::graph::{self, NodeId, Op};
use crate::remote::Remotes;
use crate::runtime::Native;
use crate::snapshot::Active;
use crate::solve::{Execute, Lookup, Work};
use crate::store::BuildId;
use crate::sys::Cancel;

use behind::Behind;
use recipe::Ticket;
use why::Past;

/// Result of an op.
#[derive(Clone)]
pub enum Output {
    /// A file tree.
    Tree(Tree),
    /// A directory on this machine.
    Local(Arc<Context>),
    /// Files from elsewhere.
    Remote(Arc<Remote>),
}

/// A file tree as layers.
#[derive(Clone)]
pub struct Tree {
    /// The layers.
    pub stack: Stack,
    /// When the op's own layer was made; `None` for an image.
    pub created: Option<Timestamp>,
}

/// What one build gives its steps.
pub struct Setting {
    /// Build contexts by name.
    pub contexts: HashMap<String, Arc<Context>>,
    /// The build's record, whose log directory takes what the steps write.
    pub build: BuildId,
    /// What builds are versions of one another: that of the build's record.
    pub project: String,
    /// What the steps of the build say.
    pub texts: HashSet<String>,
    /// Takes what becomes known of the steps.
    pub ledger: Arc<Ledger>,
    /// Whether what is not known is an error.
    pub require_cached: bool,
    /// The time of directories that steps make, where one was asked for (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
    /// Results that were made since then are used, even by steps that ignore the cache.
    pub fresh_since: Option<Timestamp>,
    /// Secrets by their ids.
    pub secrets: Secrets,
    /// Agents by their ids.
    pub agents: Agents,
    /// Whether the contexts are the same wherever they are: normalized.
    pub is_normalized: bool,
    /// What processes find the machine called, whatever they ask for.
    pub hostname: Option<String>,
    /// Number of each step in that record, from 1.
    pub numbers: BTreeMap<NodeId, usize>,
    /// Stops the build, including what is done behind it.
    pub cancel: Cancel,
}

/// What a step has left that failed: a process, or a copy, which leaves nothing.
pub struct Failed {
    /// The files it ran over, and its changes.
    pub(crate) active: Arc<Active>,
    /// The layers of its inputs.
    pub(crate) trees: Vec<Stack>,
    /// How it ended, as shells count.
    pub exit_code: i32,
}

/// How a copy ends that fails.
const COPY_FAILED: i32 = 1;

/// Executes the ops of one build.
pub struct Executor {
    library: Arc<Library>,
    cache: Cache,
    remotes: Remotes,
    runtime: Native,
    setting: Setting,
    behind: Behind,
    past: Past,
    /// What the steps that failed have left.
    failed: Mutex<BTreeMap<NodeId, Failed>>,
    /// Of the directories that are kept of repositories.
    digests: Mutex<Vec<Arc<StatCache>>>,
}

impl Executor {
    /// Returns an executor over `library`.
    pub fn new(library: Arc<Library>, setting: Setting) -> Executor {
        let (cache, remotes) = (Cache::new(library.store()), Remotes::new(library.store()));
        let (runtime, behind, digests) = (Native::default(), Behind::default(), Mutex::default());
        let past = Past::new(&cache, setting.project.clone(), setting.texts.clone());
        let failed = Mutex::default();
        Executor { library, cache, remotes, runtime, setting, behind, past, failed, digests }
    }

    /// Returns what a step has left when it failed; a second time, nothing.
    pub fn take_failed(&self, step: NodeId) -> Option<Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(&step)
    }

    fn keyring(&self) -> Keyring<'_> {
        Keyring { secrets: &self.setting.secrets, agents: &self.setting.agents }
    }

    /// Keeps the inputs of a copy that failed because of what was written, for whoever looks why.
    fn keep_inputs(&self, work: &Work<'_, Output>, error: &Error) {
        if !error.is_in_the_text() || !work.inputs.iter().any(|input| matches!(input, Output::Tree(_))) {
            return;
        }
        // Who has no room for an empty directory has other worries.
        if let Ok(Some(active)) = self.library.untouched() {
            let trees = work.inputs.iter().map(Output::as_stack).collect();
            let failed = Failed { active: Arc::new(active), trees, exit_code: COPY_FAILED };
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(work.id, failed);
        }
    }

    /// Waits until everything begun behind the build has ended, well or not. What failed is told by who needs it.
    pub fn settle(&self) {
        self.behind.wait();
    }

    /// Keeps what reading files told of them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn save(&self) -> Result<(), Error> {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.iter().try_for_each(|digests| Ok(digests.save()?))
    }
}

impl Execute for Executor {
    type Output = Output;
    type Ticket = Ticket;
    type Error = Error;

    fn lookup(&self, work: &Work<'_, Output>) -> Result<Lookup<Output, Ticket>, Error> {
        match &work.node.op {
            Op::Source(graph::Source::Image(image)) => self.image(work, image).map(Lookup::Hit),
            Op::Source(graph::Source::Local(local)) => self.local(local).map(Lookup::Hit),
            Op::Source(graph::Source::Http(http)) => self.look_up_http(work, http),
            Op::Source(graph::Source::Git(git)) => self.look_up_git(work, git),
            Op::Merge(_) => merge(&work.inputs).map(Lookup::Hit),
            Op::Run(run) => self.look_up_run(work, run),
            Op::File(file) => self.look_up_change(work, file).inspect_err(|error| self.keep_inputs(work, error)),
        }
    }

    fn execute(&self, work: &Work<'_, Output>, ticket: Ticket) -> Result<Output, Error> {
        if self.setting.require_cached && !matches!(work.node.op, Op::Merge(_)) {
            let miss = self.setting.ledger.trace(work.id).miss.unwrap_or(Miss::New);
            return Err(Error::NotCached(miss));
        }
        self.tell(work.id, work.observer);
        match (&work.node.op, ticket) {
            (Op::Run(run), Ticket::Run(process)) => self.run(work, run, process),
            (Op::File(file), Ticket::Change(change)) => {
                self.change(work, file, *change).inspect_err(|error| self.keep_inputs(work, error))
            }
            (Op::Source(graph::Source::Http(http)), Ticket::Download) => self.download(work, http),
            (Op::Source(graph::Source::Git(git)), Ticket::CheckOut(commit)) => self.check_out(work, git, &commit),
            _ => unreachable!("a look-up leaves a ticket of its own op, and other sources and merges always hit"),
        }
    }
}

/// Returns the time, as exactly as the cache keeps it: an image from the cache must not differ from the first one.
fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).expect("less exact, not out of range")
}

/// Stacks the own layer of every further input on the first.
fn merge(inputs: &[Output]) -> Result<Output, Error> {
    let stack = |output: &Output| match output {
        Output::Tree(tree) => tree.stack.clone(),
        Output::Local(_) | Output::Remote(_) => unreachable!("front ends merge trees"),
    };
    let mut inputs = inputs.iter().map(stack);
    let base = inputs.next().unwrap_or_default();
    let merged = inputs.fold(base, |merged, input| match input.layers().last() {
        Some(top) => merged.with(top.clone()),
        None => merged,
    });
    Ok(Output::Tree(Tree { stack: merged, created: None }))
}

impl Output {
    /// Returns the layers of a tree.
    ///
    /// # Panics
    /// On a context: the planner never puts one where a tree belongs.
    pub fn stack(&self) -> &Stack {
        match self {
            Output::Tree(tree) => &tree.stack,
            Output::Local(_) | Output::Remote(_) => unreachable!("a context is no tree"),
        }
    }

    /// Returns the layers of a tree; of what is none, none.
    fn as_stack(&self) -> Stack {
        match self {
            Output::Tree(tree) => tree.stack.clone(),
            Output::Local(_) | Output::Remote(_) => Stack::default(),
        }
    }

    /// Returns what a result that reads it depends on, beside what is read.
    fn identity(&self) -> Option<&serde_json::Value> {
        match self {
            Output::Remote(remote) => Some(&remote.identity),
            Output::Tree(_) | Output::Local(_) => None,
        }
    }

    /// Returns when the op's own layer was made; `None` where it made none.
    pub fn created(&self) -> Option<Timestamp> {
        match self {
            Output::Tree(tree) => tree.created,
            Output::Local(_) | Output::Remote(_) => None,
        }
    }
}
