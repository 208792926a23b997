use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::Miss;
use crate::graph::{NodeId, Place};
use crate::oci::{DiffId, Digest};

/// What becomes known of a step while it is looked up and done.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The key of its result, or the digest of the manifest of the image that it is.
    pub key: Option<Digest>,
    /// The layer it led to.
    pub result: Option<DiffId>,
    /// Why it had to be done; none where it was known, or makes nothing that could be.
    pub miss: Option<Miss>,
    /// The image that it is.
    pub(super) image: Option<BaseImage>,
}

/// A step that is an image.
#[derive(Debug, Clone)]
pub(super) struct BaseImage {
    pub(super) name: String,
    pub(super) place: Place,
}

/// The traces of all steps of a build. What is written behind the build adds to it, so it is whole when that has ended.
#[derive(Debug, Default)]
pub struct Ledger {
    traces: Mutex<BTreeMap<NodeId, Trace>>,
}

impl Ledger {
    /// Returns what is known of a step.
    pub fn trace(&self, step: NodeId) -> Trace {
        self.lock().get(&step).cloned().unwrap_or_default()
    }

    pub(super) fn note(&self, step: NodeId, change: impl FnOnce(&mut Trace)) {
        change(self.lock().entry(step).or_default());
    }

    pub(super) fn result(&self, step: NodeId, key: Digest, result: DiffId) {
        self.note(step, |trace| (trace.key, trace.result) = (Some(key), Some(result)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Trace>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
