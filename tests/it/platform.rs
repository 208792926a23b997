//! Images for several platforms.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::{Image, Need, Sandbox, ran, require};

const BOTH: &str = "linux/amd64,linux/arm64";

/// A context whose files tell what they are for.
fn sandbox() -> Sandbox {
    Sandbox::new()
        .file("amd64", "for amd64")
        .file("arm64", "for arm64")
        .file("all", "for all")
        .dockerfile("FROM scratch\nCOPY all /all\nARG TARGETARCH\nCOPY $TARGETARCH /own\nLABEL arch=$TARGETARCH\n")
}

fn image_for(sandbox: &Sandbox, name: &str, platform: &str) -> Image {
    let archive = sandbox.path("platform.tar");
    let _ = fs::remove_file(&archive);
    sandbox.kiln(&["save", "--format=oci", "--platform", platform, "-o", archive.to_str().unwrap(), name]).ok();
    Image::from_archive(&archive)
}

#[test]
fn several_platforms_are_built_at_once_into_one_index() {
    let sandbox = sandbox();
    let log = sandbox.kiln(&["build", "--progress=json", "--platform", BOTH, "-t", "app", "context"]);
    let titles: Vec<String> = log
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["type"] == "planned")
        .flat_map(|event| event["steps"].as_array().unwrap().clone())
        .map(|step| step["title"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(log.code, Some(0), "{}", log.stderr);
    let expected = [
        "[internal] load build context",
        "[linux/amd64 1/2] COPY all /all",
        "[linux/amd64 2/2] COPY $TARGETARCH /own",
        "[linux/arm64 2/2] COPY $TARGETARCH /own",
    ];
    assert_eq!(titles, expected, "what is the same for both is one step");
    for arch in ["amd64", "arm64"] {
        let image = image_for(&sandbox, "app", &format!("linux/{arch}"));
        assert_eq!(image.config().architecture, arch);
        assert_eq!(image.config().config.labels["arch"], arch);
        assert_eq!((image.file("/all"), image.file("/own")), ("for all".into(), format!("for {arch}")));
        image.validate();
    }
}

#[test]
fn an_index_is_one_line_of_images_and_all_of_it_is_there() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "--platform=linux/amd64", "--platform=linux/arm64", "-t", "app", "context"]).ok();
    let images = sandbox.kiln(&["images", "--format=json"]).ok();
    let line: Value = serde_json::from_str(&images).unwrap();
    assert_eq!((&line["Repository"], &line["Platform"]), (&"app".into(), &BOTH.into()));
    let inspected: Value =
        serde_json::from_str(&sandbox.kiln(&["inspect", "--platform=linux/arm64", "app"]).ok()).unwrap();
    assert_eq!(inspected[0]["Architecture"], "arm64");
    assert_eq!(inspected[0]["Index"]["Digest"], line["Digest"]);
    assert_eq!(inspected[0]["Index"]["Manifests"][1]["platform"]["architecture"], "arm64");
    let history = sandbox.kiln(&["history", "--no-trunc", "--platform=linux/arm64", "app"]).ok();
    assert!(history.contains("COPY arm64 /own # buildkit"), "{history}");
    let stderr = sandbox.kiln(&["inspect", "--platform=linux/s390x", "app"]).fails(1);
    assert!(stderr.contains("app has no image for linux/s390x; it has: linux/amd64, linux/arm64"), "{stderr}");
}

#[test]
fn an_index_has_names_and_goes_with_the_last_of_them() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "--platform", BOTH, "-t", "app", "context"]).ok();
    sandbox.kiln(&["tag", "app", "other:1"]).ok();
    sandbox.kiln(&["rmi", "app"]).ok();
    let arm = image_for(&sandbox, "other:1", "linux/arm64");
    let stderr = sandbox.kiln(&["rmi", &arm.id().to_string()]).fails(1);
    assert!(stderr.contains("is one of the index"), "{stderr}");
    sandbox.kiln(&["rmi", "other:1"]).ok();
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    let blobs: Vec<_> = fs::read_dir(sandbox.path("root/blobs/sha256")).unwrap().collect();
    assert!(blobs.is_empty(), "{blobs:?}");
}

