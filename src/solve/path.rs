//! Where the time of a build went: the chain of steps that made it as long as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::event::milliseconds;
use super::{Event, Outcome, StepId};

/// Remembers, from a build's events, what its critical path is made of.
#[derive(Debug, Default)]
pub struct Timeline {
    steps: BTreeMap<StepId, Step>,
    /// In the order of their beginnings.
    phases: Vec<Phase>,
    cached: usize,
}

#[derive(Debug)]
struct Step {
    number: usize,
    inputs: Vec<StepId>,
    link: Link,
    /// When it was known that it had to be executed.
    started: Option<Duration>,
    ended: Option<Duration>,
    /// When its layer was kept; perhaps long after it has ended.
    kept: Option<Duration>,
}

#[derive(Debug)]
struct Phase {
    what: String,
    started: Duration,
    time: Option<Duration>,
}

/// What kept a build from ending sooner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CriticalPath {
    /// In the order of time: steps each of which waited for the one before it, or for the layer of that, which is a link of
    /// its own then; and the phases after all steps.
    pub links: Vec<Link>,
    /// Time of all links together, in milliseconds in the serialised form.
    #[serde(rename = "path_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// How many steps of the build, on this path or not, were executed.
    pub executed_steps: usize,
    /// How many were known.
    pub cached_steps: usize,
}

/// One step, or one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The step's place in the plan, from 1; a phase has none.
    pub number: Option<usize>,
    /// What people read.
    pub title: String,
    /// From its start to its end, in milliseconds in the serialised form.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// User and system time of its processes, in milliseconds in the serialised form; 0 where it had none.
    #[serde(rename = "cpu_ms", serialize_with = "milliseconds")]
    pub cpu: Duration,
    /// Largest resident set of a process of it; 0 where it had none.
    pub peak_memory_bytes: u64,
    /// Size of the layer it made, uncompressed.
    pub layer_bytes: u64,
}

/// Links that nobody would notice the absence of.
const NOTHING: Duration = Duration::from_millis(1);

impl Timeline {
    /// Takes an event that happened `at` that time since the build began.
    pub fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Planned { steps } => {
                for step in steps {
                    let number = self.steps.len() + 1;
                    let link = Link { number: Some(number), title: step.title.clone(), ..Link::default() };
                    let inputs = step.inputs.clone();
                    self.steps.insert(step.step, Step { number, inputs, link, started: None, ended: None, kept: None });
                }
            }
            Event::Started { step } => self.step(*step, |step| step.started = Some(at)),
            Event::Used { step, cpu, peak_memory_bytes } => self.step(*step, |step| {
                (step.link.cpu, step.link.peak_memory_bytes) = (*cpu, *peak_memory_bytes);
            }),
            Event::Kept { step, layer_bytes } => self.step(*step, |step| {
                (step.link.layer_bytes, step.kept) = (*layer_bytes, Some(at));
            }),
            Event::Finished { step, outcome, duration } => {
                self.cached += usize::from(*outcome == Outcome::Cached);
                self.step(*step, |step| (step.link.duration, step.ended) = (*duration, Some(at)));
            }
            Event::Phase { what, result: None } => {
                self.phases.push(Phase { what: what.clone(), started: at, time: None });
            }
            Event::Phase { what, result: Some(_) } => {
                let open = self.phases.iter_mut().rev().find(|phase| phase.time.is_none() && phase.what == *what);
                if let Some(phase) = open {
                    phase.time = Some(at.saturating_sub(phase.started));
                }
            }
            Event::Missed { .. }
            | Event::Output { .. }
            | Event::Transfer { .. }
            | Event::Warning { .. }
            | Event::Lint { .. } => {}
        }
    }

    fn step(&mut self, id: StepId, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.get_mut(&id) {
            change(step);
        }
    }

    /// Returns the path; nothing where no step has been executed.
    pub fn critical_path(&self) -> Option<CriticalPath> {
        let executed = self.steps.values().filter(|step| step.started.is_some() && step.ended.is_some());
        let last = executed.clone().max_by_key(|step| (step.ended.max(step.kept), step.number))?;
        let mut links = Vec::from_iter(last.layer_link());
        let mut at = Some(last);
        while let Some(step) = at {
            // The one that was ready last is the one that was waited for.
            let inputs = step.inputs.iter().filter_map(|input| self.steps.get(input));
            let before = inputs.max_by_key(|input| (input.ready_for(step), input.number));
            let layer = before.filter(|before| before.ready_for(step) != before.ended).and_then(Step::layer_link);
            // While it is found out whether a step is known, it may wait for what it stands on.
            let waited = layer.as_ref().and(before).and_then(|before| before.kept?.checked_sub(step.began()?));
            let duration = step.link.duration.saturating_sub(waited.unwrap_or_default());
            if step.started.is_some() && duration >= NOTHING {
                links.push(Link { duration, ..step.link.clone() });
            }
            links.extend(layer);
            at = before;
        }
        links.reverse();
        let end = last.ended.max(last.kept);
        let behind = |phase: &&Phase| end.is_some_and(|end| phase.started >= end);
        links.extend(self.phases.iter().filter(behind).filter_map(|phase| {
            let duration = phase.time.filter(|time| *time >= NOTHING)?;
            Some(Link { title: phase.what.clone(), duration, ..Link::default() })
        }));
        let time = links.iter().map(|link| link.duration).sum();
        Some(CriticalPath { links, time, executed_steps: executed.count(), cached_steps: self.cached })
    }
}

impl Step {
    /// Returns when somebody began to look whether it was known.
    fn began(&self) -> Option<Duration> {
        self.ended?.checked_sub(self.link.duration)
    }

