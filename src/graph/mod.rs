//! The build graph: content-addressed operations and the edges between them.
//!
//! A graph knows file systems, processes and files. It does not know the language it came from: any front end can emit
//! one with [`BuildGraph::add`].
//!
//! ```text
//!  Source(image) ──▶ Run(cc) ──▶ File(copy) ◀── Source(context)
//!                                   │
//!  Source(image) ──────────────────▶└─▶ File(copy --from) ──▶ target
//! ```
//!
//! Adding the same operation over the same inputs twice gives the same node, so work that two targets share happens
//! once. A node's [`Step`] (title, place in the source) is not part of its identity.

mod mode;
mod op;
mod remote;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use mode::ModeError;
pub use op::{
    Access, Add, CopyOptions, CopySource, File, FileAction, Host, Image, Input, Local, Merge, Mode, Mount, MountKind,
    Network, Op, Owner, Ownership, Run, SecretVariable, Security, Sharing, Source, Symbolic, Ulimit,
};

pub use remote::{Git, GitError, GitMtime, Http};

use crate::diagnostic;
use crate::oci::Digest;

/// Digest of an op's definition and its inputs' definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpDigest(Digest);

impl OpDigest {
    /// Returns the digest itself.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

/// A node of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

/// Where a step came from and how it is shown. Outside every digest.
#[derive(Debug, Clone)]
pub struct Step {
    /// What people read, such as `[build 2/5] RUN make`.
    pub title: String,
    /// What tells it from other steps, whatever is written before and after it.
    pub place: Place,
    /// The text the step was written in and its place there.
    pub origin: Option<(diagnostic::Source, diagnostic::Span)>,
    /// Whether cached results are ignored.
    pub ignore_cache: bool,
}

/// How a step is found again in another build of a text that may have changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The chain of steps it belongs to; may be empty.
    pub stage: String,
    /// Its number there, from 1; 0 where it has none.
    pub position: usize,
    /// What is done, as people wrote it.
    pub text: String,
}

/// An operation with its inputs.
#[derive(Debug, Clone)]
pub struct Node {
    /// What to do.
    pub op: Op,
    /// What [`Input`]s of the op refer to.
    pub inputs: Vec<NodeId>,
    /// Identity of the op over its inputs.
    pub digest: OpDigest,
    /// How it is shown.
    pub step: Step,
}

/// Operations in an order in which every input precedes its users.
#[derive(Debug, Clone, Default)]
pub struct BuildGraph {
    nodes: Vec<Node>,
    known: HashMap<OpDigest, NodeId>,
}

impl BuildGraph {
    /// Returns an empty graph.
    pub fn new() -> BuildGraph {
        BuildGraph::default()
    }

    /// Adds `op` over `inputs`, or finds the equal node that is there already; its first step is kept, except that
    /// ignoring the cache is remembered from any of them.
    pub fn add(&mut self, op: Op, inputs: Vec<NodeId>, step: Step) -> NodeId {
        debug_assert!(inputs.iter().all(|input| (input.0 as usize) < self.nodes.len()), "inputs precede their users");
        let digests: Vec<OpDigest> = inputs.iter().map(|&input| self.node(input).digest).collect();
        let encoded = serde_json::to_vec(&(&op, &digests)).expect("ops are plain data");
        let digest = OpDigest(Digest::of(&encoded));
        if let Some(&known) = self.known.get(&digest) {
            self.nodes[known.0 as usize].step.ignore_cache |= step.ignore_cache;
            return known;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph has fewer than 2^32 nodes"));
        self.nodes.push(Node { op, inputs, digest, step });
        self.known.insert(digest, id);
        id
    }

    /// Returns a node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Returns the node whose tree the tree of a node grew from; none where it began with nothing.
    pub fn below(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        let input = match &node.op {
            Op::Run(run) => run.root,
            Op::File(file) => file.base,
            Op::Merge(_) => Some(Input(0)),
            Op::Source(_) => None,
        };
        input.and_then(|input| node.inputs.get(input.0 as usize).copied())
    }

    /// Returns every node with its id; inputs come before their users.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// Returns the nodes that `targets` need, themselves included, in ascending order.
    pub fn needed(&self, targets: &[NodeId]) -> Vec<NodeId> {
        let mut wanted = vec![false; self.nodes.len()];
        for target in targets {
            wanted[target.0 as usize] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if wanted[index] {
                for input in &self.nodes[index].inputs {
                    wanted[input.0 as usize] = true;
                }
            }
        }
        (0..self.nodes.len() as u32).map(NodeId).filter(|id| wanted[id.0 as usize]).collect()
    }
}
