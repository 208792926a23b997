//! Registries: references in, documents and blobs out, and the other way round (distribution-spec).
//!
//! ```text
//!  resolve        mirror, mirror, …, registry ─▶ manifest or index, verified
//!  fetch_blob     mirror, mirror, …, registry ─▶ store::Partial ─▶ blob, verified
//!  has_manifest   is all of it there already?
//!  push_blob      there already?  else lent by another repository?  else sent
//!  push_manifest  once all blobs are there
//! ```
//!
//! What fails for a moment is tried again for a while; what was interrupted is resumed; what is wrong is an error and
//! leaves nothing. Credentials are docker's, looked up when a registry first asks for them, and sent to it and to the token
//! server it names, and nobody else.
//!
//! The words of the protocol (the error envelope, tokens that do not print themselves) are those of `oci-distribution`.
//! Its client is not used: it cannot resume a download across processes, ask mirrors, lend between repositories under one
//! token, try again or read docker's credentials; and beside requests that can, it would keep connections and tokens of its
//! own.

mod answer;
mod auth;
mod challenge;
mod config;
mod credential;
mod endpoint;
mod error;
mod meter;
mod pull;
mod push;
mod repository;
mod retry;
mod scope;
mod upload;

use std::sync::Arc;

pub use config::Config;
pub use error::{Error, Said};

use crate::oci::Reference;
use credential::Keyring;
use endpoint::Rules;
use repository::{Repository, Transport};

/// How a client is set up.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Mirrors, and how to speak to whom.
    pub config: Config,
    /// Hosts that need no valid certificate, nor TLS.
    pub insecure: Vec<String>,
}

/// Speaks to registries. Threads may use one client at once, and share its connections and tokens.
pub struct Client {
    transport: Transport,
}

impl Client {
    /// Returns a client that has done nothing yet: no file is read and no thread started before a registry is asked.
    pub fn new(options: ClientOptions) -> Client {
        let rules = Rules { config: options.config, insecure: options.insecure };
        let keyring = Arc::new(Keyring::of_user());
        Client { transport: Transport { rules, keyring, http: Default::default(), hosts: Default::default() } }
    }

    /// Returns the repository a reference means, at the registry itself.
    fn origin(&self, reference: &Reference) -> Repository {
        self.transport.repository(reference.host(), reference.path().to_owned())
    }
}
