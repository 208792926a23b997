//! Walks a build graph: what is known is looked up, what is not is executed, independent steps in parallel.
//!
//! The solver knows nodes, not what they mean: an [`Execute`] looks results up and makes them. A node runs as soon as
//! its inputs have results, lower nodes first, so that one worker goes through a graph in its written order.

mod event;
mod path;
mod scheduler;

use std::sync::Arc;

pub use event::{Event, Observe, Outcome, PlannedStep, StepId, Stream, Written};
pub use path::{CriticalPath, Link, Timeline};
pub use scheduler::{Failure, Settings, Solved, solve};

use crate::graph::{Node, NodeId};
use crate::sys::Cancel;

/// Looks results up and makes them.
pub trait Execute: Sync {
    /// The result of a node.
    type Output: Clone + Send;
    /// What a look-up leaves for the execution that follows it, such as the key to record the result under.
    type Ticket;
    /// Why a node has no result.
    type Error: std::error::Error + Send;

    /// Returns the node's result where it is known, without making anything.
    ///
    /// # Errors
    /// When the inputs of the node cannot be read.
    fn lookup(&self, work: &Work<'_, Self::Output>) -> Result<Lookup<Self::Output, Self::Ticket>, Self::Error>;

    /// Makes the node's result. Returns soon after `work.cancel` is raised, leaving nothing behind.
    ///
    /// # Errors
    /// When it cannot be made.
    fn execute(&self, work: &Work<'_, Self::Output>, ticket: Self::Ticket) -> Result<Self::Output, Self::Error>;
}

/// What a look-up found.
#[derive(Debug)]
pub enum Lookup<Output, Ticket> {
    /// The result.
    Hit(Output),
    /// Nothing.
    Miss(Ticket),
}

/// One node, ready to be worked on.
pub struct Work<'a, Output> {
    /// Which.
    pub id: NodeId,
    /// What.
    pub node: &'a Node,
    /// Results of its inputs, in order.
    pub inputs: Vec<Output>,
    /// Takes the step's events.
    pub observer: &'a Arc<dyn Observe>,
    /// Raised when the build stops, for whatever reason.
    pub cancel: Cancel,
}
