use std::collections::HashMap;

use serde_json::{Value, json};

use super::error::shown;
use super::resolve::{clean, split};
use super::source::{Node, Shape};
use super::{Error, Source};
use crate::context::{Glob, has_wildcards};
use crate::graph::{self, CopyOptions, CopySource, FileAction, Input, Owner};
use crate::layer::EntryPath;
use crate::oci::{Digest, Hasher};

/// What an op does and what it reads, digested.
#[derive(Debug, Clone)]
pub struct Selection {
    actions: Vec<Action>,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Copy { from: Option<Input>, items: Vec<Item>, destination: String, options: CopyOptions },
    MakeDirectory { path: String, owner: Option<Owner> },
}

/// One path that a source names: itself, or one match of its wildcards.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The last component as written or matched, before links were followed.
    pub(super) name: Vec<u8>,
    pub(super) node: Node,
    /// What is below a directory, depth first.
    pub(super) below: Vec<Node>,
    /// The bytes, where the op itself has them.
    pub(super) data: Option<Vec<u8>>,
}

/// Finds and digests what `op` reads. `sources` has what each input of the op refers to; those that no copy reads from,
/// such as the base, may be missing.
///
/// # Errors
/// When a source is not there, is no pattern, or cannot be read.
pub fn select(op: &graph::File, sources: &[Option<Source<'_>>]) -> Result<Selection, Error> {
    let actions = op.actions.iter().map(|action| select_action(action, sources)).collect::<Result<_, _>>()?;
    Ok(Selection { actions })
}

fn select_action(action: &FileAction, sources: &[Option<Source<'_>>]) -> Result<Action, Error> {
    Ok(match action {
        FileAction::MakeDirectory { path, owner } => Action::MakeDirectory { path: path.clone(), owner: owner.clone() },
        FileAction::Copy { source, destination, options } => {
            let (from, items) = match source {
                CopySource::Path { from, path } => (Some(*from), find(&input(sources, *from), path)?),
                CopySource::Inline { name, data } => (None, vec![inline(name, data)]),
            };
            Action::Copy { from, items, destination: destination.clone(), options: options.clone() }
        }
    })
}

/// Returns what an input refers to.
pub(super) fn input<'a>(sources: &[Option<Source<'a>>], input: Input) -> Source<'a> {
    let source = sources.get(input.0 as usize).copied().flatten();
    source.expect("the executor gives every input that a copy reads from")
}

fn inline(name: &str, data: &str) -> Item {
    let shape = Shape::File { size_bytes: data.len() as u64, digest: Digest::of(data.as_bytes()) };
    let metadata = crate::layer::Metadata { mode: 0o644, ..Default::default() };
    let node = Node { path: Vec::new(), shape, metadata, inode: None, key: None, ignored: false };
    Item { name: name.as_bytes().to_vec(), node, below: Vec::new(), data: Some(data.as_bytes().to_vec()) }
}

/// Returns what `path` names, in the order of a walk; without wildcards exactly one item.
fn find(source: &Source<'_>, path: &str) -> Result<Vec<Item>, Error> {
    let place = clean(path.as_bytes());
    if !has_wildcards(path) {
        let item = item(source, &place)?;
        return item.map(|item| vec![item]).ok_or_else(|| not_found(source, path, &place));
    }
    let mut items = Vec::new();
    for matched in expand(source, path, &place)? {
        match item(source, &matched.path)? {
            Some(item) => items.push(item),
            // An ignored directory in which nothing is seen is not there; a link that leads nowhere was asked for.
            None if matched.shape == Shape::Directory => {}
            None => return Err(not_found(source, &String::from_utf8_lossy(&matched.path), &matched.path)),
        }
    }
    Ok(items)
}

fn not_found(source: &Source<'_>, written: &str, place: &[u8]) -> Error {
    Error::NotFound { path: written.to_owned(), absence: source.explain(place) }
}

/// Follows the links of `path` and reads what is there.
fn item(source: &Source<'_>, path: &[u8]) -> Result<Option<Item>, Error> {
    let Some(node) = source.resolve(path)? else { return Ok(None) };
    let below = if node.shape == Shape::Directory { source.list(&node.path)? } else { Vec::new() };
    if node.ignored && below.is_empty() {
        return Ok(None);
    }
    Ok(Some(Item { name: split(path).1.to_vec(), node, below, data: None }))
}

