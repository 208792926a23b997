use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Entry, EntryPath, Index, Kind, Metadata};

/// The file tree of a stack of layers, merged in memory from their indexes.
///
/// A clone shares everything with the original, and applying a layer to it copies only the directories that the layer
/// touches, so each stack of a build can keep its own.
#[derive(Debug, Clone, Default)]
pub struct View {
    root: Arc<Node>,
}

type Children = BTreeMap<Box<[u8]>, Arc<Node>>;
type ChildrenIter<'a> = std::collections::btree_map::Iter<'a, Box<[u8]>, Arc<Node>>;

/// A file of a [`View`].
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is: never a hard link, which has become the file it names, nor a deletion.
    pub kind: Kind,
    /// The rest. Directories that no layer has an entry for have mode 0755 and otherwise zeros.
    pub metadata: Metadata,
    /// Which file it is; two hard links have the same.
    pub id: FileId,
    children: Children,
}

/// Identifies a file in a stack: the layer that has it, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The layer: the number that [`View::apply`] was given.
    pub slot: u32,
    /// The entry's place in the layer's index; `u32::MAX` for a directory that is only implied.
    pub entry: u32,
}

impl Default for Node {
    fn default() -> Node {
        Node::new(Kind::Directory, implied_directory(), FileId { slot: 0, entry: u32::MAX })
    }
}

/// What a directory is like that is there only because something is in it (semantics 13.10).
pub(super) fn implied_directory() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

impl Node {
    fn new(kind: Kind, metadata: Metadata, id: FileId) -> Node {
        Node { kind, metadata, id, children: Children::new() }
    }

    /// Tells whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Returns the entry of a directory by its name.
    pub fn child(&self, name: &[u8]) -> Option<&Node> {
        self.children.get(name).map(|child| &**child)
    }

    /// Iterates over the entries of a directory in byte order of their names.
    pub fn children(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.children.iter().map(|(name, child)| (&**name, &**child))
    }
}

impl View {
    /// Returns the view of no layers: an empty root directory.
    pub fn empty() -> View {
        View::default()
    }

