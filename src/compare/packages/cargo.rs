use std::collections::BTreeMap;

use super::{Manager, Package, Unreadable};

/// Reads `.crates2.json`, whose keys are `NAME VERSION (SOURCE)`.
pub(super) fn packages(bytes: &[u8]) -> Result<Vec<Package>, Unreadable> {
    #[derive(serde::Deserialize)]
    struct Document {
        installs: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| Unreadable::Damaged(error.to_string()))?;
    let package = |key: &String| {
        let mut words = key.split(' ');
        let (name, version) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Package { manager: Manager::Cargo, name, version })
    };
    Ok(document.installs.keys().filter_map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_crates_are_found() {
        let text = br#"{"installs":{"ripgrep 13.0.0 (registry+https://x)":{"bins":["rg"]}}}"#;
        let found = packages(text).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("ripgrep", "13.0.0"));
        assert!(packages(b"[]").is_err());
    }
}
