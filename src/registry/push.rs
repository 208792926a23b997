use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::pull::announced;
use super::repository::{Payload, Repository, Request, Target};
use super::retry::Retry;
use super::scope::Scopes;
use super::upload::Upload;
use super::{Client, Error};
use crate::net;
use crate::oci::{Descriptor, Digest, Encoded, Reference, media_type};
use crate::store::Store;
use crate::sys::Cancel;

/// Repositories that are asked to lend a blob. The one noted last is nearly always right.
const LENDERS: usize = 2;

impl Client {
    /// Makes sure that the repository of an image has a blob: it may have it already, or get it from another repository of
    /// its registry, or be sent it. `progress` hears how many bytes were sent.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Refused`], [`Error::Cancelled`], those of the network and of the store.
    pub fn push_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let lenders = lenders(reference, blob, store)?;
        let upload = Upload { store, digest: blob.digest, size: blob.size, progress, cancel };
        net::block_on(cancel, self.provide(reference, &lenders, upload))??;
        store.note_source(blob.digest, reference.host(), reference.path())?;
        Ok(())
    }

    /// Tells whether the repository of an image has a blob, or gets it from another repository of its registry: what
    /// [`Client::push_blob`] does before it sends any byte. The blob need not be in the store.
    ///
    /// # Errors
    /// As [`Client::push_blob`], and [`Error::WrongSize`] where the registry says that its blob has another size.
    pub fn lend_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        store: &Store,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        let lenders = lenders(reference, blob, store)?;
        let upload = Upload { store, digest: blob.digest, size: blob.size, progress: &|_| {}, cancel };
        let push = Push { client: self, repository: self.origin(reference), lenders: &lenders, upload: &upload };
        let is_there = net::block_on(cancel, async {
            let mut retry = Retry::default();
            loop {
                match push.borrow().await {
                    Ok(is_there) => return Ok::<_, Error>(is_there),
                    Err(error) => retry.after(error).await?,
                }
            }
        })??;
        if is_there {
            store.note_source(blob.digest, reference.host(), reference.path())?;
        }
        Ok(is_there)
    }

    /// Finds out early whether a push can succeed: whether the registry is there, and does not refuse whoever asks.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Cancelled`], and those of the network.
    pub fn may_push(&self, reference: &Reference, cancel: &Cancel) -> Result<(), Error> {
        net::block_on(cancel, async {
            let (repository, mut retry) = (self.origin(reference), Retry::default());
            loop {
                match self.ask_to_push(&repository).await {
                    Ok(()) => return Ok(()),
                    Err(error) => retry.after(error).await?,
                }
            }
        })?
    }

    async fn ask_to_push(&self, repository: &Repository) -> Result<(), Error> {
        let scopes = || Scopes::push(repository.path());
        let path = format!("blobs/{}", Digest::of(b""));
        let request = Request::new(Method::HEAD, Target::Path(&path), scopes());
        let status = repository.send(&self.transport, &request).await?.status();
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(());
        }
        // An answer to HEAD does not say why, and somebody may be allowed to write and not to read. What this begins if
        // it is allowed, registries forget.
        let begin = Request::new(Method::POST, Target::Path("blobs/uploads/"), scopes());
        repository.expect(&self.transport, &begin, &[StatusCode::ACCEPTED]).await.map(drop)
    }

    async fn provide(&self, reference: &Reference, lenders: &[String], upload: Upload<'_>) -> Result<(), Error> {
        let push = Push { client: self, repository: self.origin(reference), lenders, upload: &upload };
        let mut retry = Retry::default();
        loop {
            match push.attempt().await {
                Ok(()) => return Ok(()),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// Gives the repository the manifest of an image whose blobs it has, or an index whose manifests it has: under the
    /// tag of the reference, or else under its digest.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Refused`], [`Error::WrongDigest`], [`Error::Cancelled`], and those of the network.
    pub fn push_manifest<T: Sync>(
        &self,
        reference: &Reference,
        manifest: &Encoded<T>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        net::block_on(cancel, async {
            let (repository, mut retry) = (self.origin(reference), Retry::default());
            loop {
                match self.put_manifest(&repository, reference, manifest).await {
                    Ok(()) => return Ok(()),
                    Err(error) => retry.after(error).await?,
                }
            }
        })?
    }

    /// Tells whether the registry says that it has a manifest or index under the tag of the reference, or else under its
    /// digest. Whatever else comes of asking means no: who pushes then is told the reason.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn has_manifest(&self, reference: &Reference, digest: Digest, cancel: &Cancel) -> Result<bool, Error> {
        let repository = self.origin(reference);
        let path = manifest_path(reference, digest);
        // With the scopes of a push, so that what follows needs no other token.
        let request = Request::new(Method::HEAD, Target::Path(&path), Scopes::push(repository.path()))
            .header(ACCEPT, HeaderValue::from_str(&media_type::MANIFESTS.join(", ")).expect("media types are ASCII"));
        let answered = net::block_on(cancel, repository.send(&self.transport, &request))?;
        Ok(answered
            .is_ok_and(|response| response.status() == StatusCode::OK && announced(response.headers()) == Some(digest)))
    }

    async fn put_manifest<T>(
        &self,
        repository: &Repository,
        reference: &Reference,
        manifest: &Encoded<T>,
    ) -> Result<(), Error> {
        let path = manifest_path(reference, manifest.digest());
        let kind = HeaderValue::from_str(&manifest.descriptor().media_type)
            .map_err(|_| repository.problem("cannot be given a manifest of this media type"))?;
        let request = Request::new(Method::PUT, Target::Path(&path), Scopes::push(repository.path()))
            .header(CONTENT_TYPE, kind)
            .payload(Payload::Bytes(manifest.bytes()));
        let statuses = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = repository.expect(&self.transport, &request, &statuses).await?;
        match announced(response.headers()) {
            Some(actual) if actual != manifest.digest() => {
                Err(Error::WrongDigest { host: repository.host().to_owned(), expected: manifest.digest(), actual })
            }
            _ => Ok(()),
        }
    }
}

/// Returns where a manifest is put: under the tag of the reference, or else under its digest.
fn manifest_path(reference: &Reference, digest: Digest) -> String {
    reference.tag().map_or_else(|| format!("manifests/{digest}"), |tag| format!("manifests/{tag}"))
}

/// Returns the repositories of the registry of `reference` that have a blob and may lend it.
fn lenders(reference: &Reference, blob: &Descriptor, store: &Store) -> Result<Vec<String>, Error> {
    let mut lenders = store.sources(blob.digest, reference.host())?;
    lenders.retain(|path| path != reference.path());
    lenders.truncate(LENDERS);
    Ok(lenders)
}

/// What came of asking for a blob without sending it.
enum Lent {
    /// The repository has had it, of so many bytes if it tells.
    There(Option<u64>),
    /// The repository has it now.
    Mounted,
    /// Nobody lends it; it is to be sent where this answer says.
    Begun(Response),
    No,
}

/// One blob to one repository.
struct Push<'a> {
    client: &'a Client,
    repository: Repository,
    lenders: &'a [String],
    upload: &'a Upload<'a>,
}

