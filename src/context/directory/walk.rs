use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::vec;

use rayon::prelude::*;
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;

use super::{Context, Kind, NAMES_A_THREAD, join, names, split};
use crate::context::{Error, Scope, Verdict};

/// What a context does with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is part of the context: no rule drops it, or the exception of this number brings it back (which only
    /// [`Listing::All`] tells).
    Kept(Option<usize>),
    /// A directory that this rule drops, and that is there for what is kept below it.
    Around(usize),
    /// It is not part of the context, as this rule says.
    Dropped(usize),
    /// It is a socket, and those are never part of a context.
    Socket,
}

/// A path below a context's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the root of the context, `/`-separated.
    pub path: Vec<u8>,
    /// What; none of a socket.
    pub kind: Option<Kind>,
    /// Whether it is part of the context, and why.
    pub fate: Fate,
    /// What a dropped directory has below it, which is not listed.
    pub below: Tally,
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices and sockets.
    pub others: u64,
    /// Content bytes of the files.
    pub size_bytes: u64,
    /// Directories among those counted that nobody has looked into.
    pub unknown: u64,
}

impl Tally {
    /// Counts one path, and what it says is below it.
    pub fn add(&mut self, listed: &Listed) {
        match listed.kind {
            Some(Kind::File { size_bytes }) => {
                self.files += 1;
                self.size_bytes += size_bytes;
            }
            Some(Kind::Directory) => self.directories += 1,
            _ => self.others += 1,
        }
        let below = listed.below;
        self.files += below.files;
        self.directories += below.directories;
        self.others += below.others;
        self.size_bytes += below.size_bytes;
        self.unknown += below.unknown;
    }
}

/// Which paths a [`Walk`] yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// What is part of the context.
    Kept,
    /// All, but nothing below a directory that is dropped as a whole.
    All,
}

/// Everything below a directory of a context, depth first, names in byte order. It holds the names of the directories
/// that lead to where it is, and no more.
///
/// Whether an ignored directory is part of the context shows only once something below it is found that is. Until then
/// it is held back, with what is dropped directly in it.
pub struct Walk<'a> {
    context: &'a Context,
    listing: Listing,
    frames: Vec<Frame>,
    ready: VecDeque<Listed>,
}

/// A directory that is being walked.
struct Frame {
    scope: Scope,
    children: vec::IntoIter<Child>,
    held: Option<Held>,
}

struct Child {
    path: Vec<u8>,
    kind: Option<Kind>,
    verdict: Verdict,
}

/// An ignored directory in which nothing is seen so far.
struct Held {
    path: Vec<u8>,
    rule: usize,
    dropped: Vec<Listed>,
}

impl Context {
    /// Walks everything.
    ///
    /// # Errors
    /// When the directory cannot be read; the walk itself yields those of directories below it.
    pub fn walk(&self, listing: Listing) -> Result<Walk<'_>, Error> {
        let mut walk = Walk::new(self, listing);
        walk.enter(b"", self.ignore.root(), None)?;
        Ok(walk)
    }

    /// Walks the path `path` and what is below it, as [`Context::walk`] would come across them; nothing if it is not there.
    ///
    /// # Errors
    /// When the directory that has it cannot be read.
    pub fn walk_from(&self, path: &[u8], listing: Listing) -> Result<Walk<'_>, Error> {
        if path.is_empty() {
            return self.walk(listing);
        }
        let mut walk = Walk::new(self, listing);
        let (parent, name) = split(path);
        let scope = self.scope(parent);
        let children = match self.look_at(parent, vec![name.to_vec()], &scope, listing) {
            Err(Error::Io { source, .. }) if is_nowhere(&source) => return Ok(walk),
            children => children?.into_iter(),
        };
        walk.frames.push(Frame { scope, children, held: None });
        Ok(walk)
    }

    /// Returns what the directory `path` has of `names`, without what nobody wants to hear of.
    fn look_at(&self, path: &[u8], names: Vec<Vec<u8>>, scope: &Scope, listing: Listing) -> Result<Vec<Child>, Error> {
        let fd = self
            .confined(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)
            .map_err(|errno| self.failed("open", path, errno))?;
        let child = |name: Vec<u8>| -> Result<Option<Child>, Error> {
            let path = join(path, &name);
            let verdict = self.ignore.verdict_in(scope, &path);
            if listing == Listing::Kept && verdict.is_ignored() && self.ignore.can_prune(&path) {
                return Ok(None);
            }
            let stat = match fs::statat(&fd, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(self.failed("look at", &path, errno)),
            };
            let kind = self.kind(&path, &stat)?;
            let is_wanted =
                listing == Listing::All || kind == Some(Kind::Directory) || kind.is_some() && !verdict.is_ignored();
            Ok(is_wanted.then_some(Child { path, kind, verdict }))
        };
        names.into_par_iter().with_min_len(NAMES_A_THREAD).filter_map(|name| child(name).transpose()).collect()
    }
}

