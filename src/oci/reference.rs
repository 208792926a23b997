use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

/// Names an image: `[host[:port]/]path[:tag][@digest]` (distribution-spec, "Pulling manifests"; Docker's defaults).
///
/// Always complete: `alpine` is `docker.io/library/alpine:latest`. [`Display`](fmt::Display) prints the full form and
/// [`Reference::familiar`] the short one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a reference asks of its repository. A digest wins over a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector<'a> {
    /// Whatever the tag points at now.
    Tag(&'a str),
    /// Exactly this.
    Digest(Digest),
}

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Tag(tag) => f.write_str(tag),
            Selector::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The grammar does not hold.
    #[error("invalid reference format: `{0}`")]
    Format(String),
    /// The path has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Longer than registries take.
    #[error("invalid reference format: repository name must not be longer than 255 characters")]
    TooLong,
    /// 64 hexadecimal digits, which is an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The digest after `@`.
    #[error("invalid reference format: {0}")]
    Digest(#[from] super::DigestError),
}

/// The host that names without one belong to.
const DEFAULT_HOST: &str = "docker.io";
/// Registries refuse longer names (distribution-spec; 255 with the host).
const MAX_NAME_BYTES: usize = 255;
/// Longest tag (distribution-spec).
const MAX_TAG_BYTES: usize = 128;

impl Reference {
    /// Returns the registry host with its port, such as `docker.io` or `localhost:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the repository path, such as `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns `host/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Returns the tag, where one was written or defaulted.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, where one was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns what to ask the repository for.
    pub fn selector(&self) -> Selector<'_> {
        match (self.digest, &self.tag) {
            (Some(digest), _) => Selector::Digest(digest),
            (None, Some(tag)) => Selector::Tag(tag),
            (None, None) => Selector::Tag("latest"),
        }
    }

    /// Returns the same repository at `digest`, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the short form people type: without the default host, `library/`, and nothing else left out.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(rest) = full.strip_prefix("docker.io/") else { return full };
        rest.strip_prefix("library/").unwrap_or(rest).to_owned()
    }

    /// Returns the repository part of [`Reference::familiar`].
    pub fn familiar_repository(&self) -> String {
        Reference { tag: None, digest: None, ..self.clone() }.familiar()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let format = || ReferenceError::Format(text.to_owned());
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(format());
        }
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_host_like(first) => (first, path.to_owned()),
            Some(_) => (DEFAULT_HOST, name.to_owned()),
            None => (DEFAULT_HOST, name.to_owned()),
        };
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let path = if host == DEFAULT_HOST && !path.contains('/') && !path.is_empty() {
            format!("library/{path}")
        } else {
            path
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(path));
        }
        if !is_host(host) || !path.split('/').all(is_component) {
            return Err(format());
        }
        if host.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(ReferenceError::TooLong);
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Reference { host: host.to_owned(), path, tag, digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The part before the first slash is a host only if nothing else could look like it.
fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    port_ok && name.split('.').all(label)
}

/// `[a-z0-9]+` joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (component.bytes().next(), component.bytes().last()) else { return false };
    let separators_ok = component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'));
    alphanumeric(first) && alphanumeric(last) && separators_ok
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_docker_hub() {
        for (text, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("me/app:1", "docker.io/me/app:1", "me/app:1"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("127.0.0.1:5000/a/b:v1.2", "127.0.0.1:5000/a/b:v1.2", "127.0.0.1:5000/a/b:v1.2"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("a__b/c--d", "docker.io/a__b/c--d:latest", "a__b/c--d:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = Digest::of(b"");
        let reference: Reference = format!("alpine:3@{digest}").parse().unwrap();
        assert_eq!(reference.selector(), Selector::Digest(digest));
        assert_eq!(reference.tag(), Some("3"));
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in ["", "a_/b", "a..b", "-a", "a:", "a:-x", "a@sha256:12", "a//b", "x.io/", "a b", "a___b"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert!(matches!("Foo".parse::<Reference>(), Err(ReferenceError::Uppercase(_))));
        assert!(matches!("a".repeat(64).parse::<Reference>(), Err(ReferenceError::LooksLikeId(_))));
    }
}
