use super::view::{components, join, split};
use super::{EntryPath, Kind, Node, View};

/// How many symbolic links a path may lead through: the kernel's own limit, path_resolution(7).
const MAX_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, Clone)]
pub struct Resolution<'a> {
    /// The part that exists, without links.
    pub path: EntryPath,
    /// What is at `path`; `None` as soon as anything is missing.
    pub node: Option<&'a Node>,
    /// The names below `path` that do not exist, and where a file or directory would have to be made.
    pub missing: Vec<Vec<u8>>,
}

impl Resolution<'_> {
    /// Returns the whole path, existing or not.
    pub fn full_path(&self) -> EntryPath {
        let mut path = self.path.clone();
        for name in &self.missing {
            join(&mut path, name);
        }
        path
    }
}

/// Why a path leads nowhere, not even to a place where something could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The links go in circles, or nearly so.
    #[error("too many symbolic links in `{}`", path.escape_ascii())]
    TooManyLinks {
        /// As asked for.
        path: EntryPath,
    },
    /// Something above the last component is a file.
    #[error("`{}` is not a directory", path.escape_ascii())]
    NotADirectory {
        /// That file, without links.
        path: EntryPath,
    },
}

impl View {
    /// Follows `path` through the links in it, the last component included, as openat2(2) does with
    /// `RESOLVE_IN_ROOT`: absolute targets start at the root and `..` stops there.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(&self, path: &[u8]) -> Result<Resolution<'_>, ResolveError> {
        Resolver::new(self, path).run(Last::Follow)
    }

    /// Follows `path` as [`View::resolve`] does, but for its last component: a link there is the answer.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve_parent(&self, path: &[u8]) -> Result<Resolution<'_>, ResolveError> {
        Resolver::new(self, path).run(Last::Keep)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Follow,
    Keep,
}

struct Resolver<'a, 'p> {
    asked: &'p [u8],
    /// Names still to follow, the next one last.
    pending: Vec<Vec<u8>>,
    links: usize,
    path: EntryPath,
    /// The directories from the root to `path`.
    nodes: Vec<&'a Node>,
    missing: Vec<Vec<u8>>,
}

impl<'a, 'p> Resolver<'a, 'p> {
    fn new(view: &'a View, asked: &'p [u8]) -> Resolver<'a, 'p> {
        let pending = components(asked).map(<[u8]>::to_vec).rev().collect();
        Resolver { asked, pending, links: 0, path: Vec::new(), nodes: vec![view.root()], missing: Vec::new() }
    }

    fn run(mut self, last: Last) -> Result<Resolution<'a>, ResolveError> {
        while let Some(name) = self.pending.pop() {
            if name == b".." {
                self.up();
            } else if !self.missing.is_empty() {
                self.missing.push(name);
            } else {
                self.down(name, last)?;
            }
        }
        let node = if self.missing.is_empty() { self.nodes.last().copied() } else { None };
        Ok(Resolution { path: self.path, node, missing: self.missing })
    }

    fn up(&mut self) {
        if self.missing.pop().is_none() && self.nodes.len() > 1 {
            self.nodes.pop();
            let parent = split(&self.path).0.len();
            self.path.truncate(parent);
        }
    }

    fn down(&mut self, name: Vec<u8>, last: Last) -> Result<(), ResolveError> {
        let here = self.nodes[self.nodes.len() - 1];
        if !here.is_directory() {
            return Err(ResolveError::NotADirectory { path: self.path.clone() });
        }
        match here.child(&name) {
            None => self.missing.push(name),
            Some(Node { kind: Kind::Symlink { target }, .. }) if last == Last::Follow || !self.pending.is_empty() => {
                self.follow(target)?;
            }
            Some(child) => {
                join(&mut self.path, &name);
                self.nodes.push(child);
            }
        }
        Ok(())
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), ResolveError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(ResolveError::TooManyLinks { path: self.asked.to_vec() });
        }
        if target.starts_with(b"/") {
            self.path.clear();
            self.nodes.truncate(1);
        }
        self.pending.extend(components(target).map(<[u8]>::to_vec).rev());
        Ok(())
    }
}
