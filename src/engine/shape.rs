//! What happens to the layers of an image between the steps that made them and the image.

use jiff::Timestamp;

use super::Error;
use super::build::{Job, mtime};
use crate::compare;
use crate::exec::{self, Asker, Library, Refolded, Stack};
use crate::frontend::PlannedImage;
use crate::layer::{EntryPath, Sort};
use crate::oci::History;
use crate::solve::{Event, Observe};

/// How the layers that a build made are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// As many as before, without what is not seen: what later steps did to a file but change its bytes is done in the
    /// layer that has them.
    Compact,
    /// One for all steps.
    Squash,
    /// One for all steps and the base image.
    SquashAll,
}

/// The layers of an image, and which items of its history have one.
pub(super) struct Shaped {
    pub(super) stack: Stack,
    /// How many are those of the base image.
    pub(super) inherited: usize,
    /// Of the layers of the base image, whether they are still there.
    keeps_base: bool,
    /// Of every layer that a step made.
    keeps: Vec<bool>,
    /// Whether the last layer belongs to no step.
    is_merged: bool,
}

impl Shaped {
    /// Returns what made each layer that is not of the base image, given the titles of the steps that made one.
    pub(super) fn makers(&self, titles: impl Iterator<Item = String>) -> Vec<String> {
        let own = titles.zip(&self.keeps).filter(|(_, keeps)| **keeps).map(|(title, _)| title);
        own.chain(self.is_merged.then(|| "all steps".to_owned())).collect()
    }

    /// Brings a history, of which the first `own` items are the base image's, into agreement with the layers.
    pub(super) fn settle(&self, history: &mut Vec<History>, own: usize) {
        let (base, steps) = history.split_at_mut(own);
        if !self.keeps_base {
            base.iter_mut().for_each(|item| item.empty_layer = true);
        }
        let with_layer = steps.iter_mut().filter(|item| !item.empty_layer);
        for (item, keeps) in with_layer.zip(&self.keeps) {
            item.empty_layer = !keeps;
        }
        if self.is_merged {
            history.push(History { comment: Some(MERGED.to_owned()), ..History::default() });
        }
    }
}

/// What is said of a layer of many steps.
const MERGED: &str = "the layers of the steps before, squashed";

impl Job<'_> {
    /// Returns the layers of an image as it will have them, of those that its steps made.
    pub(super) fn shaped(
        &self,
        planned: &PlannedImage,
        stack: &Stack,
        epoch: Option<Timestamp>,
        library: &Library,
        asker: Asker<'_>,
    ) -> Result<Shaped, Error> {
        let inherited = planned.config.rootfs.diff_ids.len().min(stack.layers().len());
        let stack = self.rewritten(inherited, stack, epoch, library, asker)?;
        let count = count_of(&stack, inherited);
        let plain = |stack| Shaped { stack, inherited, keeps_base: true, keeps: vec![true; count], is_merged: false };
        let Some(folding) = self.options.folding else { return Ok(plain(stack)) };
        let (base, sort) = match folding {
            Folding::Compact => (inherited, Sort::FirstOwner),
            Folding::Squash => (inherited, Sort::One),
            Folding::SquashAll => (0, Sort::One),
        };
        if stack.layers().len() == base {
            return Ok(plain(stack));
        }
        let what = if sort == Sort::One { "squashing layers" } else { "compacting layers" }.to_owned();
        self.observer.observe(Event::Phase { what: what.clone(), result: None });
        let Refolded { layers, size_bytes: (before, after), is_new } =
            library.refold(&stack, base, sort, &self.build, asker)?;
        let all = stack.layers()[..base].iter().chain(layers.iter().flatten()).cloned();
        let folded = Stack::new(all.collect());
        if is_new {
            prove(&stack, &folded, library, asker)?;
        }
        let result = Some(told(count_of(&stack, base), before, count_of(&folded, base), after));
        self.observer.observe(Event::Phase { what, result });
        let keeps = if sort == Sort::One { vec![false; count] } else { layers.iter().map(Option::is_some).collect() };
        let is_merged = sort == Sort::One && layers.iter().any(Option::is_some);
        Ok(Shaped { stack: folded, inherited: base, keeps_base: base == inherited, keeps, is_merged })
    }

    /// Returns the stack with no time of its own layers later than the epoch, where that is asked for.
    fn rewritten(
        &self,
        inherited: usize,
        stack: &Stack,
        epoch: Option<Timestamp>,
        library: &Library,
        asker: Asker<'_>,
    ) -> Result<Stack, Error> {
        let Some(epoch) = epoch.filter(|_| self.rewrites()) else {
            if self.rewrites() {
                let message = "rewrite-timestamp has no effect without SOURCE_DATE_EPOCH".to_owned();
                self.observer.observe(Event::Warning { message });
            }
            return Ok(stack.clone());
        };
        let (base, own) = stack.layers().split_at(inherited);
        let own = own.iter().map(|layer| library.rewritten(layer, mtime(epoch), asker));
        let layers = base.iter().cloned().map(Ok).chain(own).collect::<Result<_, exec::Error>>()?;
        Ok(Stack::new(layers))
    }
}

