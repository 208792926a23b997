use std::collections::BTreeMap;
use std::ops::Range;

use super::archive::{Member, MemberKind, Spool, members};
use super::error::shown;
use super::owner::{Ids, ids};
use super::resolve::{Found, clean, join, resolve, split};
use super::select::{Action, Item, below, input};
use super::source::{Node, Shape, shape};
use super::{Error, Source, Stack};
use crate::context::StatKey;
use crate::graph::{Add, CopyOptions, Input, Mode};
use crate::layer::{Metadata, Mtime, Node as LayerNode, Packed};

/// Changes to a base, held as metadata until all actions are done: a later one may replace what an earlier one made,
/// and a layer has one entry for each path, in order.
pub(super) struct Staged<'a> {
    base: Stack<'a>,
    now: Mtime,
    changes: BTreeMap<Place, Change>,
    /// Whether something may hide what the base has below it, which only archives do.
    hiding: bool,
    /// Numbers the walks, so that hard links are found within one.
    walk: usize,
    /// Numbers the files of archives that have several names.
    linked: u64,
    /// What is copied last, if nothing else is below its place.
    run: Option<Run>,
}

/// What a copy puts into a directory, when no change is below that one yet and none will be: its entries are written as
/// they come, and a million of them need not be changes at a time.
pub(super) struct Run {
    place: Vec<u8>,
    source: Vec<u8>,
    nodes: Packed<Node>,
    maker: Maker,
}

/// Makes changes of what a copy reads.
struct Maker {
    from: Option<Input>,
    dress: Dress,
    walk: usize,
    now: Mtime,
}

/// A path whose order is that of a depth-first walk: slashes as NUL, which is in no name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Vec<u8>);

impl Place {
    pub(super) fn new(path: &[u8]) -> Place {
        Place(path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect())
    }

    /// Returns the range of all places below this one, which is not the root.
    fn below(&self) -> Range<Place> {
        Place([&self.0[..], &[0]].concat())..Place([&self.0[..], &[1]].concat())
    }

    pub(super) fn path(&self) -> Vec<u8> {
        self.0.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(Put),
    Whiteout,
}

#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) shape: Shape,
    pub(super) metadata: Metadata,
    pub(super) bytes: Bytes,
    /// Names of one file share it.
    pub(super) group: Option<(usize, u64, u64)>,
    /// Whether a directory hides the one that the base has in its place.
    pub(super) fresh: bool,
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    None,
    Inline(Vec<u8>),
    Source { from: Input, path: Vec<u8>, key: Option<StatKey> },
    Spooled { offset: u64 },
    Base { path: Vec<u8> },
}

/// Owner and mode of everything that a copy makes.
#[derive(Clone)]
struct Dress {
    ids: Option<Ids>,
    mode: Option<Mode>,
}

