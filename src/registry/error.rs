use std::fmt;
use std::time::Duration;

use crate::oci::{Digest, EncodedError, Reference};
use crate::sys::Cancelled;
use crate::{net, store};

/// Why a registry could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry has nothing of this name.
    #[error("{reference} not found")]
    NotFound {
        /// What was asked for.
        reference: Reference,
        /// What the registry says.
        source: Option<Said>,
    },
    /// The registry has an image and not all of its parts.
    #[error("{repository} has no blob {digest}")]
    NoSuchBlob {
        /// Host and path.
        repository: String,
        /// What was asked for.
        digest: Digest,
        /// What the registry says.
        source: Option<Said>,
    },
    /// The registry wants other credentials, or there are none.
    #[error("{host} denies access to {repository}")]
    Denied {
        /// The registry.
        host: String,
        /// Host and path.
        repository: String,
        /// Whether credentials for this host were found.
        known: bool,
        /// What the registry says.
        source: Option<Said>,
    },
    /// The registry answered with a failure.
    #[error("{host} answered {status} to {request}")]
    Refused {
        /// Who answered.
        host: String,
        /// What was wanted, such as `GET manifests/latest`.
        request: String,
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// What the registry says.
        source: Option<Said>,
    },
    /// The registry answered in a way that the protocol does not have.
    #[error("{host} {problem}")]
    Protocol {
        /// Who answered.
        host: String,
        /// A verb and what follows.
        problem: &'static str,
    },
    /// A host that never answered cannot be reached.
    #[error("cannot reach {host}")]
    Unreachable {
        /// The registry, or who it referred to.
        host: String,
        /// Why not.
        source: net::Error,
    },
    /// A host that answered before, or seemed about to, does not any more.
    #[error("the connection to {host} failed")]
    Connection {
        /// The registry, or who it referred to.
        host: String,
        /// How.
        source: net::Error,
    },
    /// A blob or manifest has other bytes than its name says.
    #[error("{host} sent {actual} instead of {expected}")]
    WrongDigest {
        /// The registry.
        host: String,
        /// What was asked for, or announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A blob has another length than its descriptor says.
    #[error("{host} has {actual} bytes of {digest}, which should have {expected}")]
    WrongSize {
        /// The registry.
        host: String,
        /// The blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What came; if that is more, what came until kiln stopped reading.
        actual: u64,
    },
    /// A document is larger than any sensible one.
    #[error("{host} sent a document of more than {max} bytes")]
    TooLarge {
        /// Who answered.
        host: String,
        /// The limit.
        max: usize,
    },
    /// A manifest cannot be read.
    #[error("{reference} cannot be used")]
    Document {
        /// What was asked for.
        reference: Reference,
        /// Why not.
        source: EncodedError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(store::Error),
    /// There is no network to begin with.
    #[error(transparent)]
    Network(net::Error),
    /// The caller does not want it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a registry says about a failure, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// One of the specification's, such as `MANIFEST_UNKNOWN`, or the registry's own; empty where it gave none.
    pub code: String,
    /// A text for people; may be empty.
    pub message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            (code, "") => f.write_str(code),
            ("", message) => f.write_str(message),
            (code, message) => write!(f, "{message} ({code})"),
        }
    }
}

impl std::error::Error for Said {}

impl Error {
    /// Returns what would likely mend it.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::Denied { host, known: false, .. } => {
                let host = if host == "docker.io" { "" } else { host };
                let login = format!("docker login {host}");
                Some(format!("there are no credentials for it; `{}` keeps some", login.trim_end()))
            }
            Error::Denied { .. } => Some("the credentials kept for it may be old, or not allow this".to_owned()),
            Error::Unreachable { host, source: net::Error::Tls(_) } => Some(format!(
                "`--insecure-registry {host}` does without verified TLS; /etc/docker/certs.d/{host}/ca.crt adds an \
                 authority"
            )),
            Error::Network(net::Error::Setup(_)) => Some(
                "the system's certificates are missing: install `ca-certificates`, or set SSL_CERT_FILE".to_owned(),
            ),
            Error::Refused { status: 429, .. } => {
                Some("logged in, or through a mirror, more requests are allowed".to_owned())
            }
            _ => None,
        }
    }

    /// Tells whether it only says that somebody stopped the work.
    pub fn is_cancellation(&self) -> bool {
        matches!(self, Error::Cancelled(_))
    }

    /// Tells whether the same request may well succeed in a moment.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Error::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            Error::Connection { source, .. } => {
                matches!(source, net::Error::Connect(_) | net::Error::TimedOut(_) | net::Error::Lost(_))
            }
            _ => false,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            other => Error::Store(other),
        }
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Error {
        match error {
            net::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            other => Error::Network(other),
        }
    }
}
