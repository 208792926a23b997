use serde::{Deserialize, Serialize};

use crate::oci::Digest;

/// A file that is fetched over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Where.
    pub url: String,
    /// The only entry of the resulting tree.
    pub name: String,
    /// What its content must have.
    pub checksum: Option<Digest>,
}

/// A commit of a git repository, checked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The repository, as git takes it.
    pub remote: String,
    /// A branch, a tag or a commit; none is the default branch.
    pub reference: Option<String>,
    /// The directory that becomes the root, relative and clean; none is all.
    pub subdirectory: Option<String>,
    /// What the commit must be, or begin with.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_directory: bool,
    /// Whether submodules are checked out too.
    pub submodules: bool,
    /// The time of the files.
    pub mtime: GitMtime,
}

/// The time of checked-out files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitMtime {
    /// When they were written here.
    #[default]
    Checkout,
    /// When the commit was made.
    Commit,
}

/// Why a text that names a repository names nothing in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// A parameter after `?` that nobody knows.
    #[error("unexpected query \"{0}\"")]
    UnknownQuery(String),
    /// A parameter with no value, or one that makes no sense.
    #[error("invalid value \"{value}\" of query \"{name}\"")]
    Value {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
    },
    /// Two places say two things.
    #[error("{what} conflicts: \"{one}\" vs \"{other}\"")]
    Conflict {
        /// What they say.
        what: &'static str,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
}

impl Http {
    /// Returns the file of a URL under its own name: the last element of the path, or `__unnamed__`.
    pub fn of_url(url: &str) -> Http {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = rest.split(['?', '#']).next().unwrap_or_default().split_once('/').map_or("", |(_, path)| path);
        let path = decoded(path);
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = if matches!(name, "" | "." | "..") || name.contains('\0') { "__unnamed__" } else { name };
        Http { url: url.to_owned(), name: name.to_owned(), checksum: None }
    }

    /// Returns the URL without what may be secret in it: a password, a query.
    pub fn shown(&self) -> String {
        without_secrets(&self.url)
    }
}

impl Git {
    /// Returns what a text names if it names a git repository: `git://` and `ssh://` URLs, `user@host:path`, and HTTP URLs
    /// that end in `.git`, each with `#ref:subdir` or `?ref=…`.
    ///
    /// # Errors
    /// When it does, and what stands behind the repository makes no sense.
    pub fn parse(text: &str) -> Option<Result<Git, GitError>> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_http = ["http://", "https://"].iter().any(|scheme| remote.starts_with(scheme));
        let is_git = match is_http {
            true => remote.ends_with(".git"),
            false => ["git://", "ssh://"].iter().any(|scheme| remote.starts_with(scheme)) || is_of_user(remote),
        };
        is_git.then(|| Git::of(remote, query, fragment))
    }

    /// Returns what the name of a build context names if it names a git repository: what [`Git::parse`] takes, and
    /// `github.com/…`.
    ///
    /// # Errors
    /// Those of [`Git::parse`].
    pub fn of_context(text: &str) -> Option<Result<Git, GitError>> {
        if !text.starts_with("github.com/") {
            return Git::parse(text);
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Git::of(&format!("https://{remote}"), query, fragment))
    }

    fn of(remote: &str, query: &str, fragment: &str) -> Result<Git, GitError> {
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut git = Git {
            remote: remote.to_owned(),
            reference: some(reference),
            subdirectory: None,
            checksum: None,
            keep_git_directory: false,
            submodules: true,
            mtime: GitMtime::Checkout,
        };
        let mut subdirectory = some(subdirectory);
        let mut by_commit = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            let flag = || match value.as_str() {
                "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(GitError::Value { name: name.clone(), value: value.clone() }),
            };
            let is_flag = matches!(name.as_str(), "keep-git-dir" | "submodules" | "fetch-by-commit");
            if value.is_empty() && !is_flag && is_known(&name) {
                return Err(GitError::Value { name, value });
            }
            match name.as_str() {
                "ref" => agree("ref", &mut git.reference, &value)?,
                "tag" => agree("ref", &mut git.reference, &prefixed("refs/tags/", &value))?,
                "branch" => agree("ref", &mut git.reference, &prefixed("refs/heads/", &value))?,
                "subdir" => agree("subdir", &mut subdirectory, &value)?,
                "checksum" | "commit" => agree("checksum", &mut git.checksum, &value)?,
                "keep-git-dir" => git.keep_git_directory = flag()?,
                "submodules" => git.submodules = flag()?,
                "fetch-by-commit" => by_commit = flag()?,
                "mtime" if value == "checkout" => git.mtime = GitMtime::Checkout,
                "mtime" if value == "commit" => git.mtime = GitMtime::Commit,
                "mtime" => return Err(GitError::Value { name, value }),
                _ => return Err(GitError::UnknownQuery(name)),
            }
        }
        if by_commit && git.reference.is_none() {
            git.reference.clone_from(&git.checksum);
        }
        git.subdirectory = subdirectory.as_deref().map(clean).filter(|path| !path.is_empty());
        Ok(git)
    }

    /// Demands a commit, as a flag outside of the text does.
    ///
    /// # Errors
    /// When the text demands another one.
    pub fn demand(&mut self, checksum: &str) -> Result<(), GitError> {
        agree("checksum", &mut self.checksum, checksum)
    }

    /// Tells whether it is fetched over ssh: an `ssh://` URL, or `user@host:path`.
    pub fn is_over_ssh(&self) -> bool {
        self.remote.starts_with("ssh://") || is_of_user(&self.remote)
    }

    /// Returns the repository without what may be secret in it.
    pub fn shown(&self) -> String {
        without_secrets(&self.remote)
    }
}

