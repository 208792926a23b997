use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::config::Config;
use crate::net::{Proxy, Route, Trust};

/// Where docker keeps further authorities, one directory a host.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// How to speak to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// TLS, and the certificate is verified.
    Https,
    /// TLS, and it is not.
    HttpsUnverified,
    /// In the open.
    Http,
}

/// What the user allows.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: Config,
    /// Hosts of `--insecure-registry`.
    pub(super) insecure: Vec<String>,
}

/// Returns the URL of a path below the API of a host, such as `library/alpine/manifests/latest`.
pub(super) fn url(host: &str, protocol: Protocol, path: &str) -> Option<Url> {
    // Docker Hub's registry is not where its name says.
    let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
    Url::parse(&format!("{}://{host}/v2/{path}", protocol.scheme())).ok()
}

impl Protocol {
    fn scheme(self) -> &'static str {
        match self {
            Protocol::Https | Protocol::HttpsUnverified => "https",
            Protocol::Http => "http",
        }
    }
}

impl Rules {
    /// Returns the ways to speak to a host, the one to try first first.
    ///
    /// Others than verified TLS are for this machine, where nobody listens in, and for hosts the user excepts.
    pub(super) fn protocols(&self, host: &str) -> &'static [Protocol] {
        let settings = self.config.of(host);
        if settings.insecure || self.insecure.iter().any(|insecure| insecure == host) {
            // Who excepts a host from one thing may mean the other, as with docker's `insecure-registries`.
            return if settings.http { PLAIN_FIRST } else { &[Protocol::HttpsUnverified, Protocol::Http] };
        }
        if settings.http || is_loopback(host) { PLAIN_FIRST } else { &[Protocol::Https] }
    }

    /// Returns how to get to whatever `url` names: a registry, a token server, or where one of them sends us.
    pub(super) fn route(&self, url: &Url) -> Route {
        let host = authority(url);
        let proxy = if is_loopback(&host) { Proxy::Never } else { Proxy::AsEnvironment };
        let verified = url.scheme() == "https" && self.protocols(&host).contains(&Protocol::Https);
        let trust = match verified {
            true => Trust::System { more: certificates(Path::new(CERTIFICATES), &host) },
            false => Trust::Anyone,
        };
        Route { trust, proxy }
    }
}

const PLAIN_FIRST: &[Protocol] = &[Protocol::Http, Protocol::HttpsUnverified];

/// Returns host and port of a URL, the port only if it is not the usual one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Tells whether `host`, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns the authorities that the user of docker trusts for `host`.
fn certificates(directory: &Path, host: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory.join(host)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
    paths.sort();
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a certificate cannot be read");
            None
        }
    };
    paths.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let text = "[\"plain.example\"]\nhttp = true\n[\"lax.example\"]\ninsecure = true\n[both]\nhttp = true\ninsecure = true\n";
        Rules { config: toml::from_str(text).unwrap(), insecure: vec!["flag.example:5000".to_owned()] }
    }

    #[test]
    fn only_this_machine_and_exceptions_are_spoken_to_in_the_open() {
        use Protocol::{Http, Https, HttpsUnverified};
        for (host, expected) in [
            ("docker.io", &[Https][..]),
            ("registry.example:5000", &[Https]),
            ("flag.example", &[Https]),
            ("flag.example:5000", &[HttpsUnverified, Http]),
            ("lax.example", &[HttpsUnverified, Http]),
            ("plain.example", &[Http, HttpsUnverified]),
            ("both", &[Http, HttpsUnverified]),
            ("localhost", &[Http, HttpsUnverified]),
            ("localhost:5000", &[Http, HttpsUnverified]),
            ("127.0.0.1:5000", &[Http, HttpsUnverified]),
            ("127.9.9.9", &[Http, HttpsUnverified]),
            ("[::1]:5000", &[Http, HttpsUnverified]),
            ("[::2]:5000", &[Https]),
            ("10.0.0.1:5000", &[Https]),
            ("localhost.example", &[Https]),
        ] {
            assert_eq!(rules().protocols(host), expected, "{host}");
        }
    }

    #[test]
    fn urls_begin_with_the_host_of_the_api() {
        for (host, protocol, path, expected) in [
            ("docker.io", Protocol::Https, "library/a/x", "https://registry-1.docker.io/v2/library/a/x"),
            ("h:5000", Protocol::HttpsUnverified, "hub/library/a/x", "https://h:5000/v2/hub/library/a/x"),
            ("[::1]:5000", Protocol::Http, "a/x", "http://[::1]:5000/v2/a/x"),
            ("h", Protocol::Http, "", "http://h/v2/"),
        ] {
            assert_eq!(url(host, protocol, path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn certificates_are_read_for_verified_tls_alone() {
        for (url, trust, proxy) in [
            ("https://registry.example/v2/", Trust::System { more: vec![] }, Proxy::AsEnvironment),
            ("http://registry.example/v2/", Trust::Anyone, Proxy::AsEnvironment),
            ("https://flag.example:5000/v2/", Trust::Anyone, Proxy::AsEnvironment),
            ("http://127.0.0.1:5000/v2/", Trust::Anyone, Proxy::Never),
        ] {
            assert_eq!(rules().route(&url.parse().unwrap()), Route { trust, proxy }, "{url}");
        }
    }

    #[test]
    fn a_host_may_have_authorities_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("h:5000")).unwrap();
        for name in ["b.crt", "a.crt", "client.cert", "client.key"] {
            fs::write(directory.path().join("h:5000").join(name), name).unwrap();
        }
        assert_eq!(certificates(directory.path(), "h:5000"), [b"a.crt", b"b.crt"]);
        assert!(certificates(directory.path(), "h").is_empty());
    }
}
