use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::graph::{Git, Http};

/// What opens a repository to whoever asks for it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// For its own host, over HTTP.
    pub authorization: Option<Authorization>,
    /// The socket of an ssh agent; none is the one of whoever runs kiln.
    pub agent: Option<PathBuf>,
}

/// A value of the header `Authorization`. It prints as nothing, goes to one host, and is in nothing that is kept.
#[derive(Clone)]
pub struct Authorization {
    value: String,
    /// What it was made of.
    secret: String,
}

/// A secret that opens a source: its id among those of a build, and how its value is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    id: String,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Header,
    /// As a bearer token (RFC 6750).
    Bearer,
    /// As the password of the user that hosts of repositories take tokens from.
    Basic,
}

/// No credential alone in a header has fewer bytes.
const SHORTEST: usize = 8;

impl Key {
    /// Returns the keys that open a file, the first of which to be there counts (semantics reference, section 9.10).
    pub fn of_http(http: &Http) -> Vec<Key> {
        let hosts = hosts(&http.url);
        let named = |prefix: &'static str, form| move |host: &String| Key { id: format!("{prefix}{host}"), form };
        // In BuildKit, too, a token comes before a header.
        let tokens = hosts.iter().map(named("HTTP_AUTH_TOKEN_", Form::Bearer));
        tokens.chain(hosts.iter().map(named("HTTP_AUTH_HEADER_", Form::Header))).collect()
    }

    /// Returns the keys that open a repository, the first of which to be there counts (section 9.9). Only HTTP has any.
    pub fn of_git(git: &Git) -> Vec<Key> {
        let hosts = hosts(&git.remote);
        if hosts.is_empty() {
            return Vec::new();
        }
        let places = hosts.iter().map(|host| format!(".{host}")).chain([String::new()]);
        let both = |place: String| {
            [("GIT_AUTH_HEADER", Form::Header), ("GIT_AUTH_TOKEN", Form::Basic)]
                .map(|(name, form)| Key { id: format!("{name}{place}"), form })
        };
        places.flat_map(both).collect()
    }

    /// Returns the id of the secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what the secret's value says to a server; nothing where no header can say it. A line feed at the end, as
    /// editors leave it in files, is no part of the value.
    pub fn authorization(&self, value: &[u8]) -> Option<Authorization> {
        let secret = std::str::from_utf8(value).ok()?.trim_end_matches(['\r', '\n']);
        let value = match self.form {
            Form::Header => secret.to_owned(),
            Form::Bearer => format!("Bearer {secret}"),
            Form::Basic => format!("Basic {}", STANDARD.encode(format!("x-access-token:{secret}"))),
        };
        HeaderValue::from_str(&value).ok()?;
        (!secret.is_empty()).then(|| Authorization { value, secret: secret.to_owned() })
    }
}

impl Authorization {
    /// Returns the value, which logs do not show.
    pub(super) fn header(&self) -> HeaderValue {
        let mut header = HeaderValue::from_str(&self.value).expect("it has been tried");
        header.set_sensitive(true);
        header
    }

    /// Returns the setting of git that gives the header to everything at the origin of `remote`, and to nothing else; and
    /// the one that forbids what would: git takes the headers along when a server refers to another one.
    pub(super) fn settings(&self, remote: &str) -> Option<[(String, String); 2]> {
        let origin = Url::parse(remote).ok()?.origin().ascii_serialization();
        Some([
            (format!("http.{origin}/.extraHeader"), format!("Authorization: {}", self.value)),
            (format!("http.{origin}/.followRedirects"), "false".to_owned()),
        ])
    }

    /// Takes the secret out of what a program says, which may be what a server says.
    pub(super) fn without(&self, said: &str) -> String {
        // A short last word is a common one, and no credential.
        let encoded = self.value.rsplit(' ').next().filter(|word| word.len() >= SHORTEST);
        let parts = [Some(self.value.as_str()), encoded, Some(&self.secret)];
        parts.into_iter().flatten().fold(said.to_owned(), |said, part| said.replace(part, "***"))
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}

/// Returns the host of an HTTP URL as secrets are named after it: with the port where there is one, and without.
fn hosts(url: &str) -> Vec<String> {
    let Some(url) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Vec::new();
    };
    let Some(host) = url.host_str() else { return Vec::new() };
    let with_port = url.port().map(|port| format!("{host}:{port}"));
    with_port.into_iter().chain([host.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(Key::id).collect()
    }

    fn git(text: &str) -> Git {
        Git::parse(text).unwrap().unwrap()
    }

    #[test]
    fn keys_are_named_after_hosts() {
        let http = Key::of_http(&Http::of_url("https://me:pw@x.example:8443/a?b"));
        let expected =
            ["HTTP_AUTH_TOKEN_x.example:8443", "HTTP_AUTH_TOKEN_x.example", "HTTP_AUTH_HEADER_x.example:8443"];
        assert_eq!((&ids(&http)[..3], ids(&http)[3]), (&expected[..], "HTTP_AUTH_HEADER_x.example"));
        let expected = ["GIT_AUTH_HEADER.x.example", "GIT_AUTH_TOKEN.x.example", "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"];
        assert_eq!(ids(&Key::of_git(&git("https://x.example/a.git"))), expected);
        for other in ["git@x.example:a", "ssh://x.example/a", "git://x.example/a"] {
            assert_eq!(Key::of_git(&git(other)), [], "{other}");
        }
    }

    #[test]
    fn a_value_is_said_as_its_key_has_it() {
        let said = |form, value: &[u8]| Key { id: String::new(), form }.authorization(value).map(|said| said.value);
        for (form, value, expected) in [
            (Form::Header, &b"Digest a b\n"[..], Some("Digest a b")),
            (Form::Bearer, b"t\r\n", Some("Bearer t")),
            (Form::Basic, b"t", Some("Basic eC1hY2Nlc3MtdG9rZW46dA==")),
            (Form::Bearer, b"a\nb", None),
            (Form::Bearer, b"\n", None),
            (Form::Header, b"\xff", None),
        ] {
            assert_eq!(said(form, value).as_deref(), expected, "{form:?} {value:?}");
        }
    }

    #[test]
    fn values_are_not_shown() {
        let key = Key { id: String::new(), form: Form::Basic };
        let authorization = key.authorization(b"s3cret").unwrap();
        assert_eq!(format!("{authorization:?} {:?}", authorization.header()), "Authorization Sensitive");
        let said = format!("you said {}, that is s3cret", authorization.value);
        assert_eq!(authorization.without(&said), "you said ***, that is ***");
        let [(name, _), _] = authorization.settings("https://me@x.example:8443/a.git").unwrap();
        assert_eq!(name, "http.https://x.example:8443/.extraHeader");
    }
}
