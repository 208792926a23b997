use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use super::{ContainerId, Error, Store};
use crate::oci::{ChainId, DiffId};

/// A directory under `trees/`: the files of a layer, or something being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    id: i64,
    path: PathBuf,
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeKey {
    /// The files of one layer, in overlayfs lower form.
    Layer(DiffId),
    /// All files of a stack of layers, merged.
    Stack(ChainId),
    /// What a container has changed.
    Container(ContainerId),
}

impl From<DiffId> for TreeKey {
    fn from(diff_id: DiffId) -> TreeKey {
        TreeKey::Layer(diff_id)
    }
}

impl From<ChainId> for TreeKey {
    fn from(chain_id: ChainId) -> TreeKey {
        TreeKey::Stack(chain_id)
    }
}

impl From<ContainerId> for TreeKey {
    fn from(id: ContainerId) -> TreeKey {
        TreeKey::Container(id)
    }
}

impl TreeKey {
    pub(super) const LAYER: &str = "layer";
    pub(super) const STACK: &str = "stack";

    pub(super) fn columns(self) -> (&'static str, [u8; 32]) {
        match self {
            TreeKey::Layer(diff_id) => (TreeKey::LAYER, *diff_id.digest().as_bytes()),
            TreeKey::Stack(chain_id) => (TreeKey::STACK, *chain_id.digest().as_bytes()),
            TreeKey::Container(id) => ("container", *id.as_bytes()),
        }
    }
}

impl Tree {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Returns the directory. Its name is short, as overlayfs takes all lower directories in one page of options.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Returns a new empty directory. Unless it is bound, it is removed when this process is gone.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], those of the database.
    pub fn new_tree(&self) -> Result<Tree, Error> {
        let id = self.database().write(|transaction| {
            transaction.prepare_cached("INSERT INTO trees(kind, of) VALUES(NULL, NULL)")?.execute([])?;
            Ok(transaction.last_insert_rowid())
        })?;
        let tree = self.tree(id);
        match fs::create_dir(&tree.path) {
            // A number is never given twice, so this is from a database that is gone.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                remove_tree(&tree.path)?;
                fs::create_dir(&tree.path)
            }
            other => other,
        }
        .map_err(|source| Error::io("create", &tree.path, source))?;
        Ok(tree)
    }

    /// Makes `tree` the files of `key`, from now on for every process; tells whether it is. Where another tree was
    /// bound first, that one stays, and this one is still the caller's to drop.
    ///
    /// # Errors
    /// Those of the database.
    pub fn bind_tree(&self, tree: &Tree, key: impl Into<TreeKey>) -> Result<bool, Error> {
        let (kind, of) = key.into().columns();
        self.database().write(|transaction| {
            let mut bind = transaction.prepare_cached("UPDATE OR IGNORE trees SET kind = ?1, of = ?2 WHERE id = ?3")?;
            Ok(bind.execute(params![kind, of, tree.id])? == 1)
        })
    }

    /// Returns the tree of `key`, where there is one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn tree_of(&self, key: impl Into<TreeKey>) -> Result<Option<Tree>, Error> {
        let (kind, of) = key.into().columns();
        let id = self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT id FROM trees WHERE kind = ?1 AND of = ?2")?;
            Ok(query.query_row(params![kind, of], |row| row.get(0)).optional()?)
        })?;
        // A directory that was lost, or removed by hand, is made again.
        Ok(id.map(|id| self.tree(id)).filter(|tree| tree.path.is_dir()))
    }

    /// Removes a tree and its directory.
    ///
    /// # Errors
    /// [`Error::Io`], those of the database.
    pub fn drop_tree(&self, tree: &Tree) -> Result<(), Error> {
        // Unbound first: whatever happens next, nobody takes half a tree for a whole one.
        self.database().write(|transaction| {
            let mut unbind = transaction.prepare_cached("UPDATE trees SET kind = NULL, of = NULL WHERE id = ?")?;
            unbind.execute([tree.id])?;
            Ok(())
        })?;
        self.remove_unbound(tree)
    }

    /// Removes a tree that was never bound. The directory goes first: of a disk that is full, this may be what fills it, so that
    /// nothing can be noted before.
    ///
    /// # Errors
    /// [`Error::Io`], those of the database.
    pub fn discard_tree(&self, tree: &Tree) -> Result<(), Error> {
        self.remove_unbound(tree)
    }

    /// Removes the trees that dead processes did not bind. The caller is alone.
    pub(super) fn clear_trees(&self) -> Result<(), Error> {
        let ids: Vec<i64> = self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT id FROM trees WHERE of IS NULL")?;
            let ids = query.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })?;
        // One that cannot be removed does not keep the others.
        let removed: Vec<_> = ids.into_iter().map(|id| self.remove_unbound(&self.tree(id))).collect();
        removed.into_iter().collect()
    }

    pub(super) fn remove_unbound(&self, tree: &Tree) -> Result<(), Error> {
        remove_tree(&tree.path)?;
        self.database().write(|transaction| {
            transaction.prepare_cached("DELETE FROM trees WHERE id = ? AND of IS NULL")?.execute([tree.id])?;
            Ok(())
        })
    }

    pub(super) fn tree(&self, id: i64) -> Tree {
        Tree { id, path: self.root().join("trees").join(base36(id)) }
    }
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, source)),
        _ => Ok(()),
    }
}

fn base36(mut number: i64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    while digits.is_empty() || number > 0 {
        digits.push(DIGITS[(number % 36) as usize]);
        number /= 36;
    }
    digits.iter().rev().map(|&digit| char::from(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_trees_are_short() {
        for (number, name) in [(0, "0"), (35, "z"), (36, "10"), (1_679_615, "zzzz")] {
            assert_eq!(base36(number), name);
        }
    }
}