impl Dress {
    fn apply(&self, shape: &Shape, mut metadata: Metadata) -> Metadata {
        if let Some(Ids { uid, gid }) = self.ids {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode.as_ref().filter(|_| !matches!(shape, Shape::Symlink { .. })) {
            metadata.mode = mode.apply(metadata.mode, *shape == Shape::Directory);
        }
        metadata
    }

    /// Returns the metadata of a directory that no source has; clauses are about a source's mode, and so not for it, nor
    /// are set-id and sticky bits.
    fn made(&self, now: Mtime) -> Metadata {
        let mode = match self.mode {
            Some(Mode::Octal(mode)) => mode & 0o777,
            _ => 0o755,
        };
        let Ids { uid, gid } = self.ids.unwrap_or_default();
        Metadata { mode, uid, gid, mtime: now, ..Metadata::default() }
    }
}

impl<'a> Staged<'a> {
    pub(super) fn new(base: Stack<'a>, now: Mtime) -> Staged<'a> {
        Staged { base, now, changes: BTreeMap::new(), hiding: false, walk: 0, linked: 0, run: None }
    }

    /// Does one action. After the last one nothing but [`Staged::finish`] may follow.
    pub(super) fn apply(
        &mut self,
        action: Action,
        is_last: bool,
        sources: &[Option<Source<'_>>],
        spool: &mut Spool,
    ) -> Result<(), Error> {
        match action {
            Action::MakeDirectory { path, owner } => {
                let ids = owner.as_ref().map(|owner| ids(owner, self.base)).transpose()?;
                let place = self.resolve(b"", &clean(path.as_bytes()))?.0;
                self.ensure_directory(&place, &Dress { ids, mode: None })
            }
            Action::Copy { from, items, destination, options } => {
                let ids = options.owner.as_ref().map(|owner| ids(owner, self.base)).transpose()?;
                let dress = Dress { ids, mode: options.mode.clone() };
                let copy = Copy { from, destination: &destination, options: &options, dress };
                let mut items = items.into_iter();
                while let Some(item) = items.next() {
                    let is_last = is_last && items.len() == 0;
                    self.copy(item, is_last, &copy, sources, spool)?;
                }
                Ok(())
            }
        }
    }

    fn copy(
        &mut self,
        item: Item,
        is_last: bool,
        copy: &Copy<'_>,
        sources: &[Option<Source<'_>>],
        spool: &mut Spool,
    ) -> Result<(), Error> {
        self.walk += 1;
        if item.node.shape == Shape::Directory {
            return self.copy_directory(item, is_last, copy);
        }
        if copy.options.add == Add::Unpack
            && let (Some(from), Shape::File { .. }) = (copy.from, &item.node.shape)
        {
            let content = input(sources, from).open(&item.node.path, item.node.key.as_ref())?;
            let failed = |source| Error::Archive { path: shown(&item.node.path), source };
            if let Some(members) = members(content, spool).map_err(failed)? {
                let place = self.resolve(b"", &clean(copy.destination.as_bytes()))?.0;
                // Modes are the archive's own, even in front of what it is unpacked into.
                let dress = Dress { ids: copy.dress.ids, mode: None };
                self.ensure_directory(&place, &dress)?;
                return self.unpack_all(&place, members, &dress, &item.node.path);
            }
        }
        self.copy_file(&item, copy)
    }

    /// Copies what is in a directory into the destination, which becomes one.
    fn copy_directory(&mut self, item: Item, is_last: bool, copy: &Copy<'_>) -> Result<(), Error> {
        let place = self.resolve(b"", &clean(copy.destination.as_bytes()))?.0;
        self.ensure_directory(&place, &copy.dress)?;
        // No layer and no transfer keeps the time of a root: it is that of the last change, which is now.
        let is_root = item.node.path.is_empty();
        self.touch(&place, if is_root { self.now } else { item.node.metadata.mtime });
        if is_last && !copy.options.parents && !self.hiding && !self.changes_below(&place) {
            let (source, maker) = (item.node.path, self.maker(copy));
            self.run = Some(Run { place, source, nodes: item.below, maker });
            return Ok(());
        }
        for node in item.below {
            self.put_node(join(&place, below(&item.node.path, &node.path)), &node, copy, None)?;
        }
        Ok(())
    }

    fn copy_file(&mut self, item: &Item, copy: &Copy<'_>) -> Result<(), Error> {
        let (place, found) = self.resolve(b"", &clean(copy.destination.as_bytes()))?;
        let target = if copy.wants_directory() {
            self.ensure_directory(&place, &copy.dress)?;
            join(&place, &item.name)
        } else if matches!(found, Some(Found::Directory)) {
            join(&place, &item.name)
        } else {
            self.ensure_directory(split(&place).0, &copy.dress)?;
            place
        };
        let directory = split(&target).0.to_vec();
        self.put_node(target, &item.node, copy, item.data.as_ref())?;
        // As in any file system, a new name is news of the directory that has it.
        self.touch(&directory, self.now);
        Ok(())
    }

    fn put_node(&mut self, path: Vec<u8>, node: &Node, copy: &Copy<'_>, data: Option<&Vec<u8>>) -> Result<(), Error> {
        let mut put = self.maker(copy).put(node, data);
        if copy.options.parents
            && node.shape == Shape::Directory
            && let Some(before) = self.directory(&path)
        {
            // The path is kept, not the directory copied: its owner stays.
            let Metadata { mode, mtime, .. } = node.metadata;
            put.metadata = Metadata { mode, mtime, ..before };
        }
        check_fit(&path, &node.shape, self.lookup(&path))?;
        self.put(&path, put);
        Ok(())
    }

    fn maker(&self, copy: &Copy<'_>) -> Maker {
        Maker { from: copy.from, dress: copy.dress.clone(), walk: self.walk, now: self.now }
    }

    fn changes_below(&self, path: &[u8]) -> bool {
        match Place::new(path) {
            Place(root) if root.is_empty() => !self.changes.is_empty(),
            place => self.changes.range(place.below()).next().is_some(),
        }
    }

    fn put(&mut self, path: &[u8], mut put: Put) {
        let place = Place::new(path);
        if put.shape == Shape::Directory {
            put.fresh = match self.changes.get(&place) {
                Some(Change::Put(before)) if before.shape == Shape::Directory => before.fresh,
                _ => !matches!(self.lookup(path), Some(Found::Directory)) && is_directory(self.base.view.lookup(path)),
            };
            self.hiding |= put.fresh;
        } else if matches!(self.lookup(path), Some(Found::Directory)) {
            self.remove_below(&place);
            self.hiding = true;
        }
        self.changes.insert(place, Change::Put(put));
    }

    fn remove_below(&mut self, place: &Place) {
        let below: Vec<Place> = self.changes.range(place.below()).map(|(place, _)| place.clone()).collect();
        for place in below {
            self.changes.remove(&place);
        }
    }

    /// Makes a directory and those above it where there are none.
    fn ensure_directory(&mut self, path: &[u8], dress: &Dress) -> Result<(), Error> {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| end);
        for end in ends.chain((!path.is_empty()).then_some(path.len())) {
            let path = &path[..end];
            match self.lookup(path) {
                Some(Found::Directory) => {}
                Some(_) => return Err(Error::NotADirectory { path: shown(path) }),
                None => {
                    let metadata = dress.made(self.now);
                    let bytes = Bytes::None;
                    self.put(path, Put { shape: Shape::Directory, metadata, bytes, group: None, fresh: false });
                    self.touch(split(path).0, self.now);
                }
            }
        }
        Ok(())
    }

    /// Sets the time of a directory that is there. It is written only if something below it is.
    fn touch(&mut self, path: &[u8], mtime: Mtime) {
        if path.is_empty() {
            return;
        }
        let Some(mut metadata) = self.directory(path) else { return };
        metadata.mtime = mtime;
        let fresh = matches!(self.changes.get(&Place::new(path)), Some(Change::Put(Put { fresh: true, .. })));
        let put = Put { shape: Shape::Directory, metadata, bytes: Bytes::None, group: None, fresh };
        self.changes.insert(Place::new(path), Change::Put(put));
    }

    /// Returns the metadata of a directory that is there.
    fn directory(&self, path: &[u8]) -> Option<Metadata> {
        match (self.changes.get(&Place::new(path)), self.in_base(path)) {
            (Some(Change::Put(put)), _) => (put.shape == Shape::Directory).then(|| put.metadata.clone()),
            (Some(Change::Whiteout), _) => None,
            (None, node) => node.filter(|node| node.is_directory()).map(|node| node.metadata.clone()),
        }
    }

    fn resolve(&self, root: &[u8], path: &[u8]) -> Result<(Vec<u8>, Option<Found>), Error> {
        resolve(root, path, |path| Ok(self.lookup(path)))
    }

    fn lookup(&self, path: &[u8]) -> Option<Found> {
        match self.changes.get(&Place::new(path)) {
            _ if path.is_empty() => Some(Found::Directory),
            Some(Change::Whiteout) => None,
            Some(Change::Put(put)) => Some(match &put.shape {
                Shape::Directory => Found::Directory,
                Shape::Symlink { target } => Found::Link(target.clone()),
                _ => Found::Other,
            }),
            None => self.in_base(path).and_then(|_| Found::in_view(self.base.view, path)),
        }
    }

    /// Returns what the base has at `path`, unless a change above hides it.
    fn in_base(&self, path: &[u8]) -> Option<&'a LayerNode> {
        let hides = |end| match self.changes.get(&Place::new(&path[..end])) {
            Some(Change::Put(put)) => put.fresh || put.shape != Shape::Directory,
            Some(Change::Whiteout) => true,
            None => false,
        };
        let mut slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| slash);
        if self.hiding && slashes.any(hides) {
            return None;
        }
        self.base.view.lookup(path)
    }

