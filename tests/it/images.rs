//! tag, rmi, save, load, images, inspect, history.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Image, Need, Sandbox, ran, require};

/// A store with one image, `test`, of two layers.
fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\nCOPY a /b\nLABEL x=y\nCMD [\"/a\"]\n");
    sandbox.kiln(&["build", "-t", "test", "context"]).ok();
    sandbox
}

#[test]
fn a_tag_is_another_name() {
    let sandbox = sandbox();
    sandbox.kiln(&["tag", "test", "x.example/other:1"]).ok();
    assert_eq!(sandbox.image("x.example/other:1").id(), sandbox.image("test").id());
    let short = &sandbox.image("test").id().hex()[..12];
    sandbox.kiln(&["tag", short, "by-id"]).ok();
    assert_eq!(sandbox.image("by-id").id(), sandbox.image("test").id());
}

#[test]
fn removing_the_last_name_removes_the_image() {
    let sandbox = sandbox();
    let id = sandbox.image("test").id();
    sandbox.kiln(&["tag", "test", "other"]).ok();
    let removed = sandbox.kiln(&["rmi", "test"]).ok();
    assert_eq!(removed, "Untagged: test:latest\n");
    let removed = sandbox.kiln(&["rmi", "other"]).ok();
    assert!(removed.contains("Untagged: other:latest\n") && removed.contains(&format!("Deleted: {id}\n")), "{removed}");
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    assert!(!sandbox.path("root/blobs/sha256").join(id.hex()).exists());
}

#[test]
fn layers_of_other_images_stay() {
    let sandbox = sandbox();
    sandbox.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
    sandbox.kiln(&["build", "-t", "smaller", "context"]).ok();
    sandbox.kiln(&["rmi", "test"]).ok();
    let image = sandbox.image("smaller");
    assert_eq!(image.file("/a"), "1");
    image.validate();
}

#[test]
fn what_is_not_there_is_said_once_for_each() {
    let sandbox = sandbox();
    let stderr = sandbox.kiln(&["rmi", "absent", "test", "gone"]).fails(1);
    assert!(stderr.contains("absent") && stderr.contains("gone"), "{stderr}");
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
}

#[test]
fn archives_travel_between_stores() {
    for format in ["docker", "oci"] {
        let (from, to) = (sandbox(), Sandbox::new());
        let archive = to.path("image.tar");
        from.kiln(&["save", "--format", format, "-o", archive.to_str().unwrap(), "test"]).ok();
        assert_eq!(to.kiln(&["load", "-i", archive.to_str().unwrap()]).ok(), "Loaded image: test:latest\n", "{format}");
        let image = to.image("test");
        assert_eq!(image.id(), from.image("test").id(), "{format}");
        image.validate();
    }
}

#[test]
fn archives_come_from_stdin_even_compressed() {
    let (from, to) = (sandbox(), Sandbox::new());
    let archive = to.path("image.tar");
    from.kiln(&["save", "-o", archive.to_str().unwrap(), "test"]).ok();
    ran(Command::new("gzip").arg(&archive)).ok();
    let file = fs::File::open(archive.with_extension("tar.gz")).unwrap();
    assert_eq!(ran(to.command(&["load", "-q"]).stdin(file)).ok(), "Loaded image: test:latest\n");
}

#[test]
fn archives_of_other_tools_are_read() {
    if !require(Need::Skopeo) {
        return;
    }
    let from = sandbox();
    let layout = from.image("test");
    for kind in ["docker-archive", "oci-archive"] {
        let to = Sandbox::new();
        let archive = to.path("image.tar");
        let target = format!("{kind}:{}:other:1", archive.display());
        ran(Command::new("skopeo")
            .args(["copy", "--insecure-policy", "-q"])
            .arg(format!("oci:{}", layout.layout().display()))
            .arg(&target))
        .ok();
        to.kiln(&["load", "-i", archive.to_str().unwrap()]).ok();
        let loaded = to.kiln(&["images", "-q", "--no-trunc"]).ok();
        assert_eq!(to.image(loaded.trim()).file("/b"), "1", "{kind}");
    }
}

#[test]
fn saved_archives_are_equal_when_images_are() {
    let sandbox = sandbox();
    let save = || sandbox.command(&["save", "test"]).output().unwrap().stdout;
    let first = save();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!first.is_empty() && first == save());
}

#[test]
fn a_failed_save_leaves_no_archive() {
    let sandbox = sandbox();
    sandbox.kiln(&["save", "-o", "x.tar", "absent"]).fails(1);
    assert!(!sandbox.path("x.tar").exists());
}

#[test]
fn inspect_prints_dockers_object() {
    let sandbox = sandbox();
    let array: Value = serde_json::from_str(&sandbox.kiln(&["inspect", "test"]).ok()).unwrap();
    let (image, object) = (sandbox.image("test"), &array[0]);
    assert_eq!(object["Id"], image.id().to_string());
    assert_eq!(object["RepoTags"][0], "test:latest");
    assert_eq!(object["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!((&object["Os"], &object["Config"]["Labels"]["x"]), (&"linux".into(), &"y".into()));
    sandbox.kiln(&["inspect", "absent"]).fails(1);
}

#[test]
fn history_tells_every_instruction_newest_first() {
    let sandbox = sandbox();
    let text = sandbox.kiln(&["history", "--format=json", "--no-trunc", "test"]).ok();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&str> = rows.iter().map(|row| row["CreatedBy"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("CMD") && told[1].starts_with("LABEL") && told[3].starts_with("COPY a /a"), "{told:?}");
    assert_eq!(rows.iter().filter(|row| row["EmptyLayer"] == false).count(), 2);
}

#[test]
fn a_layout_of_kiln_is_an_image_to_podman() {
    if !(require(Need::Root) && require(Need::Podman)) {
        return;
    }
    let sandbox = sandbox();
    let archive = sandbox.path("image.tar");
    sandbox.kiln(&["save", "-o", archive.to_str().unwrap(), "test"]).ok();
    let state = |name: &str| sandbox.path(name).display().to_string();
    let podman = || {
        let mut command = Command::new("podman");
        command.args([
            "--root",
            &state("p"),
            "--runroot",
            &state("r"),
            "--storage-driver",
            "vfs",
            "--events-backend",
            "none",
        ]);
        command
    };
    ran(podman().args(["load", "-q", "-i"]).arg(&archive)).ok();
    let id = ran(podman().args(["images", "-q", "--no-trunc"])).ok();
    assert_eq!(id.trim(), Image::id(&sandbox.image("test")).to_string());
}
