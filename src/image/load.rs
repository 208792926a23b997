use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::archive::{Compression, DockerImage, IMAGE_NAME, REF_NAME, decompress};
use super::spool::{Spool, copy};
use super::{Error, Image, Layer};
use crate::oci::{
    Descriptor, DiffId, Digest, Document, Encoded, HashingReader, ImageConfig, Index, Manifest, Platform, Reference,
    media_type,
};
use crate::store::{LayerBlob, Sealed, Store};
use crate::sys::Cancel;

/// How an archive is read.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which image of an index is taken; none is this machine's.
    pub platform: Option<Platform>,
    /// Bring what the archive holds into the store, but make no image visible and move no name.
    pub hidden: bool,
}

/// An image that came out of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Names it got; none for an image without one.
    pub references: Vec<Reference>,
    /// The image, in the store now.
    pub image: Image,
}

/// An image as the archive's documents tell of it.
struct Claim {
    references: Vec<Reference>,
    config: Encoded<ImageConfig>,
    /// As it is in the archive, which docker's own form leaves out.
    manifest: Option<Encoded<Manifest>>,
    /// Where its layers are in the spool, base first.
    layers: Vec<String>,
}

/// A layer of the archive that was read to its end.
struct TarLayer {
    diff_id: DiffId,
    blob: Descriptor,
    /// Its tar, where the archive has it in a form that manifests cannot name.
    plain: Option<Sealed>,
}

/// Nested indexes make no images: two levels are common, and a circle is impossible but in a broken reader.
const MAX_DEPTH: usize = 4;

/// Reads an archive of docker, podman, skopeo, BuildKit, kaniko or kiln into the store, compressed as a whole or not,
/// from any reader. All images become visible at once after everything is verified, or none.
///
/// # Errors
/// All of [`Error`].
pub fn load(store: &Store, archive: impl Read, options: &LoadOptions, cancel: &Cancel) -> Result<Vec<Loaded>, Error> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let mut spool = Spool::read(store, archive, cancel)?;
    let claims = match (spool.contains("manifest.json"), spool.contains("index.json")) {
        (true, _) => docker_claims(&spool, &platform)?,
        (false, true) => oci_claims(&spool, &platform)?,
        (false, false) => return Err(Error::NotAnArchive { legacy: spool.contains("repositories") }),
    };
    let paths: BTreeSet<String> = claims.iter().flat_map(|claim| claim.layers.iter().cloned()).collect();
    let layers: BTreeMap<String, TarLayer> = paths
        .into_par_iter()
        .map(|path| {
            cancel.check()?;
            let layer = read_layer(store, &spool, &path)?;
            Ok((path, layer))
        })
        .collect::<Result<_, Error>>()?;
    let loaded = claims.into_iter().map(|claim| believe(claim, &layers)).collect::<Result<Vec<_>, _>>()?;
    cancel.check()?;
    for (path, layer) in layers {
        keep_layer(store, &mut spool, &path, layer)?;
    }
    if options.hidden {
        for Loaded { image, .. } in &loaded {
            store.put_bytes(image.config().bytes())?;
            store.put_bytes(image.manifest().bytes())?;
        }
        return Ok(loaded);
    }
    let images = loaded.iter().map(|loaded| {
        let Loaded { references, image } = loaded;
        (image.manifest(), image.config(), references.as_slice())
    });
    store.commit_images(images)?;
    Ok(loaded)
}

/// What `manifest.json` says. Where the archive is an OCI layout too, manifests keep their bytes and so their digests.
fn docker_claims(spool: &Spool, platform: &Platform) -> Result<Vec<Claim>, Error> {
    const NAME: &str = "manifest.json";
    let bytes = spool.document(NAME, "archive")?;
    let images: Vec<DockerImage> =
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: NAME.to_owned(), source })?;
    // The layout only adds to what is already said; one that cannot be read adds nothing.
    let manifests = if spool.contains("index.json") { oci_claims(spool, platform).unwrap_or_default() } else { vec![] };
    images
        .into_iter()
        .map(|image| {
            let bytes = spool.document(&image.config, NAME)?;
            verify_name(&image.config, Digest::of(&bytes))?;
            let config = Encoded::decode("config", media_type::OCI_CONFIG, bytes)?;
            let layers = image.layers.unwrap_or_default();
            let layers = layers.iter().map(|path| spool.locate(path, NAME)).collect::<Result<Vec<_>, _>>()?;
            let same = |claim: &&Claim| claim.config.digest() == config.digest() && claim.layers == layers;
            let manifest = manifests.iter().find(same).and_then(|claim| claim.manifest.clone());
            let names = image.repo_tags.unwrap_or_default();
            let references = names
                .into_iter()
                .map(|name| name.parse().map_err(|source| Error::Reference { path: NAME.to_owned(), name, source }));
            Ok(Claim { references: references.collect::<Result<_, _>>()?, config, manifest, layers })
        })
        .collect()
}

