use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use serde_json::json;

use super::archive::{DockerImage, IMAGE_NAME, REF_NAME};
use super::{Error, Image};
use crate::oci::{Descriptor, Digest, Encoded, Index, Reference, media_type};
use crate::store::{self, Store};
use crate::sys::Cancel;

/// An image, or an index with its images, and the names it has in an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub(super) names: Vec<Reference>,
    /// None where it is one image.
    pub(super) index: Option<Encoded<Index>>,
    /// Its images, whose layers are in the store.
    pub(super) images: Vec<Image>,
}

impl Saved {
    /// Returns an index as it goes into an archive, under `names`; none for one that is known by its digest alone.
    pub fn index(names: Vec<Reference>, index: Encoded<Index>, images: Vec<Image>) -> Saved {
        Saved { names, index: Some(index), images }
    }

    fn root(&self) -> Descriptor {
        match (&self.index, self.images.first()) {
            (None, Some(image)) => {
                let platform = Some(image.config.value().platform());
                Descriptor { platform, ..image.manifest.descriptor().clone() }
            }
            (Some(index), _) => index.descriptor().clone(),
            (None, None) => unreachable!("what is no index is one image"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Docker,
    Oci,
}

/// Writes what `docker load` reads: an OCI layout with `manifest.json` and `repositories` beside it. Equal images give
/// equal bytes: entries are sorted, and nothing has a time.
///
/// # Errors
/// [`Error::DockerIndex`] and [`Error::MissingLayer`] before anything is written, [`Error::Write`], [`Error::Store`],
/// [`Error::Cancelled`].
pub fn save_docker(store: &Store, images: &[Saved], out: &mut dyn Write, cancel: &Cancel) -> Result<(), Error> {
    if images.iter().any(|saved| saved.index.is_some()) {
        return Err(Error::DockerIndex);
    }
    save(store, images, Format::Docker, out, cancel)
}

/// Writes an OCI layout and nothing else. Equal images give equal bytes.
///
/// # Errors
/// As [`save_docker`].
pub fn save_oci(store: &Store, images: &[Saved], out: &mut dyn Write, cancel: &Cancel) -> Result<(), Error> {
    save(store, images, Format::Oci, out, cancel)
}

fn save(store: &Store, images: &[Saved], format: Format, out: &mut dyn Write, cancel: &Cancel) -> Result<(), Error> {
    let all = images.iter().flat_map(|saved| &saved.images);
    for layer in all.flat_map(|image| &image.manifest.value().layers) {
        if store.has_blob(layer.digest)? != Some(layer.size) {
            return Err(Error::MissingLayer { digest: layer.digest });
        }
    }
    let mut archive = tar::Builder::new(out);
    write_directories(&mut archive).map_err(write)?;
    write_blobs(store, images, &mut archive, cancel)?;
    write_documents(images, format, &mut archive).map_err(write)?;
    archive.into_inner().and_then(|out| out.flush()).map_err(write)
}

fn write(source: io::Error) -> Error {
    Error::Write { source }
}

fn write_directories(archive: &mut tar::Builder<impl Write>) -> io::Result<()> {
    ["blobs/", "blobs/sha256/"].into_iter().try_for_each(|path| {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, path, io::empty())
    })
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644, size);
    // Where a blob shrank on the disk, `append_data` would let the next header run into its place.
    let mut content = Exact { content: content.take(size), missing: size };
    archive.append_data(&mut header, path, &mut content)
}

/// Fails where the content ends before its announced size.
struct Exact<R> {
    content: R,
    missing: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.content.read(buffer)?;
        self.missing -= got as u64;
        if got == 0 && self.missing > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(got)
    }
}

