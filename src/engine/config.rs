use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use crate::registry;

/// kiln's configuration file.
///
/// ```toml
/// [build]
/// reproducible = true
///
/// [registry."docker.io"]
/// mirrors = ["mirror.example:5000"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) build: Build,
    pub(super) registry: registry::Config,
}

/// What builds do where the command line does not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Build {
    pub(super) reproducible: bool,
}

impl Config {
    /// Reads the file at `path`, or else `kiln/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`). A file that is not there
    /// says nothing.
    ///
    /// # Errors
    /// [`Error::ConfigFile`], [`Error::Config`].
    pub(super) fn load(path: Option<&Path>) -> Result<Config, Error> {
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
    fn builds_have_defaults() {
        assert!(parse("[build]\nreproducible = true\n[registry.a]\nhttp = true\n").unwrap().build.reproducible);
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("\n[registry.\"a\"]\ntls = false\n", "c.toml:3: unknown field `tls`"),
            ("[registries]\n", "c.toml:1: unknown field `registries`"),
            ("[build]\nreproducable = true\n", "c.toml:2: unknown field `reproducable`"),
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
