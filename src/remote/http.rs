use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{
    AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::{Authorization, Error, Fetched, Identity, Remotes};
use crate::graph::Http;
use crate::net::{self, Proxy, Route, Trust};
use crate::oci::{Digest, Hasher};
use crate::sys::Cancel;

/// Go's client, and so BuildKit, gives up after as many.
const MAX_REDIRECTS: usize = 10;

/// Silence for so long means that nothing more will come.
const SILENCE: Duration = Duration::from_secs(30);

/// Only its owner may read what came from a stranger, as in BuildKit.
const MODE: u32 = 0o600;

/// What is asked of a repository first (gitprotocol-http(5)).
const SERVICE: &str = "/info/refs?service=git-upload-pack";

const RECORD: &str = "record.json";

/// What a server said about a URL.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    etag: Option<String>,
    last_modified: Option<i64>,
    digest: Digest,
}

/// What is asked of a URL.
struct Question<'a> {
    method: Method,
    /// What is here already.
    etag: Option<&'a HeaderValue>,
    /// For the URL's own host.
    authorization: Option<&'a Authorization>,
}

/// Takes how many bytes are here, and how many there will be.
pub(super) type Progress<'a> = dyn Fn(u64, Option<u64>) + 'a;

impl Remotes {
    /// Returns the file that is kept of a URL, if the server says that it is still the same, or it has the checksum that
    /// is asked for.
    ///
    /// # Errors
    /// Those of the store. A server that does not answer is asked again by [`Remotes::download`].
    pub fn known(
        &self,
        http: &Http,
        authorization: Option<&Authorization>,
        cancel: &Cancel,
    ) -> Result<Option<Fetched>, Error> {
        let Some(record) = self.record(http)? else { return Ok(None) };
        let Some(fetched) = self.kept(http, &record)? else { return Ok(None) };
        if let Some(expected) = http.checksum {
            return Ok((expected == record.digest).then_some(fetched));
        }
        let Some(etag) = record.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) else {
            return Ok(None);
        };
        let question = Question { method: Method::HEAD, etag: Some(&etag), authorization };
        let answer = net::block_on(cancel, self.ask(http, &question));
        cancel.check()?;
        let same = answer.ok().and_then(Result::ok).is_some_and(|answer| match answer.status() {
            StatusCode::NOT_MODIFIED => true,
            status => status.is_success() && answer.headers().get(ETAG) == Some(&etag),
        });
        Ok(same.then_some(fetched))
    }

    /// Fetches the file of a URL.
    ///
    /// # Errors
    /// Those of the network, [`Error::Status`], [`Error::Checksum`], [`Error::Cancelled`], and those of the store.
    pub fn download(
        &self,
        http: &Http,
        authorization: Option<&Authorization>,
        progress: &Progress<'_>,
        cancel: &Cancel,
    ) -> Result<Fetched, Error> {
        let new = self.store.new_remote()?;
        let files = new.path().join("files");
        fs::create_dir(&files).map_err(Error::file("create", &files))?;
        permit(&files, 0o755)?;
        let path = files.join(&http.name);
        let title = http.shown();
        let fetch = async {
            let question = Question { method: Method::GET, etag: None, authorization };
            let response = self.ask(http, &question).await?;
            self.body(http, response, &path, progress).await
        };
        let record = net::block_on(cancel, fetch).map_err(|error| Error::network(&title, error))??;
        if let Some(expected) = http.checksum.filter(|&expected| expected != record.digest) {
            return Err(Error::Checksum { expected, actual: record.digest });
        }
        self.store.keep_remote(new, content_key(http, &record))?;
        self.remember(http, &record)?;
        let fetched = self.kept(http, &record)?;
        fetched.ok_or_else(|| Error::file("open", path)(std::io::ErrorKind::NotFound.into()))
    }

    /// Writes what a server sends into a new file.
    async fn body(
        &self,
        http: &Http,
        mut response: Response,
        path: &Path,
        progress: &Progress<'_>,
    ) -> Result<Record, Error> {
        let title = http.shown();
        if !response.status().is_success() {
            return Err(Error::Status { url: title, status: response.status().as_u16() });
        }
        let total = response.content_length();
        let mut file = File::create_new(path).map_err(Error::file("create", path))?;
        let (mut hasher, mut done) = (Hasher::new(), 0);
        loop {
            let chunk = net::within(SILENCE, response.chunk()).await.and_then(|read| read.map_err(net::Error::from));
            let Some(chunk) = chunk.map_err(|source| Error::network(&title, source))? else { break };
            file.write_all(&chunk).map_err(Error::file("write", path))?;
            hasher.update(&chunk);
            done += chunk.len() as u64;
            progress(done, total);
        }
        let last_modified = text(response.headers(), LAST_MODIFIED).and_then(seconds);
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(last_modified.unwrap_or_default().unsigned_abs());
        file.set_modified(mtime).map_err(Error::file("set the time of", path))?;
        permit(path, MODE)?;
        let etag = text(response.headers(), ETAG).map(str::to_owned);
        Ok(Record { etag, last_modified, digest: hasher.finish() })
    }

    /// Returns where a repository is that its server has moved, if that is the same server.
    pub(super) fn moved(
        &self,
        remote: &str,
        authorization: &Authorization,
        cancel: &Cancel,
    ) -> Result<Option<String>, Error> {
        let http = Http::of_url(&format!("{remote}{SERVICE}"));
        let question = Question { method: Method::GET, etag: None, authorization: Some(authorization) };
        let title = http.shown();
        let answer =
            net::block_on(cancel, self.ask(&http, &question)).map_err(|error| Error::network(&title, error))??;
        let is_same = Url::parse(remote).is_ok_and(|remote| remote.origin() == answer.url().origin());
        let place = answer.url().as_str().strip_suffix(SERVICE).filter(|_| is_same && answer.status().is_success());
        Ok(place.map(str::to_owned))
    }

    /// Asks and follows redirects.
    async fn ask(&self, http: &Http, question: &Question<'_>) -> Result<Response, Error> {
        let title = http.shown();
        let mut url = Url::parse(&http.url).map_err(|_| Error::Url(title.clone()))?;
        let mut authorization = question.authorization;
        for _ in 0..=MAX_REDIRECTS {
            let client = self.http.client(&route(&url)).map_err(|source| Error::network(&title, source))?;
            let mut headers = HeaderMap::new();
            headers.extend(question.etag.map(|etag| (IF_NONE_MATCH, etag.clone())));
            headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization.header())));
            let request = client.request(question.method.clone(), url.clone()).headers(headers);
            let sent = net::within(SILENCE, request.send()).await.and_then(|sent| sent.map_err(net::Error::from));
            let response = sent.map_err(|source| Error::network(&title, source))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let next = text(response.headers(), LOCATION).and_then(|location| url.join(location).ok());
            let next = next
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .ok_or_else(|| Error::Redirects(title.clone()))?;
            // Who was once sent elsewhere does not come back with it either: the way was not of the host's choice.
            authorization = authorization.filter(|_| is_as_trusted(&url, &next));
            url = next;
        }
        Err(Error::Redirects(title))
    }

    fn record(&self, http: &Http) -> Result<Option<Record>, Error> {
        let Some(directory) = self.store.remote(record_key(http))? else { return Ok(None) };
        // What cannot be read is as good as nothing.
        let bytes = fs::read(directory.join(RECORD)).ok();
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn remember(&self, http: &Http, record: &Record) -> Result<(), Error> {
        let key = record_key(http);
        let directory = match self.store.remote(key)? {
            Some(directory) => directory,
            None => self.store.keep_remote(self.store.new_remote()?, key)?,
        };
        let path = directory.join(RECORD);
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        crate::fs::write_atomic(&path, &bytes).map_err(|error| Error::file("write", path)(std::io::Error::other(error)))
    }

    fn kept(&self, http: &Http, record: &Record) -> Result<Option<Fetched>, Error> {
        let Some(directory) = self.store.remote(content_key(http, record))? else { return Ok(None) };
        let identity = Identity::File { digest: record.digest, last_modified: record.last_modified };
        Ok(Some(Fetched { directory: directory.join("files"), identity }))
    }
}