/// Returns the entries that match a path with wildcards, links not followed behind the first wildcard.
fn expand(source: &Source<'_>, written: &str, path: &[u8]) -> Result<Vec<Node>, Error> {
    let text = String::from_utf8_lossy(path);
    let components: Vec<&str> = text.split('/').collect();
    let first = components.iter().position(|component| has_wildcards(component)).unwrap_or_default();
    let bad = |source| Error::Pattern { path: written.to_owned(), source };
    let globs: Vec<Glob> =
        components[first..].iter().map(|component| Glob::parse(component).map_err(bad)).collect::<Result<_, _>>()?;
    let mut nodes: Vec<Node> = source.resolve(components[..first].join("/").as_bytes())?.into_iter().collect();
    for glob in &globs {
        let directories = nodes.into_iter().filter(|node| node.shape == Shape::Directory);
        let inside: Vec<Vec<Node>> =
            directories.map(|node| source.children(&node.path)).collect::<Result<_, Error>>()?;
        nodes = inside.into_iter().flatten().filter(|node| glob.matches(split(&node.path).1)).collect();
    }
    Ok(nodes)
}

impl Selection {
    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Returns what belongs into a cache key beside the base: each action with its options and the digest of what it
    /// reads. Where a source lies is not in it, nor any time or place on this machine.
    pub fn recipe(&self) -> Value {
        Value::Array(self.actions.iter().map(Action::recipe).collect())
    }

    /// Returns every entry that is read, by its path in its source, and the digest of what is read of it.
    pub fn inputs(&self) -> impl Iterator<Item = (EntryPath, Digest)> {
        let items = self.actions.iter().flat_map(|action| match action {
            Action::Copy { items, .. } => items.as_slice(),
            Action::MakeDirectory { .. } => &[],
        });
        items.flat_map(|item| {
            let path = if item.data.is_some() { &item.name } else { &item.node.path };
            let itself = (item.node.shape != Shape::Directory).then(|| (path.clone(), digest(&item.node)));
            itself.into_iter().chain(item.below.iter().map(|node| (node.path.clone(), digest(node))))
        })
    }
}

impl Action {
    fn recipe(&self) -> Value {
        match self {
            Action::MakeDirectory { path, owner } => json!({ "make_directory": { "owner": owner, "path": path } }),
            Action::Copy { items, destination, options, .. } => {
                let items: Vec<Value> = items.iter().map(Item::recipe).collect();
                json!({ "copy": { "destination": destination, "items": items, "options": options } })
            }
        }
    }
}

impl Item {
    /// The name of a directory does not matter, since its contents alone are copied.
    fn recipe(&self) -> Value {
        match self.node.shape {
            Shape::Directory => json!({ "content": self.digest_below(), "entries": self.below.len() }),
            _ => json!({ "digest": digest(&self.node), "name": shown(&self.name)[1..] }),
        }
    }

    /// Digests what is below a directory: relative paths, digests, and which names are of one file.
    fn digest_below(&self) -> Digest {
        let mut hasher = Hasher::new();
        let mut first: HashMap<(u64, u64), usize> = HashMap::new();
        for (number, node) in self.below.iter().enumerate() {
            hasher.field(below(&self.node.path, &node.path));
            hasher.update(digest(node).as_bytes());
            let original = node.inode.map_or(number, |inode| *first.entry(inode).or_insert(number));
            hasher.update(&(original as u64).to_le_bytes());
        }
        hasher.finish()
    }
}

/// Returns `path` relative to the directory it is in.
pub(super) fn below<'a>(directory: &[u8], path: &'a [u8]) -> &'a [u8] {
    if directory.is_empty() { path } else { &path[directory.len() + 1..] }
}

/// Digests an entry: all that is copied of it but its times.
fn digest(node: &Node) -> Digest {
    let mut hasher = Hasher::new();
    let metadata = &node.metadata;
    for number in [metadata.mode, metadata.uid, metadata.gid] {
        hasher.update(&number.to_le_bytes());
    }
    match &node.shape {
        Shape::File { size_bytes, digest } => {
            hasher.field(b"file");
            hasher.update(&size_bytes.to_le_bytes());
            hasher.update(digest.as_bytes());
        }
        Shape::Directory => hasher.field(b"directory"),
        Shape::Symlink { target } => {
            hasher.field(b"symlink");
            hasher.field(target);
        }
        Shape::CharDevice { major, minor } => device(&mut hasher, b"char", *major, *minor),
        Shape::BlockDevice { major, minor } => device(&mut hasher, b"block", *major, *minor),
        Shape::Fifo => hasher.field(b"fifo"),
    }
    for (name, value) in &metadata.xattrs {
        hasher.field(name);
        hasher.field(value);
    }
    hasher.finish()
}

fn device(hasher: &mut Hasher, kind: &[u8], major: u32, minor: u32) {
    hasher.field(kind);
    hasher.update(&major.to_le_bytes());
    hasher.update(&minor.to_le_bytes());
}
