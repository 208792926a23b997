use serde_json::json;

use crate::engine::{BuildResult, ImageDetails};
use crate::oci::Reference;

/// Returns the document of `--metadata-file`, with buildx's members.
///
/// `details` are those of the image; an index has none.
pub(super) fn document(result: &BuildResult, details: Option<&ImageDetails>) -> Vec<u8> {
    let mut descriptor = result.root.clone();
    let mut document = json!({ "containerimage.digest": descriptor.digest });
    if let Some(details) = details {
        document["containerimage.config.digest"] = json!(result.image_id);
        descriptor.annotations.insert("config.digest".to_owned(), result.image_id.to_string());
        if let Some(created) = details.config.created {
            descriptor.annotations.insert("org.opencontainers.image.created".to_owned(), created.to_string());
        }
        descriptor.platform = Some(details.config.platform());
    }
    document["containerimage.descriptor"] = json!(descriptor);
    if !result.tags.is_empty() {
        let names: Vec<String> = result.tags.iter().map(Reference::to_string).collect();
        document["image.name"] = names.join(",").into();
    }
    format!("{document:#}\n").into_bytes()
}
