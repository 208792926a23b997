use super::Problems;
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::instruction;
use crate::graph::{Git, GitError, Http, Source};

/// A source of ADD that is no file of the context (semantics reference, sections 9.9 and 9.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remote {
    Http(Http),
    Git(Git),
}

impl Remote {
    /// Returns what a source names, if it is elsewhere.
    pub(super) fn of(source: &str) -> Option<Result<Remote, GitError>> {
        if let Some(git) = Git::parse(source) {
            return Some(git.map(Remote::Git));
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
        is_url.then(|| Ok(Remote::Http(Http::of_url(source))))
    }

    /// Returns what a source of ADD names, with what the flags say about it.
    pub(super) fn of_add(source: &str, span: Span, add: &Flags<'_>) -> Result<Option<Remote>, Problems> {
        let wrong =
            |error: GitError, span| Problems::from(Diagnostic::error("invalid-git-source", error.to_string(), span));
        let mut remote = match Remote::of(source) {
            Some(remote) => remote.map_err(|error| wrong(error, span))?,
            None => return Ok(None),
        };
        match &mut remote {
            Remote::Http(http) => http.checksum = add.digest()?,
            Remote::Git(git) => {
                git.keep_git_directory = add.keep_git_directory.unwrap_or(git.keep_git_directory);
                if let Some((checksum, span)) = add.commit()? {
                    git.demand(checksum).map_err(|error| wrong(error, span))?;
                }
            }
        }
        Ok(Some(remote))
    }

    pub(super) fn source(&self) -> Source {
        match self {
            Remote::Http(http) => Source::Http(http.clone()),
            Remote::Git(git) => Source::Git(git.clone()),
        }
    }

    /// Returns what is copied of it: the file, whatever its name, or all of the repository.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Remote::Http(_) => "*",
            Remote::Git(_) => "/",
        }
    }

    /// Returns what its step is called.
    pub(super) fn title(&self) -> String {
        match self {
            Remote::Http(http) => format!("[internal] fetch {}", http.shown()),
            Remote::Git(git) => format!("[internal] check out {}", git.shown()),
        }
    }
}

/// The flags of ADD that are about what is elsewhere, expanded.
pub(super) struct Flags<'a> {
    keep_git_directory: Option<bool>,
    checksum: Option<(&'a str, Span)>,
}

impl<'a> Flags<'a> {
    pub(super) fn of(add: &instruction::Add, checksum: Option<&'a str>) -> Flags<'a> {
        let place = add.checksum.as_ref().map(|word| word.span).unwrap_or_default();
        let checksum = checksum.filter(|checksum| !checksum.is_empty()).map(|checksum| (checksum, place));
        Flags { keep_git_directory: add.keep_git_dir, checksum }
    }

    /// Refuses a checksum of what has none.
    pub(super) fn check(&self, sources: usize, remotes: usize) -> Result<(), Problems> {
        let Some((_, span)) = self.checksum else { return Ok(()) };
        let message = match (sources, remotes) {
            (1, 1) => return Ok(()),
            (1, _) => "checksum requires HTTP(S) or Git sources",
            _ => "checksum can't be specified for multiple sources",
        };
        Err(Diagnostic::error("misplaced-checksum", message, span).into())
    }

    fn digest(&self) -> Result<Option<crate::oci::Digest>, Problems> {
        let Some((text, span)) = self.checksum else { return Ok(None) };
        text.parse().map(Some).map_err(|error| {
            let problem = Diagnostic::error("invalid-checksum", format!("invalid checksum `{text}`: {error}"), span);
            problem.with_help("a checksum of a file is `sha256:` and 64 hexadecimal digits").into()
        })
    }

    fn commit(&self) -> Result<Option<(&'a str, Span)>, Problems> {
        let Some((text, span)) = self.checksum else { return Ok(None) };
        let is_commit = (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit {
            return Ok(Some((text, span)));
        }
        let problem = Diagnostic::error("invalid-checksum", format!("invalid checksum `{text}`"), span);
        Err(problem.with_help("a checksum of a git source is a commit id, or its first 7 digits at least").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_sources_are_known_by_their_form() {
        let kind = |source| match Remote::of(source) {
            None => "path",
            Some(Ok(Remote::Http(_))) => "url",
            Some(Ok(Remote::Git(_))) => "git",
            Some(Err(_)) => "neither",
        };
        for (source, expected) in [
            ("a", "path"),
            ("a@b", "path"),
            ("github.com/x/y", "path"),
            ("ftp://x.example/a", "path"),
            ("https://x.example/a.tar", "url"),
            ("http://x.example/a.git#main:d", "git"),
            ("git@x.example:y", "git"),
            ("git://x.example/y?z=1", "neither"),
        ] {
            assert_eq!(kind(source), expected, "{source}");
        }
    }
}
