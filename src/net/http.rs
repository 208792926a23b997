use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Error;

/// A host that has not accepted a connection by then is taken for absent.
const CONNECT: Duration = Duration::from_secs(10);

/// Idle connections are kept for the next request, and not so long that a server closes them just as they are used.
const IDLE: Duration = Duration::from_secs(20);

/// Whom a connection is made to, as far as it matters to the making.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Whose certificates do.
    pub trust: Trust,
    /// How to get there.
    pub proxy: Proxy,
}

/// Which servers are believed to be who they say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those with a certificate from an authority of the system (`/etc/ssl/certs`, `SSL_CERT_FILE`, `SSL_CERT_DIR`).
    System {
        /// Further authorities, each a bundle in PEM.
        more: Vec<Vec<u8>>,
    },
    /// All. Also for plain HTTP, where nobody proves anything, and no certificates need be read.
    Anyone,
}

/// How to get to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    AsEnvironment,
    /// Directly.
    Never,
}

/// HTTP clients, each made when first asked for, and with it its pool of connections.
///
/// They follow no redirect, since who follows must choose a route and think about credentials again.
#[derive(Debug, Default)]
pub struct Http {
    clients: Mutex<HashMap<Route, reqwest::Client>>,
}

impl Http {
    /// Returns the client of a route.
    ///
    /// # Errors
    /// [`Error::Setup`].
    pub fn client(&self, route: &Route) -> Result<reqwest::Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(route) {
            return Ok(client.clone());
        }
        let client = make(route).map_err(Error::setup)?;
        clients.insert(route.clone(), client.clone());
        Ok(client)
    }
}

fn make(route: &Route) -> Result<reqwest::Client, reqwest::Error> {
    // It fails when another client was made before, which needs no second one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        // What may be tried again is for the caller to say.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE);
    if route.proxy == Proxy::Never {
        builder = builder.no_proxy();
    }
    match &route.trust {
        Trust::Anyone => builder = builder.tls_danger_accept_invalid_certs(true),
        Trust::System { more } => {
            for bundle in more {
                builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(bundle)?);
            }
        }
    }
    builder.build()
}
