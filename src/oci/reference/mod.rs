mod grammar;

use std::fmt;
use std::str::FromStr;

use nom::Parser;
use nom::combinator::all_consuming;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;
#[doc(hidden)]
pub use grammar::RULES;

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
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let Ok((_, written)) = all_consuming(grammar::reference).parse(text) else { return Err(refusal(text)) };
        let host = match written.host {
            None | Some("index.docker.io") => DEFAULT_HOST,
            Some(host) => host,
        };
        let path = official(host, written.path);
        if host.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(ReferenceError::TooLong);
        }
        let digest = written.digest.map(str::parse).transpose()?;
        let tag = written.tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Reference { host: host.to_owned(), path, tag, digest })
    }
}

/// Returns `path` below `library` where that is meant.
fn official(host: &str, path: &str) -> String {
    match host == DEFAULT_HOST && !path.contains('/') && !path.is_empty() {
        true => format!("library/{path}"),
        false => path.to_owned(),
    }
}

/// Returns what is wrong with a text that is no reference, as precisely as can be said.
fn refusal(text: &str) -> ReferenceError {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    if let Some(Err(error)) = digest.map(str::parse::<Digest>) {
        return error.into();
    }
    let name = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => rest,
    };
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if grammar::is_host_like(first) => (first, path),
        _ => (DEFAULT_HOST, name),
    };
    let path = official(host, path);
    match path.bytes().any(|b| b.is_ascii_uppercase()) {
        true => ReferenceError::Uppercase(path),
        false => ReferenceError::Format(text.to_owned()),
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
        for bad in ["a_b.c/d", "-a.b/c", "a:65536/b", "[::g]/a", "localhost", "docker.io/"] {
            let expected = bad == "localhost";
            assert_eq!(bad.parse::<Reference>().is_ok(), expected, "{bad}");
        }
        for (bad, path) in [("Foo", "library/Foo"), ("Foo/Bar:1", "Bar"), ("a/B", "a/B"), ("a.b/C", "C")] {
            let refused = bad.parse::<Reference>().unwrap_err();
            assert_eq!(refused, ReferenceError::Uppercase(path.to_owned()));
        }
        assert_eq!(format!("a:{}", "b".repeat(129)).parse::<Reference>().ok(), None);
        assert_eq!("a/".repeat(130).trim_end_matches('/').parse::<Reference>(), Err(ReferenceError::TooLong));
        assert!(matches!("a".repeat(64).parse::<Reference>(), Err(ReferenceError::LooksLikeId(_))));
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_never_panics_and_what_is_read_is_printed_and_read_again(
            text in "([a-zA-Z0-9é.:/@_-]|localhost|sha256:|[a-f0-9]{64}|\\[::1\\]){0,12}",
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
                prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
