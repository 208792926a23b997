use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::sys::Cancelled;

/// Why nothing, or not all, came over the network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The threads that drive connections could not be started.
    #[error("cannot start the threads for the network")]
    Runtime(#[source] io::Error),
    /// A client could not be made, as when a certificate cannot be read or there are none.
    #[error("cannot set up TLS")]
    Setup(#[source] Reason),
    /// There is no such host, or it does not listen, or not in time.
    #[error("no connection")]
    Connect(#[source] Reason),
    /// The other side does not speak TLS, or cannot prove who it is.
    #[error("no secure connection")]
    Tls(#[source] rustls::Error),
    /// The other side was silent.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The connection ended too early.
    #[error("the connection was lost")]
    Lost(#[source] Reason),
    /// What was asked for cannot be asked for.
    #[error("not a valid request")]
    Request(#[source] Reason),
    /// The caller does not want it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What went wrong beneath all the layers of the HTTP client, which prints as the one line that tells something.
#[derive(Debug)]
pub struct Reason(reqwest::Error);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let innermost = layers(&self.0).last().map(ToString::to_string).unwrap_or_default();
        match unknown_host(&innermost) {
            Some(host) => write!(f, "the name server knows no address of {host}"),
            None => f.write_str(&innermost),
        }
    }
}

/// Returns the host that a name server does not know, where this is how hickory says so.
fn unknown_host(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("no records found for Query { name: Name(\"")?;
    Some(rest.split_once('"')?.0.trim_end_matches('.'))
}

impl StdError for Reason {}

impl Error {
    /// Returns the error of a client that could not be made.
    pub(super) fn setup(error: reqwest::Error) -> Error {
        Error::Setup(Reason(error.without_url()))
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Error {
        // The query of a URL may be a signature that stands for a password.
        let error = error.without_url();
        if let Some(tls) = layers(&error).find_map(|layer| layer.downcast_ref::<rustls::Error>()) {
            return Error::Tls(tls.clone());
        }
        if error.is_builder() {
            return Error::Request(Reason(error));
        }
        if error.is_connect() { Error::Connect(Reason(error)) } else { Error::Lost(Reason(error)) }
    }
}

/// Returns an error and its sources, outermost first.
fn layers<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an `io::Error` is that of the error within, which would be passed over.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nobody_knows_is_named() {
        let text =
            "no records found for Query { name: Name(\"registry.example.\"), query_type: AAAA, query_class: IN }";
        assert_eq!(unknown_host(text), Some("registry.example"));
        assert_eq!(unknown_host("connection refused"), None);
    }
}