fn is_known(name: &str) -> bool {
    matches!(name, "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime")
}

/// Takes a value, if there is not another one already.
fn agree(what: &'static str, slot: &mut Option<String>, value: &str) -> Result<(), GitError> {
    match slot {
        Some(known) if known != value => Err(GitError::Conflict { what, one: known.clone(), other: value.to_owned() }),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn prefixed(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name))
}

/// `user@host:path`, as scp(1) has it.
fn is_of_user(text: &str) -> bool {
    let Some((user, (host, path))) = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
    else {
        return false;
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    is_name(user) && is_name(host) && !path.is_empty()
}

/// Cleans a path lexically below the root, which `..` does not leave.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Undoes the percent-encoding of a URL.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_path_of_its_url() {
        for (url, expected) in [
            ("https://x.example/a/b.tar.gz?x=/y#z", "b.tar.gz"),
            ("https://x.example/a/b/", "b"),
            ("https://x.example/a%20b", "a b"),
            ("https://x.example/a%2Fb", "b"),
            ("https://x.example/", "__unnamed__"),
            ("https://x.example", "__unnamed__"),
            ("https://x.example/a/..", "__unnamed__"),
            ("https://x.example/100%", "100%"),
        ] {
            assert_eq!(Http::of_url(url).name, expected, "{url}");
        }
    }

    #[test]
    fn repositories_are_known_by_their_form() {
        for (text, expected) in [
            ("a", None),
            ("./git@x:y", None),
            ("a@b", None),
            ("github.com/x/y.git", None),
            ("https://x.example/a.tar", None),
            ("https://x.example/a?b=c.git", None),
            ("http://x.example/a.git#main:d", Some("http://x.example/a.git")),
            ("git@x.example:y", Some("git@x.example:y")),
            ("git://x.example/y", Some("git://x.example/y")),
            ("ssh://me@x.example/y?ref=v1", Some("ssh://me@x.example/y")),
            ("-oProxyCommand=x@h:p", None),
        ] {
            let found = Git::parse(text).map(|git| git.unwrap().remote);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_context_may_leave_the_scheme_of_github_out() {
        let git = Git::of_context("github.com/x/y#v1:d").unwrap().unwrap();
        assert_eq!((git.remote.as_str(), git.reference.as_deref()), ("https://github.com/x/y", Some("v1")));
        assert_eq!(Git::of_context("https://github.com/x/y"), None);
    }

    #[test]
    fn fragments_and_queries_say_what_of_it() {
        let parse = |rest: &str| Git::parse(&format!("git://x/y{rest}")).unwrap();
        let said = |rest: &str| {
            let git = parse(rest).unwrap();
            [git.reference, git.subdirectory, git.checksum].map(Option::unwrap_or_default).join("|")
        };
        for (rest, expected) in [
            ("", "||"),
            ("#", "||"),
            ("#v1", "v1||"),
            ("#v1:a/../../b/", "v1|b|"),
            ("#:a", "|a|"),
            ("#v1:.", "v1||"),
            ("?ref=v1&subdir=a%20b", "v1|a b|"),
            ("?tag=v1", "refs/tags/v1||"),
            ("?branch=refs/heads/b#refs/heads/b", "refs/heads/b||"),
            ("?commit=abc", "||abc"),
            ("?checksum=abc&fetch-by-commit=true", "abc||abc"),
        ] {
            assert_eq!(said(rest), expected, "{rest}");
        }
        let git = parse("?keep-git-dir=1&submodules=false&mtime=commit").unwrap();
        assert_eq!((git.keep_git_directory, git.submodules, git.mtime), (true, false, GitMtime::Commit));
        for (rest, expected) in [
            ("?x=1", "unexpected query \"x\""),
            ("?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("?ref=", "invalid value \"\" of query \"ref\""),
            ("?submodules=maybe", "invalid value \"maybe\" of query \"submodules\""),
            ("?mtime=now", "invalid value \"now\" of query \"mtime\""),
        ] {
            assert_eq!(parse(rest).unwrap_err().to_string(), expected, "{rest}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        assert_eq!(Http::of_url("https://me:pw@x.example/a?token=t").shown(), "https://x.example/a");
        assert_eq!(without_secrets("git@x.example:a"), "git@x.example:a");
    }
}
