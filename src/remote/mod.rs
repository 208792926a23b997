//! Files from elsewhere: what is downloaded over HTTP, and checked out of git repositories.
//!
//! Each is a directory that is kept in the store between builds, named by what it was made from, and never changed once
//! it is there. [`Remotes::known`] and [`Remotes::resolve`] ask the other side, in little, whether what is here is what is
//! there; [`Remotes::download`] and [`Remotes::check_out`] fetch. What opens a source to them, an [`Authorization`] or an
//! [`Access`], is made of what a [`Key`] names, is no part of what anything is named by, and is kept nowhere.

mod checkout;
mod credential;
mod error;
mod git;
mod http;

use std::path::PathBuf;

pub use credential::{Access, Authorization, Key};
pub use error::Error;
pub use git::Commit;
pub use http::requested;

use crate::net;
use crate::oci::Digest;
use crate::store::Store;

/// What is kept of other places.
#[derive(Debug)]
pub struct Remotes {
    store: Store,
    http: net::Http,
}

/// A directory that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where its files are.
    pub directory: PathBuf,
    /// What its files are made from; equal ones are equal.
    pub identity: Identity,
}

/// What decides what is fetched, beside the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A file.
    File {
        /// Of its content.
        digest: Digest,
        /// Seconds since the epoch, where the server said it.
        last_modified: Option<i64>,
    },
    /// A commit.
    Commit {
        /// Its id.
        commit: String,
        /// When it was made, in seconds since the epoch.
        time: i64,
    },
}

impl Identity {
    /// Returns when it was made, in seconds since the epoch, where that was said.
    pub fn time(&self) -> Option<i64> {
        match self {
            Identity::File { last_modified, .. } => *last_modified,
            Identity::Commit { time, .. } => Some(*time),
        }
    }
}

impl Remotes {
    /// Returns what is kept in `store`.
    pub fn new(store: &Store) -> Remotes {
        Remotes { store: store.clone(), http: net::Http::default() }
    }
}
