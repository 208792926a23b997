use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::git::{Call, Commit, copy_shallow, time_of};
use super::http::{key, permit};
use super::{Access, Error, Fetched, Identity, Remotes};
use crate::fs::Root;
use crate::graph::{Git, GitMtime};
use crate::oci::Digest;
use crate::sys::Cancel;

/// Where the time of a commit is kept, beside its files.
const TIME: &str = "time";

impl Remotes {
    /// Returns the files of a commit where they are here already.
    ///
    /// # Errors
    /// Those of the store.
    pub fn checked_out(&self, git: &Git, commit: &Commit) -> Result<Option<Fetched>, Error> {
        let Some(directory) = self.store.remote(checkout_key(git, commit))? else { return Ok(None) };
        let path = directory.join(TIME);
        let time = fs::read_to_string(&path).map_err(Error::file("read", path))?;
        let identity = Identity::Commit { commit: commit.id.clone(), time: time.trim().parse().unwrap_or_default() };
        Ok(Some(Fetched { directory: directory.join("files"), identity }))
    }

    /// Fetches a commit and its submodules, and checks their files out: 0644 or 0755, and no `.git` unless it is asked for.
    ///
    /// # Errors
    /// [`Error::Git`], [`Error::NoGit`], [`Error::NoDirectory`], [`Error::Cancelled`], and those of files and the store.
    pub fn check_out(&self, git: &Git, commit: &Commit, access: &Access, cancel: &Cancel) -> Result<Fetched, Error> {
        let bare = self.objects(git, commit, access, cancel)?;
        let time = time_of(&bare, git, commit, cancel)?;
        let new = self.store.new_remote()?;
        let place = Place { bare: &bare, new: new.path(), git, commit, access, cancel };
        place.fill()?;
        place.choose()?;
        let files = new.path().join("files");
        settle(&files, (git.mtime == GitMtime::Commit).then_some(time), keeps(git))?;
        for left in ["tree", "git"] {
            let path = new.path().join(left);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
            }
        }
        let path = new.path().join(TIME);
        fs::write(&path, time.to_string()).map_err(Error::file("write", path))?;
        self.store.keep_remote(new, checkout_key(git, commit))?;
        let found = self.checked_out(git, commit)?;
        found.ok_or_else(|| Error::file("open", files)(std::io::ErrorKind::NotFound.into()))
    }
}

fn checkout_key(git: &Git, commit: &Commit) -> Digest {
    let what = serde_json::to_vec(&(&git.subdirectory, keeps(git), git.submodules, git.mtime, &commit.name));
    let what = what.expect("a reference is plain data");
    key("checkout", &[git.remote.as_bytes(), commit.id.as_bytes(), &what])
}

/// A subdirectory is no repository.
fn keeps(git: &Git) -> bool {
    git.keep_git_directory && git.subdirectory.is_none()
}

/// A new directory that becomes a checkout.
struct Place<'a> {
    bare: &'a Path,
    new: &'a Path,
    git: &'a Git,
    commit: &'a Commit,
    access: &'a Access,
    cancel: &'a Cancel,
}