    /// Returns when another step that stands on it could go on: with its layer, if that one waited so long.
    fn ready_for(&self, next: &Step) -> Option<Duration> {
        let waited = |kept: &Duration| Some(*kept) > self.ended && next.started.is_some_and(|started| started >= *kept);
        self.kept.filter(waited).or(self.ended)
    }

    /// Returns the time in which the step was over and its layer not yet.
    fn layer_link(&self) -> Option<Link> {
        let duration = self.kept?.saturating_sub(self.ended?);
        let link = Link { title: format!("layer of {}", self.link.title), duration, ..self.link.clone() };
        // What its processes used is told where they ran.
        let link = Link { cpu: Duration::ZERO, peak_memory_bytes: 0, ..link };
        (duration >= NOTHING).then_some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NodeId;
    use crate::solve::PlannedStep;

    fn timeline(events: &[(u64, Event)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (at, event) in events {
            timeline.event(event, Duration::from_millis(*at));
        }
        timeline
    }

    fn planned(steps: &[(u32, &[u32])]) -> Event {
        let step = |&(id, inputs): &(u32, &[u32])| PlannedStep {
            step: NodeId(id),
            title: format!("s{id}"),
            place: crate::graph::Place::default(),
            written: None,
            inputs: inputs.iter().copied().map(NodeId).collect(),
        };
        Event::Planned { steps: steps.iter().map(step).collect() }
    }

    fn started(step: u32) -> Event {
        Event::Started { step: NodeId(step) }
    }

    fn finished(step: u32, outcome: Outcome, milliseconds: u64) -> Event {
        Event::Finished { step: NodeId(step), outcome, duration: Duration::from_millis(milliseconds) }
    }

    fn phase(what: &str, result: Option<&str>) -> Event {
        Event::Phase { what: what.to_owned(), result: result.map(str::to_owned) }
    }

    #[test]
    fn the_path_goes_back_through_what_was_waited_for() {
        let timeline = timeline(&[
            (0, phase("resolve", None)),
            (5, phase("resolve", Some("x"))),
            (5, planned(&[(0, &[]), (1, &[0]), (2, &[0]), (3, &[1, 2])])),
            (6, finished(0, Outcome::Cached, 0)),
            (6, started(1)),
            (6, started(2)),
            (50, Event::Used { step: NodeId(2), cpu: Duration::from_millis(40), peak_memory_bytes: 7 }),
            (20, finished(1, Outcome::Done, 14)),
            (50, finished(2, Outcome::Done, 44)),
            (50, started(3)),
            (60, finished(3, Outcome::Done, 10)),
            (60, Event::Kept { step: NodeId(2), layer_bytes: 9 }),
            (60, phase("writing image", None)),
            (90, phase("writing image", Some("id"))),
        ]);
        let path = timeline.critical_path().unwrap();
        let links: Vec<_> = path.links.iter().map(|link| (link.title.as_str(), link.duration.as_millis())).collect();
        assert_eq!(links, [("s2", 44), ("s3", 10), ("writing image", 30)]);
        assert_eq!(
            (path.links[0].cpu.as_millis(), path.links[0].peak_memory_bytes, path.links[0].layer_bytes),
            (40, 7, 9)
        );
        assert_eq!((path.time.as_millis(), path.executed_steps, path.cached_steps), (84, 3, 1));
    }

    #[test]
    fn a_layer_that_is_waited_for_is_on_the_path() {
        let timeline = timeline(&[
            (0, planned(&[(0, &[]), (1, &[0])])),
            (0, started(0)),
            (10, finished(0, Outcome::Done, 10)),
            (10, started(1)),
            (30, finished(1, Outcome::Done, 20)),
            (30, Event::Kept { step: NodeId(1), layer_bytes: 1 }),
            (90, Event::Kept { step: NodeId(0), layer_bytes: 7 }),
            (90, phase("writing image", None)),
            (95, phase("writing image", Some("id"))),
        ]);
        let path = timeline.critical_path().unwrap();
        let links: Vec<_> = path.links.iter().map(|link| (link.title.as_str(), link.duration.as_millis())).collect();
        assert_eq!(links, [("s0", 10), ("layer of s0", 80), ("writing image", 5)]);
        assert_eq!(path.links[1].layer_bytes, 7);
    }

    #[test]
    fn a_step_that_waits_for_a_layer_below_it_has_its_own_time() {
        let timeline = timeline(&[
            (0, planned(&[(0, &[]), (1, &[0]), (2, &[1])])),
            (0, started(0)),
            (10, finished(0, Outcome::Done, 10)),
            (70, Event::Kept { step: NodeId(0), layer_bytes: 7 }),
            // It was looked up from 10 on.
            (70, started(1)),
            (90, finished(1, Outcome::Done, 80)),
            // This one did not wait for the layer below it.
            (91, started(2)),
            (95, Event::Kept { step: NodeId(1), layer_bytes: 1 }),
            (110, finished(2, Outcome::Done, 20)),
        ]);
        let path = timeline.critical_path().unwrap();
        let links: Vec<_> = path.links.iter().map(|link| (link.title.as_str(), link.duration.as_millis())).collect();
        assert_eq!(links, [("s0", 10), ("layer of s0", 60), ("s1", 20), ("s2", 20)]);
        assert_eq!(path.time.as_millis(), 110);
    }

    #[test]
    fn what_was_known_has_no_path() {
        let timeline = timeline(&[(0, planned(&[(0, &[])])), (1, finished(0, Outcome::Cached, 0))]);
        assert_eq!(timeline.critical_path(), None);
    }
}
