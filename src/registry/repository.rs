use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::OnceCell;

use super::Error;
use super::answer::{SILENCE, body, refusal};
use super::auth::Auth;
use super::credential::Keyring;
use super::endpoint::{self, Protocol, Rules, authority};
use super::scope::Scopes;
use super::upload::{self, Upload};
use crate::net::{self, Http};

/// Registries refer to their storage, which may refer again.
const MAX_REDIRECTS: usize = 10;

/// What all hosts share.
pub(super) struct Transport {
    pub(super) http: Http,
    pub(super) rules: Rules,
    pub(super) keyring: Arc<Keyring>,
    pub(super) hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// What is known of one host since this process began to speak to it.
pub(super) struct Host {
    name: String,
    protocol: OnceCell<Protocol>,
    auth: Auth,
    /// It has answered. A host that never did is more likely misspelt than about to return.
    heard: AtomicBool,
}

/// A repository at the host that is asked for it, which may be a mirror.
pub(super) struct Repository {
    host: Arc<Host>,
    path: String,
}

/// A request to a repository.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) target: Target<'a>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload<'a>,
    pub(super) scopes: Scopes,
}

/// What a request is about.
pub(super) enum Target<'a> {
    /// Something of the repository, such as `manifests/latest`.
    Path(&'a str),
    /// Where the registry says.
    Url(Url),
}

/// What a request carries.
pub(super) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    File(Upload<'a>),
}

impl<'a> Request<'a> {
    /// Returns a request without headers and payload.
    pub(super) fn new(method: Method, target: Target<'a>, scopes: Scopes) -> Request<'a> {
        Request { method, target, headers: HeaderMap::new(), payload: Payload::Nothing, scopes }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Request<'a> {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn payload(self, payload: Payload<'a>) -> Request<'a> {
        Request { payload, ..self }
    }

    /// Returns how errors call it. A URL that the registry made up may hold a secret.
    fn title(&self) -> String {
        match &self.target {
            Target::Path(path) => format!("{} {}", self.method, path.split('?').next().unwrap_or_default()),
            Target::Url(_) => format!("{} of an upload", self.method),
        }
    }
}

impl Transport {
    /// Returns the repository `path` of the host named `host`.
    pub(super) fn repository(&self, host: &str, path: String) -> Repository {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Host::new(host)));
        Repository { host: host.clone(), path }
    }

    /// Returns the client for whatever `url` names.
    pub(super) fn client(&self, url: &Url) -> Result<reqwest::Client, Error> {
        Ok(self.http.client(&self.rules.route(url))?)
    }

    /// Tells whether a host must be spoken to over verified TLS.
    pub(super) fn demands_tls(&self, host: &str) -> bool {
        self.rules.protocols(host) == [Protocol::Https]
    }
}

impl Host {
    fn new(name: &str) -> Host {
        Host { name: name.to_owned(), protocol: OnceCell::new(), auth: Auth::default(), heard: AtomicBool::new(false) }
    }

    async fn protocol(&self, transport: &Transport) -> Result<Protocol, Error> {
        let candidates = transport.rules.protocols(&self.name);
        self.protocol.get_or_try_init(|| self.choose(transport, candidates)).await.copied()
    }

    /// Returns the first protocol that the host answers. Where there is only one, the question would cost a round trip.
    async fn choose(&self, transport: &Transport, candidates: &[Protocol]) -> Result<Protocol, Error> {
        if let [only] = candidates {
            return Ok(*only);
        }
        let mut failure = None;
        for &protocol in candidates {
            match self.answers(transport, protocol).await {
                Ok(true) => return Ok(protocol),
                Ok(false) => {}
                Err(error) => {
                    // The first way is the likely one, and so is its error.
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.problem("speaks neither HTTP nor HTTPS")))
    }

    async fn answers(&self, transport: &Transport, protocol: Protocol) -> Result<bool, Error> {
        let url = self.url(protocol, "")?;
        let request = transport.client(&url)?.get(url.clone());
        let mut response = self.answer(&url, request).await?;
        match (protocol, response.status()) {
            (_, StatusCode::UNAUTHORIZED) => self.auth.learn(response.headers(), None).await,
            // What Go's and nginx's servers say to plain HTTP where they want TLS.
            (Protocol::Http, StatusCode::BAD_REQUEST) => {
                let text = body(&mut response, 64 * 1024).await.ok().flatten().unwrap_or_default();
                return Ok(!String::from_utf8_lossy(&text).contains("HTTPS"));
            }
            _ => {}
        }
        Ok(true)
    }

    fn url(&self, protocol: Protocol, path: &str) -> Result<Url, Error> {
        endpoint::url(&self.name, protocol, path).ok_or_else(|| self.problem("is not a valid host"))
    }

    /// Sends a request that carries little.
    async fn answer(&self, url: &Url, request: RequestBuilder) -> Result<Response, Error> {
        let sent = net::within(SILENCE, request.send()).await.and_then(|sent| sent.map_err(net::Error::from));
        let response = sent.map_err(|source| self.network(url, source))?;
        self.heard.store(true, Ordering::Relaxed);
        Ok(response)
    }

    /// Returns the error of a connection to `url`, which the host named or is.
    fn network(&self, url: &Url, source: net::Error) -> Error {
        let ours = self.protocol.get().and_then(|&protocol| self.url(protocol, "").ok());
        let elsewhere = ours.is_some_and(|ours| ours.origin() != url.origin());
        let host = if elsewhere { authority(url) } else { self.name.clone() };
        match source {
            net::Error::Setup(_) => Error::Network(source),
            net::Error::Connect(_) | net::Error::Tls(_) if !self.heard.load(Ordering::Relaxed) => {
                Error::Unreachable { host, source }
            }
            _ => Error::Connection { host, source },
        }
    }

    fn problem(&self, problem: &'static str) -> Error {
        Error::Protocol { host: self.name.clone(), problem }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host.name, self.path)
    }
}

