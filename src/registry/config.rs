use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;

/// What the user says about registries: the `registry` tables of kiln's configuration, which are spelled as BuildKit's.
///
/// ```toml
/// [registry."docker.io"]
/// mirrors = ["mirror.example:5000", "harbor.example/hub"]
///
/// [registry."mirror.example:5000"]
/// http = true
/// insecure = true
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    registry: BTreeMap<String, Settings>,
}

/// What is said about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Whom to ask first, in this order.
    pub(super) mirrors: Vec<Mirror>,
    /// It speaks plain HTTP.
    pub(super) http: bool,
    /// Its certificate proves nothing.
    pub(super) insecure: bool,
}

/// Another registry that has the same images, perhaps below a path of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Mirror {
    pub(super) host: String,
    /// Ends with a slash unless it is empty.
    pub(super) prefix: String,
}

impl TryFrom<String> for Mirror {
    type Error = String;

    fn try_from(text: String) -> Result<Mirror, String> {
        let (host, prefix) = text.split_once('/').unwrap_or((&text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
        if host.is_empty() || text.contains("//") || !text.chars().all(plain) {
            return Err(format!("`{text}` is no mirror; write `host:port` or `host/prefix`, without `https://`"));
        }
        let prefix = prefix.trim_end_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Mirror { host: host.to_owned(), prefix: format!("{prefix}{slash}") })
    }
}

impl Config {
    /// Reads the file at `path`, or else `kiln/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`). A file that is not there
    /// says nothing.
    ///
    /// # Errors
    /// [`Error::ConfigFile`], [`Error::Config`].
    pub fn load(path: Option<&Path>) -> Result<Config, Error> {
        let Some(path) = path.map(Path::to_owned).or_else(default_path) else { return Ok(Config::default()) };
        match fs::read_to_string(&path) {
            Ok(text) => Config::parse(&text, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Config::default()),
            Err(source) => Err(Error::ConfigFile { path, source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
            Error::Config { path: path.to_owned(), line, message: error.message().to_owned() }
        })
    }

    /// Returns what is said about `host`.
    pub(super) fn of(&self, host: &str) -> Settings {
        self.registry.get(host).cloned().unwrap_or_default()
    }
}

fn default_path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(base.join("kiln/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn registries_have_mirrors_and_exceptions() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"m:5000\", \"h.example/hub/\"]\n[registry.\"m:5000\"]\nhttp = true\n";
        let config = parse(text).unwrap();
        let mirrors = config.of("docker.io").mirrors;
        let expected = [("m:5000", ""), ("h.example", "hub/")];
        assert_eq!(mirrors.iter().map(|m| (m.host.as_str(), m.prefix.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(config.of("m:5000"), Settings { http: true, ..Settings::default() });
        assert_eq!(config.of("elsewhere"), Settings::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("\n[registry.\"a\"]\ntls = false\n", "c.toml:3: unknown field `tls`"),
            ("[registries]\n", "c.toml:1: unknown field `registries`"),
            ("[registry.a]\n\nhttp = 1\n", "c.toml:3: invalid type"),
            ("[registry.a]\nmirrors = [\"https://m\"]\n", "c.toml:2: `https://m` is no mirror"),
            ("[registry\n", "c.toml:1: "),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn no_file_says_nothing() {
        assert_eq!(Config::load(Some(Path::new("/nowhere/config.toml"))).unwrap(), Config::default());
    }
}
