use std::collections::HashMap;

use serde_json::{Value, json};

use super::error::shown;
use super::filter::Filter;
use super::resolve::{clean, join, split};
use super::source::{Node, Shape};
use super::{Error, Source};
use crate::context::{BadPattern, Glob, has_wildcards};
use crate::graph::{self, CopyOptions, CopySource, FileAction, Input, Owner};
use crate::layer::Packed;
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
    pub(super) below: Packed<Node>,
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

/// Returns the identity of what is at `path`, in which wildcards mean themselves: all that somebody who sees it can tell,
/// but times.
///
/// # Errors
/// [`Error::NotFound`], and what reading `source` says.
pub fn identify(source: &Source<'_>, path: &str) -> Result<Value, Error> {
    let place = clean(path.as_bytes());
    let node = source.resolve(&place)?.ok_or_else(|| not_found(source, path, &place))?;
    let everything = Filter::excluding(&CopyOptions::default()).map_err(bad_pattern(path))?;
    let below = match node.shape {
        Shape::Directory => source.list(&node.path, &node.path, &everything)?,
        _ => Packed::new(),
    };
    Ok(Item { name: split(&place).1.to_vec(), node, below, data: None }.recipe())
}

fn select_action(action: &FileAction, sources: &[Option<Source<'_>>]) -> Result<Action, Error> {
    Ok(match action {
        FileAction::MakeDirectory { path, owner } => Action::MakeDirectory { path: path.clone(), owner: owner.clone() },
        FileAction::Copy { source, destination, options } => {
            let (from, items) = match source {
                CopySource::Path { from, path } if options.parents => {
                    (Some(*from), find_below(&input(sources, *from), path, options)?)
                }
                CopySource::Path { from, path } => (Some(*from), find(&input(sources, *from), path, options)?),
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
    Item { name: name.as_bytes().to_vec(), node, below: Packed::new(), data: Some(data.as_bytes().to_vec()) }
}

/// Returns what `path` names, in the order of a walk; without wildcards exactly one item.
fn find(source: &Source<'_>, path: &str, options: &CopyOptions) -> Result<Vec<Item>, Error> {
    let filter = Filter::excluding(options).map_err(bad_pattern(path))?;
    let mut items = Vec::new();
    for (name, node) in places(source, path)? {
        let below = match node.shape {
            Shape::Directory => source.list(&node.path, &node.path, &filter)?,
            _ => Packed::new(),
        };
        // An ignored directory in which nothing is seen is not there.
        if !(node.ignored && below.is_empty()) {
            items.push(Item { name, node, below, data: None });
        } else if !has_wildcards(path) {
            return Err(not_found(source, path, &clean(path.as_bytes())));
        }
    }
    Ok(items)
}

/// Returns the directories that `path` names up to its `/./`, or the root, with what matches the rest of it below them.
fn find_below(source: &Source<'_>, path: &str, options: &CopyOptions) -> Result<Vec<Item>, Error> {
    let (base, pattern) = path.split_once("/./").unwrap_or(("", path));
    let pattern = clean(pattern.as_bytes());
    let text = String::from_utf8_lossy(&pattern);
    let filter = Filter::including(&text, options).map_err(bad_pattern(path))?;
    let must_exist = !has_wildcards(base) && !has_wildcards(&text);
    let mut items = Vec::new();
    for (name, node) in places(source, base)? {
        let place = join(&node.path, literal_prefix(&pattern));
        let found = match node.shape {
            Shape::Directory => chain(source, &node.path, &place)?,
            _ => None,
        };
        if found.is_none() && must_exist {
            return Err(not_found(source, path, &join(&clean(base.as_bytes()), &pattern)));
        }
        if node.shape == Shape::Directory {
            let below = found.map_or(Ok(Packed::new()), |chain| matching(source, &node.path, chain, &filter))?;
            items.push(Item { name, node, below, data: None });
        }
    }
    Ok(items)
}

/// Returns the entries that lead from `root`, without itself, to `place`; nothing where that is not there. No link is
/// followed.
fn chain(source: &Source<'_>, root: &[u8], place: &[u8]) -> Result<Option<Vec<Node>>, Error> {
    let mut chain: Vec<Node> = Vec::new();
    let mut at = root.to_vec();
    for name in below(root, place).split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        at = join(&at, name);
        let is_in_directory = chain.last().is_none_or(|node| node.shape == Shape::Directory);
        match source.lookup(&at)?.filter(|_| is_in_directory) {
            Some(node) => chain.push(node),
            None => return Ok(None),
        }
    }
    Ok(Some(chain))
}

/// Returns what `filter` takes of the last of `chain` and of what is below it, after the directories above.
fn matching(source: &Source<'_>, root: &[u8], chain: Vec<Node>, filter: &Filter) -> Result<Packed<Node>, Error> {
    let (last, shape) = chain.last().map_or((root, Shape::Directory), |node| (&node.path[..], node.shape.clone()));
    let beneath = match shape {
        Shape::Directory => source.list(root, last, filter)?,
        _ => Packed::new(),
    };
    let itself = [(last, shape == Shape::Directory)];
    let is_taken = last != root && filter.taken(root, split(last).0, itself.into_iter()) == [true];
    let is_seen = chain.last().is_none_or(|node| !node.ignored);
    if beneath.is_empty() && !(is_taken && is_seen) {
        return Ok(Packed::new());
    }
    let mut found: Packed<Node> = chain.into_iter().collect();
    found.append(beneath);
    Ok(found)
}

/// Returns the part of a pattern in front of the first component with wildcards.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let is_wild = |component: &[u8]| has_wildcards(&String::from_utf8_lossy(component));
    let mut end = 0_usize;
    for component in pattern.split(|&byte| byte == b'/') {
        if is_wild(component) {
            return &pattern[..end.saturating_sub(1)];
        }
        end += component.len() + 1;
    }
    pattern
}

/// Returns what `path` names, links followed, each with its name as written or matched. Without wildcards that is one.
fn places(source: &Source<'_>, path: &str) -> Result<Vec<(Vec<u8>, Node)>, Error> {
    let place = clean(path.as_bytes());
    let name = |path: &[u8]| split(path).1.to_vec();
    if !has_wildcards(path) {
        let node = source.resolve(&place)?.ok_or_else(|| not_found(source, path, &place))?;
        return Ok(vec![(name(&place), node)]);
    }
    let mut places = Vec::new();
    for matched in expand(source, path, &place)? {
        match source.resolve(&matched.path)? {
            Some(node) => places.push((name(&matched.path), node)),
            None if matched.shape == Shape::Directory => {}
            // A link that leads nowhere was asked for.
            None => return Err(not_found(source, &String::from_utf8_lossy(&matched.path), &matched.path)),
        }
    }
    Ok(places)
}

fn not_found(source: &Source<'_>, written: &str, place: &[u8]) -> Error {
    Error::NotFound { path: written.to_owned(), absence: source.explain(place) }
}

fn bad_pattern(written: &str) -> impl Fn(BadPattern) -> Error {
    move |source| Error::Pattern { path: written.to_owned(), source }
}

/// Returns the entries that match a path with wildcards, links not followed behind the first wildcard.
fn expand(source: &Source<'_>, written: &str, path: &[u8]) -> Result<Vec<Node>, Error> {
    let text = String::from_utf8_lossy(path);
    let components: Vec<&str> = text.split('/').collect();
    let first = components.iter().position(|component| has_wildcards(component)).unwrap_or_default();
    let glob = |component: &&str| Glob::parse(component).map_err(bad_pattern(written));
    let globs: Vec<Glob> = components[first..].iter().map(glob).collect::<Result<_, _>>()?;
    // Nothing need match, but it must be clear where to look.
    let prefix = components[..first].join("/").into_bytes();
    let directory = source.resolve(&prefix)?;
    let mut nodes = vec![directory.ok_or_else(|| not_found(source, &String::from_utf8_lossy(&prefix), &prefix))?];
    for glob in &globs {
        let directories = nodes.into_iter().filter(|node| node.shape == Shape::Directory);
        let inside: Vec<Vec<Node>> =
            directories.map(|node| source.children(&node.path)).collect::<Result<_, Error>>()?;
        nodes = inside.into_iter().flatten().filter(|node| glob.matches(split(&node.path).1)).collect();
    }
    Ok(nodes)
}

impl Selection {
    pub(super) fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    /// Returns what belongs into a cache key beside the base: each action with its options and the digest of what it
    /// reads. Where a source lies is not in it, nor any time or place on this machine.
    pub fn recipe(&self) -> Value {
        Value::Array(self.actions.iter().map(Action::recipe).collect())
    }

    /// Returns what is copied, one path that a source names after the other.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.actions.iter().flat_map(|action| match action {
            Action::Copy { items, .. } => items.as_slice(),
            Action::MakeDirectory { .. } => &[],
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
            hasher.update(digest(&node).as_bytes());
            let original = node.inode.map_or(number, |inode| *first.entry(inode).or_insert(number));
            hasher.update(&(original as u64).to_le_bytes());
        }
        hasher.finish()
    }
}

/// Returns `path` relative to the directory it is in.
pub(super) fn below<'a>(directory: &[u8], path: &'a [u8]) -> &'a [u8] {
    match directory.len() {
        0 => path,
        length => path.get(length + 1..).unwrap_or_default(),
    }
}

/// Digests an entry: all that is copied of it but its times.
fn digest(node: &Node) -> Digest {
    let mut hasher = Hasher::new();
    numbers(node, &mut hasher);
    shape(node, &mut hasher);
    xattrs(node, &mut hasher);
    hasher.finish()
}

pub(super) fn numbers(node: &Node, hasher: &mut Hasher) {
    for number in [node.metadata.mode, node.metadata.uid, node.metadata.gid] {
        hasher.update(&number.to_le_bytes());
    }
}

pub(super) fn xattrs(node: &Node, hasher: &mut Hasher) {
    for (name, value) in &node.metadata.xattrs {
        hasher.field(name);
        hasher.field(value);
    }
}

pub(super) fn shape(node: &Node, hasher: &mut Hasher) {
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
        Shape::CharDevice { major, minor } => device(hasher, b"char", *major, *minor),
        Shape::BlockDevice { major, minor } => device(hasher, b"block", *major, *minor),
        Shape::Fifo => hasher.field(b"fifo"),
    }
}

fn device(hasher: &mut Hasher, kind: &[u8], major: u32, minor: u32) {
    hasher.field(kind);
    hasher.update(&major.to_le_bytes());
    hasher.update(&minor.to_le_bytes());
}
