use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Descriptor, Digest, media_type};

/// An image manifest: one config and its layers, base first (image-spec, "Image Manifest").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// One of the two manifest types; absent in some OCI documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Set where the manifest is an artifact and not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// Layers, base first. BuildKit writes `null` for none.
    #[serde(deserialize_with = "null_as_empty")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one per platform (image-spec, "Image Index").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// One of the two index types; absent in some OCI documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, in the writer's order.
    #[serde(deserialize_with = "null_as_empty")]
    pub manifests: Vec<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A JSON document that is hashed: its bytes, the descriptor of those bytes, and the parsed view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded<T> {
    bytes: Vec<u8>,
    descriptor: Descriptor,
    value: T,
}

/// Why bytes are not the document they were said to be.
#[derive(Debug, thiserror::Error)]
pub enum EncodedError {
    /// Not JSON of the expected shape.
    #[error("{what} {digest} is not a valid document")]
    Json {
        /// What was expected.
        what: &'static str,
        /// Digest of the bytes.
        digest: Digest,
        /// Where the JSON is wrong.
        source: serde_json::Error,
    },
    /// Both `manifests` and `layers`, or a media type that contradicts the shape: one of two readers would be fooled.
    #[error("manifest {digest} is ambiguous: {why}")]
    Ambiguous {
        /// Digest of the bytes.
        digest: Digest,
        /// What contradicts what.
        why: &'static str,
    },
    /// A Docker schema 1 manifest.
    #[error("manifest {digest} has the retired schema 1 format; push the image again with a current client")]
    Schema1 {
        /// Digest of the bytes.
        digest: Digest,
    },
    /// A manifest of something that is not an image.
    #[error("manifest {digest} does not describe an image (media type `{media_type}`)")]
    NotAnImage {
        /// Digest of the bytes.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
}

impl<T: Serialize> Encoded<T> {
    /// Serialises `value` once, as compact JSON; these bytes are from now on the document.
    pub fn encode(media_type: &str, value: T) -> Encoded<T> {
        let bytes = serde_json::to_vec(&value).expect("spec documents have string keys and serialise");
        Encoded { descriptor: Descriptor::of(media_type, &bytes), bytes, value }
    }
}

impl<T: DeserializeOwned> Encoded<T> {
    /// Parses `bytes`, keeping them. `what` names the document in the error.
    ///
    /// # Errors
    /// [`EncodedError::Json`] when the bytes are not JSON of this shape.
    pub fn decode(what: &'static str, media_type: &str, bytes: Vec<u8>) -> Result<Encoded<T>, EncodedError> {
        let descriptor = Descriptor::of(media_type, &bytes);
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Encoded { bytes, descriptor, value }),
            Err(source) => Err(EncodedError::Json { what, digest: descriptor.digest, source }),
        }
    }
}

impl<T> Encoded<T> {
    /// Returns the document's exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the descriptor of those bytes.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the digest of those bytes.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Returns the parsed view.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the parsed view, letting the bytes go.
    pub fn into_value(self) -> T {
        self.value
    }
}

/// What a manifest request may be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A single image.
    Manifest(Encoded<Manifest>),
    /// Several, to choose from by platform.
    Index(Encoded<Index>),
}

impl Document {
    /// Decides by the document's own `mediaType`, then by its shape; `served_as` is only a last hint, as servers lie.
    ///
    /// # Errors
    /// All of [`EncodedError`].
    pub fn decode(served_as: &str, bytes: Vec<u8>) -> Result<Document, EncodedError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let digest = Digest::of(&bytes);
        let shape: Shape =
            serde_json::from_slice(&bytes).map_err(|source| EncodedError::Json { what: "manifest", digest, source })?;
        if shape.fs_layers.is_some() {
            return Err(EncodedError::Schema1 { digest });
        }
        if shape.manifests.is_some() && (shape.config.is_some() || shape.layers.is_some()) {
            return Err(EncodedError::Ambiguous { digest, why: "it has both `manifests` and `config` or `layers`" });
        }
        let own = shape.media_type.as_deref();
        let is_index = own.map_or(shape.manifests.is_some(), media_type::is_index);
        if is_index != shape.manifests.is_some()
            && own.is_some_and(|own| media_type::is_index(own) || media_type::is_manifest(own))
        {
            return Err(EncodedError::Ambiguous { digest, why: "its `mediaType` contradicts its members" });
        }
        if let Some(other) = own.filter(|own| !media_type::is_index(own) && !media_type::is_manifest(own)) {
            return Err(EncodedError::NotAnImage { digest, media_type: other.to_owned() });
        }
        let known = own.or_else(|| media_type::MANIFESTS.contains(&served_as).then_some(served_as));
        if is_index {
            let media_type =
                known.filter(|known| media_type::is_index(known)).unwrap_or(media_type::OCI_INDEX).to_owned();
            Encoded::decode("index", &media_type, bytes).map(Document::Index)
        } else {
            let media_type =
                known.filter(|known| media_type::is_manifest(known)).unwrap_or(media_type::OCI_MANIFEST).to_owned();
            Encoded::decode("manifest", &media_type, bytes).map(Document::Manifest)
        }
    }

    /// Returns the document's exact bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Document::Manifest(manifest) => manifest.bytes(),
            Document::Index(index) => index.bytes(),
        }
    }

    /// Returns the descriptor of those bytes.
    pub fn descriptor(&self) -> &Descriptor {
        match self {
            Document::Manifest(manifest) => manifest.descriptor(),
            Document::Index(index) => index.descriptor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config":{"mediaType":"c","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    #[test]
    fn null_layers_are_none() {
        let text = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":null}}"#);
        let Document::Manifest(manifest) = Document::decode("text/plain", text.into()).unwrap() else {
            panic!("an index")
        };
        assert!(manifest.value().layers.is_empty());
        assert_eq!(manifest.descriptor().media_type, media_type::OCI_MANIFEST);
    }

    #[test]
    fn documents_that_two_readers_would_read_differently_are_refused() {
        let both = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":[],"manifests":[]}}"#);
        assert!(matches!(Document::decode("", both.into()), Err(EncodedError::Ambiguous { .. })));
        let lying = format!(r#"{{"schemaVersion":2,"mediaType":"{}",{CONFIG},"layers":[]}}"#, media_type::OCI_INDEX);
        assert!(matches!(Document::decode("", lying.into()), Err(EncodedError::Ambiguous { .. })));
        assert!(matches!(
            Document::decode("", br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec()),
            Err(EncodedError::Schema1 { .. })
        ));
    }
}