fn is_nowhere(error: &std::io::Error) -> bool {
    let nowhere = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::XDEV];
    Errno::from_io_error(error).is_some_and(|errno| nowhere.contains(&errno))
}

impl<'a> Walk<'a> {
    fn new(context: &'a Context, listing: Listing) -> Walk<'a> {
        Walk { context, listing, frames: Vec::new(), ready: VecDeque::new() }
    }

    fn enter(&mut self, path: &[u8], scope: Scope, held: Option<Held>) -> Result<(), Error> {
        let context = self.context;
        context.cancel.check()?;
        let mut names = {
            let fd = context
                .confined(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
                .map_err(|errno| context.failed("open", path, errno))?;
            names(&fd).map_err(|errno| context.failed("read", path, errno))?
        };
        names.sort_unstable();
        let children = context.look_at(path, names, &scope, self.listing)?.into_iter();
        self.frames.push(Frame { scope, children, held });
        Ok(())
    }

    /// Takes the next child of the innermost directory.
    fn take(&mut self, child: Child) -> Result<(), Error> {
        let Child { path, kind, verdict } = child;
        let ignore = &self.context.ignore;
        let is_directory = kind == Some(Kind::Directory);
        let scope = self.frames.last().map(|frame| &frame.scope);
        let inner = scope.filter(|_| is_directory).map(|scope| ignore.enter(scope, &path));
        let below = Tally::default();
        match verdict {
            Verdict::Ignored(rule) => match inner {
                Some(inner) if !ignore.can_prune(&path) => {
                    let held = Held { path: path.clone(), rule, dropped: Vec::new() };
                    self.enter(&path, inner, Some(held))?;
                }
                _ => {
                    let below = Tally { unknown: u64::from(is_directory), ..below };
                    self.drop(Listed { path, kind, fate: Fate::Dropped(rule), below });
                }
            },
            Verdict::Seen if kind.is_none() => self.drop(Listed { path, kind, fate: Fate::Socket, below }),
            Verdict::Seen => {
                let is_asked = self.listing == Listing::All;
                let kept_by = scope.filter(|_| is_asked).and_then(|scope| ignore.kept_by(scope, &path));
                self.reveal();
                self.ready.push_back(Listed { path: path.clone(), kind, fate: Fate::Kept(kept_by), below });
                if let Some(inner) = inner {
                    self.enter(&path, inner, None)?;
                }
            }
        }
        Ok(())
    }

    /// Notes what is dropped.
    fn drop(&mut self, listed: Listed) {
        if self.listing == Listing::Kept {
            return;
        }
        match self.frames.last_mut().and_then(|frame| frame.held.as_mut()) {
            Some(held) => held.dropped.push(listed),
            None => self.ready.push_back(listed),
        }
    }

    /// Yields the directories that are held back, now that something in them is seen.
    fn reveal(&mut self) {
        for held in self.frames.iter_mut().filter_map(|frame| frame.held.take()) {
            let (kind, fate) = (Some(Kind::Directory), Fate::Around(held.rule));
            self.ready.push_back(Listed { path: held.path, kind, fate, below: Tally::default() });
            self.ready.extend(held.dropped);
        }
    }

    /// Leaves the innermost directory. Where nothing in it was seen, it is dropped as a whole.
    fn leave(&mut self) {
        if let Some(held) = self.frames.pop().and_then(|frame| frame.held) {
            let mut below = Tally::default();
            held.dropped.iter().for_each(|listed| below.add(listed));
            self.drop(Listed { path: held.path, kind: Some(Kind::Directory), fate: Fate::Dropped(held.rule), below });
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Listed, Error>;

    /// Returns the next path. Nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(listed) = self.ready.pop_front() {
                return Some(Ok(listed));
            }
            match self.frames.last_mut()?.children.next() {
                None => self.leave(),
                Some(child) => {
                    if let Err(error) = self.take(child) {
                        self.frames.clear();
                        self.ready.clear();
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}
