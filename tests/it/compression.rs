//! How layers leave the store.

use std::fs;
use std::process::Command;

use kiln::oci::Manifest;
use kiln::oci::media_type::{OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::{Image, Need, Ran, Sandbox, ran, require};

/// More than one block of either codec, and compressible.
fn large() -> String {
    (0..900_000_u64).map(|number| format!("{}\n", number * 7919 % 1_000_003)).collect()
}

fn sandbox() -> Sandbox {
    Sandbox::new().file("a", large()).dockerfile("FROM scratch\nCOPY a /a\nWORKDIR /w\n")
}

fn types(image: &Image) -> Vec<&str> {
    image.manifest().layers.iter().map(|layer| layer.media_type.as_str()).collect()
}

/// Returns what was compressed, by the events on stderr.
fn compressed(ran: &Ran) -> usize {
    let events = ran.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_compression = |event: &Value| event["what"].as_str().is_some_and(|what| what.starts_with("compress "));
    events.filter(|event| event["finished"] == true && is_compression(event)).count()
}

fn skopeo(arguments: &[&str]) -> String {
    ran(Command::new("skopeo").arg("--insecure-policy").args(arguments)).ok()
}

#[test]
fn zstd_travels_through_a_registry_and_is_made_once() {
    if !(require(Need::Registry) && require(Need::Skopeo)) {
        return;
    }
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    let (from, to) = (sandbox(), Sandbox::new());
    let push =
        |tag: &str| from.kiln(&["build", "--progress=json", "--push", "--compression=zstd", "-t", tag, "context"]);
    let (first, second) = (push(&name("1")), push(&name("2")));
    assert_eq!((compressed(&first), compressed(&second)), (2, 0), "{}{}", first.stderr, second.stderr);
    to.kiln(&["pull", "-q", &name("2")]).ok();
    let image = to.image(&name("2"));
    assert_eq!(types(&image), [OCI_LAYER_ZSTD; 2]);
    assert_eq!(image.file("/a"), large());
    image.validate();
    let copy = from.path("copy");
    let (source, target) = (format!("docker://{}", name("1")), format!("dir:{}", copy.display()));
    skopeo(&["copy", "-q", "--src-tls-verify=false", "--dest-decompress", &source, &target]);
    // Skopeo has decompressed all frames, or the digests of what it wrote would not be those of the config.
    let manifest: Manifest = serde_json::from_slice(&fs::read(copy.join("manifest.json")).unwrap()).unwrap();
    let plain: Vec<String> = manifest.layers.iter().map(|layer| layer.digest.to_string()).collect();
    let expected: Vec<String> = image.config().rootfs.diff_ids.iter().map(ToString::to_string).collect();
    assert_eq!(plain, expected);
}

#[test]
fn what_others_have_compressed_stays_unless_that_is_forced() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = |path: &str| format!("{}/{path}", registry.host());
    sandbox().kiln(&["build", "--push", "-t", &name("base"), "context"]).ok();
    let base = name("base");
    let sandbox = Sandbox::new().file("b", "2").dockerfile(&format!("FROM {base}\nCOPY b /b\n"));
    let build = |path: &str, flags: &[&str]| {
        let fixed = ["build", "--push", "--compression=zstd", "-t", path];
        sandbox.kiln(&[&fixed[..], flags, &["context"]].concat()).ok();
        sandbox.image(path)
    };
    let image = build(&name("kept"), &[]);
    assert_eq!(types(&image), [OCI_LAYER_GZIP, OCI_LAYER_GZIP, OCI_LAYER_ZSTD]);
    let image = build(&name("forced"), &["--force-compression"]);
    assert_eq!(types(&image), [OCI_LAYER_ZSTD; 3]);
    image.validate();
    sandbox.kiln(&["push", "--compression=none", "--force-compression", &name("forced")]).ok();
    let image = sandbox.image(&name("forced"));
    assert_eq!(types(&image), [OCI_LAYER; 3]);
    image.validate();
    // Nobody asks for anything: not a byte is another.
    sandbox.kiln(&["pull", "-q", &base]).ok();
    let before = sandbox.image(&base);
    sandbox.kiln(&["push", &base]).ok();
    assert_eq!(before.manifest(), sandbox.image(&base).manifest());
}

