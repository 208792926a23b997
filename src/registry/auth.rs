use std::collections::HashMap;
use std::sync::{self, Arc};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_distribution::token_cache::RegistryToken;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Error;
use super::answer::{SILENCE, body, refusal};
use super::challenge::Challenge;
use super::credential::Credential;
use super::endpoint::authority;
use super::repository::{Repository, Transport};
use super::scope::Scopes;
use crate::net;

/// What a token lasts if its server does not say (distribution, "Token Response Fields").
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Tokens are small.
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// Tells token servers who asks, for their statistics.
const CLIENT_ID: &str = "kiln";

/// What is known of how one registry wants to be spoken to.
///
/// The lock is held while a token is fetched, so that threads that need the same one fetch it once.
#[derive(Default)]
pub(super) struct Auth {
    state: Mutex<State>,
    /// By repository, since podman's files may tell them apart. A helper is run once for each. Beside the state, because
    /// an error that comes up while that is locked tells whether there was a credential.
    credentials: sync::Mutex<HashMap<String, Option<Arc<Credential>>>>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: HashMap<Scopes, Token>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    #[serde(flatten)]
    token: RegistryToken,
    expires_in: Option<u64>,
}

impl Auth {
    /// Returns the `Authorization` for a request that needs `scopes`, if the registry has ever asked for one and there is
    /// one to be had.
    pub(super) async fn header(
        &self,
        transport: &Transport,
        repository: &Repository,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, Error> {
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        let credential = self.credential(transport, repository).await;
        let Challenge::Bearer { realm, service, scope } = challenge else {
            return Ok(credential.and_then(|credential| basic(&credential)));
        };
        if let Some(Credential::RegistryToken(token)) = credential.as_deref() {
            return Ok(bearer(token));
        }
        if let Some(token) = state.tokens.get(scopes).filter(|token| Instant::now() < token.until) {
            return Ok(Some(token.header.clone()));
        }
        let wanted = scopes.clone().and(scope.as_deref().unwrap_or_default());
        let ask = Ask { transport, repository, realm: &realm, service: service.as_deref(), scopes: &wanted };
        let token = ask.token(credential.as_deref()).await?;
        let header = token.header.clone();
        state.tokens.insert(scopes.clone(), token);
        Ok(Some(header))
    }

    /// Learns from an answer 401 how to ask, and forgets the token that was refused.
    pub(super) async fn learn(&self, headers: &HeaderMap, refused: Option<&HeaderValue>) {
        let mut state = self.state.lock().await;
        if let Some(challenge) = Challenge::of(headers) {
            state.challenge = Some(challenge);
        }
        // Not the one that another thread may have fetched since.
        state.tokens.retain(|_, token| Some(&token.header) != refused);
    }

    /// Tells whether a credential was found for a repository.
    pub(super) fn has_credential(&self, repository: &str) -> bool {
        self.known().get(repository).is_some_and(Option::is_some)
    }

    async fn credential(&self, transport: &Transport, repository: &Repository) -> Option<Arc<Credential>> {
        if let Some(known) = self.known().get(repository.path()) {
            return known.clone();
        }
        let (keyring, host) = (transport.keyring.clone(), repository.host().to_owned());
        let path = repository.path().to_owned();
        // A helper may wait for a person, who may prefer to interrupt.
        let searched = tokio::task::spawn_blocking(move || keyring.find(&host, &path)).await;
        let found = searched.ok().flatten().map(Arc::new);
        self.known().insert(repository.path().to_owned(), found.clone());
        found
    }

    fn known(&self) -> sync::MutexGuard<'_, HashMap<String, Option<Arc<Credential>>>> {
        self.credentials.lock().unwrap_or_else(sync::PoisonError::into_inner)
    }
}

/// A wish for a token.
struct Ask<'a> {
    transport: &'a Transport,
    repository: &'a Repository,
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a Scopes,
}

