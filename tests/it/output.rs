//! `--output`.

use std::fs;
use std::process::Command;

use crate::support::{Image, Need, Sandbox, ran, require};

fn sandbox() -> Sandbox {
    Sandbox::new().file("d/a", "1").symlink("d/l", "a").dockerfile("FROM scratch\nCOPY d /d\nCOPY d/a /b\n")
}

#[test]
fn a_directory_gets_the_files() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "-o", "out", "context"]).ok();
    assert_eq!(fs::read_to_string(sandbox.path("out/d/a")).unwrap(), "1");
    assert_eq!(fs::read_link(sandbox.path("out/d/l")).unwrap().to_str(), Some("a"));
    assert!(sandbox.path("out/b").exists());
}

#[test]
fn a_tar_of_the_files_goes_to_stdout() {
    let sandbox = sandbox();
    let output = sandbox.command(&["build", "-o", "-", "context"]).output().unwrap();
    assert!(output.status.success());
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let paths: Vec<String> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(|path| path.trim_end_matches('/')).collect();
    assert!(["b", "d", "d/a", "d/l"].iter().all(|path| paths.contains(path)), "{paths:?}");
}

#[test]
fn an_oci_archive_is_the_image() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "-t", "test", "-o", "type=oci,dest=out.tar", "context"]).ok();
    let image = Image::from_archive(&sandbox.path("out.tar"));
    assert_eq!(image.file("/d/a"), "1");
    image.validate();
}

#[test]
fn a_docker_archive_is_read_by_other_tools() {
    if !require(Need::Skopeo) {
        return;
    }
    let sandbox = sandbox();
    sandbox.kiln(&["build", "-t", "test:1", "-o", "type=docker,dest=out.tar", "context"]).ok();
    let archive = format!("docker-archive:{}", sandbox.path("out.tar").display());
    let inspected = ran(Command::new("skopeo").args(["inspect", "--config", &archive])).ok();
    let config: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
}

#[test]
fn unknown_outputs_are_refused_before_the_build() {
    for output in ["type=floppy,dest=x", "type=local", "dest=x"] {
        let stderr = sandbox().kiln(&["build", "-o", output, "context"]).fails(2);
        assert!(stderr.contains("--output"), "{stderr}");
    }
}
