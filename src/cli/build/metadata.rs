use serde_json::json;

use crate::engine::{BuildResult, ImageDetails};
use crate::oci::{Descriptor, Reference, media_type};

/// Returns the document of `--metadata-file`, with buildx's members.
pub(super) fn document(result: &BuildResult, details: &ImageDetails) -> Vec<u8> {
    let media_type = details.manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
    let mut descriptor = Descriptor::new(media_type, result.manifest, result.manifest_size_bytes);
    descriptor.annotations.insert("config.digest".to_owned(), result.image_id.to_string());
    if let Some(created) = details.config.created {
        descriptor.annotations.insert("org.opencontainers.image.created".to_owned(), created.to_string());
    }
    descriptor.platform = Some(details.config.platform());
    let mut document = json!({
        "containerimage.config.digest": result.image_id,
        "containerimage.descriptor": descriptor,
        "containerimage.digest": result.manifest,
    });
    if !result.tags.is_empty() {
        let names: Vec<String> = result.tags.iter().map(Reference::to_string).collect();
        document["image.name"] = names.join(",").into();
    }
    format!("{document:#}\n").into_bytes()
}
