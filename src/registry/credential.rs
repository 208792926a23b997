use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// How kiln proves who it is. Never printed: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// A user and a password.
    Password {
        /// Who.
        username: String,
        /// The secret.
        password: String,
    },
    /// What a token server takes instead of a password (an OAuth 2 refresh token).
    IdentityToken(String),
    /// What the registry itself takes.
    RegistryToken(String),
}

/// Where credentials are kept: docker's configuration file and podman's, which has the same form.
#[derive(Debug)]
pub(super) struct Keyring {
    /// In the order in which they are asked.
    files: Vec<PathBuf>,
    /// Where helpers are looked for, if not in the `PATH`.
    helpers: Option<PathBuf>,
}

/// The parts of the file that kiln reads.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// A user name that says: the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Docker Hub has always been kept under this key.
const HUB_KEY: &str = "https://index.docker.io/v1/";

impl Keyring {
    /// Returns the files of this user.
    pub(super) fn of_user() -> Keyring {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = path("DOCKER_CONFIG").or_else(|| Some(path("HOME")?.join(".docker")));
        let files = [
            path("REGISTRY_AUTH_FILE"),
            docker.map(|directory| directory.join("config.json")),
            path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        ];
        Keyring { files: files.into_iter().flatten().collect(), helpers: None }
    }

    /// Returns the credential for a repository, if there is one. May run a helper and wait for it.
    ///
    /// What cannot be read is as good as absent: most images are for everybody, and if this one is not, the registry
    /// will say so. The log tells.
    pub(super) fn find(&self, host: &str, repository: &str) -> Option<Credential> {
        self.files.iter().find_map(|path| self.find_in(&read(path)?, host, repository))
    }

    fn find_in(&self, file: &File, host: &str, repository: &str) -> Option<Credential> {
        let helper = keys(host).iter().find_map(|key| by_key(&file.cred_helpers, key)).or(file.creds_store.as_ref());
        let helped = helper.and_then(|name| match self.ask(name, helper_key(host)) {
            Ok(found) => found,
            Err(problem) => {
                tracing::warn!(host, helper = name, %problem, "a credential helper failed");
                None
            }
        });
        helped.or_else(|| {
            // Podman's keys may name repositories; the longest one counts.
            let parents = repository.match_indices('/').map(|(end, _)| &repository[..end]);
            let mut paths: Vec<&str> = parents.chain([repository]).collect();
            paths.reverse();
            let within = paths.iter().map(|path| format!("{host}/{path}")).find_map(|key| file.auths.get(&key));
            let whole = || keys(host).iter().find_map(|key| by_key(&file.auths, key));
            within.or_else(whole).and_then(Entry::credential)
        })
    }

    fn ask(&self, helper: &str, key: &str) -> io::Result<Option<Credential>> {
        let name = format!("docker-credential-{helper}");
        let program = self.helpers.as_ref().map_or_else(|| OsString::from(&name), |path| path.join(&name).into());
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(key.as_bytes()) {
                // It may know its answer without reading.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            // Helpers complain on stdout, and this is a complaint only in form.
            let said = String::from_utf8_lossy(&output.stdout);
            let none = said.contains("credentials not found");
            return if none { Ok(None) } else { Err(io::Error::other(said.trim().to_owned())) };
        }
        let helped: Helped = serde_json::from_slice(&output.stdout)?;
        Ok(Credential::of(helped.username, helped.secret))
    }
}

impl Credential {
    fn of(username: String, secret: String) -> Option<Credential> {
        match (username.as_str(), secret.as_str()) {
            (_, "") => None,
            (TOKEN_USER, _) => Some(Credential::IdentityToken(secret)),
            _ => Some(Credential::Password { username, password: secret }),
        }
    }
}

impl Entry {
    fn credential(&self) -> Option<Credential> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Some(Credential::IdentityToken(token));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Some(Credential::RegistryToken(token));
        }
        let (username, password) = match given(&self.auth) {
            Some(auth) => decode(&auth)?,
            None => (given(&self.username)?, given(&self.password)?),
        };
        Credential::of(username, password)
    }
}

/// Splits `base64(user:password)`. Some tools fill the password up with zero bytes.
fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn read(path: &Path) -> Option<File> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "credentials cannot be read");
            return None;
        }
    };
    let parsed = serde_json::from_slice(&bytes);
    // The parser's error may quote what it stumbled over; where that was says enough.
    let place = |error: serde_json::Error| {
        tracing::warn!(path = %path.display(), line = error.line(), "credentials cannot be read: not the right JSON");
    };
    parsed.map_err(place).ok()
}

