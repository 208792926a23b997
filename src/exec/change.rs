use std::io;

use serde_json::{Value, json};

use super::file::{self, Content, Selection, Source};
use super::library::Asker;
use super::recipe::{Ticket, recipe};
use super::why::{Asked, Base};
use super::{Error, Executor, Layer, Output, Stack, Tree};
use crate::cache::{Inputs, Recipe};
use crate::graph::{self, CopySource, FileAction, Input, Op};
use crate::layer::{Mtime, Node, View, Writer};
use crate::solve::{Event, Lookup, Work};
use crate::store::Hashing;

/// A change that is ready to be written.
pub struct Change {
    selection: Selection,
    recipe: Recipe,
    inputs: Inputs,
}

impl Executor {
    /// Finds what a change reads, and looks its result up.
    pub(super) fn look_up_change(
        &self,
        work: &Work<'_, Output>,
        op: &graph::File,
    ) -> Result<Lookup<Output, Ticket>, Error> {
        let base = base(work, op);
        let (placeless, selection) = self.selected(work, op)?;
        let (chain, reads) = (base.chain_id()?, self.reads(work, &selection));
        let recipe = recipe(&placeless, chain, reads.clone());
        if let Some(output) = self.look_up(work, &base, &recipe)? {
            return Ok(Lookup::Hit(output));
        }
        let inputs = Inputs::new(selection.inputs());
        self.explain(
            work,
            &Asked { op: &placeless, root: op.base, base: Base::Known(chain), sources: &reads, inputs: Some(&inputs) },
        )?;
        Ok(Lookup::Miss(Ticket::Change(Box::new(Change { selection, recipe, inputs }))))
    }

    /// Returns the op as it stands in a recipe, and what it reads.
    pub(super) fn selected(&self, work: &Work<'_, Output>, op: &graph::File) -> Result<(Op, Selection), Error> {
        let trees = self.trees(work, op)?;
        Ok((Op::File(without_places(op)), file::select(op, &sources(work, &trees))?))
    }

    /// Returns what a change depends on besides its op and base.
    pub(super) fn reads(&self, work: &Work<'_, Output>, selection: &Selection) -> Value {
        let files = match self.setting.epoch {
            // Neither their times nor their modes are those of the same files elsewhere.
            Some(epoch) if self.setting.is_normalized => {
                json!({ "files": selection.recipe(), "epoch": epoch.as_second(), "normalized": true })
            }
            Some(epoch) => json!({ "files": selection.recipe(), "epoch": epoch.as_second() }),
            None => selection.recipe(),
        };
        let remotes: Vec<&Value> = work.inputs.iter().filter_map(Output::identity).collect();
        if remotes.is_empty() { files } else { json!({ "reads": files, "remotes": remotes }) }
    }

    /// Writes a change as a layer.
    pub(super) fn change(&self, work: &Work<'_, Output>, op: &graph::File, change: Change) -> Result<Output, Error> {
        let base = base(work, op);
        let asker = Asker::of(work);
        let view = self.library.view(&base, asker)?;
        let content = reader(self, &base, asker);
        let trees = self.trees(work, op)?;
        let created = super::now();
        let options = file::WriteOptions {
            now: Mtime { seconds: self.setting.epoch.unwrap_or(created).as_second(), nanoseconds: 0 },
            scratch: self.library.store().root().join("ingest"),
            cancel: work.cancel.clone(),
        };
        let writer = Writer::new(self.library.store().ingest_with(Hashing::Caller)?);
        let base_files = file::Stack { view: &view, content: &*content };
        let writer = file::write(change.selection, &sources(work, &trees), base_files, &options, writer)?;
        let (ingest, finished) = writer.finish()?;
        ingest.commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        work.observer.observe(Event::Kept { step: work.id, layer_bytes: finished.size_bytes });
        let diff_id = self.library.add(finished)?;
        self.cache.insert(&change.recipe, Some(&change.inputs), Some(diff_id), &self.setting.build, created)?;
        self.setting.ledger.result(work.id, change.recipe.key().digest(), diff_id);
        Ok(Output::Tree(Tree { stack: base.with(Layer::stored(diff_id)), created: Some(created) }))
    }

