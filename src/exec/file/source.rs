use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::error::shown;
use super::filter::Filter;
use super::resolve::{Found, join, resolve, split};
use super::{Error, Source, Stack};
use crate::context::{self, Absence, Context, Digests, StatKey, nearest};
use crate::fs::SparseReader;
use crate::layer::{FileId, Kind, Metadata, Node as LayerNode, Packed};
use crate::oci::Digest;

/// What an entry of a source, or of the result, is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shape {
    File { size_bytes: u64, digest: Digest },
    Directory,
    Symlink { target: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// One entry of a source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Node {
    /// Relative to the root of the source.
    pub(super) path: Vec<u8>,
    pub(super) shape: Shape,
    pub(super) metadata: Metadata,
    /// Shared by the names of one file; none where there is but one for certain.
    pub(super) inode: Option<(u64, u64)>,
    /// State of a file of a context.
    pub(super) key: Option<StatKey>,
    /// Whether a directory is at most there for what is below it.
    pub(super) ignored: bool,
}

impl<'a> Source<'a> {
    /// Returns the entry at `path`, following no link.
    pub(super) fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        Ok(match self {
            Source::Context(context) => {
                digested(&mut context.digests(), context.lookup(path)?.into_iter().collect())?.pop()
            }
            Source::Stack(stack) => stack.view.lookup(path).and_then(|node| of_layer(path.to_vec(), node)),
        })
    }

    /// Returns what is directly in a directory, in byte order.
    pub(super) fn children(&self, path: &[u8]) -> Result<Vec<Node>, Error> {
        Ok(match self {
            // Names alone are asked for here: nothing is digested.
            Source::Context(context) => context.children(path)?.into_iter().map(of_context).collect(),
            Source::Stack(stack) => children(stack, path),
        })
    }

    /// Returns what `filter` takes of everything below `directory`, depth first. Patterns are relative to `root`, which is
    /// the directory or above it; what is not taken is not even read.
    pub(super) fn list(&self, root: &[u8], directory: &[u8], filter: &Filter) -> Result<Packed<Node>, Error> {
        match self {
            Source::Context(context) => {
                let entries = context.list(directory)?;
                let is_directory = |entry: &context::Entry| entry.kind == context::Kind::Directory;
                if filter.takes_all() {
                    return all_digested(context, entries.into_iter());
                }
                let paths = entries.iter().map(|entry| (is_directory(&entry), entry.path));
                let taken = filter.taken(root, directory, paths.map(|(is_directory, path)| (path, is_directory)));
                all_digested(context, only(taken, entries))
            }
            Source::Stack(stack) => {
                if filter.takes_all() {
                    return Ok(walk(stack, directory).collect());
                }
                let paths = walk(stack, directory).map(|node| (node.shape == Shape::Directory, node.path));
                let taken = filter.taken(root, directory, paths.map(|(is_directory, path)| (path, is_directory)));
                Ok(only(taken, walk(stack, directory)).collect())
            }
        }
    }

    /// Follows every link of `path`, the last component too.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        match self.follow(path) {
            Ok((_, None)) | Err(Error::NotADirectory { .. }) => Ok(None),
            Ok((path, Some(_))) => self.lookup(&path),
            Err(error) => Err(error),
        }
    }

    fn follow(&self, path: &[u8]) -> Result<(Vec<u8>, Option<Found>), Error> {
        match self {
            Source::Context(context) => {
                resolve(b"", path, |path| Ok(context.lookup(path)?.map(|entry| found_in_context(&entry))))
            }
            Source::Stack(stack) => resolve(b"", path, |path| Ok(Found::in_view(stack.view, path))),
        }
    }

    /// Says why there is nothing at `path`, or where its links lead.
    pub(super) fn explain(&self, path: &[u8]) -> Absence {
        let followed = self.follow(path).map(|(path, _)| path);
        let path = followed.as_deref().unwrap_or(path);
        match self {
            Source::Context(context) => context.explain(path),
            Source::Stack(stack) => {
                let (parent, name) = split(path);
                let names = children(stack, parent).into_iter().map(|node| split(&node.path).1.to_vec());
                Absence::Missing { nearest: nearest(name, names).map(|name| join(parent, &name)) }
            }
        }
    }

    /// Opens the content of a file.
    pub(super) fn open(&self, path: &[u8], key: Option<&StatKey>) -> Result<Box<dyn Read + Send + 'a>, Error> {
        match (self, key) {
            (Source::Context(context), Some(key)) => {
                let file = SparseReader::new(context.open_file(path, key)?);
                Ok(Box::new(Steady { context, path: path.to_vec(), key: *key, file, left: key.size_bytes }))
            }
            (Source::Stack(stack), _) => Ok(open(stack, path)?),
            (Source::Context(_), None) => unreachable!("nodes of a context have keys"),
        }
    }
}

