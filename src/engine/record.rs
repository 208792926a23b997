use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::solve::{Event, Observe, PlannedStep, StepId};
use crate::store::{Outcome, StepRecord};

/// Passes events on and remembers what became of the steps, for the record of the build.
pub(super) struct Recorder {
    next: Arc<dyn Observe>,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    planned: Vec<PlannedStep>,
    ended: BTreeMap<StepId, (Outcome, Duration)>,
}

impl Recorder {
    pub(super) fn new(next: Arc<dyn Observe>) -> Recorder {
        Recorder { next, steps: Mutex::default() }
    }

    /// Returns the steps as they are recorded, numbered in the order of the plan.
    pub(super) fn steps(&self) -> Vec<StepRecord> {
        let steps = self.lock();
        let record = |(index, planned): (usize, &PlannedStep)| {
            let ended = steps.ended.get(&planned.step).copied();
            let (outcome, duration) = ended.unwrap_or((Outcome::Skipped, Duration::ZERO));
            StepRecord { number: index + 1, title: planned.title.clone(), outcome, duration }
        };
        steps.planned.iter().enumerate().map(record).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Recorder {
    fn observe(&self, event: Event) {
        match &event {
            Event::Planned { steps } => self.lock().planned.clone_from(steps),
            Event::Finished { step, outcome, duration } => {
                let outcome = match outcome {
                    crate::solve::Outcome::Cached => Outcome::Cached,
                    crate::solve::Outcome::Done => Outcome::Done,
                    crate::solve::Outcome::Failed { .. } => Outcome::Failed,
                    crate::solve::Outcome::Cancelled => Outcome::Interrupted,
                };
                self.lock().ended.insert(*step, (outcome, *duration));
            }
            _ => {}
        }
        self.next.observe(event);
    }
}
