use std::collections::BTreeMap;

use super::Image;
use crate::oci::{Descriptor, Encoded, Index, media_type};

/// Returns the index of `images` in their order, each for the platform that its config names (image-spec, "Image
/// Index").
pub fn index(images: &[Image]) -> Encoded<Index> {
    let manifests = images.iter().map(|image| {
        let platform = Some(image.config().value().platform());
        Descriptor { platform, ..image.manifest().descriptor().clone() }
    });
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: manifests.collect(),
        annotations: BTreeMap::new(),
    };
    Encoded::encode(media_type::OCI_INDEX, index)
}
