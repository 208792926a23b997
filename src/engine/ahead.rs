//! Sending layers while the build goes on: what is left after the last step is its own layer, and the documents.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Error;
use super::assemble::descriptor;
use super::compress::{Packer, Wanted};
use super::transfer::{PARALLEL_BLOBS, Sent, send_blob};
use crate::exec::{Asker, Executor, Layer, Library, Output};
use crate::frontend::Plan;
use crate::graph::{BuildGraph, NodeId, Op};
use crate::image;
use crate::layer::Mtime;
use crate::oci::{DiffId, Reference};
use crate::solve::{Execute, Lookup, Observe, Work};
use crate::sys::Cancel;

/// Layers on their way to registries. Dropping it stops them.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

/// What is sent, and where.
pub(super) struct Sending {
    pub(super) library: Arc<Library>,
    pub(super) names: Vec<Reference>,
    pub(super) wanted: Wanted,
    /// The layers that are made here are to have no later time.
    pub(super) epoch: Option<Mtime>,
    pub(super) observer: Arc<dyn Observe>,
    /// Raised at the first failure.
    pub(super) stop: Cancel,
}

/// What every thread knows.
struct Shared {
    sending: Sending,
    /// One name in each repository.
    places: Vec<Reference>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: BTreeSet<DiffId>,
    sent: Sent,
    failure: Option<Error>,
}

enum Task {
    /// Find out whether a registry takes anything from whoever asks.
    Ask(Reference),
    /// Send a layer of a base image.
    SendBase(Layer),
    /// Send a layer that is made here.
    SendOwn(Layer),
}

impl Ahead {
    /// Begins to ask the registries, and to send the layers that are offered.
    pub(super) fn start(sending: Sending) -> Ahead {
        let mut places: Vec<Reference> = Vec::new();
        for name in &sending.names {
            if !places.iter().any(|place| place.host() == name.host() && place.path() == name.path()) {
                places.push(name.clone());
            }
        }
        let (sender, receiver) = channel();
        // A closed channel takes nothing; this one has its receiver below.
        places.iter().for_each(|place| drop(sender.send(Task::Ask(place.clone()))));
        let shared = Arc::new(Shared { sending, places, state: Mutex::default() });
        let receiver = Arc::new(Mutex::new(receiver));
        let thread = |_| {
            let (shared, receiver) = (shared.clone(), receiver.clone());
            std::thread::spawn(move || shared.work(&receiver))
        };
        let threads = (0..PARALLEL_BLOBS).map(thread).collect();
        Ahead { shared, tasks: Some(sender), threads }
    }

    /// Sends a layer as soon as it is made.
    fn offer(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // Nobody takes it where all threads have panicked; then it is sent with the image.
            let _ = tasks.send(task);
        }
    }

    /// Waits for all that was offered, and returns what the registries have now.
    ///
    /// # Errors
    /// The first failure, of a registry or of the store.
    pub(super) fn finish(mut self) -> Result<Sent, Error> {
        self.join();
        let state = std::mem::take(&mut *self.shared.lock());
        state.failure.map_or(Ok(state.sent), Err)
    }

    /// Takes the failure that has stopped everything, if there is one.
    pub(super) fn failure(&self) -> Option<Error> {
        self.shared.lock().failure.take()
    }

    fn join(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A panic has been reported by its thread; what it had not sent yet is sent with the image.
            let _ = thread.join();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shared.sending.stop.cancel();
            self.join();
        }
    }
}

impl Shared {
    fn work(&self, tasks: &Mutex<Receiver<Task>>) {
        loop {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(task) = next else { return };
            if self.sending.stop.is_cancelled() {
                continue;
            }
            if let Err(error) = self.perform(&task) {
                self.fail(error);
            }
        }
    }

    fn perform(&self, task: &Task) -> Result<(), Error> {
        let Sending { library, epoch, observer, stop, .. } = &self.sending;
        match (task, epoch) {
            (Task::Ask(place), _) => Ok(library.registry().may_push(place, stop)?),
            // Why there is no layer is told by its step.
            (Task::SendBase(layer) | Task::SendOwn(layer), _) if layer.diff_id().is_err() => Ok(()),
            (Task::SendOwn(layer), Some(epoch)) => {
                self.send(&library.rewritten(layer, *epoch, Asker { step: None, observer, cancel: stop })?)
            }
            (Task::SendBase(layer), _) => self.send_base(layer),
            (Task::SendOwn(layer), None) => self.send(layer),
        }
    }