fn is_hub(host: &str) -> bool {
    host == "docker.io"
}

/// Returns the name a helper knows a host by.
fn helper_key(host: &str) -> &str {
    if is_hub(host) { HUB_KEY } else { host }
}

/// Returns the names a host may be kept under.
fn keys(host: &str) -> Vec<&str> {
    match is_hub(host) {
        true => vec![HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io"],
        false => vec![host],
    }
}

/// Looks a key up as it is, and then by the host that its scheme and path surround.
fn by_key<'a, T>(map: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
    map.get(key).or_else(|| map.iter().find(|(other, _)| bare(other) == bare(key)).map(|(_, value)| value))
}

/// Returns the host of `https://host/v1/`; a name that has a path and no scheme is podman's, and stays.
fn bare(key: &str) -> &str {
    let Some((_, rest)) = key.split_once("://") else { return key };
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn show(credential: Option<Credential>) -> String {
        match credential {
            None => "none".to_owned(),
            Some(Credential::Password { username, password }) => format!("{username}:{password}"),
            Some(Credential::IdentityToken(token)) => format!("identity {token}"),
            Some(Credential::RegistryToken(token)) => format!("registry {token}"),
        }
    }

    fn keyring(directory: &Path, json: &str) -> Keyring {
        fs::write(directory.join("config.json"), json).unwrap();
        Keyring { files: vec![directory.join("config.json")], helpers: Some(directory.to_owned()) }
    }

    #[test]
    fn files_are_searched_by_host_and_repository() {
        let directory = tempfile::tempdir().unwrap();
        // "me:secret" and "me:a:b" with a zero byte at its end.
        let json = r#"{"auths": {
            "plain.example": {"auth": "bWU6c2VjcmV0"},
            "https://url.example/v2/": {"auth": "bWU6YTpiAA=="},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "id.example": {"auth": "bWU6c2VjcmV0", "identitytoken": "t"},
            "ready.example": {"registrytoken": "r"},
            "team.example": {"username": "all", "password": "p"},
            "team.example/one": {"username": "one", "password": "p"},
            "team.example/one/two": {"username": "two", "password": "p"},
            "only.example/path": {"username": "path", "password": "p"},
            "marker.example": {},
            "bad.example": {"auth": "***"}
        }, "unknown": 1}"#;
        let keyring = keyring(directory.path(), json);
        for (host, repository, expected) in [
            ("plain.example", "a", "me:secret"),
            ("url.example", "a", "me:a:b"),
            ("docker.io", "library/a", "hub:p"),
            ("id.example", "a", "identity t"),
            ("ready.example", "a", "registry r"),
            ("team.example", "other", "all:p"),
            ("team.example", "one", "one:p"),
            ("team.example", "one/two", "two:p"),
            ("team.example", "one/twofold", "one:p"),
            ("only.example", "elsewhere", "none"),
            ("marker.example", "a", "none"),
            ("bad.example", "a", "none"),
            ("absent.example", "a", "none"),
        ] {
            assert_eq!(show(keyring.find(host, repository)), expected, "{host}/{repository}");
        }
    }

    #[test]
    fn helpers_are_asked_first() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"#!/bin/sh
read -r host || :
case "$1 $host" in
    "get a.example") echo '{"ServerURL":"a.example","Username":"me","Secret":"s"}' ;;
    "get https://index.docker.io/v1/") echo '{"Username":"<token>","Secret":"t"}' ;;
    "get lost.example") echo 'credentials not found in native keychain'; exit 1 ;;
    *) echo 'the keychain is locked'; exit 1 ;;
esac
"#;
        let program = directory.path().join("docker-credential-test");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let json = r#"{"credsStore": "test", "credHelpers": {"missing.example": "missing"}, "auths": {
            "a.example": {"username": "file", "password": "p"},
            "lost.example": {"username": "file", "password": "p"},
            "missing.example": {"username": "file", "password": "p"}
        }}"#;
        let keyring = keyring(directory.path(), json);
        for (host, expected) in [
            ("a.example", "me:s"),
            ("docker.io", "identity t"),
            ("lost.example", "file:p"),
            ("missing.example", "file:p"),
            ("locked.example", "none"),
        ] {
            assert_eq!(show(keyring.find(host, "r")), expected, "{host}");
        }
    }

    #[test]
    fn broken_files_hold_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for json in ["", "[]", r#"{"auths": 1}"#] {
            assert_eq!(show(keyring(directory.path(), json).find("a", "b")), "none", "{json}");
        }
        assert_eq!(show(Keyring { files: vec!["/nowhere".into()], helpers: None }.find("a", "b")), "none");
    }
}
