//! How large a plan may grow, and how much is looked for that may have been meant.

use super::stages::{Planner, name};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::nearest;

/// More than any build comes to (BuildKit takes no more than 16 MiB). Every RUN has a copy of its environment and every
/// stage one of the history below, so that a file can ask for its square.
const MOST_BYTES: usize = 256 << 20;

/// After so many findings nobody is told what may have been meant: each answer takes a look at every name.
pub(super) const MOST_SUGGESTIONS: usize = 100;

impl<'a> Planner<'a> {
    /// Counts bytes of what is planned, and says at `span` where they become too many.
    pub(super) fn count(&mut self, bytes: usize, span: Span) {
        if !self.is_full() && self.bytes + bytes > MOST_BYTES {
            let message =
                format!("the environments and histories of the build take more than {} MiB", MOST_BYTES >> 20);
            self.problems.push(Diagnostic::error("build-too-large", message, span).with_label("up to here"));
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Tells whether nothing more can be planned, which is reported.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    /// Returns the nearest name of another stage, for when an image of that name is not found either.
    pub(super) fn nearest_stage(&self, current: usize, text: &str) -> Option<&'a str> {
        if self.problems.len() >= MOST_SUGGESTIONS {
            return None;
        }
        nearest(text, self.file.stages[..current].iter().filter_map(name))
    }
}
