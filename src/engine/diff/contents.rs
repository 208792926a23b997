use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::super::{Error, file_error};
use super::Job;
use super::side::{Side, Source};
use crate::compare::File;
use crate::fs::Root;
use crate::layer::Kind;

/// A file whose content is wanted: where it is, and what it is.
pub(super) type Wanted<'a> = (&'a [u8], &'a File);

/// Takes the place of a file in the list of wanted ones, and its content.
pub(super) type Take<'a> = dyn FnMut(usize, &mut dyn Read) -> Result<(), Error> + 'a;

impl Job<'_> {
    /// Reads the contents of files of one side, each layer from its beginning to the last of them once.
    pub(super) fn contents(&self, side: &Side, files: &[Wanted<'_>], take: &mut Take<'_>) -> Result<(), Error> {
        let layers = match &side.source {
            Source::Directory { path, .. } => return self.directory_contents(path, files, take),
            Source::Layers(layers) => layers,
        };
        // By layer, and in it by place; several names of one file share a place.
        let mut extents: BTreeMap<(u32, u64, u64), Vec<usize>> = BTreeMap::new();
        for (index, (_, file)) in files.iter().enumerate() {
            if let (Some(layer), Kind::File { size, offset, .. }) = (file.layer, &file.kind) {
                extents.entry((layer, *offset, *size)).or_default().push(index);
            }
        }
        let mut by_layer: BTreeMap<u32, Vec<(u64, u64, Vec<usize>)>> = BTreeMap::new();
        for ((layer, offset, size), indexes) in extents {
            by_layer.entry(layer).or_default().push((offset, size, indexes));
        }
        for (layer, extents) in by_layer {
            let places: Vec<(u64, u64)> = extents.iter().map(|(offset, size, _)| (*offset, *size)).collect();
            let Some(layer) = layers.get(layer as usize) else { continue };
            self.library.contents(layer, &places, self.asker(), &mut |place, content| {
                let indexes = &extents[place].2;
                if let [index] = indexes[..] {
                    return take(index, content);
                }
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(unreadable)?;
                indexes.iter().try_for_each(|&index| take(index, &mut &bytes[..]))
            })?;
        }
        Ok(self.cancel.check()?)
    }

    fn directory_contents(&self, path: &Path, files: &[Wanted<'_>], take: &mut Take<'_>) -> Result<(), Error> {
        let failed = |error: crate::fs::Error| file_error("read", path)(io::Error::other(error));
        let root = Root::open(path).map_err(failed)?;
        for (index, (path, _)) in files.iter().enumerate() {
            let mut file = self.cancel.guard(root.open_file(path).map_err(failed)?);
            take(index, &mut file)?;
        }
        Ok(self.cancel.check()?)
    }
}

/// Returns the error of bytes of a layer that could not be read.
pub(super) fn unreadable(source: io::Error) -> Error {
    crate::layer::Error::Read(source).into()
}
