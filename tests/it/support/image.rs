use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::oci::{Digest, ImageConfig, Manifest};
use serde_json::Value;
use tempfile::TempDir;

use super::{Need, require};

/// An image as an OCI layout in a directory of its own.
#[derive(Debug)]
pub struct Image {
    directory: TempDir,
    manifest: Manifest,
    config: ImageConfig,
    layers: Vec<Layer>,
    events: Vec<Value>,
}

/// The entries of a layer's tar, in its order.
#[derive(Debug)]
pub struct Layer {
    entries: Vec<Entry>,
    diff_id: Digest,
}

/// One entry of a tar.
#[derive(Debug, Clone)]
pub struct Entry {
    path: String,
    kind: tar::EntryType,
    owner: (u64, u64),
    mode: u32,
    modified: u64,
    link: Option<String>,
    content: Vec<u8>,
    records: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Reads an OCI archive that holds one image.
    pub fn from_archive(archive: &Path) -> Image {
        let directory = tempfile::tempdir().unwrap();
        tar::Archive::new(File::open(archive).unwrap()).unpack(directory.path()).unwrap();
        Image::from_layout(directory)
    }

    /// Reads an OCI layout that holds one image.
    pub fn from_layout(directory: TempDir) -> Image {
        let index: Value = serde_json::from_slice(&fs::read(directory.path().join("index.json")).unwrap()).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
        let manifest: Manifest = serde_json::from_slice(&blob(directory.path(), digest)).unwrap();
        let config = serde_json::from_slice(&blob(directory.path(), manifest.config.digest)).unwrap();
        let layers = manifest.layers.iter().map(|layer| Layer::read(&blob(directory.path(), layer.digest))).collect();
        Image { directory, manifest, config, layers, events: Vec::new() }
    }

    /// Returns the events of the build that made the image.
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// Keeps the events of the build that made the image.
    pub fn with_events(self, events: Vec<Value>) -> Image {
        Image { events, ..self }
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Returns the config's digest.
    pub fn id(&self) -> Digest {
        self.manifest.config.digest
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns a layer, base first.
    #[track_caller]
    pub fn layer(&self, place: usize) -> &Layer {
        &self.layers[place]
    }

    /// Returns the newest layer.
    pub fn last(&self) -> &Layer {
        self.layers.last().unwrap()
    }

    /// Returns a regular file of the merged layers.
    #[track_caller]
    pub fn file(&self, path: &str) -> String {
        let entry = self.find(path).unwrap_or_else(|| panic!("the image has no {path}"));
        String::from_utf8(entry.content.clone()).unwrap()
    }

    /// Returns what the merged layers hold at `path`.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        let path = path.trim_matches('/');
        for layer in self.layers.iter().rev() {
            if let Some(entry) = layer.entries.iter().rfind(|entry| entry.path == path) {
                return Some(entry);
            }
            if layer.entries.iter().any(|entry| entry.hides(path)) {
                return None;
            }
        }
        None
    }

    /// Returns the titles of the steps that ended with `outcome` when the image was built.
    pub fn steps(&self, outcome: &str) -> Vec<&str> {
        let planned = self.events.iter().find(|event| event["type"] == "planned").expect("a build plans steps");
        let title = |step: &Value| {
            let all = planned["steps"].as_array().unwrap();
            all.iter().find(|planned| planned["step"] == *step).unwrap()["title"].as_str().unwrap()
        };
        let ended = self.events.iter().filter(|event| event["type"] == "finished" && event["outcome"] == outcome);
        ended.map(|event| title(&event["step"])).collect()
    }

    /// Returns the titles of the steps whose container or copy was really made.
    pub fn executed(&self) -> Vec<&str> {
        self.steps("done")
    }

    /// Returns the directory of the OCI layout.
    pub fn layout(&self) -> &Path {
        self.directory.path()
    }

    /// Holds what kiln wrote against the specification, and against other tools that read images.
    #[track_caller]
    pub fn validate(&self) {
        let descriptors = self.manifest.layers.iter().chain([&self.manifest.config]);
        for descriptor in descriptors {
            let bytes = blob(self.layout(), descriptor.digest);
            assert_eq!(descriptor.size, bytes.len() as u64, "size of {}", descriptor.digest);
            assert_eq!(descriptor.digest, Digest::of(&bytes), "digest of {}", descriptor.digest);
        }
        let diff_ids: Vec<Digest> = self.config.rootfs.diff_ids.iter().map(|diff_id| diff_id.digest()).collect();
        let actual: Vec<Digest> = self.layers.iter().map(|layer| layer.diff_id).collect();
        assert_eq!(diff_ids, actual, "diff ids");
        let filled = self.config.history.iter().filter(|item| !item.empty_layer).count();
        assert_eq!(filled, self.layers.len(), "history items with a layer");
        if require(Need::Skopeo) {
            self.skopeo_copies_it();
        }
    }

    #[track_caller]
    fn skopeo_copies_it(&self) {
        let target = tempfile::tempdir().unwrap();
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy"]).arg(format!("oci:{}", self.layout().display()));
        super::ran(skopeo.arg(format!("dir:{}", target.path().display()))).ok();
    }

    /// Unpacks the image with umoci as a bundle for runc, and returns its directory.
    #[track_caller]
    pub fn unpack_with_umoci(&self, target: &Path) -> PathBuf {
        // umoci finds images by a name without colons and slashes, so skopeo gives it one.
        let named = target.join("umoci");
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy"]).arg(format!("oci:{}", self.layout().display()));
        super::ran(skopeo.arg(format!("oci:{}:image", named.display()))).ok();
        let bundle = target.join("bundle");
        let image = format!("{}:image", named.display());
        super::ran(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle)).ok();
        bundle
    }
}

