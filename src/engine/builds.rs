use std::time::Duration;

use jiff::Timestamp;

use super::Invocation;
use super::record::{BuildFacts, StepFacts};
use super::{Engine, Error};
use crate::cache::{Cache, CacheKey, Difference, Miss, differences};
use crate::graph::Place;
use crate::oci::{DiffId, Digest};
use crate::store::{self, BuildId, BuildRecord, Outcome, StepRecord};

/// A build as it is remembered.
#[derive(Debug, Clone)]
pub struct Build {
    /// Which.
    pub id: BuildId,
    /// What was built, for people.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it runs.
    pub finished: Option<Timestamp>,
    /// How it ended; none while it runs.
    pub outcome: Option<Outcome>,
    /// Digest of the manifest, or of the index, that it made.
    pub image: Option<Digest>,
    /// What else is remembered.
    pub facts: BuildFacts,
    /// In the order of the plan.
    pub steps: Vec<BuildStep>,
}

/// A build that did not end well, to be gone on with.
#[derive(Debug, Clone)]
pub struct Resumable {
    /// Which.
    pub build: BuildId,
    /// How it was asked for.
    pub invocation: Invocation,
    /// What was made since then is its work.
    pub since: Timestamp,
}

/// A step as it is remembered.
#[derive(Debug, Clone)]
pub struct BuildStep {
    /// From 1: that of the progress display.
    pub number: usize,
    /// What people read.
    pub title: String,
    /// What tells it from others.
    pub place: Place,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// The key of its result, or the digest of the image that it is.
    pub key: Option<Digest>,
    /// The layer it led to.
    pub layer: Option<DiffId>,
    /// What else is remembered.
    pub facts: StepFacts,
}

/// Why a step ran, with what lies behind it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The step's number.
    pub step: usize,
    /// The steps on the way to the roots and the roots themselves, nearest first, each with why it is not what it was.
    pub behind: Vec<(usize, Miss)>,
}

impl Build {
    fn new(record: BuildRecord, steps: Vec<StepRecord>) -> Build {
        let BuildRecord { id, title, started, finished, outcome, image, facts, .. } = record;
        // A build that runs, and one of an older kiln, has no facts.
        let facts = serde_json::from_str(&facts).unwrap_or_default();
        Build { id, title, started, finished, outcome, image, facts, steps: steps.into_iter().map(step).collect() }
    }

    /// Returns a step by its number.
    pub fn step(&self, number: usize) -> Option<&BuildStep> {
        self.steps.iter().find(|step| step.number == number)
    }

    /// Returns how many steps ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }

    /// Returns how long it took; none while it runs.
    pub fn duration(&self) -> Option<Duration> {
        self.finished?;
        Some(Duration::from_millis(self.facts.duration_ms))
    }
}

pub(super) fn step(record: StepRecord) -> BuildStep {
    let StepRecord { number, title, place, outcome, duration, key, result, facts } = record;
    let facts = serde_json::from_str(&facts).unwrap_or_default();
    BuildStep { number, title, place, outcome, duration, key, layer: result, facts }
}

impl BuildStep {
    /// Tells whether it was done in this build, to its end or not.
    pub fn ran(&self) -> bool {
        matches!(self.outcome, Outcome::Done | Outcome::Failed | Outcome::Interrupted)
    }
}