    /// Returns, for each input of the op that files are copied from, its tree and a way to its bytes; a context is
    /// neither.
    fn trees<'a>(&'a self, work: &'a Work<'_, Output>, op: &graph::File) -> Result<Vec<Option<Files<'a>>>, Error> {
        let asker = Asker::of(work);
        let files = |(index, input): (usize, &'a Output)| match input {
            Output::Tree(tree) if reads(op, Input(index as u32)) => {
                let content = reader(self, &tree.stack, asker);
                Ok(Some(Files { view: self.library.view(&tree.stack, asker)?, content }))
            }
            _ => Ok(None),
        };
        work.inputs.iter().enumerate().map(files).collect()
    }
}

/// Returns the op with the last component alone of each path that it copies from: the directories above do not matter,
/// for what is found there is in the recipe itself.
fn without_places(op: &graph::File) -> graph::File {
    let mut op = op.clone();
    for action in &mut op.actions {
        let FileAction::Copy { source: CopySource::Path { path, .. }, options, .. } = action else { continue };
        let (place, pattern) = match path.split_once("/./").filter(|_| options.parents) {
            Some((place, pattern)) => (place, format!("/./{pattern}")),
            None if options.parents => continue,
            None => (path.as_str(), String::new()),
        };
        let name = place.trim_end_matches(['/', '.']).rsplit('/').next().unwrap_or_default();
        *path = format!("{name}{pattern}");
    }
    op
}

/// The files of one input.
struct Files<'a> {
    view: View,
    content: Box<Content<'a>>,
}

fn reads(op: &graph::File, input: Input) -> bool {
    op.actions.iter().any(
        |action| matches!(action, FileAction::Copy { source: CopySource::Path { from, .. }, .. } if *from == input),
    )
}

fn base(work: &Work<'_, Output>, op: &graph::File) -> Stack {
    op.base.map(|input| work.inputs[input.0 as usize].stack().clone()).unwrap_or_default()
}

fn sources<'a>(work: &'a Work<'_, Output>, trees: &'a [Option<Files<'a>>]) -> Vec<Option<Source<'a>>> {
    let source = |(input, tree): (&'a Output, &'a Option<Files<'a>>)| match (input, tree) {
        (Output::Local(context), _) => Some(Source::Context(context)),
        (Output::Remote(remote), _) => Some(Source::Context(&remote.context)),
        (_, Some(files)) => Some(Source::Stack(file::Stack { view: &files.view, content: &*files.content })),
        _ => None,
    };
    work.inputs.iter().zip(trees).map(source).collect()
}

/// Returns a way to the bytes of a stack's files.
fn reader<'a>(executor: &'a Executor, stack: &'a Stack, asker: Asker<'a>) -> Box<Content<'a>> {
    Box::new(move |node: &Node| executor.library.content(stack, node, asker).map_err(io::Error::other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::CopyOptions;

    fn without_place(path: &str, parents: bool) -> String {
        let source = CopySource::Path { from: Input(0), path: path.to_owned() };
        let options = CopyOptions { parents, ..CopyOptions::default() };
        let copy = FileAction::Copy { source, destination: "/".to_owned(), options };
        let op = without_places(&graph::File { base: None, actions: vec![copy] });
        match &op.actions[..] {
            [FileAction::Copy { source: CopySource::Path { path, .. }, .. }] => path.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_matter_and_places_do_not() {
        for (path, parents, expected) in [
            ("a", false, "a"),
            ("/d/e/a", false, "a"),
            ("d/*.txt", false, "*.txt"),
            ("d/./a/", false, "a"),
            (".", false, ""),
            ("d/e/./f/a", true, "e/./f/a"),
            ("d/f/a", true, "d/f/a"),
        ] {
            assert_eq!(without_place(path, parents), expected, "{path}");
        }
    }
}
