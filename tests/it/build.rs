//! `kiln build` as a whole: names, ids, files about the result.

use serde_json::Value;

use crate::support::{Need, Sandbox, ran, require};

/// A sandbox whose context is the example that the README begins with.
fn hello() -> Sandbox {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello");
    let mut sandbox = Sandbox::new();
    for file in std::fs::read_dir(example).unwrap() {
        let file = file.unwrap();
        sandbox = sandbox.program(file.file_name().to_str().unwrap(), std::fs::read(file.path()).unwrap());
    }
    sandbox
}

#[test]
fn the_example_of_the_readme_builds_without_base_and_network() {
    let image = hello().build_with(&["--network=none"]).unwrap();
    assert_eq!(image.file("/greeting"), "Hello from an image that kiln built.\n");
    assert_eq!(image.config().config.cmd.as_deref(), Some(&["/hello".to_owned()][..]));
    image.validate();
}

#[test]
fn the_example_of_the_readme_runs_elsewhere() {
    if !(require(Need::Root) && require(Need::Skopeo) && require(Need::Umoci)) {
        return;
    }
    let sandbox = hello();
    let bundle = sandbox.build().unwrap().unpack_with_umoci(&sandbox.path(""));
    assert_eq!(
        ran(std::process::Command::new("chroot").arg(bundle.join("rootfs")).arg("/hello")).ok(),
        "Hello from an image that kiln built.\n"
    );
}

#[test]
fn an_image_gets_all_its_names() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /\n");
    sandbox.kiln(&["build", "-t", "one", "-t", "x.example/two:3", "context"]).ok();
    let listed = sandbox.kiln(&["images"]).ok();
    assert!(listed.contains("one ") && listed.contains("x.example/two   3"), "{listed}");
    assert_eq!(sandbox.image("one").id(), sandbox.image("x.example/two:3").id());
}

#[test]
fn files_about_the_result_hold_its_digests() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /\n");
    let image = sandbox.build_with(&["--iidfile", "iid", "--metadata-file", "metadata.json"]).unwrap();
    assert_eq!(std::fs::read_to_string(sandbox.path("iid")).unwrap(), image.id().to_string());
    let metadata: Value = serde_json::from_slice(&std::fs::read(sandbox.path("metadata.json")).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], image.id().to_string());
    assert_eq!(metadata["containerimage.digest"], metadata["containerimage.descriptor"]["digest"]);
    assert_eq!(metadata["image.name"], "docker.io/library/test:latest");
}

#[test]
fn quiet_prints_the_id_alone() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /\n");
    let built = sandbox.kiln(&["build", "-q", "-t", "test", "context"]);
    assert_eq!(built.stderr, "");
    assert_eq!(built.ok(), format!("{}\n", sandbox.image("test").id()));
}

#[test]
fn the_dockerfile_can_be_elsewhere() {
    let sandbox = Sandbox::new().file("a", "1").file("other/My.Dockerfile", "FROM scratch\nCOPY a /b\n");
    assert!(sandbox.build_with(&["-f", "context/other/My.Dockerfile"]).unwrap().layer(0).has("b"));
    let mut child = sandbox.command(&["build", "-t", "stdin", "-f", "-", "context"]);
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"FROM scratch\nCOPY a /c\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(sandbox.image("stdin").layer(0).has("c"));
}

#[test]
fn equal_inputs_give_equal_images_under_a_source_date() {
    let id = || {
        let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nWORKDIR /w\nCOPY a d/\n");
        // The time of a copied file goes into the layer, as it does with BuildKit.
        let file = std::fs::File::options().write(true).open(sandbox.context("a")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
        ran(sandbox.command(&["build", "-q", "context"]).env("SOURCE_DATE_EPOCH", "1700000000")).ok()
    };
    let first = id();
    // Long enough for everything that is made to have another time.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(first, id());
}

#[test]
fn labels_of_the_command_line_are_in_the_config() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nLABEL a=1 b=2\n");
    let image = sandbox.build_with(&["--label", "b=3", "--label", "c=x=y"]).unwrap();
    let labels: Vec<_> = image.config().config.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["a=1", "b=3", "c=x=y"]);
}

#[test]
fn instructions_without_layers_are_in_the_config() {
    let sandbox = Sandbox::new().dockerfile(
        "FROM scratch\nENV A=1 B=$A-2\nWORKDIR /w\nWORKDIR x\nUSER 7:8\nEXPOSE 80 53/udp\nVOLUME /v\nSTOPSIGNAL SIGINT\n\
         ENTRYPOINT [\"/e\"]\nCMD [\"c\"]\nHEALTHCHECK --interval=5s CMD [\"/h\"]\nSHELL [\"/s\", \"-c\"]\n",
    );
    let image = sandbox.build().unwrap();
    let config = &image.config().config;
    assert!(config.env.contains(&"A=1".to_owned()) && config.env.iter().any(|pair| pair.starts_with("B=")));
    assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/w/x", "7:8"));
    assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
    assert!(config.volumes.contains_key("/v"));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(
        (config.entrypoint.clone().unwrap(), config.cmd.clone().unwrap()),
        (vec!["/e".into()], vec!["c".into()])
    );
    assert_eq!(config.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    assert_eq!(config.shell.clone().unwrap(), ["/s", "-c"]);
    image.validate();
}
