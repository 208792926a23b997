use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::Miss;
use crate::graph::{NodeId, Place};

/// Which of a process's two outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The result was known already.
    Cached,
    /// It was done.
    Done,
    /// It could not be done; the text says why, in one line.
    Failed {
        /// The cause.
        message: String,
    },
    /// It was stopped, or never started because another step failed.
    Cancelled,
}

/// Something that happens during a build, in the order in which it happens. Every progress display is a view of these.
///
/// Serialised with a `type` member in snake case: the schema of `--progress=json`, one object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The steps of the build, in the order of the file; before any of them starts.
    Planned {
        /// All that will be looked up or executed.
        steps: Vec<PlannedStep>,
    },
    /// A step began to execute.
    Started {
        /// Which.
        step: StepId,
    },
    /// Why the step that began was not known; after its start.
    Missed {
        /// Which.
        step: StepId,
        /// The reason, in its `cause` member.
        #[serde(flatten)]
        miss: Miss,
    },
    /// A step's process wrote something: bytes as they came, perhaps not whole lines, invalid UTF-8 replaced.
    Output {
        /// Which.
        step: StepId,
        /// Where it was written.
        stream: Stream,
        /// What.
        text: String,
    },
    /// A step, or a transfer outside any step, moved bytes.
    Transfer {
        /// The step it belongs to.
        step: Option<StepId>,
        /// What is moved, such as `pull sha256:0123456789ab` or `push docker.io/me/app:1`.
        what: String,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all, where known.
        total_bytes: Option<u64>,
        /// Whether it is finished.
        finished: bool,
    },
    /// A step's process ended, well or not.
    Used {
        /// Which.
        step: StepId,
        /// User and system time of all its processes, in milliseconds in the serialised form.
        #[serde(rename = "cpu_ms", serialize_with = "milliseconds")]
        cpu: Duration,
        /// Largest resident set of one of them.
        peak_memory_bytes: u64,
    },
    /// What a step changed is kept as a layer; perhaps after the step has ended.
    Kept {
        /// Which.
        step: StepId,
        /// Size of the layer, uncompressed.
        layer_bytes: u64,
    },
    /// A step ended.
    Finished {
        /// Which.
        step: StepId,
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
        /// Time from its start, in milliseconds in the serialised form.
        #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
        duration: Duration,
    },
    /// Something worth knowing that does not stop the build.
    Warning {
        /// One line.
        message: String,
    },
    /// A rule of lint has found something in the build file.
    Lint {
        /// The rule.
        rule: String,
        /// What it found, in one line.
        message: String,
        /// The page that explains it.
        url: Option<String>,
        /// The build file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The place and the text there, as diagnostics show them.
        excerpt: String,
    },
    /// A phase after the steps, such as writing the image, began or ended.
    Phase {
        /// What, such as `writing image`.
        what: String,
        /// What came of it, at its end: a digest, a name.
        result: Option<String>,
    },
}

/// Identity of a step within one build: its node.
pub type StepId = NodeId;

/// A step as it is known before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Identity in later events.
    pub step: StepId,
    /// What people read.
    pub title: String,
    /// What tells it from others.
    #[serde(skip)]
    pub place: Place,
    /// Where it is written; none where nobody wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
    /// The steps it waits for.
    pub inputs: Vec<StepId>,
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The build file, or the image whose trigger it is.
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// Takes events from many threads.
pub trait Observe: Send + Sync {
    /// Takes one event; must be quick.
    fn observe(&self, event: Event);

    /// Tells whether it makes anything of [`Event::Output`], of which there can be gigabytes.
    fn hears_output(&self) -> bool {
        true
    }
}

impl<F: Fn(Event) + Send + Sync> Observe for F {
    fn observe(&self, event: Event) {
        self(event);
    }
}

pub(super) fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