fn write_blobs(
    store: &Store,
    images: &[Saved],
    archive: &mut tar::Builder<impl Write>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut documents: BTreeMap<Digest, &[u8]> = BTreeMap::new();
    let mut blobs = BTreeSet::new();
    for index in images.iter().filter_map(|saved| saved.index.as_ref()) {
        documents.insert(index.digest(), index.bytes());
        blobs.insert(index.digest());
    }
    for Image { manifest, config } in images.iter().flat_map(|saved| &saved.images) {
        documents.insert(manifest.digest(), manifest.bytes());
        documents.insert(config.digest(), config.bytes());
        blobs.extend([manifest.digest(), config.digest()]);
        blobs.extend(manifest.value().layers.iter().map(|layer| layer.digest));
    }
    for digest in blobs {
        let path = blob_path(digest);
        match documents.get(&digest) {
            Some(bytes) => append(archive, &path, bytes.len() as u64, *bytes).map_err(write)?,
            None => {
                let file = store.open_blob(digest)?;
                let size = file
                    .metadata()
                    .map_err(|source| Error::Store(store::Error::io("read", store.blob_path(digest), source)))?;
                append(archive, &path, size.len(), Cancelling { file, cancel })
                    .map_err(|source| cancel.check().err().map_or_else(|| write(source), Error::Cancelled))?;
            }
        }
    }
    Ok(())
}

struct Cancelling<'a, R> {
    file: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Cancelling<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.file.read(buffer)
    }
}

fn write_documents(images: &[Saved], format: Format, archive: &mut tar::Builder<impl Write>) -> io::Result<()> {
    let index = serde_json::to_vec(&layout_index(images))?;
    append(archive, "index.json", index.len() as u64, index.as_slice())?;
    if format == Format::Docker {
        let manifest = serde_json::to_vec(&images.iter().flat_map(docker_images).collect::<Vec<_>>())?;
        append(archive, "manifest.json", manifest.len() as u64, manifest.as_slice())?;
    }
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(archive, "oci-layout", layout.len() as u64, layout.as_slice())?;
    if format == Format::Docker && images.iter().any(|image| !image.names.is_empty()) {
        let repositories = serde_json::to_vec(&repositories(images))?;
        append(archive, "repositories", repositories.len() as u64, repositories.as_slice())?;
    }
    Ok(())
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn layout_index(images: &[Saved]) -> Index {
    let mut manifests = Vec::new();
    for saved in images {
        let descriptor = saved.root();
        if saved.names.is_empty() {
            manifests.push(descriptor.clone());
        }
        for reference in &saved.names {
            let mut annotations = BTreeMap::from([(IMAGE_NAME.to_owned(), reference.to_string())]);
            if let Some(tag) = reference.tag() {
                annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            }
            manifests.push(Descriptor { annotations, ..descriptor.clone() });
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests,
        annotations: BTreeMap::new(),
    }
}

/// Returns the names that Docker's documents can hold, sorted: those with a tag.
fn tags(image: &Saved) -> Vec<&Reference> {
    let mut tags: Vec<&Reference> = image.names.iter().filter(|reference| reference.tag().is_some()).collect();
    tags.sort();
    tags
}

fn docker_images(saved: &Saved) -> impl Iterator<Item = DockerImage> {
    let tags: Vec<String> = tags(saved).into_iter().map(without_digest).collect();
    saved.images.iter().map(move |image| DockerImage {
        config: blob_path(image.config.digest()),
        repo_tags: (!tags.is_empty()).then(|| tags.clone()),
        layers: Some(image.manifest.value().layers.iter().map(|layer| blob_path(layer.digest)).collect()),
    })
}

/// Docker writes names here as people type them, and some readers look for nothing else.
fn without_digest(reference: &Reference) -> String {
    format!("{}:{}", reference.familiar_repository(), reference.tag().unwrap_or("latest"))
}

/// For readers before `manifest.json`: the topmost layer of each tag.
fn repositories(images: &[Saved]) -> serde_json::Value {
    let mut repositories = BTreeMap::<String, BTreeMap<String, String>>::new();
    for saved in images {
        let top = saved.images.first().and_then(|image| image.config.value().rootfs.diff_ids.last());
        let Some(top) = top else { continue };
        for reference in tags(saved) {
            let tags = repositories.entry(reference.familiar_repository()).or_default();
            tags.insert(reference.tag().unwrap_or("latest").to_owned(), top.digest().hex());
        }
    }
    json!(repositories)
}
