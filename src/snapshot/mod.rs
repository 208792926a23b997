//! Trees of layers, and writable views over them.
//!
//! ```text
//!  trees/<n>/fs     a layer's files in overlayfs lower form; or, without overlayfs, all files of a stack
//!  trees/<n>/image  where a layer has many files, an EROFS image of them, for which fs is the empty place
//!  trees/<n>/data   their contents: the layer's tar
//!  trees/<n>/work   overlayfs' own, while a process runs over it
//! ```
//!
//! With overlayfs a step's changes are its upper directory, which then *is* the tree of the new layer: nothing is
//! copied and nothing walked but what changed. A layer that comes from elsewhere has a tree made for it; making files is the
//! dearest thing there is, so where the kernel mounts images from files (Linux 6.12, as root), only their names are
//! written. Where the kernel or the file system of the store does not have it, a
//! step gets a whole copy of all files, which is as right and much slower.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::layer::{ErofsImage, Index, OverlayXattrs, TreeKind};
use crate::oci::DiffId;
use crate::store::{self, Store};
use crate::sys::mount::{self, Attributes, Setting};

/// Why a tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A directory of the tree could not be cleared.
    #[error(transparent)]
    Files(crate::fs::Error),
    /// The tree holds changes alone, and nothing here can lay them over the rest.
    #[error("{} was made with overlayfs, which does not work here", path.display())]
    NoOverlay {
        /// The tree.
        path: PathBuf,
    },
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
    image: Option<mount::Image>,
    /// Keeps a directory that no layer owns yet.
    _active: Option<Arc<Active>>,
}

impl Tree {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file with the contents of all files, the layer's tar, where the directory has none of them.
    pub fn tar(&self) -> Option<&Path> {
        self.image.as_ref().map(|image| image.data.as_path())
    }

    /// Returns the files in a directory of changes, as [`Snapshotter::changes`] gives it.
    pub fn of_changes(path: PathBuf) -> Tree {
        Tree { path, image: None, _active: None }
    }

    fn at(path: PathBuf, active: Option<Arc<Active>>) -> Tree {
        let image = Some(image(&path)).filter(|image| image.image.exists());
        Tree { path, image, _active: active }
    }
}

/// Returns the image that may stand beside a directory of files.
fn image(files: &Path) -> mount::Image {
    mount::Image {
        image: files.with_file_name(IMAGE),
        data: files.with_file_name(DATA),
        place: files.to_owned(),
        held: None,
    }
}

const FILES: &str = "fs";
const IMAGE: &str = "image";
const DATA: &str = "data";
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
    images: OnceLock<bool>,
}

/// A directory that a step may change. Dropped without being bound, it is removed.
#[derive(Debug)]
pub struct Active {
    store: Store,
    tree: store::Tree,
    bound: AtomicBool,
    kept: AtomicBool,
    view: View,
}

