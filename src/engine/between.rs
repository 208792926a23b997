use std::collections::HashSet;
use std::time::Duration;

use super::{Build, BuildStep, Engine, Error};
use crate::store::Outcome;

/// Two builds, step by step.
#[derive(Debug, Clone)]
pub struct BetweenBuilds {
    /// The earlier one, or the one that was named first.
    pub before: Build,
    /// The other.
    pub after: Build,
    /// Steps of both, in the order of the second; those that are in the first alone come last.
    pub steps: Vec<StepPair>,
}

/// A step in two builds.
#[derive(Debug, Clone)]
pub struct StepPair {
    /// In the first; none where it was not there.
    pub before: Option<Figures>,
    /// In the second; none where it is not there.
    pub after: Option<Figures>,
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The step.
    pub step: BuildStep,
    /// Size of its layer, uncompressed; none where it has none, or the layer is gone.
    pub layer_bytes: Option<u64>,
}

impl Figures {
    /// Returns how long the step took; none where it did not run to its end.
    pub fn time(&self) -> Option<Duration> {
        (self.step.outcome == Outcome::Done).then_some(self.step.duration)
    }
}

impl BetweenBuilds {
    /// Returns the time of all steps that ran in both builds, in the first and in the second.
    pub fn common_time(&self) -> (Duration, Duration) {
        let times = self.steps.iter().filter_map(|pair| pair.before.as_ref()?.time().zip(pair.after.as_ref()?.time()));
        times.fold((Duration::ZERO, Duration::ZERO), |(before, after), (one, other)| (before + one, after + other))
    }

    /// Returns the size of all layers that the builds' own steps led to, in the first and in the second.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&StepPair) -> Option<&Figures>| {
            self.steps.iter().filter_map(of).filter_map(|figures| figures.layer_bytes).sum()
        };
        (sum(|pair| pair.before.as_ref()), sum(|pair| pair.after.as_ref()))
    }
}

impl Engine {
    /// Holds two builds against each other; without names, the last one and the one before it of the same project.
    ///
    /// # Errors
    /// [`crate::store::Error::NoSuchBuild`], [`crate::store::Error::AmbiguousBuild`], those of the store.
    pub fn between(&self, before: Option<&str>, after: Option<&str>) -> Result<BetweenBuilds, Error> {
        let after = self.store.find_build(after)?;
        let before = match before {
            Some(before) => self.store.find_build(Some(before))?,
            None => self.store.build_before(&after)?,
        };
        let (before, after) = (self.whole(before)?, self.whole(after)?);
        let mut steps = Vec::new();
        let mut paired = HashSet::new();
        for step in &after.steps {
            let earlier = counterpart(&before, step, &after).filter(|earlier| paired.insert(earlier.number));
            let earlier = earlier.map(|earlier| self.figures(earlier)).transpose()?;
            steps.push(StepPair { before: earlier, after: Some(self.figures(step)?) });
        }
        for step in before.steps.iter().filter(|step| !paired.contains(&step.number)) {
            steps.push(StepPair { before: Some(self.figures(step)?), after: None });
        }
        Ok(BetweenBuilds { before, after, steps })
    }

    fn figures(&self, step: &BuildStep) -> Result<Figures, Error> {
        let size = step.layer.map_or(Ok(None), |layer| self.store.layer_size(layer))?;
        Ok(Figures { layer_bytes: size.or(step.facts.layer_bytes), step: step.clone() })
    }
}

/// Returns the step of an earlier build that says the same, or that stood where this one is and is not written any more.
fn counterpart<'a>(before: &'a Build, step: &BuildStep, after: &Build) -> Option<&'a BuildStep> {
    let place = &step.place;
    let same = before.steps.iter().find(|other| other.place.text == place.text && other.place.stage == place.stage);
    let is_gone = |other: &&BuildStep| !after.steps.iter().any(|now| now.place.text == other.place.text);
    let is_there = |other: &&BuildStep| {
        place.position > 0 && (&other.place.stage, other.place.position) == (&place.stage, place.position)
    };
    same.or_else(|| before.steps.iter().filter(is_there).find(is_gone))
}