/// Holds a file against the digest that is its name, where it is one: `blobs/sha256/<hex>`, `<hex>.json`,
/// `sha256:<hex>`.
fn verify_name(path: &str, actual: Digest) -> Result<(), Error> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hex = name.trim_start_matches("sha256:").split('.').next().unwrap_or(name);
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(promised) if promised != actual => Err(Error::NameMismatch { path: path.to_owned(), actual }),
        _ => Ok(()),
    }
}

/// What `index.json` says.
fn oci_claims(spool: &Spool, platform: &Platform) -> Result<Vec<Claim>, Error> {
    const NAME: &str = "index.json";
    let index: Encoded<Index> = Encoded::decode(NAME, media_type::OCI_INDEX, spool.document(NAME, "archive")?)?;
    let mut claims: Vec<Claim> = Vec::new();
    for descriptor in index.value().manifests.iter().filter(|descriptor| is_image(descriptor)) {
        let Some(manifest) = find_manifest(spool, descriptor, platform, MAX_DEPTH)? else { continue };
        let names = name_of(descriptor);
        match claims
            .iter_mut()
            .find(|claim| claim.manifest.as_ref().is_some_and(|known| known.digest() == manifest.digest()))
        {
            Some(claim) => claim.references.extend(names),
            None => claims.push(oci_claim(spool, manifest, names.into_iter().collect())?),
        }
    }
    match claims.is_empty() {
        true => Err(Error::NoImage { index: index.digest(), platform: platform.clone() }),
        false => Ok(claims),
    }
}

fn oci_claim(spool: &Spool, manifest: Encoded<Manifest>, references: Vec<Reference>) -> Result<Claim, Error> {
    let named_by = blob_path(manifest.digest());
    let config = &manifest.value().config;
    locate_blob(spool, config, &named_by)?;
    let config = Encoded::decode("config", &config.media_type, spool.document(&blob_path(config.digest), &named_by)?)?;
    let layers = manifest.value().layers.iter().map(|layer| locate_blob(spool, layer, &named_by));
    Ok(Claim { references, config, layers: layers.collect::<Result<_, _>>()?, manifest: Some(manifest) })
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Finds the blob of `descriptor` and holds it against it.
fn locate_blob(spool: &Spool, descriptor: &Descriptor, named_by: &str) -> Result<String, Error> {
    let path = blob_path(descriptor.digest);
    let located = spool.locate(&path, named_by)?;
    let (actual, size) = spool.identity(&located);
    if actual != descriptor.digest {
        return Err(Error::NameMismatch { path, actual });
    }
    if size != descriptor.size {
        return Err(Error::SizeMismatch { path, expected: descriptor.size, actual: size });
    }
    Ok(located)
}

/// Attestations sit among images, for a platform that no machine has.
fn is_image(descriptor: &Descriptor) -> bool {
    !descriptor.annotations.contains_key("vnd.docker.reference.type")
        && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

/// Returns the manifest that `descriptor` leads to; none for what is not an image.
fn find_manifest(
    spool: &Spool,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: usize,
) -> Result<Option<Encoded<Manifest>>, Error> {
    if depth == 0 {
        return Err(Error::TooMany { what: "nested indexes", max: MAX_DEPTH });
    }
    let known = media_type::is_index(&descriptor.media_type) || media_type::is_manifest(&descriptor.media_type);
    if !known {
        return Ok(None);
    }
    let located = locate_blob(spool, descriptor, "index.json")?;
    match Document::decode(&descriptor.media_type, spool.document(&located, "index.json")?)? {
        Document::Manifest(manifest) => {
            let config = manifest.value().config.media_type.as_str();
            let is_image = matches!(config, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG);
            Ok(is_image.then_some(manifest))
        }
        Document::Index(index) => {
            let chosen = choose(spool, index.value(), platform)
                .ok_or_else(|| Error::NoImage { index: index.digest(), platform: platform.clone() })?;
            find_manifest(spool, chosen, platform, depth - 1)
        }
    }
}

/// Returns the image for `platform`. Archives of one platform keep the index of all, so what is absent is passed over,
/// and what is alone is taken whatever it is for.
fn choose<'a>(spool: &Spool, index: &'a Index, platform: &Platform) -> Option<&'a Descriptor> {
    let present = |descriptor: &&Descriptor| is_image(descriptor) && spool.contains(&blob_path(descriptor.digest));
    let candidates: Vec<&Descriptor> = index.manifests.iter().filter(present).collect();
    if let [only] = candidates[..] {
        return Some(only);
    }
    let suited = candidates.into_iter().filter_map(|descriptor| {
        let candidate = descriptor.platform.as_ref()?;
        Some((platform.preference(candidate)?, descriptor))
    });
    suited.min_by_key(|(preference, _)| *preference).map(|(_, descriptor)| descriptor)
}

