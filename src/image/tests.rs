//! Archives of every shape, made by hand; `tests/it/archives.rs` has those of other tools.

use std::io::{Cursor, Read, Write};

use serde_json::json;

use super::archive::DockerImage;
use super::*;
use crate::oci::{History, Platform};
use crate::sys::Cancel;

struct Sandbox {
    _directory: tempfile::TempDir,
    store: Store,
}

fn sandbox() -> Sandbox {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    Sandbox { _directory: directory, store }
}

/// One entry of an archive: a file, or a symbolic link.
enum Part<'a> {
    File(&'a [u8]),
    Link(&'a str),
}
use Part::{File, Link};

fn archive(parts: &[(&str, Part<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, part) in parts {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        match part {
            File(content) => {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, *content).unwrap();
            }
            Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_link_name(target).unwrap();
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// A layer's tar, larger than what is spooled in memory.
fn layer(name: &str) -> Vec<u8> {
    archive(&[(name, File(&[name.as_bytes()[0]; 100_000]))])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "docker_version": "1.13",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(bytes))
}

fn manifest_json(config: &str, tags: &[&str], layers: &[&str]) -> Vec<u8> {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
    serde_json::to_vec(&[DockerImage { config: config.to_owned(), repo_tags: Some(tags), layers: Some(layers) }])
        .unwrap()
}

fn load_all(store: &Store, archive: &[u8]) -> Result<Vec<Loaded>, Error> {
    load(store, Cursor::new(archive), &LoadOptions::default(), &Cancel::new())
}

fn nothing_happened(store: &Store) -> bool {
    store.images().unwrap().is_empty()
        && std::fs::read_dir(store.root().join("ingest")).unwrap().next().is_none()
        && std::fs::read_dir(store.root().join("blobs/sha256")).unwrap().next().is_none()
}

/// An image of two layers in the store, one plain and one gzipped.
fn image(store: &Store) -> Image {
    let (plain, packed) = (layer("a"), gzip(&layer("b")));
    let layers = [(&plain, &plain, media_type::OCI_LAYER), (&layer("b"), &packed, media_type::DOCKER_LAYER_GZIP)].map(
        |(tar, bytes, media_type)| {
            store.put_bytes(bytes).unwrap();
            Layer { diff_id: DiffId::new(Digest::of(tar)), blob: Descriptor::of(media_type, bytes) }
        },
    );
    let history =
        ["a", "b", "c"].map(|by| History { created_by: Some(by.into()), empty_layer: by == "c", ..History::default() });
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        history: history.into(),
        ..ImageConfig::default()
    };
    Image::assemble(config, &layers).unwrap()
}

#[test]
fn an_assembled_image_is_of_one_family_and_comes_back_from_the_store() {
    let Sandbox { store, .. } = &sandbox();
    let image = image(store);
    assert_eq!(image.manifest().value().layers[1].media_type, media_type::OCI_LAYER_GZIP);
    image.commit(store, &["test".parse().unwrap()]).unwrap();
    image.verify(store).unwrap();
    assert_eq!(Image::open(store, image.manifest().digest()).unwrap(), image);
    let short = ImageConfig { history: vec![History::default()], ..ImageConfig::default() };
    assert!(matches!(Image::assemble(short, &image.layers()), Err(Error::HistoryCount { history: 1, layers: 2 })));
}

#[test]
fn a_layer_that_is_not_what_its_config_says_is_found() {
    let Sandbox { store, .. } = &sandbox();
    let image = image(store);
    let swapped: Vec<Layer> = {
        let mut layers = image.layers();
        layers[0].diff_id = layers[1].diff_id;
        layers
    };
    let swapped = Image::assemble(image.config().value().clone(), &swapped).unwrap();
    assert!(matches!(swapped.verify(store), Err(Error::DiffIdMismatch { layer: 1, .. })));
    let path = store.blob_path(image.layers()[1].blob.digest);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(image.verify(store), Err(Error::MissingLayer { .. })));
}

#[test]
fn what_is_saved_is_loaded_again_with_all_its_names() {
    for save in [save_docker, save_oci] as [fn(&Store, &[Saved], &mut dyn Write, &Cancel) -> Result<(), Error>; 2] {
        let (from, to) = (sandbox(), sandbox());
        let image = image(&from.store);
        let references: Vec<Reference> =
            ["a:1", "a:2", "x.example:5000/b/c:d"].map(|name| name.parse().unwrap()).into();
        let saved = [image.saved(references.clone())];
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        save(&from.store, &saved, &mut bytes, &Cancel::new()).unwrap();
        assert_eq!(load_all(&to.store, &bytes).unwrap(), [Loaded { references, image }]);
        Image::open(&to.store, to.store.find_image("a:2").unwrap().manifest).unwrap().verify(&to.store).unwrap();
        save(&from.store, &saved, &mut again, &Cancel::new()).unwrap();
        assert!(bytes == again, "equal images give equal archives");
    }
}

#[test]
fn several_images_share_their_layers_in_an_archive() {
    let (from, to) = (sandbox(), sandbox());
    let one = image(&from.store);
    let two = Image::assemble(ImageConfig { author: Some("me".into()), ..one.config().value().clone() }, &one.layers())
        .unwrap();
    let images = [one.saved(vec!["one".parse().unwrap()]), two.saved(vec![])];
    let mut bytes = Vec::new();
    save_docker(&from.store, &images, &mut bytes, &Cancel::new()).unwrap();
    let paths: Vec<String> = tar::Archive::new(&*bytes)
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            entry.path().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        paths.iter().filter(|path| path.starts_with("blobs/sha256/") && path.len() > 20).count(),
        6,
        "{paths:?}"
    );
    let loaded = load_all(&to.store, &bytes).unwrap();
    assert_eq!(loaded.iter().map(|loaded| loaded.image.id()).collect::<Vec<_>>(), [one.id(), two.id()]);
    assert_eq!(to.store.images().unwrap().len(), 2);
}