#[test]
fn one_platform_makes_an_image_and_a_build_argument_an_index_of_it() {
    let sandbox = sandbox();
    let image = sandbox.build_with(&["--platform=linux/arm64"]).unwrap();
    assert_eq!(image.config().architecture, "arm64");
    assert_eq!(image.executed()[0], "[1/2] COPY all /all");
    sandbox
        .kiln(&["build", "--build-arg=BUILDKIT_MULTI_PLATFORM=1", "--platform=linux/arm64", "-t", "one", "context"])
        .ok();
    let inspected: Value = serde_json::from_str(&sandbox.kiln(&["inspect", "one"]).ok()).unwrap();
    assert_eq!(inspected[0]["Index"]["Manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn outputs_hold_every_platform() {
    let sandbox = sandbox();
    let build = |output: &str| sandbox.kiln(&["build", "--platform", BOTH, "-t", "app:1", "-o", output, "context"]);
    build("type=local,dest=files").ok();
    assert_eq!(fs::read_to_string(sandbox.path("files/linux_arm64/own")).unwrap(), "for arm64");
    build("type=tar,dest=files.tar").ok();
    let mut archive = tar::Archive::new(fs::File::open(sandbox.path("files.tar")).unwrap());
    let paths: Vec<String> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    let expected =
        ["linux_amd64/", "linux_amd64/all", "linux_amd64/own", "linux_arm64/", "linux_arm64/all", "linux_arm64/own"];
    assert_eq!(paths, expected);
    build("type=oci,dest=app.tar").ok();
    let layout = tempfile::tempdir().unwrap();
    tar::Archive::new(fs::File::open(sandbox.path("app.tar")).unwrap()).unpack(layout.path()).unwrap();
    let json = |path: &str| -> Value { serde_json::from_slice(&fs::read(layout.path().join(path)).unwrap()).unwrap() };
    let root = json("index.json")["manifests"][0].clone();
    assert_eq!(root["annotations"]["org.opencontainers.image.ref.name"], "1");
    let index = json(&root["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/"));
    let architectures: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|manifest| &manifest["platform"]["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    let stderr = build("type=docker,dest=app.tar").fails(1);
    assert!(stderr.contains("docker exporter does not currently support exporting manifest lists"), "{stderr}");
}

#[test]
fn ids_and_facts_of_an_index_are_written_to_files() {
    let sandbox = sandbox();
    let flags = ["--iidfile=id", "--metadata-file=facts", "-q", "--platform", BOTH, "context"];
    let digest = sandbox.kiln(&[&["build"], flags.as_slice()].concat()).ok();
    assert_eq!(fs::read_to_string(sandbox.path("id")).unwrap(), digest.trim());
    let facts: Value = serde_json::from_slice(&fs::read(sandbox.path("facts")).unwrap()).unwrap();
    assert_eq!(facts["containerimage.digest"], digest.trim());
    assert_eq!(facts["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(facts.get("containerimage.config.digest"), None);
}

#[test]
fn a_registry_takes_an_index_and_others_read_it() {
    if !(require(Need::Registry) && require(Need::Skopeo)) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.host());
    let (from, to) = (sandbox(), Sandbox::new());
    from.kiln(&["build", "--platform", BOTH, "-t", &name, "context"]).ok();
    let pushed = from.kiln(&["push", &name]).ok();
    let again = from.kiln(&["push", &name]).ok();
    assert_eq!(pushed, again, "what is here is what is there");
    let skopeo = |arguments: &[&str]| ran(Command::new("skopeo").args(arguments)).ok();
    let source = format!("docker://{name}");
    let raw: Value = serde_json::from_str(&skopeo(&["inspect", "--raw", "--tls-verify=false", &source])).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.index.v1+json");
    for arch in ["amd64", "arm64"] {
        let config = skopeo(&["inspect", "--config", "--override-arch", arch, "--tls-verify=false", &source]);
        assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["architecture"], arch);
        to.kiln(&["pull", "-q", "--platform", &format!("linux/{arch}"), &name]).ok();
        let image = to.image(&name);
        assert_eq!((image.config().architecture.as_str(), image.file("/own")), (arch, format!("for {arch}")));
    }
    let copy = format!("dir:{}", to.path("copy").display());
    skopeo(&["copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", &source, &copy]);
    let manifests = fs::read_dir(to.path("copy"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".manifest.json"));
    assert_eq!(manifests.count(), 2);
    let pushing = sandbox();
    let name = format!("{}/team/app:2", registry.host());
    pushing.kiln(&["build", "--push", "--platform", BOTH, "-t", &name, "context"]).ok();
    assert!(skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).contains("arm64"));
}

#[test]
fn each_platform_is_built_on_its_own_image_of_the_base() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/base", registry.host());
    sandbox().kiln(&["build", "--push", "--platform", BOTH, "-t", &name, "context"]).ok();
    let sandbox = Sandbox::new().dockerfile(&format!(
        "FROM --platform=$BUILDPLATFORM {name} AS build\nFROM {name}\nCOPY --from=build /own /build\n"
    ));
    sandbox.kiln(&["build", "--platform=linux/arm64", "-t", "one", "context"]).ok();
    sandbox.kiln(&["build", "--platform", BOTH, "-t", "both", "context"]).ok();
    let host = kiln::oci::Platform::host().architecture;
    for arch in ["amd64", "arm64"] {
        let image = image_for(&sandbox, "both", &format!("linux/{arch}"));
        assert_eq!((image.file("/own"), image.file("/build")), (format!("for {arch}"), format!("for {host}")));
    }
    assert_eq!(sandbox.image("one").file("/own"), "for arm64");
    let failure = sandbox.build_with(&["--platform=linux/arm64,linux/s390x"]).unwrap_err();
    assert!(
        failure.text.contains("has no image for linux/s390x; it has: linux/amd64, linux/arm64"),
        "{}",
        failure.text
    );
}

#[test]
fn a_local_index_is_a_base_for_each_of_its_platforms() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "--platform", BOTH, "-t", "base", "context"]).ok();
    sandbox.write("Dockerfile", "FROM base\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\n");
    sandbox.kiln(&["build", "--platform", BOTH, "-t", "top", "context"]).ok();
    let image = image_for(&sandbox, "top", "linux/arm64");
    assert_eq!((image.file("/own"), image.config().config.labels["p"].as_str()), ("for arm64".into(), "linux/arm64"));
}

