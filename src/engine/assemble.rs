use jiff::Timestamp;

use super::shape::Shaped;
use super::{Error, times};
use crate::exec::{self, Layer};
use crate::frontend::PlannedImage;
use crate::graph::NodeId;
use crate::image::{self, Image};
use crate::oci::{Descriptor, History, ImageConfig};
use crate::store::LayerBlob;

/// What BuildKit says of every item it adds, which tools look for to tell its images.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Says of a layer to what time its files were limited.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// The times of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Nothing new is later.
    pub(super) epoch: Option<Timestamp>,
    /// Nor is any file of a new layer.
    pub(super) rewritten: bool,
}

/// Returns the image that `plan` describes, with the layers that `shaped` has, of which `blob` tells the form; `created`
/// tells when a planned item's layer was made, `times` what they may be.
pub(super) fn assemble(
    plan: &PlannedImage,
    blob: impl Fn(&Layer) -> Result<LayerBlob, exec::Error>,
    shaped: &Shaped,
    created: impl Fn(NodeId) -> Option<Timestamp>,
    times: Times,
) -> Result<Image, Error> {
    let mut config = plan.config.clone();
    mend_history(&mut config);
    let first_new = config.history.len();
    config.history.extend(plan.history.iter().map(|item| History {
        created: item.layer.and_then(&created),
        created_by: Some(item.created_by.clone()),
        author: None,
        comment: Some(COMMENT.to_owned()),
        empty_layer: item.layer.is_none(),
    }));
    shaped.settle(&mut config.history, first_new);
    times::settle(&mut config.history, first_new, times.epoch);
    config.created = config.history.last().and_then(|item| item.created);
    let layer = |(place, layer): (usize, &Layer)| -> Result<image::Layer, Error> {
        let mut blob = descriptor(blob(layer)?);
        if let Some(epoch) = times.epoch.filter(|_| times.rewritten && place >= shaped.inherited) {
            blob.annotations.insert(REWRITTEN.to_owned(), epoch.as_second().to_string());
        }
        Ok(image::Layer { diff_id: layer.diff_id()?, blob })
    };
    let layers = shaped.stack.layers().iter().enumerate().map(layer).collect::<Result<Vec<_>, _>>()?;
    Ok(Image::assemble(config, &layers)?)
}

pub(super) fn descriptor(blob: LayerBlob) -> Descriptor {
    Descriptor::new(blob.media_type, blob.digest, blob.size)
}

/// Gives a base image whose history tells of another number of layers one that is right: such images exist, and what
/// is built on them must not inherit the fault (image-spec, "Image Configuration", `history`).
pub(super) fn mend_history(config: &mut ImageConfig) {
    let layers = config.rootfs.diff_ids.len();
    let told = config.history.iter().filter(|item| !item.empty_layer).count();
    if told != layers {
        let item = History { comment: Some("a layer of the base image".to_owned()), ..History::default() };
        config.history = vec![History { created: config.created, ..item }; layers];
    }
}