    /// Puts the members of an archive below `root`. Directories that it holds have its times in the end.
    fn unpack_all(&mut self, root: &[u8], members: Vec<Member>, dress: &Dress, archive: &[u8]) -> Result<(), Error> {
        let mut directories = Vec::new();
        for member in members {
            let is_directory = matches!(&member.kind, MemberKind::Shape { shape: Shape::Directory, .. });
            let mtime = member.metadata.mtime;
            let path = self.unpack(root, member, dress, archive)?;
            self.touch(split(&path).0, self.now);
            directories.extend(is_directory.then_some((path, mtime)));
        }
        for (path, mtime) in directories {
            if matches!(self.lookup(&path), Some(Found::Directory)) {
                self.touch(&path, mtime);
            }
        }
        Ok(())
    }

    /// Puts one member of an archive below `root`, replacing what is in its place unless both are directories; returns
    /// where.
    fn unpack(&mut self, root: &[u8], member: Member, dress: &Dress, archive: &[u8]) -> Result<Vec<u8>, Error> {
        let (parent, name) = split(&member.path);
        let parent = self.resolve(root, parent)?.0;
        // What an archive does not hold has no owner that could be replaced.
        self.ensure_directory(&parent, &Dress { ids: None, mode: None })?;
        let path = join(&parent, name);
        let metadata = dress.apply(&Shape::Directory, member.metadata);
        let put = match member.kind {
            MemberKind::Shape { shape, offset } => {
                let bytes = if matches!(shape, Shape::File { .. }) { Bytes::Spooled { offset } } else { Bytes::None };
                Put { shape, metadata, bytes, group: None, fresh: false }
            }
            MemberKind::Hardlink { target } => {
                let missing = || Error::Archive {
                    path: shown(archive),
                    source: super::ArchiveError::Link { member: shown(&member.path), target: shown(&target) },
                };
                let (parent, name) = split(&target);
                let target = join(&self.resolve(root, parent)?.0, name);
                if target == path {
                    return Ok(path);
                }
                self.linked(&target).ok_or_else(missing)?
            }
        };
        self.put(&path, put);
        Ok(path)
    }