/// Opens the content of a file of a stack.
pub(super) fn open(stack: &Stack<'_>, path: &[u8]) -> Result<Box<dyn Read + Send>, Error> {
    let broken = |source| Error::Content { path: shown(path), source };
    let node = stack.view.lookup(path).ok_or_else(|| broken(io::ErrorKind::NotFound.into()))?;
    (stack.content)(node).map_err(broken)
}

/// A file of a context whose last bytes fail if it changed since it was digested.
struct Steady<'a> {
    context: &'a Context,
    path: Vec<u8>,
    key: StatKey,
    file: SparseReader,
    left: u64,
}

impl Read for Steady<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(length as u64);
        if self.left == 0 || length == 0 {
            self.context.check_unchanged(self.file.file(), &self.path, &self.key).map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

fn found_in_context(entry: &context::Entry) -> Found {
    match &entry.kind {
        context::Kind::Directory => Found::Directory,
        context::Kind::Symlink { target } => Found::Link(target.clone()),
        _ => Found::Other,
    }
}

/// How many entries are digested at once: enough for every thread, and few enough to be in memory as they are.
const DIGESTED_AT_ONCE: usize = 4096;

fn all_digested(context: &Context, mut entries: impl Iterator<Item = context::Entry>) -> Result<Packed<Node>, Error> {
    let mut digests = context.digests();
    let mut nodes = Packed::new();
    loop {
        let some: Vec<context::Entry> = entries.by_ref().take(DIGESTED_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(nodes);
        }
        digested(&mut digests, some)?.iter().for_each(|node| nodes.push(node));
    }
}

fn digested(digests: &mut Digests<'_>, entries: Vec<context::Entry>) -> Result<Vec<Node>, Error> {
    let found = digests.of(&entries)?;
    let with_digest = |(entry, found): (context::Entry, Digest)| {
        let mut node = of_context(entry);
        if let Shape::File { digest, .. } = &mut node.shape {
            *digest = found;
        }
        node
    };
    Ok(entries.into_iter().zip(found).map(with_digest).collect())
}

/// Returns a node whose file has the digest of nothing.
fn of_context(entry: context::Entry) -> Node {
    let inode = (entry.links > 1 && matches!(entry.kind, context::Kind::File { .. }))
        .then_some((entry.key.device, entry.key.inode));
    let shape = match entry.kind {
        context::Kind::File { size_bytes } => Shape::File { size_bytes, digest: Digest::of(b"") },
        context::Kind::Directory => Shape::Directory,
        context::Kind::Symlink { target } => Shape::Symlink { target },
        context::Kind::CharDevice { major, minor } => Shape::CharDevice { major, minor },
        context::Kind::BlockDevice { major, minor } => Shape::BlockDevice { major, minor },
        context::Kind::Fifo => Shape::Fifo,
    };
    Node { path: entry.path, shape, metadata: entry.metadata, inode, key: Some(entry.key), ignored: entry.ignored }
}

fn children(stack: &Stack<'_>, path: &[u8]) -> Vec<Node> {
    let directory = stack.view.lookup(path);
    let children = directory.into_iter().flat_map(LayerNode::children);
    children.filter_map(|(name, node)| of_layer(join(path, name), node)).collect()
}

/// Returns everything below a directory, depth first.
fn walk<'a>(stack: &Stack<'a>, directory: &'a [u8]) -> impl Iterator<Item = Node> + 'a {
    stack.view.walk(directory).filter_map(|(path, node)| of_layer(join(directory, &path), node))
}

fn only<T>(taken: Vec<bool>, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(one, _)| one)
}

fn of_layer(path: Vec<u8>, node: &LayerNode) -> Option<Node> {
    let shape = shape(&node.kind)?;
    let FileId { slot, entry } = node.id;
    let inode = matches!(shape, Shape::File { .. }).then_some((u64::from(slot), u64::from(entry)));
    Some(Node { path, shape, metadata: node.metadata.clone(), inode, key: None, ignored: false })
}

/// Returns the shape of an entry of a merged tree, where hard links are files and whiteouts are gone.
pub(super) fn shape(kind: &Kind) -> Option<Shape> {
    Some(match kind {
        Kind::File { size, digest, .. } => Shape::File { size_bytes: *size, digest: *digest },
        Kind::Directory => Shape::Directory,
        Kind::Symlink { target } => Shape::Symlink { target: target.clone() },
        Kind::CharDevice { major, minor } => Shape::CharDevice { major: *major, minor: *minor },
        Kind::BlockDevice { major, minor } => Shape::BlockDevice { major: *major, minor: *minor },
        Kind::Fifo => Shape::Fifo,
        Kind::Hardlink { .. } | Kind::Whiteout | Kind::Opaque => return None,
    })
}
