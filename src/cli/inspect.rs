use std::io::{self, Write};

use serde_json::{Value, json};

use super::session::Session;
use super::{Error, report};
use crate::engine::ImageDetails;
use crate::oci::{Encoded, Platform};

/// Print all about images, as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Which image of a multi-platform one, such as linux/arm64 (default: this machine's, or the first)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One array with an object for each image
    Json,
    /// The image configs alone, exactly as they are stored
    Config,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine()?;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for image in &args.images {
        match engine.inspect(image, args.platform.as_ref()) {
            Ok(details) => found.push(details),
            Err(error) => failed.push(Error::Engine(error)),
        }
    }
    let mut out = io::stdout().lock();
    match args.format {
        Format::Config => found.iter().try_for_each(|details| out.write_all(&details.config_bytes))?,
        Format::Json => {
            let array: Vec<Value> = found.iter().map(object).collect();
            writeln!(out, "{:#}", Value::Array(array))?;
        }
    }
    drop(out);
    report::several(failed, args.images.len())
}

/// Docker's members of an image.
fn object(details: &ImageDetails) -> Value {
    let config = &details.config;
    let names = details.references.iter().filter(|reference| reference.tag().is_some());
    let repositories = details.references.iter().map(|reference| reference.familiar_repository());
    let root = details.index.as_ref().map_or(details.manifest_digest, Encoded::digest);
    let digests: std::collections::BTreeSet<String> =
        repositories.map(|repository| format!("{repository}@{root}")).collect();
    let last = config.history.last();
    let mut object = json!({
        "Id": details.image_id,
        "RepoTags": names.map(|reference| reference.familiar()).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Comment": last.and_then(|last| last.comment.as_deref()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "OsVersion": config.os_version,
        "Size": details.layer_sizes.iter().sum::<u64>(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Manifest": { "Digest": details.manifest_digest, "Layers": details.manifest.layers },
    });
    if let Some(index) = &details.index {
        object["Index"] = json!({ "Digest": index.digest(), "Manifests": index.value().manifests });
    }
    object
}
