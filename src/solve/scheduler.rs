use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, Execute, Lookup, Observe, Outcome, PlannedStep, Work, Written};
use crate::diagnostic::{Lines, Source};
use crate::graph::{self, BuildGraph, NodeId};
use crate::sys::Cancel;

/// How a graph is walked.
pub struct Settings {
    /// Steps worked on at once; at least 1.
    pub jobs: usize,
    /// Takes events.
    pub observer: Arc<dyn Observe>,
    /// Stops the walk.
    pub cancel: Cancel,
}

/// Results of a walk.
#[derive(Debug)]
pub struct Solved<Output> {
    /// Result of every needed node.
    pub outputs: BTreeMap<NodeId, Output>,
    /// Nodes whose result was looked up.
    pub cached: usize,
    /// Nodes whose result was made.
    pub executed: usize,
}

/// Why a walk has no result.
#[derive(Debug)]
pub enum Failure<Error> {
    /// This node failed first; the others were stopped.
    Step(NodeId, Error),
    /// The caller asked to stop.
    Cancelled,
}

/// Gets the results of `targets` and of all they need.
///
/// # Errors
/// [`Failure`]: the first failing node; by then no other is being worked on.
pub fn solve<E: Execute>(
    graph: &BuildGraph,
    targets: &[NodeId],
    executor: &E,
    settings: &Settings,
) -> Result<Solved<E::Output>, Failure<E::Error>> {
    let needed = graph.needed(targets);
    settings.observer.observe(Event::Planned { steps: planned(graph, &needed) });
    let walk = Walk {
        graph,
        executor,
        observer: &settings.observer,
        stop: settings.cancel.child(),
        state: Mutex::new(State::new(graph, &needed)),
        changed: Condvar::new(),
    };
    let helpers = settings.jobs.min(needed.len()).saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| walk.work());
        }
        walk.work();
    });
    let state = walk.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some((id, error)) => Err(Failure::Step(id, error)),
        None if state.outputs.len() < needed.len() => Err(Failure::Cancelled),
        None => Ok(Solved { outputs: state.outputs, cached: state.cached, executed: state.executed }),
    }
}

fn planned(graph: &BuildGraph, needed: &[NodeId]) -> Vec<PlannedStep> {
    // Most steps are of one text, whose lines are not to be counted anew for each.
    let mut lines: Option<(Source, Lines)> = None;
    let mut line = |source: Source, offset| {
        let known = lines.take().filter(|(known, _)| *known == source);
        let (_, known) = lines.insert(known.unwrap_or_else(|| (source.clone(), Lines::of(&source))));
        known.line(offset)
    };
    let mut step = |&id: &NodeId| {
        let node = graph.node(id);
        let graph::Step { title, place, origin, .. } = node.step.clone();
        let written =
            origin.map(|(source, span)| Written { file: source.name().to_owned(), line: line(source, span.start) });
        PlannedStep { step: id, title, place, written, inputs: node.inputs.clone() }
    };
    needed.iter().map(&mut step).collect()
}

struct Walk<'a, E: Execute> {
    graph: &'a BuildGraph,
    executor: &'a E,
    observer: &'a Arc<dyn Observe>,
    stop: Cancel,
    state: Mutex<State<E>>,
    changed: Condvar,
}

struct State<E: Execute> {
    ready: BTreeSet<NodeId>,
    /// For each node that is not ready, the inputs it still waits for.
    waiting: BTreeMap<NodeId, BTreeSet<NodeId>>,
    running: usize,
    outputs: BTreeMap<NodeId, E::Output>,
    failure: Option<(NodeId, E::Error)>,
    cached: usize,
    executed: usize,
}

/// How one node ended.
enum Ended<E: Execute> {
    Cached(E::Output),
    Executed(E::Output),
    Failed(E::Error),
}

impl<E: Execute> State<E> {
    fn new(graph: &BuildGraph, needed: &[NodeId]) -> State<E> {
        let inputs = |&id: &NodeId| (id, graph.node(id).inputs.iter().copied().collect::<BTreeSet<_>>());
        let (ready, waiting): (BTreeMap<_, _>, BTreeMap<_, _>) =
            needed.iter().map(inputs).partition(|(_, inputs)| inputs.is_empty());
        State {
            ready: ready.into_keys().collect(),
            waiting,
            running: 0,
            outputs: BTreeMap::new(),
            failure: None,
            cached: 0,
            executed: 0,
        }
    }

