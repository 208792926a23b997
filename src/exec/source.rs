use super::ledger::BaseImage;
use super::stack::{Layer, Stack};
use super::{Error, Executor, Output, Tree};
use crate::graph::{Image, Local};
use crate::solve::Work;

impl Executor {
    /// Returns the layers of an image. Nothing is fetched: who needs the files does that.
    pub(super) fn image(&self, work: &Work<'_, Output>, image: &Image) -> Result<Output, Error> {
        self.setting.ledger.note(work.id, |trace| {
            let (name, place) = (image.reference.to_string(), work.node.step.place.clone());
            (trace.key, trace.image) = (Some(image.manifest), Some(BaseImage { name, place }));
        });
        let manifest = self.library.manifest(image.manifest)?;
        let layers = Layer::of_image(&image.reference, &image.diff_ids, manifest.value());
        Ok(Output::Tree(Tree { stack: Stack::new(layers), created: None }))
    }

    pub(super) fn local(&self, local: &Local) -> Result<Output, Error> {
        let context = self.setting.contexts.get(&local.name);
        context.cloned().map(Output::Local).ok_or_else(|| Error::NoContext(local.name.clone()))
    }
}