/// What a writable view consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// To be mounted as an overlay.
    Overlay {
        /// Trees, top first; none means that `upper` alone is the root.
        lower: Vec<PathBuf>,
        /// Those of them that are images, to be mounted first.
        images: Vec<mount::Image>,
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
        Snapshotter { store: store.clone(), kind: OnceLock::new(), images: OnceLock::new() }
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

    /// Returns the tree of a layer where there is one that can be used.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tree_of(&self, diff_id: DiffId) -> Result<Option<Tree>, Error> {
        let Some(kept) = self.store.tree_of(diff_id)? else { return Ok(None) };
        let tree = Tree::at(kept.path().join(FILES), None);
        // The machine may run an older kernel now, or the store lie on another file system.
        if let Some(image) = &tree.image
            && !*self.images.get_or_init(|| image.mount().is_ok())
        {
            self.store.drop_tree(&kept)?;
            return Ok(None);
        }
        Ok(Some(tree))
    }

    /// Returns an empty directory for the files of a layer, or of a stack.
    ///
    /// # Errors
    /// Those of the store.
    pub fn empty(&self) -> Result<Active, Error> {
        let tree = self.store.new_tree()?;
        let path = tree.path().join(FILES);
        let view = View::Whole { path: path.clone() };
        let (bound, kept) = (AtomicBool::new(false), AtomicBool::new(false));
        let active = Active { store: self.store.clone(), tree, bound, kept, view };
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
        make_directory(&upper.with_file_name(WORK))?;
        active.view = overlay(upper, lower, xattrs);
        Ok(active)
    }

    /// Returns an empty directory for further changes over a view whose upper directory becomes a layer, as `/` is there.
    ///
    /// # Errors
    /// Those of the store and of making directories.
    pub fn beside(&self, upper: &Path, xattrs: OverlayXattrs) -> Result<Active, Error> {
        let mut active = self.empty()?;
        let files = active.files().to_owned();
        copy_root(upper, &files)?;
        make_directory(&files.with_file_name(WORK))?;
        active.view = overlay(files, &[], xattrs);
        Ok(active)
    }

    /// Returns the directory of the changes that `tree` has kept, and what it is to be read as.
    ///
    /// # Errors
    /// [`Error::NoOverlay`], those of the store.
    pub fn changes(&self, tree: &store::Tree) -> Result<(PathBuf, TreeKind), Error> {
        let files = tree.path().join(FILES);
        if !tree.path().join(WORK).exists() {
            return Ok((files, TreeKind::Whole));
        }
        match self.kind()? {
            Kind::Overlay(xattrs) => Ok((files, TreeKind::Upper(xattrs))),
            Kind::FullCopy => Err(Error::NoOverlay { path: files }),
        }
    }

    /// Returns the writable view over `lower`, base first, whose changes `tree` has kept: see [`Active::keep`]. Nobody
    /// else may be using it.
    ///
    /// # Errors
    /// [`Error::NoOverlay`], those of the store and of making directories.
    pub fn reopen(&self, tree: &store::Tree, lower: &[Tree]) -> Result<View, Error> {
        let files = tree.path().join(FILES);
        let work = tree.path().join(WORK);
        if !work.exists() {
            return Ok(View::Whole { path: files });
        }
        let Kind::Overlay(xattrs) = self.kind()? else { return Err(Error::NoOverlay { path: files }) };
        // What a mount has left there is of no use to the next one, and may forbid it.
        crate::fs::remove_tree(&work).map_err(Error::Files)?;
        make_directory(&work)?;
        Ok(overlay(files, lower, xattrs))
    }

    /// Tells whether the tree of a layer may be an image here.
    ///
    /// # Errors
    /// Those of making files in the store.
    pub fn mounts_images(&self) -> Result<bool, Error> {
        if let Some(known) = self.images.get() {
            return Ok(*known);
        }
        let found = self.kind()? == Kind::Overlay(OverlayXattrs::Trusted) && self.probe_image()?;
        Ok(*self.images.get_or_init(|| found))
    }

    fn probe_image(&self) -> Result<bool, Error> {
        let active = self.empty()?;
        let image = active.image();
        fs::write(&image.data, b"").map_err(failed("write", &image.data))?;
        let Ok(nothing) = ErofsImage::new(&Index::default(), 0, OverlayXattrs::Trusted) else { return Ok(false) };
        active.write_image(&nothing)?;
        let mounted = image.mount();
        if let Err(error) = &mounted {
            tracing::debug!(%error, "EROFS images cannot be mounted here");
        }
        Ok(mounted.is_ok())
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

/// Returns a view by overlayfs over trees, base first.
pub(crate) fn overlay(upper: PathBuf, lower: &[Tree], xattrs: OverlayXattrs) -> View {
    // The kernel refuses the same directory twice (ELOOP), and stacks do have equal layers, empty ones above all. What
    // the lower one says, the upper one says again, whatever lies between.
    let mut seen = HashSet::new();
    let top_first: Vec<&Tree> = lower.iter().rev().filter(|tree| seen.insert(tree.path.clone())).collect();
    let images = top_first.iter().filter_map(|tree| tree.image.clone()).collect();
    let lower = top_first.iter().map(|tree| tree.path.clone()).collect();
    let work = upper.with_file_name(WORK);
    View::Overlay { lower, images, upper, work, xattrs }
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

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
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
        Tree::at(self.files().to_owned(), Some(self.clone()))
    }

    /// Returns where an image goes that stands for the files.
    pub fn image(&self) -> mount::Image {
        image(self.files())
    }

    /// Makes an image stand for the files. Its contents must be in their place already.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_image(&self, image: &ErofsImage) -> Result<(), Error> {
        let (path, root) = (self.image().image, image.root());
        let written = File::create(&path).and_then(|file| {
            let mut out = BufWriter::new(file);
            image.write(&mut out)?;
            out.flush()
        });
        written.map_err(failed("write", &path))?;
        // Whoever looks at the place alone sees the root's own mode and owner.
        let place = self.files();
        let dressed = chown(place, Some(root.uid), Some(root.gid))
            .and_then(|()| fs::set_permissions(place, Permissions::from_mode(root.mode)));
        dressed.map_err(failed("set mode and owner of", place))
    }

    /// Returns the directory as the store has it.
    pub fn kept_by(&self) -> &store::Tree {
        &self.tree
    }

    /// Leaves the directory to whom the store has given it; [`Snapshotter::reopen`] returns to it.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
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
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        if self.bound.load(Ordering::Relaxed) {
            if let View::Overlay { work, .. } = &self.view {
                // Overlayfs leaves an empty directory in it. If that stays, it goes with the tree.
                let _ = fs::remove_dir(work.join(WORK)).and_then(|()| fs::remove_dir(work));
            }
        } else if let Err(error) = self.store.discard_tree(&self.tree) {
            tracing::warn!(%error, "a tree stays until kiln starts again");
        }
    }
}
