//! Walks a build graph: what is known is looked up, what is not is executed, independent steps in parallel.

mod event;

pub use event::{Event, Observe, Outcome, PlannedStep, StepId, Stream};
