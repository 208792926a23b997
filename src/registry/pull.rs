use std::io::Write;

use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::answer::{SILENCE, body};
use super::meter::Meter;
use super::repository::{Repository, Request, Target};
use super::retry::Retry;
use super::scope::Scopes;
use super::{Client, Error};
use crate::net;
use crate::oci::{Descriptor, Digest, Document, Reference, media_type};
use crate::store::{self, Partial, Store};
use crate::sys::Cancel;

/// Registries take manifests up to 4 MiB (distribution-spec, "Pushing Manifests").
const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// An attempt that got so much further does not count as failed: a bad line should slow a download, not end it.
const PROGRESS_BYTES: u64 = 256 * 1024;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// Returns what the registry, or a mirror of it, has under a name. The bytes are those of the digest, where the name
    /// or the registry tells one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`], [`Error::WrongDigest`], [`Error::Document`], [`Error::Cancelled`], and those
    /// of the network.
    pub fn resolve(&self, reference: &Reference, cancel: &Cancel) -> Result<Document, Error> {
        net::block_on(cancel, self.document(reference))?
    }

    async fn document(&self, reference: &Reference) -> Result<Document, Error> {
        for mirror in self.mirrors(reference) {
            match self.document_at(&mirror, reference).await {
                Ok(document) => return Ok(document),
                Err(error) => pass_over(&mirror, &error),
            }
        }
        let (origin, mut retry) = (self.origin(reference), Retry::default());
        loop {
            match self.document_at(&origin, reference).await {
                Ok(document) => return Ok(document),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    async fn document_at(&self, repository: &Repository, reference: &Reference) -> Result<Document, Error> {
        let path = format!("manifests/{}", reference.selector());
        let accept = HeaderValue::from_str(&media_type::MANIFESTS.join(", ")).expect("media types are ASCII");
        let request = Request::new(Method::GET, Target::Path(&path), Scopes::pull(repository.path()));
        let request = request.header(ACCEPT, accept);
        let answered = repository.expect(&self.transport, &request, &[StatusCode::OK]).await;
        let mut response = answered.map_err(|error| match error {
            Error::Refused { status: 404, source, .. } => Error::NotFound { reference: reference.clone(), source },
            other => other,
        })?;
        let read = body(&mut response, MAX_MANIFEST_BYTES).await;
        let bytes = read.map_err(|source| repository.broken(response.url(), source))?;
        let host = || repository.host().to_owned();
        let bytes = bytes.ok_or_else(|| Error::TooLarge { host: host(), max: MAX_MANIFEST_BYTES })?;
        let actual = Digest::of(&bytes);
        let expected = reference.digest().or_else(|| announced(response.headers()));
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(Error::WrongDigest { host: host(), expected, actual });
        }
        let served_as = text(response.headers(), CONTENT_TYPE).and_then(|kind| kind.split(';').next());
        let decoded = Document::decode(served_as.unwrap_or_default().trim(), bytes);
        decoded.map_err(|source| Error::Document { reference: reference.clone(), source })
    }

    /// Brings a blob of an image into the store, unless it is there. What an interrupted download left is not fetched
    /// again. `progress` hears how many bytes are here.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::WrongDigest`], [`Error::WrongSize`], [`Error::Cancelled`], those of the network and
    /// of the store.
    pub fn fetch_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<(), Error> {
        for mirror in self.mirrors(reference) {
            let download =
                Download { client: self, repository: &mirror, blob, store, progress, cancel, tries: Tries::One };
            match download.run() {
                Ok(()) => return Ok(()),
                Err(error @ (Error::Cancelled(_) | Error::Store(_))) => return Err(error),
                Err(error) => pass_over(&mirror, &error),
            }
        }
        let origin = self.origin(reference);
        let download =
            Download { client: self, repository: &origin, blob, store, progress, cancel, tries: Tries::Several };
        download.run()?;
        store.note_source(blob.digest, reference.host(), reference.path())?;
        Ok(())
    }

    /// Brings a blob into the store from any repository that is known to have it; tells whether one did.
    ///
    /// # Errors
    /// [`Error::Cancelled`], those of the store, and that of the last repository asked.
    pub fn recover_blob(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        let mut refused = None;
        for (host, path) in store.all_sources(blob.digest)? {
            // One that cannot be a name was noted by somebody else.
            let Ok(reference) = format!("{host}/{path}").parse::<Reference>() else { continue };
            match self.fetch_blob(&reference, blob, store, progress, cancel) {
                Ok(()) => return Ok(true),
                Err(error @ (Error::Cancelled(_) | Error::Store(_))) => return Err(error),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(false), Err)
    }

    fn mirrors(&self, reference: &Reference) -> Vec<Repository> {
        let mirrors = self.transport.rules.config.of(reference.host()).mirrors;
        let at = |mirror: &super::config::Mirror| {
            self.transport.repository(&mirror.host, format!("{}{}", mirror.prefix, reference.path()))
        };
        mirrors.iter().map(at).collect()
    }
}

fn pass_over(mirror: &Repository, error: &Error) {
    tracing::info!(%mirror, error = error as &dyn std::error::Error, "a mirror did not help");
}

/// Mirrors are asked once: there is somebody else to ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tries {
    One,
    Several,
}

/// One blob from one repository.
struct Download<'a> {
    client: &'a Client,
    repository: &'a Repository,
    blob: &'a Descriptor,
    store: &'a Store,
    progress: &'a dyn Fn(u64),
    cancel: &'a Cancel,
    tries: Tries,
}