impl Push<'_> {
    async fn attempt(&self) -> Result<(), Error> {
        match self.lend().await? {
            Lent::There(_) | Lent::Mounted => return Ok(()),
            Lent::Begun(response) => return self.put(&response).await,
            Lent::No => {}
        }
        let begin = Request::new(Method::POST, Target::Path("blobs/uploads/"), self.scopes());
        let response = self.repository.expect(&self.client.transport, &begin, &[StatusCode::ACCEPTED]).await?;
        self.put(&response).await
    }

    /// Has the repository get a blob that nobody here has seen, and holds it against its size; tells whether it has it.
    async fn borrow(&self) -> Result<bool, Error> {
        let found = match self.lend().await? {
            Lent::There(size) => Some(size),
            Lent::Mounted => self.look().await?,
            Lent::Begun(_) | Lent::No => None,
        };
        match found.flatten() {
            // Then the manifest that is to name it is wrong, and nobody could pull what is pushed.
            Some(actual) if actual != self.upload.size => Err(Error::WrongSize {
                host: self.repository.host().to_owned(),
                digest: self.upload.digest,
                expected: self.upload.size,
                actual,
            }),
            _ => Ok(found.is_some()),
        }
    }

    async fn lend(&self) -> Result<Lent, Error> {
        if let Some(size) = self.look().await? {
            tracing::debug!(digest = %self.upload.digest, repository = %self.repository, "the blob is there");
            return Ok(Lent::There(size));
        }
        let mut lent = Lent::No;
        for lender in self.lenders {
            let response = self.mount(lender).await?;
            match response.status() {
                StatusCode::CREATED => return Ok(Lent::Mounted),
                // This one has it not, and another may.
                StatusCode::ACCEPTED => lent = Lent::Begun(response),
                // A registry may refuse to lend and still take the blob.
                status => tracing::debug!(lender, status = status.as_u16(), "the blob is not lent"),
            }
        }
        Ok(lent)
    }

    /// Returns how many bytes the repository says that its blob has, if it says; none where it has none.
    async fn look(&self) -> Result<Option<Option<u64>>, Error> {
        let path = format!("blobs/{}", self.upload.digest);
        let request = Request::new(Method::HEAD, Target::Path(&path), self.scopes());
        let response = self.repository.send(&self.client.transport, &request).await?;
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // Whatever else it answers, and why, is told better by the request that follows. Some say 0 of everything.
        Ok((response.status() == StatusCode::OK).then_some(length.filter(|length| *length > 0)))
    }

    async fn mount(&self, lender: &str) -> Result<Response, Error> {
        let path = format!("blobs/uploads/?mount={}&from={lender}", self.upload.digest);
        let request = Request::new(Method::POST, Target::Path(&path), self.scopes().and_pull(lender));
        self.repository.send(&self.client.transport, &request).await
    }

    /// Sends the whole blob to where an answer says.
    async fn put(&self, begun: &Response) -> Result<(), Error> {
        let request = Request::new(Method::PUT, Target::Url(self.location(begun)?), self.scopes())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .payload(Payload::File(*self.upload));
        let statuses = [StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.repository.expect(&self.client.transport, &request, &statuses).await.map(drop)
    }

    fn location(&self, begun: &Response) -> Result<Url, Error> {
        let text = begun.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let text = text.ok_or_else(|| self.repository.problem("does not say where to upload to"))?;
        let url = upload_url(begun.url(), text, &self.upload.digest.to_string());
        url.ok_or_else(|| self.repository.problem("names an invalid URL to upload to"))
    }

    fn scopes(&self) -> Scopes {
        Scopes::push(self.repository.path())
    }
}

