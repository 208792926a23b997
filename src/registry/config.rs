use std::collections::BTreeMap;

use serde::Deserialize;

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
#[serde(transparent)]
pub struct Config(BTreeMap<String, Settings>);

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
    /// Returns what is said about `host`.
    pub(super) fn of(&self, host: &str) -> Settings {
        self.0.get(host).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_mirrors_and_exceptions() {
        let text = "[\"docker.io\"]\nmirrors = [\"m:5000\", \"h.example/hub/\"]\n[\"m:5000\"]\nhttp = true\n";
        let config: Config = toml::from_str(text).unwrap();
        let mirrors = config.of("docker.io").mirrors;
        let expected = [("m:5000", ""), ("h.example", "hub/")];
        assert_eq!(mirrors.iter().map(|m| (m.host.as_str(), m.prefix.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(config.of("m:5000"), Settings { http: true, ..Settings::default() });
        assert_eq!(config.of("elsewhere"), Settings::default());
    }
}