impl Place<'_> {
    fn tree(&self) -> PathBuf {
        self.new.join("tree")
    }

    fn call<'a>(&'a self, tree: &'a Path) -> Call<'a> {
        Call::new("check out", self.git, tree, self.cancel)
    }

    fn fill(&self) -> Result<(), Error> {
        let tree = self.tree();
        fs::create_dir(&tree).map_err(Error::file("create", &tree))?;
        if keeps(self.git) {
            self.clone_into(&tree)?
        } else {
            self.borrow_into(&tree)?
        }
        if self.git.submodules && fs::symlink_metadata(tree.join(".gitmodules")).is_ok() {
            let call = self.call(&tree).with(self.access);
            call.run(&["submodule", "-q", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if keeps(self.git) && self.git.shown() != self.git.remote {
            // Submodules that are named relative to the repository have its password, too.
            self.call(&tree).run(&["remote", "set-url", "origin", &self.git.shown()])?;
            self.call(&tree).run(&["submodule", "-q", "sync", "--recursive"])?;
        }
        Ok(())
    }

    /// Makes the tree of a repository of its own.
    fn clone_into(&self, tree: &Path) -> Result<(), Error> {
        let call = self.call(tree);
        call.run(&["init", "-q"])?;
        // With a scheme nothing is linked between the two.
        let origin = format!("file://{}", absolute(self.bare)?.display());
        call.run(&["remote", "add", "origin", &origin])?;
        let id = &self.commit.id;
        let what = self.commit.name.as_ref().map_or_else(|| id.clone(), |name| format!("{id}:{name}"));
        let local = Call { files: true, ..self.call(tree) };
        local.run(&["fetch", "-q", "-u", "--no-tags", "--depth=1", "origin", &what])?;
        call.run(&["checkout", "-q", "--detach", id])?;
        call.run(&["reflog", "expire", "--all", "--expire=now"])?;
        let fetched = tree.join(".git/FETCH_HEAD");
        fs::remove_file(&fetched).map_err(Error::file("remove", fetched))?;
        call.run(&["remote", "set-url", "origin", &self.git.remote]).map(drop)
    }

    /// Makes the tree of a repository that borrows its objects.
    fn borrow_into(&self, tree: &Path) -> Result<(), Error> {
        let (call, git_directory) = (self.call(tree), self.new.join("git"));
        let separate = format!("--separate-git-dir={}", absolute(self.new)?.join("git").display());
        call.run(&["init", "-q", &separate])?;
        let lent = git_directory.join("objects/info/alternates");
        let path = absolute(self.bare)?.join("objects");
        fs::write(&lent, format!("{}\n", path.display())).map_err(Error::file("write", lent))?;
        copy_shallow(self.bare, &git_directory)?;
        call.run(&["remote", "add", "origin", &self.git.remote])?;
        call.run(&["checkout", "-q", "-f", "--detach", &self.commit.id]).map(drop)
    }

    /// Makes what is asked for of the tree the files.
    fn choose(&self) -> Result<(), Error> {
        let (tree, files) = (self.tree(), self.new.join("files"));
        let chosen = match &self.git.subdirectory {
            None => tree,
            Some(subdirectory) => inside(&tree, subdirectory).ok_or_else(|| Error::NoDirectory {
                remote: self.git.shown(),
                subdirectory: subdirectory.clone(),
                commit: self.commit.id.clone(),
            })?,
        };
        fs::rename(&chosen, &files).map_err(Error::file("rename", chosen))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(Error::file("find", path))
}

/// Returns where a directory of `tree` is, links followed inside of it.
fn inside(tree: &Path, path: &str) -> Option<PathBuf> {
    let directory = Root::open(tree).ok()?.open_directory(path.as_bytes()).ok()?;
    fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()
}

/// Takes `.git` away unless it stays, and gives everything else its mode, and the time where it has one.
fn settle(path: &Path, time: Option<i64>, keeps_git: bool) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(path).map_err(Error::file("read", path))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::file("read", path))? {
            let entry = entry.map_err(Error::file("read", path))?;
            let below = entry.path();
            match (entry.file_name() == ".git", keeps_git) {
                (false, _) => settle(&below, time, keeps_git)?,
                (true, true) => {}
                (true, false) => {
                    let removed = if below.is_dir() { fs::remove_dir_all(&below) } else { fs::remove_file(&below) };
                    removed.map_err(Error::file("remove", below))?;
                }
            }
        }
        permit(path, 0o755)?;
    } else if metadata.is_file() {
        permit(path, if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 })?;
    }
    time.map_or(Ok(()), |second| set_time(path, second))
}

fn set_time(path: &Path, second: i64) -> Result<(), Error> {
    let time = Timespec { tv_sec: second, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let set = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    set.map_err(|error| Error::file("set the time of", path)(error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn files_of_a_checkout_have_two_modes_and_one_time() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("d/.git")).unwrap();
        for (name, mode) in [("a", 0o600), ("d/run", 0o700)] {
            File::create(at(name)).unwrap();
            permit(&at(name), mode).unwrap();
        }
        permit(&at("d"), 0o700).unwrap();
        settle(directory.path(), Some(77), false).unwrap();
        let seen = |name: &str| {
            let metadata = at(name).metadata().unwrap();
            (metadata.mode() & 0o7777, metadata.mtime())
        };
        assert_eq!([seen("a"), seen("d/run"), seen("d")], [(0o644, 77), (0o755, 77), (0o755, 77)]);
        assert!(!at("d/.git").exists());
    }

    #[test]
    fn a_subdirectory_is_found_inside_whatever_links_say() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        for (name, target) in [("in", "d"), ("out", "/etc")] {
            std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap();
        }
        let real = fs::canonicalize(directory.path()).unwrap().join("d");
        assert_eq!(inside(directory.path(), "in"), Some(real));
        assert_eq!(inside(directory.path(), "out"), None);
        assert_eq!(inside(directory.path(), "none"), None);
    }
}