    fn complete(&mut self, id: NodeId, output: E::Output) {
        self.outputs.insert(id, output);
        let freed: Vec<NodeId> = self
            .waiting
            .iter_mut()
            .filter_map(|(&user, inputs)| (inputs.remove(&id) && inputs.is_empty()).then_some(user))
            .collect();
        for user in freed {
            self.waiting.remove(&user);
            self.ready.insert(user);
        }
    }
}

impl<E: Execute> Walk<'_, E> {
    /// Works on ready nodes until there will be no more.
    fn work(&self) {
        while let Some((id, inputs)) = self.next() {
            let guard = StopOnPanic(self);
            let ended = self.one(id, inputs);
            std::mem::forget(guard);
            let mut state = self.lock();
            state.running -= 1;
            match ended {
                Ended::Cached(output) => {
                    state.cached += 1;
                    state.complete(id, output);
                }
                Ended::Executed(output) => {
                    state.executed += 1;
                    state.complete(id, output);
                }
                Ended::Failed(error) => {
                    // After a stop, what fails fails because of the stop; only the first failure is news.
                    if !self.stop.is_cancelled() {
                        state.failure = Some((id, error));
                    }
                    self.stop.cancel();
                }
            }
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<(NodeId, Vec<E::Output>)> {
        let mut state = self.lock();
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some(id) = state.ready.pop_first() {
                state.running += 1;
                let inputs = self.graph.node(id).inputs.iter().map(|input| state.outputs[input].clone()).collect();
                return Some((id, inputs));
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn one(&self, id: NodeId, inputs: Vec<E::Output>) -> Ended<E> {
        let work = Work { id, node: self.graph.node(id), inputs, observer: self.observer, cancel: self.stop.clone() };
        let start = Instant::now();
        let finished =
            |outcome| self.observer.observe(Event::Finished { step: id, outcome, duration: start.elapsed() });
        let ticket = match self.executor.lookup(&work) {
            Ok(Lookup::Hit(output)) => {
                self.observer.observe(Event::Finished { step: id, outcome: Outcome::Cached, duration: Duration::ZERO });
                return Ended::Cached(output);
            }
            Ok(Lookup::Miss(ticket)) => ticket,
            Err(error) => {
                self.observer.observe(Event::Started { step: id });
                finished(self.failed(&error));
                return Ended::Failed(error);
            }
        };
        self.observer.observe(Event::Started { step: id });
        match self.executor.execute(&work, ticket) {
            Ok(output) => {
                finished(Outcome::Done);
                Ended::Executed(output)
            }
            Err(error) => {
                finished(self.failed(&error));
                Ended::Failed(error)
            }
        }
    }

    fn failed(&self, error: &E::Error) -> Outcome {
        if self.stop.is_cancelled() { Outcome::Cancelled } else { Outcome::Failed { message: error.to_string() } }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the walk if a step panics: the other workers would wait for its result for ever.
struct StopOnPanic<'w, 'a, E: Execute>(&'w Walk<'a, E>);

impl<E: Execute> Drop for StopOnPanic<'_, '_, E> {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::graph::{File, FileAction, Input, Op, Place, Step};

    #[derive(Debug, thiserror::Error)]
    #[error("no result")]
    struct NoResult;

    /// Executes nothing and remembers everything.
    struct Recorder<'a> {
        order: Mutex<Vec<String>>,
        known: &'a [&'a str],
        failing: &'a [&'a str],
        panicking: Option<&'a str>,
        meet: Option<(Barrier, &'a [&'a str])>,
        most: AtomicUsize,
        now: AtomicUsize,
    }

    impl<'a> Recorder<'a> {
        fn new() -> Recorder<'a> {
            Recorder {
                order: Mutex::default(),
                known: &[],
                failing: &[],
                panicking: None,
                meet: None,
                most: AtomicUsize::new(0),
                now: AtomicUsize::new(0),
            }
        }
    }

    impl Execute for Recorder<'_> {
        type Output = String;
        type Ticket = ();
        type Error = NoResult;

        fn lookup(&self, work: &Work<'_, String>) -> Result<Lookup<String, ()>, NoResult> {
            let title = work.node.step.title.as_str();
            Ok(if self.known.contains(&title) { Lookup::Hit(title.to_owned()) } else { Lookup::Miss(()) })
        }

        fn execute(&self, work: &Work<'_, String>, (): ()) -> Result<String, NoResult> {
            let title = work.node.step.title.clone();
            assert_ne!(self.panicking, Some(title.as_str()), "as the test wants");
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if let Some((barrier, who)) = &self.meet
                && who.contains(&title.as_str())
            {
                barrier.wait();
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            self.order.lock().unwrap().push(title.clone());
            if self.failing.contains(&title.as_str()) {
                Err(NoResult)
            } else {
                Ok(format!("{title}({})", work.inputs.join(",")))
            }
        }
    }

    fn add(graph: &mut BuildGraph, title: &str, inputs: &[NodeId]) -> NodeId {
        let base = (!inputs.is_empty()).then_some(Input(0));
        let action = FileAction::MakeDirectory { path: format!("/{title}"), owner: None };
        let step = Step { title: title.to_owned(), place: Place::default(), origin: None, ignore_cache: false };
        graph.add(Op::File(File { base, actions: vec![action] }), inputs.to_vec(), step)
    }

    fn settings(jobs: usize) -> Settings {
        Settings { jobs, observer: Arc::new(|_: Event| {}), cancel: Cancel::new() }
    }

    /// `a → b`, `a → c`, `b,c → d`, and `e` which nothing needs.
    fn diamond() -> (BuildGraph, NodeId) {
        let mut graph = BuildGraph::new();
        let a = add(&mut graph, "a", &[]);
        let b = add(&mut graph, "b", &[a]);
        let c = add(&mut graph, "c", &[a]);
        let d = add(&mut graph, "d", &[b, c]);
        add(&mut graph, "e", &[]);
        (graph, d)
    }

    #[test]
    fn inputs_come_first_and_what_nothing_needs_is_left_alone() {
        let (graph, target) = diamond();
        let recorder = Recorder::new();
        let solved = solve(&graph, &[target], &recorder, &settings(1)).unwrap();
        assert_eq!(solved.outputs[&target], "d(b(a()),c(a()))");
        assert_eq!(*recorder.order.lock().unwrap(), ["a", "b", "c", "d"]);
        assert_eq!((solved.cached, solved.executed), (0, 4));
    }

    #[test]
    fn independent_steps_meet_and_jobs_bound_them() {
        let (graph, target) = diamond();
        let recorder = Recorder { meet: Some((Barrier::new(2), &["b", "c"])), ..Recorder::new() };
        solve(&graph, &[target], &recorder, &settings(4)).unwrap();
        assert_eq!(recorder.most.load(Ordering::SeqCst), 2);
        let alone = Recorder::new();
        solve(&graph, &[target], &alone, &settings(1)).unwrap();
        assert_eq!(alone.most.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_is_known_is_not_executed() {
        let (graph, target) = diamond();
        let recorder = Recorder { known: &["a", "b"], ..Recorder::new() };
        let solved = solve(&graph, &[target], &recorder, &settings(1)).unwrap();
        assert_eq!(*recorder.order.lock().unwrap(), ["c", "d"]);
        assert_eq!((solved.cached, solved.executed), (2, 2));
    }

    #[test]
    fn the_first_failure_stops_the_walk() {
        let (graph, target) = diamond();
        let recorder = Recorder { failing: &["b"], ..Recorder::new() };
        let failure = solve(&graph, &[target], &recorder, &settings(1)).unwrap_err();
        assert!(matches!(failure, Failure::Step(NodeId(1), NoResult)));
        assert_eq!(*recorder.order.lock().unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_panic_ends_the_walk() {
        let (graph, target) = diamond();
        let recorder = Recorder { panicking: Some("b"), ..Recorder::new() };
        let walk = std::panic::AssertUnwindSafe(|| solve(&graph, &[target], &recorder, &settings(3)));
        assert!(std::panic::catch_unwind(walk).is_err());
    }

    #[test]
    fn a_cancelled_walk_says_so() {
        let (graph, target) = diamond();
        let settings = settings(2);
        settings.cancel.cancel();
        assert!(matches!(solve(&graph, &[target], &Recorder::new(), &settings), Err(Failure::Cancelled)));
    }
}