impl Ask<'_> {
    async fn token(&self, credential: Option<&Credential>) -> Result<Token, Error> {
        let asked = Instant::now();
        let mut response = match credential {
            Some(Credential::IdentityToken(token)) => {
                self.post(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await?
            }
            Some(Credential::Password { username, password }) => {
                let response = self.get(credential).await?;
                if !matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
                    response
                } else {
                    self.post(&[("grant_type", "password"), ("username", username), ("password", password)]).await?
                }
            }
            _ => self.get(None).await?,
        };
        if !response.status().is_success() {
            return Err(refusal(self.repository, "the request for a token".to_owned(), response).await);
        }
        let bytes = body(&mut response, MAX_TOKEN_BYTES).await.map_err(|source| self.failed(source))?;
        let granted: Option<Granted> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let granted = granted.ok_or_else(|| self.problem("sent no token that can be read"))?;
        let header = bearer(granted.token.token()).ok_or_else(|| self.problem("sent no token that can be used"))?;
        let lifetime = granted.expires_in.filter(|&seconds| seconds > 0).map_or(DEFAULT_LIFETIME, Duration::from_secs);
        // A token that expires under way would cost more than one that is fetched a little early.
        Ok(Token { header, until: asked + lifetime.min(Duration::from_secs(24 * 3600)).mul_f64(0.9) })
    }

    async fn get(&self, credential: Option<&Credential>) -> Result<Response, Error> {
        let mut url = self.url()?;
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.texts().map(|scope| ("scope", scope)));
            if let Some(Credential::Password { username, .. }) = credential {
                query.append_pair("account", username);
            }
            query.append_pair("client_id", CLIENT_ID);
        }
        let header = credential.and_then(basic).map(|header| (AUTHORIZATION, header));
        self.send(Method::GET, url, header, String::new()).await
    }

    async fn post(&self, fields: &[(&str, &str)]) -> Result<Response, Error> {
        let scopes: Vec<String> = self.scopes.texts().collect();
        // The query of a URL is written as a form is.
        let mut form = self.url()?;
        form.query_pairs_mut()
            .clear()
            .extend_pairs(fields)
            .extend_pairs(self.service.map(|service| ("service", service)))
            .append_pair("scope", &scopes.join(" "))
            .append_pair("client_id", CLIENT_ID);
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.send(Method::POST, self.url()?, Some(kind), form.query().unwrap_or_default().to_owned()).await
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        header: Option<(reqwest::header::HeaderName, HeaderValue)>,
        form: String,
    ) -> Result<Response, Error> {
        tracing::debug!(realm = self.realm, scopes = ?self.scopes.texts().collect::<Vec<_>>(), "asking for a token");
        let client = self.transport.client(&url)?;
        let request = client.request(method, url).headers(header.into_iter().collect()).body(form);
        let sent = net::within(SILENCE, request.send()).await.and_then(|sent| sent.map_err(net::Error::from));
        sent.map_err(|source| self.failed(source))
    }

    /// Returns the realm, unless passwords would travel there less protected than to the registry itself.
    fn url(&self) -> Result<Url, Error> {
        let url = Url::parse(self.realm).map_err(|_| self.problem("names a token server with an invalid URL"))?;
        if url.scheme() != "https" && self.transport.demands_tls(self.repository.host()) {
            return Err(self.problem("names a token server without TLS"));
        }
        Ok(url)
    }

    fn problem(&self, problem: &'static str) -> Error {
        Error::Protocol { host: self.repository.host().to_owned(), problem }
    }

    fn failed(&self, source: net::Error) -> Error {
        let host = Url::parse(self.realm).map_or_else(|_| self.repository.host().to_owned(), |url| authority(&url));
        match source {
            net::Error::Setup(_) => Error::Network(source),
            _ => Error::Connection { host, source },
        }
    }
}

fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Credential::Password { username, password } = credential else { return None };
    secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() { None } else { secret(format!("Bearer {token}")) }
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_under_two_names() {
        for (text, token, expires_in) in [
            (r#"{"token":"a","expires_in":300,"issued_at":"x"}"#, Some("a"), Some(300)),
            (r#"{"access_token":"b"}"#, Some("b"), None),
            (r#"{"token":"a","access_token":"b"}"#, Some("a"), None),
            (r#"{"expires_in":300}"#, None, None),
        ] {
            let granted: Option<Granted> = serde_json::from_str(text).ok();
            assert_eq!(granted.as_ref().map(|granted| granted.token.token()), token, "{text}");
            assert_eq!(granted.and_then(|granted| granted.expires_in), expires_in, "{text}");
        }
    }

    #[test]
    fn secrets_are_marked_as_such() {
        let credential = Credential::Password { username: "me".to_owned(), password: "secret".to_owned() };
        let header = basic(&credential).unwrap();
        assert_eq!(header, "Basic bWU6c2VjcmV0");
        assert!(header.is_sensitive());
        assert_eq!(bearer("a\nb"), None);
    }
}
