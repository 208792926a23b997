//! Why a result is not known: what of its recipe is not as it was in the nearest step that was done before.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::recipe::recipe;
use super::{Error, Executor, Output};
use crate::cache::{Cache, CacheKey, Difference, Inputs, Miss, MountChange, VariableOrigin, differences};
use crate::graph::{self, Input, MountKind, NodeId, Op, Place};
use crate::oci::ChainId;
use crate::solve::{Event, Observe, Work};
use crate::store::{self, PastStep};

/// What was looked up and not found.
pub(super) struct Asked<'a> {
    pub(super) op: &'a Op,
    /// The input that the op works on.
    pub(super) root: Option<Input>,
    pub(super) base: Base,
    pub(super) sources: &'a Value,
    pub(super) inputs: Option<&'a Inputs>,
}

/// The tree that an op works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Known(Option<ChainId>),
    /// It is still being written, so it is new.
    Pending,
}

/// The steps that were done before, read when they are first asked for.
#[derive(Debug)]
pub(super) struct Past {
    cache: Cache,
    project: String,
    /// What the steps of this build say.
    texts: HashSet<String>,
    steps: OnceLock<Vec<PastStep>>,
}

/// Past steps that are held against a new one. The nearest is nearly always the first.
const COMPARED: usize = 6;

impl Past {
    pub(super) fn new(cache: &Cache, project: String, texts: HashSet<String>) -> Past {
        Past { cache: cache.clone(), project, texts, steps: OnceLock::new() }
    }

    fn steps(&self) -> Result<&[PastStep], store::Error> {
        if let Some(steps) = self.steps.get() {
            return Ok(steps);
        }
        let steps = self.cache.past_steps(&self.project)?;
        Ok(self.steps.get_or_init(|| steps))
    }

    /// Returns steps that may be earlier versions of the one at `place`, the likeliest first.
    fn candidates(&self, place: &Place) -> Result<Vec<PastStep>, store::Error> {
        let steps = self.steps()?;
        let is_of_last = |step: &PastStep| steps.first().is_some_and(|last| last.build == step.build);
        let likeness = |step: &PastStep| match &step.place {
            other if other.text == place.text && other.stage == place.stage => Some(0),
            other if other.text == place.text => Some(1),
            // What is still written is the earlier version of itself, and long before anything may have stood there.
            other if is_at(other, place) && !self.is_written(&other.text) && is_of_last(step) => Some(2),
            _ => None,
        };
        let mut alike: Vec<(i32, &PastStep)> = steps.iter().filter_map(|step| Some((likeness(step)?, step))).collect();
        alike.sort_by_key(|(likeness, _)| *likeness);
        let mut found: Vec<PastStep> = alike.into_iter().map(|(_, step)| step.clone()).collect();
        if found.is_empty() {
            // Checkouts of one project may be in many directories.
            found = self.cache.steps_saying(&place.text)?;
        }
        let mut known = HashSet::new();
        found.retain(|step| known.insert(step.key));
        found.truncate(COMPARED);
        Ok(found)
    }

    fn is_written(&self, text: &str) -> bool {
        self.texts.contains(text)
    }

    /// Returns the steps of one build.
    fn of_build<'a>(&'a self, build: &'a store::BuildId) -> Result<impl Iterator<Item = &'a PastStep>, store::Error> {
        Ok(self.steps()?.iter().filter(move |step| step.build == *build))
    }

    /// Returns what was where the image `name` is now: the digest of what it meant, or another name.
    fn image(&self, build: &store::BuildId, place: &Place, name: &str) -> Result<Option<String>, store::Error> {
        let text = of_image(name);
        let mut steps = self.of_build(build)?;
        if let Some(step) = steps.find(|step| step.place.text == text) {
            return Ok(Some(step.key.to_string()));
        }
        let named = |step: &PastStep| step.place.text.strip_prefix(&of_image("")).map(str::to_owned);
        Ok(self.of_build(build)?.filter(|step| is_at(&step.place, place)).find_map(named))
    }

    /// Returns what stood between two places of a build's stage, and is not written any more.
    fn gone(&self, build: &store::BuildId, below: usize, place: &Place) -> Result<Vec<String>, store::Error> {
        let between = |step: &&PastStep| {
            let Place { stage, position, text } = &step.place;
            *stage == place.stage && (below + 1..place.position).contains(position) && !self.is_written(text)
        };
        Ok(self.of_build(build)?.filter(between).map(|step| step.place.text.clone()).collect())
    }
}

/// Tells whether two steps have the same number in the same stage.
fn is_at(one: &Place, other: &Place) -> bool {
    one.position > 0 && one.position == other.position && one.stage == other.stage
}

/// Returns what the step that is an image says.
fn of_image(name: &str) -> String {
    format!("FROM {name}")
}

impl Executor {
    /// Notes why a result has to be made.
    pub(super) fn explain(&self, work: &Work<'_, Output>, asked: &Asked<'_>) -> Result<(), Error> {
        self.note_miss(work.id, self.miss(work, asked)?);
        Ok(())
    }

    pub(super) fn note_miss(&self, step: NodeId, miss: Miss) {
        self.setting.ledger.note(step, |trace| trace.miss = Some(miss));
    }

