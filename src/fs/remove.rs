use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{At, Error, os_path};

/// How deep removal descends before it moves what lies deeper up to the top: it holds one descriptor per level.
const MAX_DEPTH: usize = 64;

/// Removes `path` and everything below it, following no links. Nothing there is success.
///
/// # Errors
/// [`Error::Io`] for the first thing that cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    let trimmed = path.components().as_path();
    let name = trimmed.file_name().ok_or(Errno::INVAL).at("remove", path)?;
    let parent = match trimmed.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, parent, flags, Mode::empty()) {
        Ok(parent) => remove_at(&parent, name.as_bytes(), path),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).at("open", parent),
    }
}

/// Removes `name` in `directory` and everything below it, as [`remove_tree`] does. `shown` stands for it in errors.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_at(directory: impl AsFd, name: &[u8], shown: &Path) -> Result<(), Error> {
    match unlinkat(&directory, os_path(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error).at("remove", shown),
    }
    let top = open_to_empty(&directory, name).at("open", shown)?;
    let mut removal = Removal { top: &top, moved: 0 };
    // Each round also takes what the one before it moved up.
    loop {
        let moved = removal.moved;
        removal.empty(&top, 0).at("remove from", shown)?;
        if removal.moved == moved {
            break;
        }
    }
    unlinkat(&directory, os_path(name), AtFlags::REMOVEDIR).at("remove", shown)
}

struct Removal<'a> {
    top: &'a OwnedFd,
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, directory: &OwnedFd, depth: usize) -> Result<(), Errno> {
        for (name, file_type) in names(directory)? {
            if file_type != FileType::Directory {
                match unlinkat(directory, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    // The file system does not tell types in its listings.
                    Err(Errno::ISDIR) => {}
                    Err(error) => return Err(error),
                }
            }
            self.remove_directory(directory, &name, depth)?;
        }
        Ok(())
    }

    fn remove_directory(&mut self, parent: &OwnedFd, name: &CString, depth: usize) -> Result<(), Errno> {
        let directory = open_to_empty(parent, name.to_bytes())?;
        if depth >= MAX_DEPTH {
            drop(directory);
            return self.move_up(parent, name);
        }
        self.empty(&directory, depth + 1)?;
        unlinkat(parent, name, AtFlags::REMOVEDIR)
    }

    fn move_up(&mut self, parent: &OwnedFd, name: &CString) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let new = format!(".kiln-removed-{}", self.moved);
            match renameat(parent, name, self.top, &new) {
                // A file of the tree has this very name.
                Err(Errno::EXIST | Errno::NOTDIR | Errno::NOTEMPTY) => continue,
                result => return result,
            }
        }
    }
}

/// Opens a directory for listing, giving its owner the right to where it is missing.
fn open_to_empty(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = openat(&parent, os_path(name), flags | OFlags::PATH, Mode::empty())?;
    let listable = rustix::fs::fstat(&handle)?.st_mode & 0o700 == 0o700;
    if !listable {
        // Through the descriptor, so that a link put in its place meanwhile is not followed.
        chmod(super::xattr::through(handle.as_fd(), b""), Mode::RWXU)?;
    }
    openat(&handle, ".", flags | OFlags::RDONLY, Mode::empty())
}

fn names(directory: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            found.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_out_of_the_tree_are_removed_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (directory.path().join("tree"), directory.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink(&outside, directory.path().join("top")).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&directory.path().join("top")).unwrap();
        assert!(outside.join("file").exists());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_without_permissions_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        for path in ["a/b/c", "a/b", "a", ""] {
            std::fs::set_permissions(tree.join(path), PermissionsExt::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut deep = openat(CWD, directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "directory", Mode::RWXU).unwrap();
            deep = openat(&deep, "directory", OFlags::PATH, Mode::empty()).unwrap();
        }
        remove_tree(&directory.path().join("directory")).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_there_is_success() {
        remove_tree(Path::new("/nowhere/at/all")).unwrap();
        assert!(remove_tree(Path::new("/")).is_err());
    }
}