impl Engine {
    /// Returns all builds that are remembered, the newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn builds(&self) -> Result<Vec<Build>, Error> {
        let builds = self.store.builds()?;
        builds.into_iter().map(|record| self.whole(record)).collect()
    }

    /// Returns the last build that was asked for in `directory`, if it did not end well.
    ///
    /// # Errors
    /// [`Error::NothingToResume`], [`Error::CannotResume`], those of the store.
    pub fn resumable(&self, directory: &str) -> Result<Resumable, Error> {
        for record in self.store.builds()? {
            let facts: BuildFacts = serde_json::from_str(&record.facts).unwrap_or_default();
            let Some(invocation) = facts.invocation.filter(|invocation| invocation.directory == directory) else {
                continue;
            };
            if record.outcome == Some(Outcome::Done) {
                break;
            }
            if invocation.words.is_none() {
                return Err(Error::CannotResume { build: record.id.to_string() });
            }
            let since = facts.fresh_since.unwrap_or(record.started);
            return Ok(Resumable { build: record.id, invocation, since });
        }
        Err(Error::NothingToResume)
    }

    /// Returns the build whose id begins so; the last one where none is given.
    ///
    /// # Errors
    /// [`store::Error::NoSuchBuild`], [`store::Error::AmbiguousBuild`], those of the store.
    pub fn recorded(&self, id: Option<&str>) -> Result<Build, Error> {
        self.whole(self.store.find_build(id)?)
    }

    pub(super) fn whole(&self, record: BuildRecord) -> Result<Build, Error> {
        let steps = self.store.steps(&record.id)?;
        Ok(Build::new(record, steps))
    }

    /// Returns what lies behind a step that ran in `build`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn explain(&self, build: &Build, step: &BuildStep) -> Result<Explanation, Error> {
        let mut behind: Vec<(usize, Miss)> = Vec::new();
        let mut open = vec![step.number];
        while let Some(number) = open.pop() {
            let known = behind.iter().any(|(step, _)| *step == number);
            let Some(step) = build.step(number).filter(|_| !known) else { continue };
            let Some(miss) = self.why(build, step, behind.first().map(|(_, miss)| miss))? else { continue };
            if let Miss::Changed { differences, .. } = &miss {
                open.extend(differences.iter().filter_map(step_of));
            }
            behind.push((number, miss));
        }
        Ok(Explanation { step: step.number, behind })
    }

    /// Returns why a step is not what it was. One that was known in this build may be another than in the build that
    /// `from` was held against.
    fn why(&self, build: &Build, step: &BuildStep, from: Option<&Miss>) -> Result<Option<Miss>, Error> {
        if step.facts.miss.is_some() {
            return Ok(step.facts.miss.clone());
        }
        let (Some(key), Some(Miss::Changed { than, .. })) = (step.key, from) else { return Ok(None) };
        let before = match self.recorded(Some(than)) {
            Ok(before) => before,
            // It was forgotten since.
            Err(Error::Store(store::Error::NoSuchBuild { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(before) = before.steps.iter().find(|other| other.place == step.place) else { return Ok(None) };
        let cache = Cache::new(&self.store);
        let recipe = |key: Option<Digest>| key.map_or(Ok(None), |key| cache.recipe(&CacheKey::from(key)));
        let (Some(old), Some(new)) = (recipe(before.key)?, recipe(Some(key))?) else { return Ok(None) };
        let mut found = differences(&old.value(), &new.value());
        for difference in &mut found {
            self.complete(difference, build, step, before)?;
        }
        Ok((!found.is_empty()).then(|| Miss::Changed { differences: found, than: than.clone() }))
    }

    /// Adds to a difference between two remembered steps what recipes do not say.
    fn complete(
        &self,
        difference: &mut Difference,
        build: &Build,
        step: &BuildStep,
        before: &BuildStep,
    ) -> Result<(), Error> {
        let cache = Cache::new(&self.store);
        match difference {
            Difference::Files { changes } => {
                let inputs = |key: Option<Digest>| key.map_or(Ok(None), |key| cache.inputs(&CacheKey::from(key)));
                let both = inputs(before.key)?.zip(inputs(step.key)?);
                *changes = both.and_then(|(before, now)| before.compare(&now));
            }
            Difference::Base { step: base } => *base = step.facts.inputs.first().copied(),
            _ => {}
        }
        // An image is a step without a recipe, and its name is in its text.
        if let Difference::Base { step: Some(base) } = difference
            && let Some(image) = build.step(*base).filter(|base| base.place.text.starts_with("FROM "))
            && let Some(after) = image.key
        {
            let name = image.place.text.trim_start_matches("FROM ").to_owned();
            *difference = Difference::Image { name, before: None, after: after.to_string() };
        }
        Ok(())
    }
}

fn step_of(difference: &Difference) -> Option<usize> {
    match difference {
        Difference::Base { step } | Difference::Source { step } | Difference::Mount { step, .. } => *step,
        _ => None,
    }
}
