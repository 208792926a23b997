use std::io::{self, Read};

use super::library::{Asker, Library};
use super::{Error, Layer};
use crate::layer::{self, Content, Metadata, Mtime, Writer};
use crate::store::Hashing;

impl Library {
    /// Returns `layer` with no modification time later than `epoch`; itself where it has none. It is written once.
    ///
    /// # Errors
    /// Those of reading a layer and of writing one.
    pub fn rewritten(&self, layer: &Layer, epoch: Mtime, asker: Asker<'_>) -> Result<Layer, Error> {
        let mut known = layer.rewritten();
        if let Some((_, rewritten)) = known.as_ref().filter(|(limit, _)| *limit == epoch) {
            return Ok(rewritten.clone());
        }
        let rewritten = self.rewrite(layer, epoch, asker)?;
        // A layer that is its own result would keep itself alive.
        if !rewritten.is(layer) {
            *known = Some((epoch, rewritten.clone()));
        }
        Ok(rewritten)
    }

    fn rewrite(&self, layer: &Layer, epoch: Mtime, asker: Asker<'_>) -> Result<Layer, Error> {
        let index = self.index(layer, asker)?;
        if index.entries().all(|entry| entry.metadata.mtime.seconds <= epoch.seconds) {
            return Ok(layer.clone());
        }
        let (_, mut tar) = self.tar(layer, asker)?;
        let mut at = 0;
        let ingest = self.store().ingest_with(Hashing::Caller)?;
        let mut writer = Writer::new(asker.cancel.guard(ingest));
        for entry in index.entries() {
            let metadata = Metadata { mtime: entry.metadata.mtime.min(epoch), ..entry.metadata.clone() };
            let (offset, size) = entry.kind.extent();
            if size > 0 {
                skip(&mut tar, offset - at).map_err(layer::Error::Read)?;
                at = offset + size;
            }
            // A layer of kiln's own has no opaque directories.
            if let Some(content) = Content::of(&entry.kind, &mut tar.by_ref().take(size)) {
                writer.append(&entry.path, &metadata, content)?;
            }
        }
        let (ingest, finished) = writer.finish()?;
        ingest.into_inner().commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        Ok(Layer::stored(self.add(finished)?))
    }
}

fn skip(reader: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut reader.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
