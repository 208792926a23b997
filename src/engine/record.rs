use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::build::Job;
use super::{BuildOptions, ContextSource, DockerfileSource, Error, Folding, Invocation};
use crate::cache::Miss;
use crate::diagnostic::{Lines, Source, Span};
use crate::exec::Ledger;
use crate::frontend::PlannedHistory;
use crate::oci::{Digest, Reference};
use crate::solve::{CriticalPath, Event, Observe, PlannedStep, StepId, Timeline, Written};
use crate::store::{BuildEnd, Outcome, StepRecord};

/// What is remembered of a build besides its steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildFacts {
    /// The build file.
    pub file: String,
    /// The context.
    pub context: String,
    /// Names that were given to the image.
    pub tags: Vec<String>,
    /// Why it failed, in one line.
    pub error: Option<String>,
    /// What lint found, and warnings.
    pub findings: Vec<FindingFact>,
    /// Phases after the steps: what, when it began and how long it took, in milliseconds.
    pub phases: Vec<PhaseFact>,
    /// From its beginning to its end.
    pub duration_ms: u64,
    /// What kept it from ending sooner: numbers of steps.
    pub critical_steps: Vec<usize>,
    /// Where the own items of the image's history are written; of several images, those of the first.
    pub history: Vec<Option<Written>>,
    /// How it was asked for.
    pub invocation: Option<Invocation>,
    /// When the build began that it went on with.
    pub fresh_since: Option<Timestamp>,
}

/// Something that was said about the build file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingFact {
    /// The rule; none for a warning of the build itself.
    pub rule: Option<String>,
    /// In one line.
    pub message: String,
    /// In the build file, from 1.
    pub line: Option<usize>,
}

/// Something that was done after the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseFact {
    /// Such as `writing image`.
    pub what: String,
    /// Since the beginning of the build.
    pub started_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// What is remembered of a step besides its outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepFacts {
    /// The file in which it is written.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// Numbers of the steps that it waited for.
    pub inputs: Vec<usize>,
    /// When it began, since the beginning of the build.
    pub started_ms: Option<u64>,
    /// User and system time of its processes.
    pub cpu_ms: u64,
    /// Largest resident set of one of them.
    pub peak_memory_bytes: u64,
    /// Size of the layer it made, uncompressed; none where it made none.
    pub layer_bytes: Option<u64>,
    /// When that was kept, since the beginning of the build; perhaps long after the step had ended.
    pub kept_ms: Option<u64>,
    /// Why it was not known; none where it was.
    pub miss: Option<Miss>,
}

impl StepFacts {
    /// Returns where the step is written.
    pub fn written(&self) -> Option<Written> {
        Some(Written { file: self.file.clone()?, line: self.line? })
    }
}

/// Passes events on and remembers what became of the steps, for the record of the build.
pub(super) struct Recorder {
    next: Arc<dyn Observe>,
    began: Instant,
    ledger: Arc<Ledger>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    planned: Vec<PlannedStep>,
    numbers: BTreeMap<StepId, usize>,
    steps: BTreeMap<StepId, Step>,
    facts: BuildFacts,
    timeline: Timeline,
}

#[derive(Default)]
struct Step {
    ended: Option<(Outcome, Duration)>,
    facts: StepFacts,
}

impl Recorder {
    pub(super) fn new(next: Arc<dyn Observe>) -> Recorder {
        Recorder { next, began: Instant::now(), ledger: Arc::default(), seen: Mutex::default() }
    }

    /// Returns where the executor notes what it learns of the steps.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// Takes where the items of the history are written.
    pub(super) fn set_history(&self, items: &[PlannedHistory], folding: Option<Folding>) {
        let mut lines: Option<(Source, Lines)> = None;
        let mut written = |(source, span): &(Source, Span)| {
            let known = lines.take().filter(|(known, _)| known == source);
            let (_, known) = lines.insert(known.unwrap_or_else(|| (source.clone(), Lines::of(source))));
            Written { file: source.name().to_owned(), line: known.line(span.start) }
        };
        // The layer of many steps is an item of its own.
        let merged = matches!(folding, Some(Folding::Squash | Folding::SquashAll)).then_some(None);
        let items = items.iter().map(|item| item.origin.as_ref().map(&mut written));
        self.lock().facts.history = items.chain(merged).collect();
    }

