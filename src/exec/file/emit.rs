use std::collections::HashMap;
use std::io::{Read, Write};

use super::archive::Spool;
use super::select::input;
use super::source::{Shape, open, shape};
use super::staged::{Bytes, Change, Put, Run, Staged};
use super::{Error, Source, Stack, WriteOptions};
use crate::layer::{Content, Metadata, Writer};

/// Writes what differs from `base`, each entry after the directories above it.
pub(super) fn emit<W: Write>(
    staged: Staged<'_>,
    sources: &[Option<Source<'_>>],
    base: Stack<'_>,
    spool: &Spool,
    options: &WriteOptions,
    writer: &mut Writer<W>,
) -> Result<(), Error> {
    let (changes, mut run) = staged.finish();
    let (open, above, first) = (Vec::new(), Vec::new(), HashMap::new());
    let mut emitter = Emitter { sources, base, spool, options, writer, open, above, first };
    emitter.run_in(b"", &mut run)?;
    for (place, change) in changes {
        let path = place.path();
        match change {
            Change::Whiteout => emitter.whiteout(&path)?,
            Change::Put(put) => emitter.put(&path, put)?,
        }
        emitter.run_in(&path, &mut run)?;
    }
    Ok(())
}

struct Emitter<'a, W: Write> {
    sources: &'a [Option<Source<'a>>],
    base: Stack<'a>,
    spool: &'a Spool,
    options: &'a WriteOptions,
    writer: &'a mut Writer<W>,
    /// Directories written so far that the next entry may be in.
    open: Vec<Vec<u8>>,
    /// Directories above the current entry that are changed but, so far, need not be written for their own sake.
    above: Vec<(Vec<u8>, Metadata)>,
    /// The first name written of each file that has several.
    first: HashMap<(usize, u64, u64), Vec<u8>>,
}

impl<'a, W: Write> Emitter<'a, W> {
    /// Writes the run whose place is the directory `path`.
    fn run_in(&mut self, path: &[u8], run: &mut Option<Run>) -> Result<(), Error> {
        let Some(run) = run.take_if(|run| run.place() == path) else { return Ok(()) };
        run.changes(self.base).try_for_each(|change| {
            let (path, put) = change?;
            self.put(&path, put)
        })
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        self.ancestors(path)?;
        Ok(self.writer.append(path, &Metadata::default(), Content::Whiteout)?)
    }

    fn put(&mut self, path: &[u8], put: Put) -> Result<(), Error> {
        if self.differs(path, &put) {
            self.ancestors(path)?;
            self.entry(path, &put)?;
        }
        if put.shape == Shape::Directory {
            self.above.retain(|(directory, _)| is_below(directory, path));
            self.above.push((path.to_vec(), put.metadata));
        }
        Ok(())
    }

    /// Tells whether the layer needs the entry. Times are compared as layers keep them, in seconds, and contents by
    /// their digests; a directory's time alone is no reason.
    fn differs(&self, path: &[u8], put: &Put) -> bool {
        let Some(node) = self.base.view.lookup(path) else { return true };
        let (before, after) = (&node.metadata, &put.metadata);
        let ids = |metadata: &Metadata| (metadata.mode, metadata.uid, metadata.gid);
        let capability = |metadata: &Metadata| metadata.xattrs.get(&b"security.capability"[..]).cloned();
        shape(&node.kind).as_ref() != Some(&put.shape)
            || ids(before) != ids(after)
            || capability(before) != capability(after)
            || (put.shape != Shape::Directory && before.mtime.seconds != after.mtime.seconds)
    }

    /// Writes the directories above `path` that are not written yet.
    fn ancestors(&mut self, path: &[u8]) -> Result<(), Error> {
        self.open.retain(|directory| is_below(directory, path));
        let ends: Vec<usize> = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| end).collect();
        for end in ends.into_iter().skip(self.open.len()) {
            let directory = &path[..end];
            let changed = self.above.iter().find(|(path, _)| path == directory).map(|(_, metadata)| metadata);
            let metadata = match (changed, self.base.view.lookup(directory)) {
                (Some(metadata), _) => metadata.clone(),
                (None, Some(node)) => node.metadata.clone(),
                (None, None) => Metadata { mode: 0o755, ..Metadata::default() },
            };
            self.writer.append(directory, &metadata, Content::Directory)?;
            self.open.push(directory.to_vec());
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], put: &Put) -> Result<(), Error> {
        if let Some(group) = put.group {
            if let Some(first) = self.first.get(&group) {
                return Ok(self.writer.append(path, &put.metadata, Content::Hardlink(first))?);
            }
            self.first.insert(group, path.to_vec());
        }
        let content = match &put.shape {
            Shape::File { size_bytes, digest } => {
                let content = self.content(put, *size_bytes)?;
                let mut content = self.options.cancel.guard(content);
                return Ok(self.writer.append(
                    path,
                    &put.metadata,
                    Content::Known { size: *size_bytes, digest: *digest, reader: &mut content },
                )?);
            }
            Shape::Directory => {
                self.open.push(path.to_vec());
                Content::Directory
            }
            Shape::Symlink { target } => Content::Symlink(target),
            Shape::CharDevice { major, minor } => Content::CharDevice { major: *major, minor: *minor },
            Shape::BlockDevice { major, minor } => Content::BlockDevice { major: *major, minor: *minor },
            Shape::Fifo => Content::Fifo,
        };
        Ok(self.writer.append(path, &put.metadata, content)?)
    }

    fn content<'b>(&self, put: &'b Put, size_bytes: u64) -> Result<Box<dyn Read + Send + 'b>, Error>
    where
        'a: 'b,
    {
        Ok(match &put.bytes {
            Bytes::None => Box::new(std::io::empty()),
            Bytes::Inline(data) => Box::new(&data[..]),
            Bytes::Source { from, path, key } => input(self.sources, *from).open(path, key.as_ref())?,
            Bytes::Spooled { offset } => Box::new(self.spool.read(*offset, size_bytes)),
            Bytes::Base { path } => open(&self.base, path)?,
        })
    }
}

fn is_below(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