#[test]
fn every_output_is_compressed_in_its_own_way() {
    let sandbox = sandbox();
    let outputs = [
        ("zstd.tar", "type=oci,dest=zstd.tar,compression=zstd,compression-level=5", [OCI_LAYER_ZSTD; 2]),
        ("best.tar", "type=oci,dest=best.tar,compression=gzip,compression-level=9", [OCI_LAYER_GZIP; 2]),
        ("fast.tar", "type=oci,dest=fast.tar,compression=gzip,compression-level=1", [OCI_LAYER_GZIP; 2]),
        ("plain.tar", "type=oci,dest=plain.tar,compression=uncompressed", [OCI_LAYER; 2]),
        ("docker.tar", "type=docker,dest=docker.tar,compression=gzip", [OCI_LAYER_GZIP; 2]),
        ("usual.tar", "type=docker,dest=usual.tar", [OCI_LAYER; 2]),
    ];
    let flags: Vec<&str> = outputs.iter().flat_map(|(_, output, _)| ["-o", output]).collect();
    let ran = sandbox.kiln(&[&["build", "--progress=json", "-t", "test"], &flags[..], &["context"]].concat());
    // At four levels, and none twice: gzip for docker is whichever there is.
    assert_eq!((ran.code, compressed(&ran)), (Some(0), 6), "{}", ran.stderr);
    for (file, _, expected) in outputs {
        let image = Image::from_archive(&sandbox.path(file));
        assert_eq!(types(&image), expected, "{file}");
        image.validate();
    }
    let size = |file: &str| fs::metadata(sandbox.path(file)).unwrap().len();
    assert!(size("best.tar") < size("fast.tar") && size("fast.tar") < size("plain.tar"));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let archive = |threads: &str, compression: &str| {
        let sandbox = sandbox();
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=0", "--reproducible"];
        let arguments =
            [&["build", "-q", "--compression", compression, "-o", "type=oci,dest=x"], &epoch[..], &["context"]];
        let mut command = sandbox.command(&arguments.concat());
        ran(command.env("RAYON_NUM_THREADS", threads)).ok();
        fs::read(sandbox.path("x")).unwrap()
    };
    for compression in ["gzip", "zstd", "zstd:1"] {
        assert!(archive("1", compression) == archive("8", compression), "{compression}");
    }
}

#[test]
fn archives_are_saved_compressed_and_docker_gets_no_zstd() {
    if !require(Need::Skopeo) {
        return;
    }
    let sandbox = sandbox();
    sandbox.kiln(&["build", "--compression=zstd", "-t", "test:1", "context"]).ok();
    assert_eq!(types(&sandbox.image("test:1")), [OCI_LAYER_ZSTD; 2]);
    let path = sandbox.path("saved.tar");
    let save = |flags: &[&str]| {
        sandbox.kiln(&[&["save", "-o", path.to_str().unwrap()], flags, &["test:1"]].concat()).ok();
        let image = Image::from_archive(&path);
        image.validate();
        image
    };
    assert_eq!(types(&save(&[])), [OCI_LAYER; 2]);
    let id = save(&["--compression=gzip:9"]).id();
    let archive = format!("docker-archive:{}:test:1", path.display());
    skopeo(&["copy", "-q", &archive, &format!("oci:{}:x", sandbox.path("copy").display())]);
    assert_eq!(types(&save(&["--format=oci", "--compression=zstd:9"])), [OCI_LAYER_ZSTD; 2]);
    let other = Sandbox::new();
    other.kiln(&["load", "-i", path.to_str().unwrap()]).ok();
    assert_eq!((other.image("test:1").id(), other.image("test:1").file("/a")), (id, large()));
}

#[test]
fn compression_that_cannot_be_had_is_refused_before_the_build() {
    for (arguments, expected) in [
        (&["build", "--compression=gzip:10", "context"][..], "levels from 0 to 9"),
        (&["build", "--compression=estargz", "context"], "eStargz"),
        (&["build", "-o", "type=oci,dest=x,compression=zstd,compression-level=23", "context"], "levels from 0 to 22"),
        (&["build", "--compression=zstd", "-o", "type=docker,dest=x", "context"], "cannot hold zstd"),
        (&["save", "--compression=zstd", "-o", "x", "test"], "cannot hold zstd"),
        (&["push", "--compression=rar", "test"], "no compression"),
    ] {
        let stderr = sandbox().kiln(arguments).fails(2);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}
