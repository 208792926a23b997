use std::collections::BTreeMap;

use crate::graph::Source;
use crate::oci::{Platform, Reference, ReferenceError};

/// What a name means to a build, whatever an image, or a stage, of that name is (semantics reference, sections 7.2, 7.3
/// and 8.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Another image.
    Image(Reference),
    /// Files.
    Files(Source),
}

/// Named contexts by their names: references to images, shortened, and perhaps `::` and a platform.
#[derive(Debug, Clone, Default)]
pub struct NamedContexts(BTreeMap<String, NamedContext>);

impl NamedContexts {
    /// Adds one; an earlier one of the same name is forgotten.
    ///
    /// # Errors
    /// When the name is none that an image could have.
    pub fn insert(&mut self, name: &str, context: NamedContext) -> Result<(), ReferenceError> {
        let (name, platform) = name.split_once("::").map_or((name, None), |(name, platform)| (name, Some(platform)));
        let key = key(&name.parse()?);
        self.0.insert(platform.map_or_else(|| key.clone(), |platform| format!("{key}::{platform}")), context);
        Ok(())
    }

    /// Returns what an image's name means for a platform.
    pub(super) fn find(&self, reference: &Reference, platform: &Platform) -> Option<&NamedContext> {
        let key = key(reference);
        self.0.get(&format!("{key}::{platform}")).or_else(|| self.0.get(&key))
    }

    /// Returns what any name means for a platform.
    pub(super) fn find_name(&self, name: &str, platform: &Platform) -> Option<&NamedContext> {
        self.find(&name.parse().ok()?, platform)
    }
}

fn key(reference: &Reference) -> String {
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_references() {
        let image = |name: &str| NamedContext::Image(name.parse().unwrap());
        let mut contexts = NamedContexts::default();
        for (name, target) in [("alpine", "a"), ("docker.io/library/debian:13", "b"), ("alpine::linux/arm64", "c")] {
            contexts.insert(name, image(target)).unwrap();
        }
        for (name, platform, expected) in [
            ("alpine:latest", "linux/amd64", Some("a")),
            ("docker.io/library/alpine", "linux/amd64", Some("a")),
            ("alpine", "linux/arm64", Some("c")),
            ("debian:13", "linux/arm64", Some("b")),
            ("alpine:3", "linux/amd64", None),
            ("debian", "linux/amd64", None),
            ("No Name", "linux/amd64", None),
        ] {
            let found = contexts.find_name(name, &platform.parse().unwrap());
            assert_eq!(found, expected.map(image).as_ref(), "{name}");
        }
        assert!(contexts.insert("Upper", image("a")).is_err());
    }
}
