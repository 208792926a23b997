//! Archives of images, made by the library and read by other tools, and the other way around.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use kiln::image::{Image, Layer, LoadOptions, load, save_docker, save_oci};
use kiln::oci::{Descriptor, DiffId, Digest, ImageConfig, Reference, media_type};
use kiln::store::Store;
use kiln::sys::Cancel;
use serde_json::Value;

use crate::support::{Need, ran, require};

struct Archive {
    directory: tempfile::TempDir,
    store: Store,
    image: Image,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Docker,
    Oci,
}

/// A store with an image of one plain and one gzipped layer.
fn archive() -> Archive {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("root")).unwrap();
    let layers = [("etc/one", false), ("etc/two", true)].map(|(path, packed)| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(path.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, path.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let (bytes, media_type) = match packed {
            true => (gzip(&tar), media_type::OCI_LAYER_GZIP),
            false => (tar.clone(), media_type::OCI_LAYER),
        };
        store.put_bytes(&bytes).unwrap();
        Layer { diff_id: DiffId::new(Digest::of(&tar)), blob: Descriptor::of(media_type, &bytes) }
    });
    let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
    let image = Image::assemble(config, &layers).unwrap();
    Archive { directory, store, image }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

impl Archive {
    fn save(&self, format: Format, names: &[&str]) -> String {
        let path = self.directory.path().join("image.tar");
        let references: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        let saved = [self.image.saved(references)];
        let mut file = File::create(&path).unwrap();
        match format {
            Format::Docker => save_docker(&self.store, &saved, &mut file, &Cancel::new()).unwrap(),
            Format::Oci => save_oci(&self.store, &saved, &mut file, &Cancel::new()).unwrap(),
        }
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

fn skopeo(arguments: &[&str]) -> String {
    ran(Command::new("skopeo").arg("--insecure-policy").args(arguments)).ok()
}

#[test]
fn skopeo_reads_what_is_saved() {
    if !require(Need::Skopeo) {
        return;
    }
    let archive = archive();
    for (format, transport, name) in [
        (Format::Docker, "docker-archive", "test:latest"),
        (Format::Docker, "docker-archive", "x.example/y:2"),
        (Format::Docker, "oci-archive", "latest"),
        (Format::Oci, "oci-archive", "latest"),
        (Format::Oci, "oci-archive", "2"),
    ] {
        let path = archive.save(format, &["test", "x.example/y:2"]);
        let source = format!("{transport}:{path}:{name}");
        let config = skopeo(&["inspect", "--config", "--raw", &source]);
        assert_eq!(Digest::of(config.trim_end().as_bytes()), archive.image.id(), "{source}");
        skopeo(&["copy", "-q", &source, &format!("dir:{}", archive.path("copy"))]);
        let inspected: Value = serde_json::from_str(&skopeo(&["inspect", &source])).unwrap();
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2, "{source}");
    }
}

#[test]
fn the_store_is_a_layout() {
    if !require(Need::Skopeo) {
        return;
    }
    let archive = archive();
    archive.image.commit(&archive.store, &["test".parse().unwrap(), "x.example/y:2".parse().unwrap()]).unwrap();
    for name in ["test:latest", "x.example/y:2"] {
        let source = format!("oci:{}:{name}", archive.store.root().display());
        skopeo(&["copy", "-q", &source, &format!("dir:{}", archive.path("copy"))]);
    }
}

#[test]
fn umoci_unpacks_what_is_saved() {
    if !(require(Need::Umoci) && require(Need::Root)) {
        return;
    }
    let archive = archive();
    let (path, layout) = (archive.save(Format::Docker, &["test"]), archive.path("layout"));
    tar::Archive::new(File::open(path).unwrap()).unpack(&layout).unwrap();
    let bundle = archive.path("bundle");
    ran(Command::new("umoci").args(["unpack", "--image", &format!("{layout}:latest"), &bundle])).ok();
    assert_eq!(std::fs::read_to_string(Path::new(&bundle).join("rootfs/etc/two")).unwrap(), "etc/two");
}

#[test]
fn podman_loads_what_is_saved() {
    if !(require(Need::Podman) && require(Need::Root)) {
        return;
    }
    let archive = archive();
    // Of an OCI archive podman takes one name alone.
    for (format, names) in
        [(Format::Docker, &["x.example/y:2", "x.example/y:3"][..]), (Format::Oci, &["x.example/y:2"])]
    {
        let path = archive.save(format, names);
        let podman = |arguments: &[&str]| {
            let mut command = Command::new("podman");
            command.args(["--root", &archive.path("p"), "--runroot", &archive.path("r"), "--storage-driver", "vfs"]);
            ran(command.args(["--events-backend", "none"]).args(arguments)).ok()
        };
        podman(&["load", "-q", "-i", &path]);
        let ids = podman(&["images", "-q", "--no-trunc"]);
        assert!(ids.contains(&archive.image.id().to_string()), "{format:?}: {ids}");
        podman(&["rmi", "-a", "-f"]);
    }
}

#[test]
fn what_skopeo_writes_is_loaded() {
    if !require(Need::Skopeo) {
        return;
    }
    let from = archive();
    let source = format!("oci-archive:{}", from.save(Format::Oci, &["test"]));
    for (kind, names) in
        [("docker-archive", vec!["other:1"]), ("oci-archive", vec!["other:1"]), ("oci-archive", vec![])]
    {
        let path = from.path("written.tar");
        let _ = std::fs::remove_file(&path);
        let suffix = names.first().map_or(String::new(), |name| format!(":{name}"));
        skopeo(&["copy", "-q", &source, &format!("{kind}:{path}{suffix}")]);
        let to = archive();
        let loaded = load(&to.store, File::open(&path).unwrap(), &LoadOptions::default(), &Cancel::new()).unwrap();
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(loaded[0].references, names, "{kind}");
        assert_eq!(loaded[0].image.id(), from.image.id(), "{kind}");
        loaded[0].image.verify(&to.store).unwrap();
    }
}