    /// Returns the steps as they are recorded, numbered in the order of the plan.
    pub(super) fn steps(&self) -> Vec<StepRecord> {
        let seen = self.lock();
        seen.planned.iter().enumerate().map(|(index, planned)| self.step(&seen, index + 1, planned)).collect()
    }

    fn step(&self, seen: &Seen, number: usize, planned: &PlannedStep) -> StepRecord {
        let trace = self.ledger.trace(planned.step);
        let step = seen.steps.get(&planned.step);
        let (outcome, duration) = step.and_then(|step| step.ended).unwrap_or((Outcome::Skipped, Duration::ZERO));
        let facts = step.map(|step| step.facts.clone()).unwrap_or_default();
        let facts = StepFacts {
            file: planned.written.as_ref().map(|written| written.file.clone()),
            line: planned.written.as_ref().map(|written| written.line),
            inputs: planned.inputs.iter().filter_map(|input| seen.numbers.get(input).copied()).collect(),
            miss: trace.miss.filter(|_| outcome != Outcome::Cached),
            ..facts
        };
        StepRecord {
            number,
            title: planned.title.clone(),
            place: planned.place.clone(),
            outcome,
            duration,
            key: trace.key,
            result: trace.result,
            facts: serde_json::to_string(&facts).expect("facts are plain data"),
        }
    }

    /// Returns what is remembered of the build besides, with its time up to now.
    pub(super) fn facts(&self) -> BuildFacts {
        let seen = self.lock();
        let critical = seen.timeline.critical_path();
        let steps = |path: &CriticalPath| path.links.iter().filter_map(|link| link.number).collect();
        let mut critical_steps: Vec<usize> = critical.as_ref().map(steps).unwrap_or_default();
        // A step whose layer was waited for is there twice.
        critical_steps.dedup();
        BuildFacts { duration_ms: self.elapsed(), critical_steps, ..seen.facts.clone() }
    }