/// Returns the URL that is asked for where `url` is written: in one spelling, and without who asks. What is no HTTP URL stays
/// as it is.
pub fn requested(url: &str) -> String {
    let Some(mut parsed) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return url.to_owned();
    };
    // Only URLs without a host refuse.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    let requested = String::from(parsed);
    if has_path { requested } else { requested.trim_end_matches('/').to_owned() }
}

fn record_key(http: &Http) -> Digest {
    key("record", &[http.url.as_bytes(), http.name.as_bytes()])
}

fn content_key(http: &Http, record: &Record) -> Digest {
    let mtime = record.last_modified.unwrap_or_default().to_le_bytes();
    key("file", &[http.name.as_bytes(), record.digest.as_bytes(), &mtime])
}

pub(super) fn key(kind: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(kind.as_bytes());
    parts.iter().for_each(|part| hasher.field(part));
    hasher.finish()
}

fn route(url: &Url) -> Route {
    let is_loopback = match url.host_str().unwrap_or_default() {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    // Without TLS nobody proves anything, and no certificates need be read.
    let trust = if url.scheme() == "https" { Trust::System { more: Vec::new() } } else { Trust::Anyone };
    Route { trust, proxy: if is_loopback { Proxy::Never } else { Proxy::AsEnvironment } }
}

/// Tells whether what one URL may know is safe with another: the same server, or the same host, now over TLS.
fn is_as_trusted(url: &Url, next: &Url) -> bool {
    let is_upgrade = (url.scheme(), next.scheme()) == ("http", "https") && url.port().or(next.port()).is_none();
    url.origin() == next.origin() || (is_upgrade && url.host() == next.host())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Reads a date as HTTP has it; one before 1970 is as good as none.
fn seconds(date: &str) -> Option<i64> {
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(time.as_second()).filter(|&second| second >= 0)
}

pub(super) fn permit(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::file("set the mode of", PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn what_one_server_knows_is_not_for_others() {
        for (one, other, expected) in [
            ("https://x.example/a", "https://x.example/b", true),
            ("https://x.example/", "https://x.example:443/", true),
            ("http://x.example/", "https://x.example/", true),
            ("https://x.example/", "http://x.example/", false),
            ("https://x.example/", "https://y.x.example/", false),
            ("https://x.example/", "https://x.example:444/", false),
            ("http://x.example:80/", "https://x.example:8443/", false),
        ] {
            assert_eq!(is_as_trusted(&one.parse().unwrap(), &other.parse().unwrap()), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_url_has_one_spelling() {
        for (url, expected) in [
            ("https://me:pw@X.Example:443/a/../b?c=d#e", "https://x.example/b?c=d#e"),
            ("http://x.example/%2e%2e/a b", "http://x.example/a%20b"),
            ("http://x.example:8080", "http://x.example:8080"),
            ("git@x.example:a", "git@x.example:a"),
        ] {
            assert_eq!(requested(url), expected, "{url}");
        }
    }

    #[test]
    fn the_way_to_this_machine_has_no_proxy() {
        for (url, proxy) in [
            ("http://127.0.0.1:8/x", Proxy::Never),
            ("http://[::1]/", Proxy::Never),
            ("https://x.example/", Proxy::AsEnvironment),
        ] {
            assert_eq!(route(&url.parse().unwrap()).proxy, proxy, "{url}");
        }
    }
}
