use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::build::{Job, Ready};
use super::builds::{BuildStep, step as recorded};
use super::contexts::MainContext;
use super::dockerfile;
use super::named::Named;
use super::policy::Policy;
use super::record::Recorder;
use super::{BuildOptions, Engine, Error};
use crate::exec::Forecast;
use crate::solve::Observe;
use crate::store::BuildId;
use crate::sys::Cancel;

/// What a build would do.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// In the order of the plan.
    pub steps: Vec<ForeseenStep>,
    /// How long the longest chain of steps that would run took when they last ran; what is not known of some is not in it.
    pub longest: Duration,
    /// Size of all layers that would be made, as far as that is known.
    pub layer_bytes: u64,
    /// Steps that would run and of which nothing is remembered.
    pub unknown: usize,
}

/// What a build would do for one step.
#[derive(Debug, Clone)]
pub struct ForeseenStep {
    /// The step; its outcome is `Done` where it would run.
    pub step: BuildStep,
    /// What is expected of it, which is what it took when it last ran; none where it would not run, or never ran.
    pub expected: Option<Expected>,
}

/// What a step took when it last ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// How long.
    pub duration: Duration,
    /// Size of its layer, uncompressed.
    pub layer_bytes: u64,
}

impl Engine {
    /// Tells which steps a build would run, why, and what that is expected to take, without running any.
    ///
    /// # Errors
    /// Those of [`Engine::build`] up to its first step.
    pub fn foresee(
        &self,
        options: &BuildOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Foreseen, Error> {
        let policy = Policy::load(options.source_policy.as_deref())?;
        let recorder = Arc::new(Recorder::new(observer));
        let job = Job {
            engine: self,
            options,
            observer: recorder.clone(),
            cancel,
            build: BuildId::random(),
            policy: &policy,
            is_perturbed: false,
        };
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let mut named = Named::prepare(&options.build_contexts, &self.store)?;
        let loaded = dockerfile::load(options.file.as_ref(), &context)?;
        let Ready { plan, targets, executor, stat_cache, stop, .. } = job.prepare(&loaded, &context, &mut named)?;
        job.solve(&plan, &targets, &Forecast(&executor), &stop)?;
        // Files that were digested need not be again by the build itself.
        executor.save()?;
        stat_cache.map_or(Ok(()), |cache| cache.save())?;
        named.save()?;
        self.expect(recorder.steps().into_iter().map(recorded).collect(), &job.project())
    }

    fn expect(&self, steps: Vec<BuildStep>, project: &str) -> Result<Foreseen, Error> {
        let expected = |step: &BuildStep| -> Result<Option<Expected>, Error> {
            let last = if step.ran() { self.store.last_done(project, &step.place)? } else { None };
            Ok(last.map(recorded).map(|last| Expected {
                duration: last.duration,
                layer_bytes: last.facts.layer_bytes.unwrap_or_default(),
            }))
        };
        let steps = steps.into_iter().map(|step| Ok(ForeseenStep { expected: expected(&step)?, step }));
        let steps = steps.collect::<Result<Vec<_>, Error>>()?;
        let known = || steps.iter().filter_map(|step| step.expected);
        let unknown = steps.iter().filter(|step| step.step.ran() && step.expected.is_none()).count();
        let layer_bytes = known().map(|expected| expected.layer_bytes).sum();
        Ok(Foreseen { longest: longest(&steps), layer_bytes, unknown, steps })
    }
}

/// Returns the time of the longest chain; steps come after those that they wait for.
fn longest(steps: &[ForeseenStep]) -> Duration {
    let mut ends: BTreeMap<usize, Duration> = BTreeMap::new();
    for ForeseenStep { step, expected } in steps {
        let begin = step.facts.inputs.iter().filter_map(|input| ends.get(input)).max().copied().unwrap_or_default();
        ends.insert(step.number, begin + expected.map(|expected| expected.duration).unwrap_or_default());
    }
    ends.into_values().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StepFacts;
    use crate::graph::Place;
    use crate::store::Outcome;

    #[test]
    fn the_longest_chain_counts() {
        let step = |number, inputs: &[usize], seconds: Option<u64>| ForeseenStep {
            step: BuildStep {
                number,
                title: String::new(),
                place: Place::default(),
                outcome: Outcome::Done,
                duration: Duration::ZERO,
                key: None,
                layer: None,
                facts: StepFacts { inputs: inputs.to_vec(), ..StepFacts::default() },
            },
            expected: seconds.map(|seconds| Expected { duration: Duration::from_secs(seconds), layer_bytes: 1 }),
        };
        let steps = [step(1, &[], Some(5)), step(2, &[], Some(1)), step(3, &[2], Some(3)), step(4, &[1, 3], Some(2))];
        assert_eq!(longest(&steps), Duration::from_secs(7));
        assert_eq!(longest(&[step(1, &[], None), step(2, &[1], Some(4))]), Duration::from_secs(4));
    }
}
