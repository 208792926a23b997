use std::path::Path;

use super::{Error, Store, Tree};

/// A directory that is removed when it is dropped, or else when this process is gone.
#[derive(Debug)]
pub struct Temporary {
    store: Store,
    tree: Tree,
}

impl Store {
    /// Returns a new empty directory for as long as it is held.
    ///
    /// # Errors
    /// Those of [`Store::new_tree`].
    pub fn temporary(&self) -> Result<Temporary, Error> {
        Ok(Temporary { store: self.clone(), tree: self.new_tree()? })
    }
}

impl Temporary {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        self.tree.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = self.store.drop_tree(&self.tree) {
            let path = self.tree.path().display();
            tracing::warn!(%path, error = &error as &dyn std::error::Error, "a temporary directory stays");
        }
    }
}
