//! Trees of layers, and writable views over them.
//!
//! ```text
//!  trees/<n>/fs     a layer's files in overlayfs lower form; or, without overlayfs, all files of a stack
//!  trees/<n>/work   overlayfs' own, while a process runs over it
//! ```
//!
//! With overlayfs a step's changes are its upper directory, which then *is* the tree of the new layer: nothing is
//! copied and nothing walked but what changed. Where the kernel or the file system of the store does not have it, a
//! step gets a whole copy of all files, which is as right and much slower.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::layer::OverlayXattrs;
use crate::oci::DiffId;
use crate::store::{self, Store};
use crate::sys::mount::{self, Attributes, Setting};

/// Why a tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A directory of the tree could not be made.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The files of one layer, in overlayfs lower form.
#[derive(Debug, Clone)]
pub struct Tree {
    path: PathBuf,
    /// Keeps a directory that no layer owns yet.
    _active: Option<Arc<Active>>,
}

impl Tree {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of(tree: &store::Tree) -> Tree {
        Tree { path: tree.path().join(FILES), _active: None }
    }
}

const FILES: &str = "fs";
const WORK: &str = "work";

/// How writable views are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By overlayfs, with marks in these attributes.
    Overlay(OverlayXattrs),
    /// As whole copies.
    FullCopy,
}

/// Makes trees and writable views in a store.
#[derive(Debug)]
pub struct Snapshotter {
    store: Store,
    kind: OnceLock<Kind>,
}

/// A directory that a step may change. Dropped without being bound, it is removed.
#[derive(Debug)]
pub struct Active {
    store: Store,
    tree: store::Tree,
    bound: AtomicBool,
    view: View,
}

/// What a writable view consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// To be mounted as an overlay.
    Overlay {
        /// Trees, top first; none means that `upper` alone is the root.
        lower: Vec<PathBuf>,
        /// Takes the changes.
        upper: PathBuf,
        /// Overlayfs' own.
        work: PathBuf,
        /// Where overlayfs keeps its marks.
        xattrs: OverlayXattrs,
    },
    /// A directory with all files.
    Whole {
        /// The directory.
        path: PathBuf,
    },
}

impl Snapshotter {
    /// Returns a snapshotter over `store`, which finds out how to work when it first has to.
    pub fn new(store: &Store) -> Snapshotter {
        Snapshotter { store: store.clone(), kind: OnceLock::new() }
    }

    /// Returns how writable views are made here.
    ///
    /// # Errors
    /// Those of making directories in the store.
    pub fn kind(&self) -> Result<Kind, Error> {
        if let Some(kind) = self.kind.get() {
            return Ok(*kind);
        }
        let found = self.probe()?;
        Ok(*self.kind.get_or_init(|| found))
    }