#[test]
fn an_image_whose_layers_are_elsewhere_is_not_saved() {
    let Sandbox { store, .. } = &sandbox();
    let image = image(store);
    std::fs::remove_file(store.blob_path(image.layers()[0].blob.digest)).unwrap();
    let mut bytes = Vec::new();
    assert!(matches!(
        save_oci(store, &[image.saved(vec![])], &mut bytes, &Cancel::new()),
        Err(Error::MissingLayer { .. })
    ));
    assert!(bytes.is_empty());
}

#[test]
fn docker_archives_of_all_times_are_read() {
    let (a, b) = (layer("a"), layer("b"));
    let config = config(&[&a, &b, &a]);
    let packed = gzip(&a);
    let id = hex(&config);
    let classic = manifest_json(&format!("{id}.json"), &["test:1"], &["1/layer.tar", "2/layer.tar", "3/layer.tar"]);
    let hybrid = manifest_json(&blob(&config), &["test:1"], &[&blob(&a), &blob(&b), &blob(&a)]);
    let podman = manifest_json(&format!("{id}.json"), &["test:1"], &["a.tar", "b.tar", "a.tar"]);
    let kaniko = manifest_json(&format!("sha256:{id}"), &["test:1"], &["a.tar.gz", "b.tar.gz", "a.tar.gz"]);
    let (config_json, config_name) = (format!("{id}.json"), format!("sha256:{id}"));
    let (blob_config, blob_a, blob_b) = (blob(&config), blob(&a), blob(&b));
    let variants: [(&str, Vec<(&str, Part<'_>)>); 4] = [
        (
            "classic",
            vec![
                ("manifest.json", File(&classic)),
                ("3/layer.tar", Link("../1/layer.tar")),
                ("1/layer.tar", File(&a)),
                ("1/VERSION", File(b"1.0")),
                ("2/layer.tar", File(&b)),
                (&config_json, File(&config)),
            ],
        ),
        (
            "hybrid",
            vec![
                (&blob_a, File(&a)),
                (&blob_b, File(&b)),
                (&blob_config, File(&config)),
                ("manifest.json", File(&hybrid)),
                ("index.json", File(b"not json, and not needed")),
            ],
        ),
        (
            "podman",
            vec![
                ("./a.tar", File(&a)),
                ("./b.tar", File(&b)),
                ("/manifest.json", File(&podman)),
                (&config_json, File(&config)),
            ],
        ),
        (
            "kaniko",
            vec![
                (&config_name, File(&config)),
                ("b.tar.gz", File(&b)),
                ("a.tar.gz", File(&packed)),
                ("manifest.json", File(&kaniko)),
            ],
        ),
    ];
    for (name, parts) in variants {
        let Sandbox { store, .. } = &sandbox();
        let loaded = load_all(store, &gzip(&archive(&parts))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(loaded[0].references, ["test:1".parse().unwrap()], "{name}");
        assert_eq!(loaded[0].image.config().bytes(), config, "{name}");
        loaded[0].image.verify(store).unwrap();
        assert_eq!(store.find_image("test:1").unwrap().image_id, Digest::of(&config), "{name}");
    }
}

#[test]
fn archives_may_be_compressed_in_every_way_kiln_knows() {
    let tar = layer("a");
    let config = config(&[&tar]);
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    // A layer in a form that no manifest can name is kept as the plain tar.
    let packed = xz.finish().unwrap();
    let plain = archive(&[
        ("l", File(&packed)),
        ("c", File(&config)),
        ("manifest.json", File(&manifest_json("c", &[], &["l"]))),
    ]);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    for bytes in [zstd::encode_all(&*plain, 1).unwrap(), bzip2.finish().unwrap(), plain] {
        let Sandbox { store, .. } = &sandbox();
        let loaded = load_all(store, &bytes).unwrap();
        assert_eq!(loaded[0].image.layers()[0].blob.digest, Digest::of(&tar));
        loaded[0].image.verify(store).unwrap();
        assert!(store.find_image(&hex(&config)).unwrap().references.is_empty());
    }
}

/// An OCI archive whose index leads to images for these platforms, and to an attestation.
fn multi_platform(platforms: &[&str], present: &[&str]) -> Vec<u8> {
    let tar = layer("a");
    let mut blobs: Vec<Vec<u8>> = vec![tar.clone()];
    let mut descriptors = Vec::new();
    for name in platforms {
        let platform: Platform = name.parse().unwrap();
        let image = Image::assemble(
            ImageConfig {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                ..ImageConfig::default()
            },
            &[Layer { diff_id: DiffId::new(Digest::of(&tar)), blob: Descriptor::of(media_type::OCI_LAYER, &tar) }],
        )
        .unwrap();
        if present.contains(name) {
            blobs.extend([image.manifest().bytes().to_vec(), image.config().bytes().to_vec()]);
        }
        descriptors.push(Descriptor { platform: Some(platform), ..image.manifest().descriptor().clone() });
    }
    let mut attestation = Descriptor::of(media_type::OCI_MANIFEST, b"absent");
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    descriptors.push(attestation);
    let inner = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": descriptors }).to_string();
    let mut outer = Descriptor::of(media_type::OCI_INDEX, inner.as_bytes());
    outer.annotations.insert("org.opencontainers.image.ref.name".into(), "latest".into());
    let index = json!({ "schemaVersion": 2, "manifests": [outer] }).to_string();
    blobs.push(inner.into_bytes());
    let named: Vec<(String, Vec<u8>)> = blobs.into_iter().map(|bytes| (blob(&bytes), bytes)).collect();
    let mut parts: Vec<(&str, Part<'_>)> =
        named.iter().map(|(path, bytes)| (path.as_str(), File(bytes.as_slice()))).collect();
    parts.push(("index.json", File(index.as_bytes())));
    archive(&parts)
}

#[test]
fn of_an_index_the_image_for_the_platform_is_taken() {
    let both = ["linux/s390x", "linux/arm64"];
    for (present, wanted, expected) in [
        (&both[..], "linux/arm64", Some("arm64")),
        (&both[..], "linux/s390x", Some("s390x")),
        (&both[..], "linux/amd64", None),
        (&both[..1], "linux/amd64", Some("s390x")),
    ] {
        let Sandbox { store, .. } = &sandbox();
        let options = LoadOptions { platform: Some(wanted.parse().unwrap()), ..LoadOptions::default() };
        let loaded = load(store, &*multi_platform(&both, present), &options, &Cancel::new());
        match expected {
            Some(architecture) => {
                let loaded = loaded.unwrap();
                assert_eq!(loaded[0].image.config().value().architecture, architecture);
                assert!(loaded[0].references.is_empty(), "a bare tag names no repository");
            }
            None => assert!(matches!(loaded, Err(Error::NoImage { .. }))),
        }
    }
}

/// A tar that begins with a name of so many bytes.
fn long_name(bytes: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(bytes as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &*vec![b'x'; bytes]).unwrap();
    builder.append(&tar::Header::new_gnu(), std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

/// A name, an archive, and the error it gives.
type Case<'a> = (&'a str, Vec<u8>, fn(&Error) -> bool);

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let (a, b) = (layer("a"), layer("b"));
    let config = config(&[&a]);
    let good = manifest_json("c", &["test"], &["l"]);
    let wrong_name = format!("{}.json", hex(b"other"));
    let wrong = manifest_json(&wrong_name, &["test"], &["l"]);
    let two = manifest_json("c", &["test"], &["l", "l"]);
    let bad_tag = manifest_json("c", &["a/Upper"], &["l"]);
    let outside = manifest_json("../c", &["test"], &["l"]);
    let cut = &a[..70_000];
    let gz = gzip(&a);
    let cases: Vec<Case<'_>> = vec![
        ("another layer", archive(&[("l", File(&b)), ("c", File(&config)), ("manifest.json", File(&good))]), |error| {
            matches!(error, Error::DiffIdMismatch { layer: 1, .. })
        }),
        (
            "a layer cut short",
            archive(&[("l", File(cut)), ("c", File(&config)), ("manifest.json", File(&good))]),
            |error| matches!(error, Error::DiffIdMismatch { .. }),
        ),
        (
            "a gzip cut short",
            archive(&[("l", File(&gz[..gz.len() - 9])), ("c", File(&config)), ("manifest.json", File(&good))]),
            |error| matches!(error, Error::Layer { .. }),
        ),
        (
            "no layer",
            archive(&[("c", File(&config)), ("manifest.json", File(&good))]),
            |error| matches!(error, Error::MissingEntry { path, .. } if path == "l"),
        ),
        (
            "too many layers",
            archive(&[("l", File(&a)), ("c", File(&config)), ("manifest.json", File(&two))]),
            |error| matches!(error, Error::LayerCount { layers: 2, diff_ids: 1, .. }),
        ),
        (
            "another config",
            archive(&[("l", File(&a)), (&wrong_name, File(&config)), ("manifest.json", File(&wrong))]),
            |error| matches!(error, Error::NameMismatch { .. }),
        ),
        ("no JSON", archive(&[("manifest.json", File(b"{"))]), |error| matches!(error, Error::Json { .. })),
        (
            "no name",
            archive(&[("l", File(&a)), ("c", File(&config)), ("manifest.json", File(&bad_tag))]),
            |error| matches!(error, Error::Reference { name, .. } if name == "a/Upper"),
        ),
        ("an entry outside", archive(&[("a/../../x", File(b"x"))]), |error| matches!(error, Error::Escape { .. })),
        ("a link outside", archive(&[("a/l", Link("../../etc/passwd"))]), |error| {
            matches!(error, Error::Escape { .. })
        }),
        ("a document outside", archive(&[("manifest.json", File(&outside))]), |error| {
            matches!(error, Error::Escape { .. })
        }),
        (
            "a circle",
            archive(&[("l", Link("k")), ("k", Link("l")), ("c", File(&config)), ("manifest.json", File(&good))]),
            |error| matches!(error, Error::LinkLoop { .. }),
        ),
        ("a huge document", archive(&[("manifest.json", File(&vec![b' '; 5 << 20]))]), |error| {
            matches!(error, Error::DocumentTooLarge { .. })
        }),
        ("nothing", archive(&[]), |error| matches!(error, Error::NotAnArchive { legacy: false })),
        ("the oldest docker", archive(&[("repositories", File(b"{}"))]), |error| {
            matches!(error, Error::NotAnArchive { legacy: true })
        }),
        ("a name without end", long_name(2 << 20), |error| matches!(error, Error::Read { .. })),
        ("no tar", vec![b'x'; 4096], |error| matches!(error, Error::Read { .. })),
        ("a tar cut short", archive(&[("l", File(&a))])[..80_000].to_vec(), |error| {
            matches!(error, Error::Read { .. })
        }),
        ("a gzip cut short outside", gzip(&archive(&[("l", File(&a))]))[..100].to_vec(), |error| {
            matches!(error, Error::Read { .. })
        }),
    ];
    for (name, bytes, expected) in cases {
        let Sandbox { store, .. } = &sandbox();
        let error = load_all(store, &bytes).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
        assert!(nothing_happened(store), "{name}");
    }
}

#[test]
fn a_blob_of_a_layout_must_have_its_name() {
    let tar = layer("a");
    let good = multi_platform(&["linux/amd64"], &["linux/amd64"]);
    let (from, to) = (layer("a"), layer("b"));
    let place = good.windows(tar.len()).position(|window| window == from).unwrap();
    let mut bad = good;
    bad[place..place + to.len()].copy_from_slice(&to);
    let Sandbox { store, .. } = &sandbox();
    assert!(matches!(load_all(store, &bad), Err(Error::NameMismatch { .. })));
    assert!(nothing_happened(store));
}

#[test]
fn loading_stops_when_it_is_cancelled() {
    struct Endless(Cancel);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.cancel();
            Ok(buffer.len())
        }
    }
    let Sandbox { store, .. } = &sandbox();
    let cancel = Cancel::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("l").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let reader = Cursor::new(header.as_bytes().to_vec()).chain(Endless(cancel.clone()));
    assert!(matches!(load(store, reader, &LoadOptions::default(), &cancel), Err(Error::Cancelled(_))));
    assert!(nothing_happened(store));
}