    /// Tells what was noted of a step that is about to be done.
    pub(super) fn tell(&self, step: NodeId, observer: &Arc<dyn Observe>) {
        if let Some(miss) = self.setting.ledger.trace(step).miss {
            observer.observe(Event::Missed { step, miss });
        }
    }

    /// Notes why a source is fetched.
    pub(super) fn explain_fetch(&self, work: &Work<'_, Output>) -> Result<(), Error> {
        let past = self.past.candidates(&work.node.step.place)?;
        let miss = match past.first() {
            Some(step) => Miss::Changed { differences: vec![Difference::Remote], than: step.build.to_string() },
            None => Miss::New,
        };
        self.note_miss(work.id, miss);
        Ok(())
    }

    fn miss(&self, work: &Work<'_, Output>, asked: &Asked<'_>) -> Result<Miss, Error> {
        if work.node.step.ignore_cache {
            return Ok(Miss::Unwanted);
        }
        let base = match asked.base {
            Base::Known(base) => base,
            Base::Pending => None,
        };
        let recipe = recipe(asked.op, base, asked.sources.clone());
        if asked.base != Base::Pending
            && let Some(removed) = self.cache.removed(&recipe.key())?
        {
            return Ok(removed);
        }
        let mut now = recipe.value();
        if asked.base == Base::Pending {
            now["base"] = Value::from("pending");
        }
        let mut nearest: Option<((usize, usize), Vec<Difference>, PastStep)> = None;
        for step in self.past.candidates(&work.node.step.place)? {
            let Some(before) = self.cache.recipe(&CacheKey::from(step.key))? else { continue };
            let found = differences(&before.value(), &now);
            let distance = (found.iter().filter(|one| !one.is_elsewhere()).count(), found.len());
            if !found.is_empty() && nearest.as_ref().is_none_or(|(least, _, _)| distance < *least) {
                nearest = Some((distance, found, step));
            }
        }
        let Some((_, differences, step)) = nearest else { return Ok(Miss::New) };
        let differences = differences.into_iter().map(|one| self.in_detail(work, asked, one, &step));
        Ok(Miss::Changed { differences: differences.collect::<Result<_, Error>>()?, than: step.build.to_string() })
    }

    /// Adds to a difference what recipes do not say.
    fn in_detail(
        &self,
        work: &Work<'_, Output>,
        asked: &Asked<'_>,
        difference: Difference,
        than: &PastStep,
    ) -> Result<Difference, Error> {
        Ok(match difference {
            Difference::Base { .. } => self.base_difference(work, asked, than)?,
            Difference::Files { .. } => {
                let before = self.cache.inputs(&CacheKey::from(than.key))?;
                let changes = before.zip(asked.inputs).and_then(|(before, now)| before.compare(now));
                Difference::Files { changes }
            }
            Difference::Variable { name, before, after, .. } => {
                let origin = match asked.op {
                    Op::Run(run) if run.arguments.contains(&name) => VariableOrigin::Argument,
                    _ => VariableOrigin::Environment,
                };
                Difference::Variable { name, origin, before, after }
            }
            Difference::Mount { target, change: MountChange::Content, .. } => {
                let step = from_of(asked.op, &target).and_then(|input| self.number(work, input));
                Difference::Mount { target, change: MountChange::Content, step }
            }
            other => other,
        })
    }

    fn base_difference(
        &self,
        work: &Work<'_, Output>,
        asked: &Asked<'_>,
        than: &PastStep,
    ) -> Result<Difference, Error> {
        let Some(root) = asked.root else { return Ok(Difference::Order { step: None, gone: Vec::new() }) };
        let (trace, step) = (self.setting.ledger.trace(node(work, root)), self.number(work, root));
        // One that ran again may have led to another layer than before, under the same key.
        let is_unchanged = |step: &&PastStep| trace.miss.is_none() && Some(step.key) == trace.key;
        if let Some(below) = self.past.of_build(&than.build)?.find(is_unchanged) {
            let gone = self.past.gone(&than.build, below.place.position, &than.place)?;
            return Ok(Difference::Order { step, gone });
        }
        let (Some(image), Some(after)) = (trace.image, trace.key) else { return Ok(Difference::Base { step }) };
        let before = self.past.image(&than.build, &image.place, &image.name)?;
        Ok(Difference::Image { name: image.name, before, after: after.to_string() })
    }

    /// Returns the number of the step that an input is.
    pub(super) fn number(&self, work: &Work<'_, Output>, input: Input) -> Option<usize> {
        self.setting.numbers.get(&node(work, input)).copied()
    }
}

fn node(work: &Work<'_, Output>, input: Input) -> NodeId {
    work.node.inputs[input.0 as usize]
}

/// Returns the input whose files are mounted at `target`.
fn from_of(op: &Op, target: &str) -> Option<Input> {
    let Op::Run(graph::Run { mounts, .. }) = op else { return None };
    mounts.iter().find(|mount| mount.target == target).and_then(|mount| match &mount.kind {
        MountKind::Tree { from, .. } => Some(*from),
        _ => None,
    })
}