/// A program that writes the file `/made` and has no need of a system around it.
fn program(machine: u16, code: &[u32]) -> Vec<u8> {
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (base, header) = (0x40_0000_u64, 120_u64);
    let size = header + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend([base + header, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0_u8; 4]);
    file.extend([64_u16, 56, 1, 64, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0, base, base, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(code);
    file
}

/// openat(AT_FDCWD, "/made", O_CREAT | O_WRONLY, 0644), exit(0), as an arm64 has it.
const MAKE_FILE: [u32; 10] = [
    0x9280_0c60, // mov x0, #-100
    0x1000_0101, // adr x1, #32
    0xd280_0822, // mov x2, #65
    0xd280_3483, // mov x3, #0644
    0xd280_0708, // mov x8, #56
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0xd280_0ba8, // mov x8, #93
    0xd400_0001, // svc #0
    0x6461_6d2f, // "/mad"
];

#[test]
fn programs_of_another_platform_are_emulated() {
    if !require(Need::Emulation) {
        return;
    }
    let code = [&MAKE_FILE[..], &[u32::from(b'e')]].concat();
    let sandbox = Sandbox::new()
        .program("make", program(183, &code))
        .dockerfile("FROM scratch\nCOPY make /make\nRUN [\"/make\"]\n");
    let image = sandbox.build_with(&["--platform=linux/arm64"]).unwrap();
    assert!(image.last().has("made"), "{:?}", image.last().paths());
    image.validate();
}

#[test]
fn a_step_that_nothing_can_run_says_what_would() {
    // No machine this is built on is an ARC, and nobody emulates one.
    let sandbox = Sandbox::new()
        .program("make", program(93, &[0]))
        .dockerfile("FROM scratch\nCOPY make /make\nRUN [\"/make\"]\n");
    let failure = sandbox.build_with(&["--platform=linux/arc"]).unwrap_err();
    for part in [
        "a step for linux/arc cannot run on this machine (linux/",
        "/make: is a program for machine type 93",
        "Dockerfile:3:1",
        "install `qemu-user-static` and `binfmt-support`",
    ] {
        assert!(failure.text.contains(part), "{part}: {}", failure.text);
    }
}

#[test]
fn files_and_metadata_for_another_platform_need_no_emulation() {
    let sandbox =
        Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\nWORKDIR /w\nENV A=1\nCMD [\"x\"]\n");
    let image = sandbox.build_with(&["--platform=linux/s390x"]).unwrap();
    assert_eq!((image.config().architecture.as_str(), image.layers().len()), ("s390x", 2));
    image.validate();
}

#[test]
fn what_is_no_platform_is_a_wrong_command_line() {
    let stderr = Sandbox::new()
        .dockerfile("FROM scratch\n")
        .kiln(&["build", "--platform=linux/amd64,toaster", "context"])
        .fails(2);
    assert!(stderr.contains("\"toaster\": unknown operating system or architecture"), "{stderr}");
}