    /// Has registries give a layer to each other's repositories, if they can, before it is fetched to be sent.
    fn send_base(&self, layer: &Layer) -> Result<(), Error> {
        let Sending { library, wanted, stop, .. } = &self.sending;
        let Some(blob) = library.elsewhere(layer, |media_type| wanted.takes(media_type))? else {
            return self.send(layer);
        };
        let blob = descriptor(blob);
        for place in &self.places {
            if !library.registry().lend_blob(place, &blob, library.store(), stop)? {
                return self.send(layer);
            }
            self.lock().sent.add(place, blob.digest);
        }
        Ok(())
    }

    fn send(&self, layer: &Layer) -> Result<(), Error> {
        let diff_id = layer.diff_id()?;
        if !self.lock().begun.insert(diff_id) {
            return Ok(());
        }
        let Sending { library, wanted, observer, stop, .. } = &self.sending;
        let blob = descriptor(library.blob(layer, Asker { step: None, observer, cancel: stop })?);
        let packer = Packer { store: library.store(), observer, cancel: stop };
        let blob = packer.layer(&image::Layer { diff_id, blob }, *wanted)?.blob;
        for place in &self.places {
            send_blob(&blob, place, library.registry(), library.store(), observer, stop)?;
            self.lock().sent.add(place, blob.digest);
        }
        Ok(())
    }

    /// Keeps the first failure. What fails after a stop fails because of it.
    fn fail(&self, error: Error) {
        let mut state = self.lock();
        if !self.sending.stop.is_cancelled() {
            state.failure = Some(error);
            self.sending.stop.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which nodes make the layers of the images that are built.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Those whose last layer is one.
    own: BTreeSet<NodeId>,
    /// Those that have nothing else: base images.
    bases: BTreeSet<NodeId>,
}

impl Chain {
    pub(super) fn of(plan: &Plan) -> Chain {
        let own = plan.images.iter().flat_map(|image| image.history.iter().filter_map(|item| item.layer)).collect();
        let targets = plan.images.iter().filter_map(|image| image.target);
        let bases = targets.map(|target| base(&plan.graph, target)).filter(|&base| is_source(&plan.graph, base));
        Chain { own, bases: bases.collect() }
    }
}

fn is_source(graph: &BuildGraph, node: NodeId) -> bool {
    matches!(graph.node(node).op, Op::Source(_))
}

/// Returns the node on which a tree begins to grow.
fn base(graph: &BuildGraph, mut node: NodeId) -> NodeId {
    while let Some(below) = graph.below(node) {
        node = below;
    }
    node
}

/// Executes a build and offers the layers of its images as they come.
pub(super) struct Watched<'a> {
    pub(super) executor: &'a Executor,
    /// Nobody wants them where nothing is pushed.
    pub(super) ahead: Option<&'a Ahead>,
    pub(super) chain: Chain,
}

impl Watched<'_> {
    fn offer(&self, node: NodeId, output: &Output) {
        let Some(ahead) = self.ahead else { return };
        if self.chain.bases.contains(&node) {
            output.stack().layers().iter().for_each(|layer| ahead.offer(Task::SendBase(layer.clone())));
        } else if self.chain.own.contains(&node) {
            output.stack().layers().last().into_iter().for_each(|layer| ahead.offer(Task::SendOwn(layer.clone())));
        }
    }
}

impl Execute for Watched<'_> {
    type Output = Output;
    type Ticket = <Executor as Execute>::Ticket;
    type Error = <Executor as Execute>::Error;

    fn lookup(&self, work: &Work<'_, Output>) -> Result<Lookup<Output, Self::Ticket>, Self::Error> {
        let found = self.executor.lookup(work)?;
        if let Lookup::Hit(output) = &found {
            self.offer(work.id, output);
        }
        Ok(found)
    }

    fn execute(&self, work: &Work<'_, Output>, ticket: Self::Ticket) -> Result<Output, Self::Error> {
        let output = self.executor.execute(work, ticket)?;
        self.offer(work.id, &output);
        Ok(output)
    }
}
