use super::stack::Stack;
use super::why::{Asked, Base};
use super::{Error, Executor, Output, Tree};
use crate::cache::{Difference, Inputs, Miss};
use crate::graph::{Input, Op};
use crate::solve::{Execute, Lookup, Work};

/// Looks everything up and makes nothing: what is not known stays so, with all that needs it.
///
/// Images and contexts are resolved as in a build, and sources elsewhere asked about; nothing else is fetched.
pub struct Forecast<'a>(pub &'a Executor);

impl Execute for Forecast<'_> {
    /// None where it would have to be made.
    type Output = Option<Output>;
    type Ticket = ();
    type Error = Error;

    fn lookup(&self, work: &Work<'_, Option<Output>>) -> Result<Lookup<Option<Output>, ()>, Error> {
        let unknown: Vec<u32> =
            (0..).zip(&work.inputs).filter_map(|(at, input)| input.is_none().then_some(at)).collect();
        let known = Work {
            id: work.id,
            node: work.node,
            inputs: work.inputs.iter().map(|input| input.clone().unwrap_or_else(nothing)).collect(),
            observer: work.observer,
            cancel: work.cancel.clone(),
        };
        if unknown.is_empty() {
            return Ok(match self.0.lookup(&known)? {
                Lookup::Hit(output) => Lookup::Hit(Some(output)),
                Lookup::Miss(_) => Lookup::Miss(()),
            });
        }
        match root(&work.node.op) {
            // Whatever else may be a reason is known.
            Some(root) if unknown == [root.0] => self.0.explain_over_unknown(&known)?,
            root => self.0.explain_unread(&known, &unknown, root),
        }
        Ok(Lookup::Miss(()))
    }

    fn execute(&self, work: &Work<'_, Option<Output>>, (): ()) -> Result<Option<Output>, Error> {
        self.0.tell(work.id, work.observer);
        Ok(None)
    }
}

/// Stands for a tree that nobody will look at.
fn nothing() -> Output {
    Output::Tree(Tree { stack: Stack::default(), created: None })
}

/// Returns the input that an op works on.
fn root(op: &Op) -> Option<Input> {
    match op {
        Op::Run(run) => run.root,
        Op::File(file) => file.base,
        Op::Merge(_) | Op::Source(_) => None,
    }
}

impl Executor {
    /// Notes why an op will have to be done whose root will be another.
    fn explain_over_unknown(&self, work: &Work<'_, Output>) -> Result<(), Error> {
        let (op, root) = (&work.node.op, root(&work.node.op));
        match op {
            Op::Run(run) => {
                let sources = self.reads_of_mounts(work, run)?;
                self.explain(work, &Asked { op, root, base: Base::Pending, sources: &sources, inputs: None })
            }
            Op::File(file) => {
                let (op, selection) = self.selected(work, file)?;
                let (sources, inputs) = (self.reads(work, &selection), Inputs::new(selection.inputs()));
                self.explain(
                    work,
                    &Asked { op: &op, root, base: Base::Pending, sources: &sources, inputs: Some(&inputs) },
                )
            }
            Op::Merge(_) | Op::Source(_) => Ok(()),
        }
    }

    /// Notes why an op will have to be done that reads what is not there yet.
    fn explain_unread(&self, work: &Work<'_, Output>, unknown: &[u32], root: Option<Input>) {
        // Putting layers over each other is no work.
        if matches!(work.node.op, Op::Merge(_)) {
            return;
        }
        let step = |at: &u32| {
            let step = self.number(work, Input(*at));
            if root == Some(Input(*at)) { Difference::Base { step } } else { Difference::Source { step } }
        };
        let differences = unknown.iter().map(step).collect();
        self.note_miss(work.id, Miss::Changed { differences, than: String::new() });
    }
}