/// Returns the URL of a whole upload: `location`, which may be relative and have a query of its own, and the digest.
fn upload_url(asked: &Url, location: &str, digest: &str) -> Option<Url> {
    let mut url = asked.join(location).ok()?;
    // Behind a proxy that ends TLS, registries take themselves for unencrypted.
    if asked.scheme() == "https" && url.scheme() == "http" && url.host_str() == asked.host_str() {
        url.set_scheme("https").ok()?;
        url.set_port(asked.port()).ok()?;
    }
    // As it is: some registries sign the query, and writing it anew could change it.
    let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&")).unwrap_or_default();
    url.set_query(Some(&format!("{query}digest={digest}")));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_go_where_the_registry_says() {
        for (asked, location, expected) in [
            (
                "http://h:5000/v2/a/blobs/uploads/",
                "/v2/a/u/1?_state=x%3D",
                "http://h:5000/v2/a/u/1?_state=x%3D&digest=d",
            ),
            ("http://h:5000/v2/a/blobs/uploads/", "http://h:5000/u", "http://h:5000/u?digest=d"),
            ("https://h/v2/a/blobs/uploads/", "https://store.example/u?s=1", "https://store.example/u?s=1&digest=d"),
            ("https://h/v2/a/blobs/uploads/", "http://h/v2/u", "https://h/v2/u?digest=d"),
            ("https://h/v2/a/blobs/uploads/", "2?", "https://h/v2/a/blobs/uploads/2?digest=d"),
        ] {
            let url = upload_url(&asked.parse().unwrap(), location, "d").unwrap();
            assert_eq!(url.as_str(), expected, "{location}");
        }
    }
}