impl Layer {
    /// Returns the digest of its tar.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    fn read(blob: &[u8]) -> Layer {
        let tar = match blob {
            [0x1f, 0x8b, ..] => {
                let mut tar = Vec::new();
                flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap();
                tar
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::decode_all(blob).unwrap(),
            _ => blob.to_vec(),
        };
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries = archive.entries().unwrap().map(|entry| Entry::read(&mut entry.unwrap())).collect();
        Layer { entries, diff_id: Digest::of(&tar) }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the paths of all entries, without slashes at either end.
    pub fn paths(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.path.as_str()).collect()
    }

    pub fn has(&self, path: &str) -> bool {
        self.paths().contains(&path.trim_matches('/'))
    }

    #[track_caller]
    pub fn entry(&self, path: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| entry.path == path.trim_matches('/'));
        found.unwrap_or_else(|| panic!("the layer has no {path}, but {:?}", self.paths()))
    }
}

impl Entry {
    fn read(entry: &mut tar::Entry<'_, &[u8]>) -> Entry {
        let records = entry.pax_extensions().unwrap().into_iter().flatten().map(|record| {
            let record = record.unwrap();
            (record.key().unwrap().to_owned(), record.value_bytes().to_vec())
        });
        let records = records.collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = entry.header();
        Entry {
            path: text(&entry.path_bytes()).trim_end_matches('/').to_owned(),
            kind: header.entry_type(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mode: header.mode().unwrap(),
            modified: header.mtime().unwrap(),
            link: entry.link_name_bytes().map(|link| text(&link)),
            content,
            records,
        }
    }

    /// Tells whether this is the whiteout of `path` or of a directory above it, or makes one above it opaque.
    pub fn hides(&self, path: &str) -> bool {
        let (parent, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let below = |directory: &str| {
            directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
        };
        match name.strip_prefix(".wh.") {
            None => false,
            Some(".wh..opq") => below(parent),
            Some(name) => {
                let hidden = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
                path == hidden || below(&hidden)
            }
        }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn kind(&self) -> tar::EntryType {
        self.kind
    }

    pub fn owner(&self) -> (u64, u64) {
        self.owner
    }

    /// Returns the permission bits with set-id and sticky.
    pub fn mode(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Returns seconds.
    pub fn modified(&self) -> u64 {
        self.modified
    }

    /// Returns the target of a link.
    #[track_caller]
    pub fn link(&self) -> &str {
        self.link.as_deref().expect("a link")
    }

    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Returns an extended attribute.
    pub fn xattr(&self, name: &str) -> Option<&[u8]> {
        self.records.get(&format!("SCHILY.xattr.{name}")).map(Vec::as_slice)
    }
}

fn blob(layout: &Path, digest: Digest) -> Vec<u8> {
    fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap()
}
