use std::collections::BTreeMap;

use super::PolicyError;
use crate::graph::{Git, GitMtime, Http, Source};
use crate::oci::Reference;
use crate::remote::requested;

/// Attributes that a policy may set: those that pin what a source is.
pub(super) const CHECKSUMS: [&str; 2] = ["http.checksum", "git.checksum"];

const IMAGE: &str = "docker-image://";
const GIT: &str = "git://";

/// A source as policies name it; identifiers and attributes are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) identifier: String,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Subject {
    fn new<const N: usize>(identifier: String, attributes: [(&str, Option<String>); N]) -> Subject {
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Subject { identifier, attributes: attributes.collect() }
    }

    pub(super) fn of_image(reference: &Reference, pull: bool) -> Subject {
        let named = reference.to_string();
        let rest = named.strip_prefix(reference.host()).unwrap_or_default();
        let named = format!("{IMAGE}{}{rest}", reference.host().to_lowercase());
        Subject::new(named, [("image.resolvemode", pull.then(|| "pull".to_owned()))])
    }

    pub(super) fn of_layout(reference: &Reference) -> Subject {
        Subject::new(format!("oci-layout://{reference}"), [])
    }

    /// Returns a directory on this machine.
    pub(super) fn of_local(name: &str) -> Subject {
        Subject::new(format!("local://{name}"), [])
    }

    /// Returns a file, by the URL that will be asked for: no spelling of it is another source.
    pub(super) fn of_http(http: &Http) -> Subject {
        let checksum = http.checksum.map(|checksum| checksum.to_string());
        Subject::new(requested(&http.url), [(CHECKSUMS[0], checksum), ("http.filename", Some(http.name.clone()))])
    }

    /// Returns a repository, which is named without the protocol it is fetched by.
    pub(super) fn of_git(git: &Git) -> Subject {
        let mut identifier = format!("{GIT}{}", place(&git.remote));
        if git.reference.is_some() || git.subdirectory.is_some() {
            identifier += &format!("#{}", git.reference.as_deref().unwrap_or_default());
        }
        if let Some(subdirectory) = &git.subdirectory {
            identifier += &format!(":{subdirectory}");
        }
        let when = |is_so: bool, value: &str| is_so.then(|| value.to_owned());
        Subject::new(
            identifier,
            [
                ("git.fullurl", Some(git.shown())),
                ("git.keepgitdir", when(git.keep_git_directory, "true")),
                (CHECKSUMS[1], git.checksum.clone()),
                ("git.skipsubmodules", when(!git.submodules, "true")),
                ("git.mtime", when(git.mtime == GitMtime::Commit, "commit")),
            ],
        )
    }

    /// Returns a source of a graph; an image was judged by its name before it was resolved.
    pub(super) fn of_source(source: &Source) -> Option<Subject> {
        match source {
            Source::Http(http) => Some(Subject::of_http(http)),
            Source::Git(git) => Some(Subject::of_git(git)),
            Source::Local(local) => Some(Subject::of_local(local.name.strip_prefix("context ").unwrap_or(&local.name))),
            Source::Image(_) => None,
        }
    }

    /// Returns the identifier and, of an image with a digest, the identifier without: who allows a name does not mean
    /// the digest to be another image.
    pub(super) fn forms(&self) -> impl Iterator<Item = &str> {
        let named = self.identifier.split_once('@').map(|(named, _)| named);
        let named = named.filter(|_| self.identifier.starts_with(IMAGE));
        [Some(self.identifier.as_str()), named].into_iter().flatten()
    }

    /// Returns the identifier without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        let is_http = ["http://", "https://"].iter().any(|scheme| self.identifier.starts_with(scheme));
        if is_http { Http::of_url(&self.identifier).shown() } else { self.identifier.clone() }
    }

    /// Returns the image that this is.
    pub(super) fn image(&self) -> Option<Reference> {
        self.identifier.strip_prefix(IMAGE)?.parse().ok()
    }

    /// Returns what `source` becomes, of which this was made.
    pub(super) fn source(&self, source: &Source) -> Option<Source> {
        let is_http = ["http://", "https://"].iter().any(|scheme| self.identifier.starts_with(scheme));
        let set = |name: &str| self.attributes.get(name);
        Some(match source {
            Source::Http(http) if is_http => {
                let checksum = set(CHECKSUMS[0]).map(|checksum| checksum.parse()).transpose().ok()?;
                // The same file is fetched as it was to be.
                let url = if self.identifier == requested(&http.url) { &http.url } else { &self.identifier };
                Source::Http(Http { url: url.clone(), name: http.name.clone(), checksum })
            }
            Source::Git(git) => {
                let rest = self.identifier.strip_prefix(GIT)?;
                let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
                let named = Git::parse(&format!("{GIT}{place}#{fragment}"))?.ok()?;
                // The same repository is fetched as it was to be.
                let remote =
                    if place == self::place(&git.remote) { git.remote.clone() } else { format!("https://{place}") };
                let (reference, subdirectory) = (named.reference, named.subdirectory);
                let checksum = set(CHECKSUMS[1]).cloned();
                Source::Git(Git { remote, reference, subdirectory, checksum, ..git.clone() })
            }
            _ => return None,
        })
    }

    /// Returns an error of a source that cannot become another one.
    pub(super) fn unconvertible(&self, before: &Subject) -> PolicyError {
        PolicyError::Conversion { from: before.shown(), to: self.shown() }
    }
}

/// Returns host and path of a repository.
fn place(remote: &str) -> String {
    let (host, path) = match requested(remote).split_once("://") {
        Some((_, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (host.to_owned(), path.to_owned())
        }
        // `user@host:path`
        None => {
            let (host, path) = remote.split_once(':').unwrap_or((remote, ""));
            (host.to_owned(), format!("/{path}"))
        }
    };
    let host = host.rsplit_once('@').map_or(host.as_str(), |(_, host)| host);
    format!("{}{path}", host.to_lowercase())
}