    /// Returns another name for what is at `path`, which is no directory.
    fn linked(&mut self, path: &[u8]) -> Option<Put> {
        let place = Place::new(path);
        self.linked += 1;
        let group = (self.walk, 0, self.linked);
        if let Some(Change::Put(put)) = self.changes.get_mut(&place) {
            if matches!(put.shape, Shape::File { .. }) {
                put.group.get_or_insert(group);
            }
            return (put.shape != Shape::Directory).then(|| put.clone());
        }
        let node = self.in_base(path)?;
        let shape = shape(&node.kind).filter(|shape| *shape != Shape::Directory)?;
        let bytes = Bytes::Base { path: path.to_vec() };
        Some(Put { shape, metadata: node.metadata.clone(), bytes, group: None, fresh: false })
    }

    /// Returns the changes in the order of a layer, and what comes right after the change of its place. What a fresh
    /// directory hides gets its whiteouts.
    pub(super) fn finish(mut self) -> (BTreeMap<Place, Change>, Option<Run>) {
        let is_fresh = |change: &Change| matches!(change, Change::Put(Put { fresh: true, .. }));
        let fresh: Vec<Vec<u8>> =
            self.changes.iter().filter(|(_, change)| is_fresh(change)).map(|(place, _)| place.path()).collect();
        for path in fresh {
            let hidden = self.base.view.lookup(&path).into_iter().flat_map(LayerNode::children);
            for (name, _) in hidden {
                self.changes.entry(Place::new(&join(&path, name))).or_insert(Change::Whiteout);
            }
        }
        (self.changes, self.run)
    }
}

impl Run {
    /// Returns the directory that the entries are in.
    pub(super) fn place(&self) -> &[u8] {
        &self.place
    }

    /// Makes one change after the other, in the order of a layer; an error where one does not fit what `base` has.
    pub(super) fn changes(self, base: Stack<'_>) -> impl Iterator<Item = Result<(Vec<u8>, Put), Error>> {
        let Run { place, source, nodes, maker } = self;
        nodes.into_iter().map(move |node| {
            let path = join(&place, below(&source, &node.path));
            check_fit(&path, &node.shape, Found::in_view(base.view, &path))?;
            Ok((path, maker.put(&node, None)))
        })
    }
}

impl Maker {
    fn put(&self, node: &Node, data: Option<&Vec<u8>>) -> Put {
        let mut metadata = self.dress.apply(&node.shape, node.metadata.clone());
        let bytes = match (&node.shape, data, self.from) {
            (Shape::File { .. }, Some(data), _) => {
                metadata.mtime = self.now;
                Bytes::Inline(data.clone())
            }
            (Shape::File { .. }, None, Some(from)) => Bytes::Source { from, path: node.path.clone(), key: node.key },
            _ => Bytes::None,
        };
        let group = node.inode.map(|(device, inode)| (self.walk, device, inode));
        Put { shape: node.shape.clone(), metadata, bytes, group, fresh: false }
    }
}

/// Refuses a directory in the place of something else, and the other way round.
fn check_fit(path: &[u8], shape: &Shape, found: Option<Found>) -> Result<(), Error> {
    match (shape, found) {
        (Shape::Directory, Some(Found::Link(_) | Found::Other)) => Err(Error::NotADirectory { path: shown(path) }),
        (shape, Some(Found::Directory)) if *shape != Shape::Directory => Err(Error::IsADirectory { path: shown(path) }),
        _ => Ok(()),
    }
}

/// One copy with what its options come to.
struct Copy<'a> {
    from: Option<Input>,
    destination: &'a str,
    options: &'a CopyOptions,
    dress: Dress,
}

impl Copy<'_> {
    fn wants_directory(&self) -> bool {
        self.destination.ends_with('/')
            || self.destination.ends_with("/.")
            || clean(self.destination.as_bytes()).is_empty()
    }
}

fn is_directory(node: Option<&LayerNode>) -> bool {
    node.is_some_and(LayerNode::is_directory)
}