/// A bare word in `ref.name` is a tag of a repository nobody named, as BuildKit, umoci and skopeo write it.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |name| descriptor.annotations.get(name).map(String::as_str);
    let full = annotation(IMAGE_NAME).and_then(|name| name.parse().ok());
    full.or_else(|| annotation(REF_NAME).filter(|name| name.contains(['/', ':']))?.parse().ok())
}

fn read_layer(store: &Store, spool: &Spool, path: &str) -> Result<TarLayer, Error> {
    let (digest, blob_size) = spool.identity(path);
    let fault = |source: io::Error| Error::Layer { digest, source: source.into() };
    let (compression, plain) = decompress(spool.open(path)?).map_err(fault)?;
    let mut plain = HashingReader::new(plain);
    let sealed = match compression {
        Compression::Bzip2 | Compression::Xz => {
            let mut ingest = store.ingest()?;
            copy(&mut plain, &mut ingest, fault)?;
            Some(ingest.seal()?)
        }
        _ => {
            io::copy(&mut plain, &mut io::sink()).map_err(fault)?;
            None
        }
    };
    let (_, tar, size) = plain.finish();
    let blob = match compression.media_type() {
        Some(media_type) => Descriptor::new(media_type, digest, blob_size),
        None => Descriptor::new(media_type::OCI_LAYER, tar, size),
    };
    Ok(TarLayer { diff_id: DiffId::new(tar), blob, plain: sealed })
}

/// Returns the image of a claim whose layers are what its config says.
fn believe(claim: Claim, layers: &BTreeMap<String, TarLayer>) -> Result<Loaded, Error> {
    let Claim { references, config, manifest, layers: paths } = claim;
    let diff_ids = &config.value().rootfs.diff_ids;
    if diff_ids.len() != paths.len() {
        let manifest = manifest.map_or(config.digest(), |manifest| manifest.digest());
        return Err(Error::LayerCount { manifest, layers: paths.len(), diff_ids: diff_ids.len() });
    }
    let read: Vec<&TarLayer> = paths.iter().map(|path| &layers[path]).collect();
    for (place, (layer, expected)) in read.iter().zip(diff_ids).enumerate() {
        if layer.diff_id != *expected {
            let (image, actual) = (config.digest(), layer.diff_id);
            return Err(Error::DiffIdMismatch { image, layer: place + 1, expected: *expected, actual });
        }
    }
    let image = match manifest {
        Some(manifest) => Image::new(manifest, config)?,
        None => {
            let layers: Vec<Layer> =
                read.iter().map(|layer| Layer { diff_id: layer.diff_id, blob: layer.blob.clone() }).collect();
            Image::of(config, &layers)
        }
    };
    Ok(Loaded { references, image })
}

fn keep_layer(store: &Store, spool: &mut Spool, path: &str, layer: TarLayer) -> Result<(), Error> {
    let TarLayer { diff_id, blob, plain } = layer;
    match plain {
        Some(sealed) => sealed.commit(Some((blob.digest, blob.size))).map(drop)?,
        None => spool.commit(store, path)?,
    }
    store.link_blob(diff_id, &LayerBlob { digest: blob.digest, media_type: blob.media_type, size: blob.size })?;
    Ok(())
}
