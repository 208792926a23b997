use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;
use serde_json::json;

use super::library::{Asker, Library};
use super::{Error, Layer, Stack};
use crate::cache::{Cache, Recipe};
use crate::layer::{self, Content, Fold, Slice, Sort, Strata, Writer};
use crate::store::{BuildId, Hashing};

/// The upper layers of a stack, written anew.
pub struct Refolded {
    /// Base first; none for one that had nothing left.
    pub layers: Vec<Option<Layer>>,
    /// Size of the layers before, in bytes of their archives, and now.
    pub size_bytes: (u64, u64),
    /// Whether they were written just now.
    pub is_new: bool,
}

/// Raised when the same layers are to be folded differently.
const VERSION: u32 = 1;

impl Library {
    /// Writes the layers of a stack over the first `base` anew, so that they hold nothing that is not seen; what they make
    /// over the others stays the same. It is done once for the same layers.
    ///
    /// # Errors
    /// Those of reading layers and of writing them.
    pub fn refold(
        &self,
        stack: &Stack,
        base: usize,
        sort: Sort,
        build: &BuildId,
        asker: Asker<'_>,
    ) -> Result<Refolded, Error> {
        let upper = &stack.layers()[base..];
        let count = if sort == Sort::One { 1 } else { upper.len() };
        // Who has many layers asks for each of them, so each key says the others in few bytes.
        let chain = stack.chain_id()?;
        let how = match sort {
            Sort::FirstOwner => "first owner",
            Sort::One => "one",
        };
        let recipe =
            |out| Recipe::new(json!({ "fold": VERSION, "how": how, "base": base, "stack": chain, "layer": out }));
        let cache = Cache::new(self.store());
        let known = (0..count).map(|out| cache.lookup(&recipe(out).key()));
        let known: Option<Vec<_>> = known.collect::<Result<_, _>>()?;
        let is_new = known.is_none();
        let layers = match known {
            Some(known) => known.into_iter().map(|entry| entry.result.map(Layer::stored)).collect(),
            None => {
                let layers = self.fold(stack, base, sort, asker)?;
                for (out, layer) in layers.iter().enumerate() {
                    let result = layer.as_ref().map(Layer::diff_id).transpose()?;
                    cache.insert(&recipe(out), None, result, build, Timestamp::now())?;
                }
                layers
            }
        };
        let size_bytes = (self.size(upper.iter())?, self.size(layers.iter().flatten())?);
        Ok(Refolded { layers, size_bytes, is_new })
    }

    fn fold(&self, stack: &Stack, base: usize, sort: Sort, asker: Asker<'_>) -> Result<Vec<Option<Layer>>, Error> {
        let indexes = self.each(stack.layers(), |_, layer| self.index(layer, asker))?;
        let strata = Strata::of(indexes);
        let fold = Fold::new(&strata, base, sort);
        let write = |out| {
            if fold.is_empty(out) {
                return Ok(None);
            }
            if let Some(same) = fold.unchanged(out) {
                return Ok(Some(stack.layers()[same].clone()));
            }
            self.write_fold(stack, &fold, out, asker).map(Some)
        };
        (0..fold.layers()).map(write).collect()
    }

    fn write_fold(&self, stack: &Stack, fold: &Fold<'_>, out: usize, asker: Asker<'_>) -> Result<Layer, Error> {
        let ingest = self.store().ingest_with(Hashing::Caller)?;
        let mut writer = Writer::new(asker.cancel.guard(ingest));
        let mut open: Option<(usize, Contents)> = None;
        for folded in fold.entries(out) {
            let (offset, size) = folded.entry.kind.extent();
            let mut bytes: Box<dyn Read + '_> = Box::new(io::empty());
            if size > 0 {
                if open.as_ref().is_none_or(|(layer, _)| *layer != folded.layer) {
                    open = Some((folded.layer, self.contents_of(&stack.layers()[folded.layer], asker)?));
                }
                if let Some((_, contents)) = &mut open {
                    bytes = contents.at(offset, size)?;
                }
            }
            let content =
                Content::of(&folded.entry.kind, &mut bytes).expect("no layer is written with opaque directories");
            writer.append(&folded.entry.path, &folded.entry.metadata, content)?;
        }
        let (ingest, finished) = writer.finish()?;
        ingest.into_inner().commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        Ok(Layer::stored(self.add(finished)?))
    }

    fn contents_of(&self, layer: &Layer, asker: Asker<'_>) -> Result<Contents, Error> {
        let diff_id = layer.diff_id()?;
        if self.store().has_blob(diff_id.digest())?.is_some() {
            return Ok(Contents::Plain(self.store().open_blob(diff_id.digest())?));
        }
        Ok(Contents::Packed { tar: self.tar(layer, asker)?.1, position: 0 })
    }

    /// Returns how many bytes the archives of layers have.
    fn size<'a>(&self, layers: impl Iterator<Item = &'a Layer>) -> Result<u64, Error> {
        let size = |layer: &Layer| Ok(self.store().layer_size(layer.diff_id()?)?.unwrap_or(0));
        layers.map(size).sum()
    }
}

/// The archive of a layer, whose contents are read in its order.
enum Contents {
    Plain(File),
    /// It can only be read from its beginning.
    Packed {
        tar: Box<dyn Read + Send>,
        position: u64,
    },
}

impl Contents {
    fn at(&mut self, offset: u64, size: u64) -> Result<Box<dyn Read + '_>, layer::Error> {
        match self {
            Contents::Plain(file) => Ok(Box::new(Slice::new(&*file, offset, size))),
            Contents::Packed { tar, position } => {
                let gap = offset - *position;
                match io::copy(&mut tar.take(gap), &mut io::sink()) {
                    Ok(skipped) if skipped == gap => {}
                    Ok(_) => return Err(layer::Error::Read(io::ErrorKind::UnexpectedEof.into())),
                    Err(source) => return Err(layer::Error::Read(source)),
                }
                *position = offset + size;
                Ok(Box::new(tar.take(size)))
            }
        }
    }
}