impl Download<'_> {
    fn run(&self) -> Result<(), Error> {
        let mut mixed = true;
        loop {
            let Some(mut partial) = self.store.partial(self.blob.digest, self.cancel)? else { return Ok(()) };
            if partial.len() > self.blob.size {
                partial.restart()?;
            }
            // What is here may come from elsewhere. If the whole turns out wrong, this repository may still be right.
            mixed &= !partial.is_empty();
            net::block_on(self.cancel, self.fill(&mut partial))??;
            match partial.finish(self.blob.size) {
                Err(store::Error::DigestMismatch { .. }) if mixed => mixed = false,
                Err(store::Error::DigestMismatch { expected, actual }) => {
                    return Err(Error::WrongDigest { host: self.repository.host().to_owned(), expected, actual });
                }
                other => return Ok(other?),
            }
        }
    }

    /// Fetches what is missing.
    async fn fill(&self, partial: &mut Partial) -> Result<(), Error> {
        let mut retry = Retry::default();
        while partial.len() < self.blob.size {
            let before = partial.len();
            match self.attempt(partial).await {
                Err(error) if self.tries == Tries::Several => {
                    if partial.len() >= before + PROGRESS_BYTES {
                        retry.reset();
                    }
                    retry.after(error).await?;
                }
                other => return other,
            }
        }
        Ok(())
    }

    async fn attempt(&self, partial: &mut Partial) -> Result<(), Error> {
        let mut response = self.ask(partial).await?;
        // The length is known before the bytes; those of a liar need not be read.
        let announced = response.content_length().map(|rest| partial.len() + rest);
        if let Some(actual) = announced.filter(|&announced| announced != self.blob.size) {
            return Err(self.wrong_size(partial, actual));
        }
        let mut meter = Meter::new(self.progress);
        loop {
            self.cancel.check()?;
            let chunk = net::within(SILENCE, response.chunk()).await.and_then(|read| read.map_err(net::Error::from));
            let chunk = chunk.map_err(|source| self.repository.broken(response.url(), source))?;
            let Some(chunk) = chunk else { break };
            partial.write_all(&chunk).map_err(|source| store::Error::io("write", partial.path(), source))?;
            meter.tell(partial.len());
            if partial.len() > self.blob.size {
                break;
            }
        }
        match partial.len() {
            actual if actual != self.blob.size => Err(self.wrong_size(partial, actual)),
            _ => Ok(()),
        }
    }

    /// Asks for what follows the bytes that are here, and forgets those if the registry begins anew.
    async fn ask(&self, partial: &mut Partial) -> Result<Response, Error> {
        let path = format!("blobs/{}", self.blob.digest);
        loop {
            let have = partial.len();
            let scopes = Scopes::pull(self.repository.path());
            let mut request = Request::new(Method::GET, Target::Path(&path), scopes);
            if have > 0 {
                let range = HeaderValue::from_str(&format!("bytes={have}-")).expect("digits are ASCII");
                request = request.header(RANGE, range);
            }
            let statuses = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
            let answered = self.repository.expect(&self.client.transport, &request, &statuses).await;
            let response = answered.map_err(|error| self.absent(error))?;
            match response.status() {
                StatusCode::OK => {
                    partial.restart()?;
                    return Ok(response);
                }
                StatusCode::PARTIAL_CONTENT if first_byte(response.headers()) == Some(have) => return Ok(response),
                _ if have > 0 => partial.restart()?,
                _ => return Err(self.repository.problem("answered with a range that nobody asked for")),
            }
        }
    }

    fn absent(&self, error: Error) -> Error {
        match error {
            Error::Refused { status: 404, source, .. } => {
                Error::NoSuchBlob { repository: self.repository.to_string(), digest: self.blob.digest, source }
            }
            other => other,
        }
    }

    /// Returns the error of a repository that sent too little or too much, after forgetting all it sent.
    fn wrong_size(&self, partial: &mut Partial, actual: u64) -> Error {
        let (digest, expected) = (self.blob.digest, self.blob.size);
        match partial.restart() {
            Ok(()) => Error::WrongSize { host: self.repository.host().to_owned(), digest, expected, actual },
            Err(error) => error.into(),
        }
    }
}

/// Returns the digest a registry announces, if kiln can read it.
pub(super) fn announced(headers: &HeaderMap) -> Option<Digest> {
    text(headers, CONTENT_DIGEST)?.parse().ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns where a part begins: `Content-Range: bytes 5-9/10`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE)?.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