    fn elapsed(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a misbehaving build may leave in its record.
const MOST_FINDINGS: usize = 1000;

impl Seen {
    fn event(&mut self, event: &Event, at_ms: u64) {
        match event {
            Event::Planned { steps } => {
                self.planned.clone_from(steps);
                self.numbers = steps.iter().map(|step| step.step).zip(1..).collect();
            }
            Event::Started { step } => self.step(*step).facts.started_ms = Some(at_ms),
            Event::Used { step, cpu, peak_memory_bytes } => {
                let facts = &mut self.step(*step).facts;
                (facts.cpu_ms, facts.peak_memory_bytes) = (milliseconds(*cpu), *peak_memory_bytes);
            }
            Event::Kept { step, layer_bytes } => {
                let facts = &mut self.step(*step).facts;
                (facts.layer_bytes, facts.kept_ms) = (Some(*layer_bytes), Some(at_ms));
            }
            Event::Finished { step, outcome, duration } => {
                let step = self.step(*step);
                step.ended = Some((of(outcome), *duration));
                // It takes time, too, to find out that a step is not known.
                let began = |_| at_ms.saturating_sub(milliseconds(*duration));
                step.facts.started_ms = step.facts.started_ms.map(began);
            }
            Event::Warning { message } => self.finding(None, message, None),
            Event::Lint { rule, message, line, .. } => self.finding(Some(rule), message, Some(*line)),
            Event::Phase { what, result: None } => {
                self.facts.phases.push(PhaseFact { what: what.clone(), started_ms: at_ms, duration_ms: 0 });
            }
            Event::Phase { what, result: Some(_) } => {
                if let Some(phase) = self.facts.phases.iter_mut().rev().find(|phase| phase.what == *what) {
                    phase.duration_ms = at_ms.saturating_sub(phase.started_ms);
                }
            }
            Event::Missed { .. } | Event::Output { .. } | Event::Transfer { .. } => {}
        }
    }

    fn step(&mut self, id: StepId) -> &mut Step {
        self.steps.entry(id).or_default()
    }

    fn finding(&mut self, rule: Option<&String>, message: &str, line: Option<usize>) {
        if self.facts.findings.len() < MOST_FINDINGS {
            self.facts.findings.push(FindingFact { rule: rule.cloned(), message: message.to_owned(), line });
        }
    }
}

fn of(outcome: &crate::solve::Outcome) -> Outcome {
    match outcome {
        crate::solve::Outcome::Cached => Outcome::Cached,
        crate::solve::Outcome::Done => Outcome::Done,
        crate::solve::Outcome::Failed { .. } => Outcome::Failed,
        crate::solve::Outcome::Cancelled => Outcome::Interrupted,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Observe for Recorder {
    fn observe(&self, event: Event) {
        let is_output = matches!(event, Event::Output { .. });
        // What a step writes is kept in its log, and there can be very much of it.
        if !is_output {
            let mut seen = self.lock();
            seen.event(&event, self.elapsed());
            seen.timeline.event(&event, self.began.elapsed());
        }
        self.next.observe(event);
    }

    fn hears_output(&self) -> bool {
        self.next.hears_output()
    }
}

impl Job<'_> {
    /// Returns what is recorded of the build, which made this image.
    pub(super) fn end<T>(&self, result: &Result<T, Error>, image: impl FnOnce(&T) -> Digest) -> BuildEnd {
        let facts = BuildFacts {
            file: self.file(),
            context: self.options.context.to_string(),
            tags: self.options.tags.iter().map(Reference::familiar).collect(),
            error: result.as_ref().err().map(in_one_line),
            invocation: self.options.invocation.clone(),
            fresh_since: self.options.fresh_since,
            ..self.observer.facts()
        };
        BuildEnd {
            outcome: match result {
                Ok(_) => Outcome::Done,
                Err(Error::Cancelled) => Outcome::Interrupted,
                Err(_) => Outcome::Failed,
            },
            project: self.project(),
            image: result.as_ref().ok().map(image),
            facts: serde_json::to_string(&facts).expect("facts are plain data"),
            steps: self.observer.steps(),
        }
    }

    /// Returns what is the same in all builds of one file and context on this machine.
    pub(super) fn project(&self) -> String {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
        let context = match &self.options.context {
            ContextSource::Directory(path) => whole(path),
            other => other.to_string(),
        };
        let file = match &self.options.file {
            Some(DockerfileSource::Path(path)) => whole(path),
            _ => self.file(),
        };
        format!("{context}\n{file}")
    }

    /// Returns what people call the build file.
    fn file(&self) -> String {
        match &self.options.file {
            None => "Dockerfile".to_owned(),
            Some(DockerfileSource::Path(path)) => path.display().to_string(),
            Some(DockerfileSource::Text(_)) => "-".to_owned(),
        }
    }
}

/// Returns what is recorded of a build at its beginning, so that it can be gone on with when it was killed.
pub(super) fn beginning(options: &BuildOptions) -> String {
    let (invocation, fresh_since) = (options.invocation.clone(), options.fresh_since);
    if invocation.is_none() {
        return String::new();
    }
    let facts = BuildFacts { invocation, fresh_since, ..BuildFacts::default() };
    serde_json::to_string(&facts).expect("facts are plain data")
}

/// Returns why a build failed, in one line: of what is wrong in the file, the first.
fn in_one_line(error: &Error) -> String {
    match error {
        Error::Diagnostics { found, .. } => {
            found.iter().max_by_key(|one| one.severity).map_or_else(|| with_causes(error), |one| one.message.clone())
        }
        error => with_causes(error),
    }
}

/// Returns an error and what led to it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
