use std::io::{self, Read};

use super::library::{Asker, Library};
use super::{Error, Layer};
use crate::layer::{self, Content, Entry, Kind, Metadata, Mtime, Writer};
use crate::store::Hashing;

impl Library {
    /// Returns `layer` with no modification time later than `epoch`; itself where it has none.
    ///
    /// # Errors
    /// Those of reading a layer and of writing one.
    pub fn rewritten(&self, layer: &Layer, epoch: Mtime, asker: Asker<'_>) -> Result<Layer, Error> {
        let index = self.index(layer, asker)?;
        if index.entries.iter().all(|entry| entry.metadata.mtime.seconds <= epoch.seconds) {
            return Ok(layer.clone());
        }
        let (_, mut tar) = self.tar(layer, asker)?;
        let mut at = 0;
        let ingest = self.store().ingest_with(Hashing::Caller)?;
        let mut writer = Writer::new(asker.cancel.guard(ingest));
        for entry in &index.entries {
            let metadata = Metadata { mtime: entry.metadata.mtime.min(epoch), ..entry.metadata.clone() };
            if let Kind::File { size, digest, offset } = entry.kind {
                skip(&mut tar, offset - at).map_err(layer::Error::Read)?;
                at = offset + size;
                let content = Content::Known { size, digest, reader: &mut tar.by_ref().take(size) };
                writer.append(&entry.path, &metadata, content)?;
            } else if let Some(content) = content(entry) {
                writer.append(&entry.path, &metadata, content)?;
            }
        }
        let (ingest, finished) = writer.finish()?;
        ingest.into_inner().commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        Ok(Layer::stored(self.add(finished)?))
    }
}

/// Returns what an entry holds that is no regular file. A layer of kiln's own has no opaque directories.
fn content(entry: &Entry) -> Option<Content<'_>> {
    Some(match &entry.kind {
        Kind::File { .. } | Kind::Opaque => return None,
        Kind::Directory => Content::Directory,
        Kind::Symlink { target } => Content::Symlink(target),
        Kind::Hardlink { target } => Content::Hardlink(target),
        Kind::CharDevice { major, minor } => Content::CharDevice { major: *major, minor: *minor },
        Kind::BlockDevice { major, minor } => Content::BlockDevice { major: *major, minor: *minor },
        Kind::Fifo => Content::Fifo,
        Kind::Whiteout => Content::Whiteout,
    })
}

fn skip(reader: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut reader.take(length), &mut io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