    /// Returns the view of a stack, base first, whose slots count from 0.
    pub fn of<'a>(layers: impl IntoIterator<Item = &'a Index>) -> View {
        let mut view = View::empty();
        for (slot, index) in (0..).zip(layers) {
            view.apply(slot, index);
        }
        view
    }

    /// Puts a layer on top; `slot` will say which it was.
    ///
    /// Deletions come first, because they concern only what lies below, wherever in the layer they stand (image-spec,
    /// "Whiteouts").
    pub fn apply(&mut self, slot: u32, layer: &Index) {
        for entry in layer.entries() {
            match entry.kind {
                Kind::Whiteout => self.delete(&entry.path),
                Kind::Opaque => self.empty_directory(&entry.path),
                _ => {}
            }
        }
        let mut cursor = Cursor::default();
        for (place, entry) in (0..).zip(layer.entries()) {
            if !matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
                self.add(&entry, FileId { slot, entry: place }, &mut cursor);
            }
        }
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Returns what is at `path`, following no links.
    pub fn lookup(&self, path: &[u8]) -> Option<&Node> {
        components(path).try_fold(&*self.root, |node, name| node.child(name))
    }

    /// Iterates over everything below the directory at `path`, each directory before its content, in byte order of
    /// names. Paths are relative to `path`.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        let top = self.lookup(path);
        Walk { path: Vec::new(), open: top.map(|node| (0, node.children.iter())).into_iter().collect() }
    }

    fn delete(&mut self, path: &[u8]) {
        let Some((parent, name)) = self.existing_parent(path) else { return };
        if let Some(children) = self.children_mut(&parent) {
            children.remove(&name[..]);
        }
    }

    fn empty_directory(&mut self, path: &[u8]) {
        if let Ok(found) = self.resolve(path)
            && found.node.is_some_and(Node::is_directory)
        {
            let path = found.path;
            if let Some(children) = self.children_mut(&path) {
                children.clear();
            }
        }
    }

    /// Returns the canonical directory of `path` and its last component, if there is something by that name.
    fn existing_parent(&self, path: &[u8]) -> Option<(EntryPath, EntryPath)> {
        let found = self.resolve_parent(path).ok()?;
        found.node?;
        let (parent, name) = split(&found.path);
        Some((parent.to_vec(), name.to_vec()))
    }

    fn add(&mut self, entry: &Entry, id: FileId, cursor: &mut Cursor) {
        let (parent, name) = split(&entry.path);
        let node = match &entry.kind {
            Kind::Hardlink { target } => match self.resolve_parent(target).ok().and_then(|found| found.node) {
                Some(file) => file.clone(),
                None => {
                    tracing::warn!(path = %entry.path.escape_ascii(), "hard link to nothing is left out");
                    return;
                }
            },
            kind => Node::new(kind.clone(), entry.metadata.clone(), id),
        };
        if name.is_empty() {
            let root = Arc::make_mut(&mut self.root);
            root.metadata = node.metadata;
            return;
        }
        let parent = self.canonical_directory(parent, cursor);
        let Some(children) = self.children_mut(&parent) else { return };
        match children.get_mut(name) {
            Some(old) if node.is_directory() && old.is_directory() => {
                let old = Arc::make_mut(old);
                (old.metadata, old.id) = (node.metadata, node.id);
            }
            Some(old) => {
                // What hung below the old one is gone, or a link that paths went through.
                if old.is_directory() || matches!(old.kind, Kind::Symlink { .. }) {
                    cursor.clear();
                }
                *old = Arc::new(node);
            }
            None => {
                children.insert(name.into(), Arc::new(node));
            }
        }
    }

    /// Returns where the directory at `path` really is, for links on the way are followed inside the root; it may be
    /// missing, and is then made by [`View::children_mut`].
    fn canonical_directory<'a>(&self, path: &'a [u8], cursor: &'a mut Cursor) -> Cow<'a, [u8]> {
        if cursor.written.as_deref() != Some(path) {
            let canonical = match self.resolve(path) {
                Ok(found) => found.full_path(),
                // A loop of links, or a file in the way: the layer's own directory takes its place.
                Err(_) => path.to_vec(),
            };
            *cursor = Cursor { written: Some(path.to_vec()), canonical };
        }
        Cow::Borrowed(&cursor.canonical)
    }

    /// Returns the entries of the directory at a canonical path, which is made if need be.
    fn children_mut(&mut self, path: &[u8]) -> Option<&mut Children> {
        let mut node = Arc::make_mut(&mut self.root);
        for name in components(path) {
            let child = match node.children.get_mut(name) {
                // Looked up twice, because a borrow that is returned cannot be given up for an insertion.
                Some(_) => node.children.get_mut(name)?,
                None => node.children.entry(name.into()).or_default(),
            };
            if !child.is_directory() {
                *child = Arc::default();
            }
            node = Arc::make_mut(child);
        }
        Some(&mut node.children)
    }
}

/// The directory of the entry before: most entries share it.
#[derive(Default)]
struct Cursor {
    written: Option<EntryPath>,
    canonical: EntryPath,
}

impl Cursor {
    fn clear(&mut self) {
        *self = Cursor::default();
    }
}

/// What [`View::walk`] returns.
pub struct Walk<'a> {
    path: EntryPath,
    open: Vec<(usize, ChildrenIter<'a>)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (EntryPath, &'a Node);

    fn next(&mut self) -> Option<(EntryPath, &'a Node)> {
        loop {
            let (length, children) = self.open.last_mut()?;
            self.path.truncate(*length);
            let Some((name, node)) = children.next() else {
                self.open.pop();
                continue;
            };
            join(&mut self.path, name);
            self.open.push((self.path.len(), node.children.iter()));
            return Some((self.path.clone(), node));
        }
    }
}

/// Returns the components of a path; `.` and empty ones are none.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Splits an entry's path into its directory and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Appends a component to an entry's path.
pub(super) fn join(path: &mut EntryPath, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