/// Compares the files of two stacks, to the last attribute; nobody is to take the one for the other on our word.
fn prove(before: &Stack, after: &Stack, library: &Library, asker: Asker<'_>) -> Result<(), Error> {
    let layer = |layer: &exec::Layer| {
        let index = Some(library.index_bytes(layer, asker)?);
        Ok(compare::Layer { diff_id: layer.diff_id()?, index })
    };
    let layers = |stack: &Stack| stack.layers().iter().map(layer).collect::<Result<Vec<_>, Error>>();
    match first_difference(&layers(before)?, &layers(after)?, asker)? {
        None => Ok(()),
        Some(path) => Err(Error::Folding { path: path.escape_ascii().to_string() }),
    }
}

fn first_difference(
    before: &[compare::Layer],
    after: &[compare::Layer],
    asker: Asker<'_>,
) -> Result<Option<EntryPath>, Error> {
    let options = compare::Options {
        times: true,
        most: Some(1),
        cancelled: &|| asker.cancel.is_cancelled(),
        ..compare::Options::default()
    };
    let found = compare::compare(before, after, &options)?;
    Ok(found.changes.into_iter().next().map(|change| change.path))
}

fn count_of(stack: &Stack, base: usize) -> usize {
    stack.layers().len() - base
}

/// Says what came of it, for people.
#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn told(layers_before: usize, bytes_before: u64, layers: usize, bytes: u64) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (before, after) = (megabytes(bytes_before), megabytes(bytes));
    format!("{layers_before} layers of {before:.1} MB became {layers} of {after:.1} MB")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layer::{Entry, Index, IndexBytes, Kind, Metadata};
    use crate::oci::{DiffId, Digest};
    use crate::sys::Cancel;

    fn layer(path: &str, mode: u32) -> compare::Layer {
        let metadata = Metadata { mode, ..Metadata::default() };
        let index: Index = [Entry { path: path.as_bytes().to_vec(), kind: Kind::Fifo, metadata }].into_iter().collect();
        let bytes = index.to_bytes();
        compare::Layer { diff_id: DiffId::new(Digest::of(&bytes)), index: Some(IndexBytes::new(bytes)) }
    }

    #[test]
    fn a_tree_that_would_be_another_is_found_out() {
        let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
        let asker = Asker { step: None, observer: &observer, cancel: &Cancel::new() };
        let differs = |before: &[compare::Layer], after: &[compare::Layer]| {
            first_difference(before, after, asker).unwrap().map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(differs(&[layer("a", 1), layer("a", 2)], &[layer("a", 2)]), None);
        assert_eq!(differs(&[layer("a", 1), layer("a", 2)], &[layer("a", 1)]), Some("a".to_owned()));
        assert_eq!(differs(&[layer("a", 1), layer("b", 2)], &[layer("a", 1)]), Some("b".to_owned()));
    }
}
