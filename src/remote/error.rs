use std::io;
use std::path::PathBuf;

use crate::oci::Digest;
use crate::sys::Cancelled;
use crate::{net, store};

/// Why something from elsewhere is not here. URLs are without what may be secret in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL that can be asked.
    #[error("`{0}` is not a valid URL")]
    Url(String),
    /// A server refused.
    #[error("{url}: invalid response status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// What the server answered.
        status: u16,
    },
    /// A server refers to others, and on.
    #[error("{0}: redirects without end, or to nowhere")]
    Redirects(String),
    /// A server could not be reached, or broke off.
    #[error("cannot fetch {url}")]
    Network {
        /// What was asked for.
        url: String,
        /// Why not.
        source: net::Error,
    },
    /// A file is not the one that was asked for.
    #[error("digest mismatch {actual}: {expected}")]
    Checksum {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// There is no git.
    #[error("the program `git` is needed to fetch from repositories, and cannot be started")]
    NoGit(#[source] io::Error),
    /// git failed.
    #[error("git cannot {action} {remote}{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Git {
        /// What it was to do.
        action: &'static str,
        /// With which repository.
        remote: String,
        /// Its last words.
        said: String,
    },
    /// A repository has no such branch, tag or commit.
    #[error("repository does not contain ref {reference}: {remote}")]
    NoReference {
        /// The repository.
        remote: String,
        /// What was asked for.
        reference: String,
    },
    /// A commit is not the one that was asked for.
    #[error("expected checksum to match {expected}, got {actual}")]
    Commit {
        /// What was asked for.
        expected: String,
        /// What the reference is.
        actual: String,
    },
    /// A repository has no such directory.
    #[error("{remote} has no directory {subdirectory} at {commit}")]
    NoDirectory {
        /// The repository.
        remote: String,
        /// What was asked for.
        subdirectory: String,
        /// The commit.
        commit: String,
    },
    /// What came cannot be kept.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What git says when a server wants to know who asks.
const WANTS_CREDENTIALS: [&str; 2] = ["Authentication failed", "could not read Username"];

impl Error {
    /// Returns an error of the network, or that somebody stopped the build.
    pub(super) fn network(url: &str, source: net::Error) -> Error {
        match source {
            net::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            source => Error::Network { url: url.to_owned(), source },
        }
    }

    /// Returns a way to an error of the file at `path`.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }

    /// Returns what would likely mend it.
    pub fn help(&self) -> Option<String> {
        let host = |url: &str| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned);
        match self {
            Error::Status { url, status: 401 | 403 } => {
                let id = format!("HTTP_AUTH_TOKEN_{}", host(url)?);
                Some(format!("give it a token with `--secret id={id},env=VARIABLE`"))
            }
            Error::Git { remote, said, .. } if WANTS_CREDENTIALS.iter().any(|words| said.contains(words)) => {
                let id = format!("GIT_AUTH_TOKEN.{}", host(remote)?);
                Some(format!("give it a token with `--secret id={id},env=VARIABLE`"))
            }
            error if error.is_redirect() => {
                Some("it has moved, and credentials are taken nowhere else: name it where it is now".to_owned())
            }
            Error::Git { said, .. } if said.contains("Permission denied (publickey") => {
                Some("give it an ssh agent with `--ssh default`".to_owned())
            }
            _ => None,
        }
    }

    /// Tells whether a server of repositories referred to another place.
    pub(super) fn is_redirect(&self) -> bool {
        matches!(self, Error::Git { said, .. } if said.contains("The requested URL returned error: 30"))
    }

    /// Tells whether it only says that somebody stopped the build.
    pub fn is_cancellation(&self) -> bool {
        matches!(self, Error::Cancelled(_) | Error::Store(store::Error::Cancelled(_)))
    }

    /// Tells whether this machine is to blame, rather than what was asked for.
    pub fn is_local(&self) -> bool {
        matches!(self, Error::NoGit(_) | Error::File { .. } | Error::Store(_) | Error::Cancelled(_))
    }
}