impl Repository {
    /// Returns the name of the host.
    pub(super) fn host(&self) -> &str {
        &self.host.name
    }

    /// Returns the path at the host.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Tells whether a credential was found. None is looked for before the registry wants one.
    pub(super) fn has_credential(&self) -> bool {
        self.host.auth.has_credential(&self.path)
    }

    /// Returns the error of a connection that broke while the answer from `url` was read.
    pub(super) fn broken(&self, url: &Url, source: net::Error) -> Error {
        self.host.network(url, source)
    }

    /// Returns an error of somebody who breaks the rules.
    pub(super) fn problem(&self, problem: &'static str) -> Error {
        self.host.problem(problem)
    }

    /// Sends a request and returns the answer, whatever its status. Proves who asks if the registry wants that, and follows
    /// redirects.
    pub(super) async fn send(&self, transport: &Transport, request: &Request<'_>) -> Result<Response, Error> {
        let protocol = self.host.protocol(transport).await?;
        let url = match &request.target {
            Target::Path(path) => self.host.url(protocol, &format!("{}/{path}", self.path))?,
            Target::Url(url) => url.clone(),
        };
        let ours = self.host.url(protocol, "")?.origin();
        let auth = &self.host.auth;
        if url.origin() != ours {
            return self.follow(transport, request, url, None).await;
        }
        let authorization = auth.header(transport, self, &request.scopes).await?;
        let response = self.follow(transport, request, url.clone(), authorization.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || response.url().origin() != ours {
            return Ok(response);
        }
        auth.learn(response.headers(), authorization.as_ref()).await;
        match auth.header(transport, self, &request.scopes).await? {
            Some(better) if Some(&better) != authorization.as_ref() => {
                self.follow(transport, request, url, Some(&better)).await
            }
            _ => Ok(response),
        }
    }

    /// Sends a request and returns the answer if it has one of the statuses.
    pub(super) async fn expect(
        &self,
        transport: &Transport,
        request: &Request<'_>,
        statuses: &[StatusCode],
    ) -> Result<Response, Error> {
        let response = self.send(transport, request).await?;
        if statuses.contains(&response.status()) {
            return Ok(response);
        }
        Err(refusal(self, request.title(), response).await)
    }

    async fn follow(
        &self,
        transport: &Transport,
        request: &Request<'_>,
        mut url: Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let origin = url.origin();
        for _ in 0..=MAX_REDIRECTS {
            // Whoever the registry refers to must not learn what proves something to the registry.
            let authorization = authorization.filter(|_| url.origin() == origin);
            let response = self.once(transport, request, &url, authorization).await?;
            let elsewhere = response
                .headers()
                .get(LOCATION)
                .filter(|_| response.status().is_redirection() && matches!(request.method, Method::GET | Method::HEAD));
            let Some(location) = elsewhere else { return Ok(response) };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            url = next.ok_or_else(|| self.problem("redirects to an invalid URL"))?;
            if url.scheme() != "https" && transport.demands_tls(self.host()) {
                return Err(self.problem("redirects to a server without TLS"));
            }
            tracing::debug!(from = self.host(), to = authority(&url), "redirected");
        }
        Err(self.problem("redirects without end"))
    }

    async fn once(
        &self,
        transport: &Transport,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        tracing::debug!(host = authority(url), request = request.title(), "asking");
        let mut headers = request.headers.clone();
        headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization.clone())));
        let builder = transport.client(url)?.request(request.method.clone(), url.clone()).headers(headers);
        let response = match &request.payload {
            Payload::Nothing if request.method == Method::POST => {
                self.host.answer(url, builder.header(CONTENT_LENGTH, 0)).await
            }
            Payload::Nothing => self.host.answer(url, builder).await,
            Payload::Bytes(bytes) => self.host.answer(url, builder.body(bytes.to_vec())).await,
            Payload::File(upload) => upload::send(builder, upload).await.map_err(|error| match error {
                upload::Error::Network(source) => self.host.network(url, source),
                upload::Error::Store(error) => error.into(),
            }),
        }?;
        tracing::debug!(host = authority(url), status = response.status().as_u16(), "answered");
        Ok(response)
    }
}