    /// Returns the tree of a layer where there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tree_of(&self, diff_id: DiffId) -> Result<Option<Tree>, Error> {
        Ok(self.store.tree_of(diff_id)?.as_ref().map(Tree::of))
    }

    /// Returns an empty directory for the files of a layer, or of a stack.
    ///
    /// # Errors
    /// Those of the store.
    pub fn empty(&self) -> Result<Active, Error> {
        let tree = self.store.new_tree()?;
        let path = tree.path().join(FILES);
        let view = View::Whole { path: path.clone() };
        let active = Active { store: self.store.clone(), tree, bound: AtomicBool::new(false), view };
        make_directory(&path)?;
        Ok(active)
    }

    /// Returns a writable view over `lower`, base first, by overlayfs.
    ///
    /// # Errors
    /// Those of the store and of making directories.
    pub fn over(&self, lower: &[Tree], xattrs: OverlayXattrs) -> Result<Active, Error> {
        let mut active = self.empty()?;
        let upper = active.files().to_owned();
        if let Some(top) = lower.last() {
            // The upper directory's own mode and owner are those of `/` in the view.
            copy_root(top.path(), &upper)?;
        }
        let work = upper.with_file_name(WORK);
        make_directory(&work)?;
        // The kernel refuses the same directory twice (ELOOP), and stacks do have equal layers, empty ones above all. What
        // the lower one says, the upper one says again, whatever lies between.
        let mut seen = HashSet::new();
        let top_first = lower.iter().rev().map(|tree| tree.path.clone());
        let lower = top_first.filter(|path| seen.insert(path.clone())).collect();
        active.view = View::Overlay { lower, upper, work, xattrs };
        Ok(active)
    }

    /// Tries what overlayfs needs: device 0:0, the attribute of opaque directories, and a mount that nobody sees.
    fn probe(&self) -> Result<Kind, Error> {
        for xattrs in [OverlayXattrs::Trusted, OverlayXattrs::User] {
            let (lower, upper) = (self.empty()?, self.over(&[], xattrs)?);
            match try_overlay(lower.files(), &upper.view, xattrs) {
                Ok(()) => return Ok(Kind::Overlay(xattrs)),
                Err(error) => tracing::debug!(?xattrs, %error, "overlayfs does not work here"),
            }
        }
        Ok(Kind::FullCopy)
    }
}

fn try_overlay(lower: &Path, view: &View, xattrs: OverlayXattrs) -> io::Result<()> {
    let View::Overlay { upper, work, .. } = view else { unreachable!("it was made as an overlay") };
    rustix::fs::mknodat(CWD, lower.join("gone"), FileType::CharacterDevice, Mode::empty(), 0)?;
    let name = match xattrs {
        OverlayXattrs::Trusted => "trusted.overlay.opaque",
        OverlayXattrs::User => "user.overlay.opaque",
    };
    rustix::fs::lsetxattr(lower, name, b"y", XattrFlags::empty())?;
    let mut settings =
        vec![Setting::Path("lowerdir", lower), Setting::Path("upperdir", upper), Setting::Path("workdir", work)];
    if xattrs == OverlayXattrs::User {
        settings.push(Setting::Flag("userxattr"));
    }
    // A file system nobody attaches is gone with its descriptor.
    mount::create("overlay", &settings, Attributes::empty()).map(drop)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o755).create(path);
    made.map_err(|source| Error::Io { action: "create", path: path.to_owned(), source })
}

fn copy_root(from: &Path, to: &Path) -> Result<(), Error> {
    let copy = || {
        let metadata = fs::metadata(from)?;
        chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))
    };
    copy().map_err(|source| Error::Io { action: "set mode and owner of", path: to.to_owned(), source })
}

impl Active {
    /// Returns what the view consists of.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the directory that takes changes.
    pub fn files(&self) -> &Path {
        match &self.view {
            View::Overlay { upper, .. } => upper,
            View::Whole { path } => path,
        }
    }

    /// Returns the directory as the tree of a layer to be. It lasts at least as long as what is returned.
    pub fn tree(self: &Arc<Active>) -> Tree {
        Tree { path: self.files().to_owned(), _active: Some(self.clone()) }
    }

    /// Makes the directory the tree of a layer, for every process and build from now on. Where the layer has one
    /// already, that stays, and this goes with its last user.
    ///
    /// # Errors
    /// Those of the store.
    pub fn bind(&self, diff_id: DiffId) -> Result<(), Error> {
        let won = self.store.bind_tree(&self.tree, diff_id)?;
        self.bound.store(won, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.bound.load(Ordering::Relaxed) {
            if let View::Overlay { work, .. } = &self.view {
                // Overlayfs leaves an empty directory in it. If that stays, it goes with the tree.
                let _ = fs::remove_dir(work.join(WORK)).and_then(|()| fs::remove_dir(work));
            }
        } else if let Err(error) = self.store.drop_tree(&self.tree) {
            tracing::warn!(%error, "a tree stays until kiln starts again");
        }
    }
}
