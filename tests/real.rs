//! The real thing: a Debian base in a registry, a compiler installed by apt, a C program in an image of its own, run by
//! runc. Needs a Debian mirror; `KILN_TEST_MIRROR` names another than mmdebstrap's default.
#![cfg(test)]

#[path = "it/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::registry::Registry;
use support::{Image, Need, Sandbox, ran, require};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/c-program");

/// Makes a Debian base and pushes it, as anybody would who has no registry to pull one from.
fn push_debian(sandbox: &Sandbox, name: &str) {
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--quiet", "bookworm"]).arg(sandbox.path("context/base.tar"));
    mmdebstrap.args(std::env::var_os("KILN_TEST_MIRROR"));
    ran(&mut mmdebstrap).ok();
    sandbox.write("Dockerfile", "FROM scratch\nADD base.tar /\nCMD [\"bash\"]\n");
    sandbox.kiln(&["build", "--push", "-t", name, "context"]).ok();
}

fn executed_runs(image: &Image) -> Vec<&str> {
    image.executed().into_iter().filter(|title| title.contains("RUN")).collect()
}

/// Runs an unpacked image's command with runc, without a terminal and with the host's network, and returns its output.
fn run_with_runc(bundle: &Path, name: &str) -> String {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    fs::write(&path, config.to_string()).unwrap();
    ran(Command::new("runc").args(["--root"]).arg(bundle.join("state")).args(["run", "--bundle"]).arg(bundle).arg(name))
        .ok()
}

#[test]
fn a_c_program_goes_from_source_to_a_running_container() {
    let needs = [Need::Root, Need::Debian, Need::Registry, Need::Skopeo, Need::Umoci, Need::Runc];
    if !needs.into_iter().all(require) {
        return;
    }
    let registry = Registry::start();
    let base = format!("{}/library/debian:bookworm", registry.host());
    push_debian(&Sandbox::new(), &base);

    let source = fs::read_to_string(format!("{EXAMPLE}/sum.c")).unwrap();
    let sandbox = Sandbox::new().file("sum.c", &source);
    sandbox.write("Dockerfile", fs::read_to_string(format!("{EXAMPLE}/Dockerfile")).unwrap());
    let name = format!("{}/sum:1", registry.host());
    let flags = ["--build-arg", &format!("BASE={base}"), "-t", &name];

    let image = sandbox.build_with(&flags).unwrap_or_else(|failure| panic!("{}", failure.text));
    assert_eq!(executed_runs(&image).len(), 2);
    image.validate();
    sandbox.kiln(&["push", &name]).ok();

    // What another tool pulls is what runs.
    let layout = tempfile::tempdir().unwrap();
    let target = format!("oci:{}:1", layout.path().display());
    let copy = ["copy", "-q", "--insecure-policy", "--src-tls-verify=false"];
    ran(Command::new("skopeo").args(copy).arg(format!("docker://{name}")).arg(target)).ok();
    let bundle = Image::from_layout(layout).unpack_with_umoci(&sandbox.path(""));
    assert_eq!(run_with_runc(&bundle, &format!("kiln-real-{}", std::process::id())), "the sum is 6\n");

    let again = sandbox.build_with(&flags).unwrap();
    assert_eq!(again.executed(), Vec::<&str>::new());
    assert_eq!(again.id(), image.id());

    sandbox.write("sum.c", source.replace("the sum is", "together"));
    let changed = sandbox.build_with(&flags).unwrap();
    let runs = executed_runs(&changed);
    assert!(runs.len() == 1 && runs[0].contains("gcc -O2"), "{runs:?}");
    assert_ne!(changed.id(), image.id());
}

#[test]
fn packages_are_those_that_dpkg_lists() {
    if ![Need::Root, Need::Debian].into_iter().all(require) {
        return;
    }
    let sandbox = Sandbox::new();
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=essential", "--quiet", "bookworm"]).arg(sandbox.path("context/base.tar"));
    mmdebstrap.args(std::env::var_os("KILN_TEST_MIRROR"));
    ran(&mut mmdebstrap).ok();
    sandbox.write(
        "Dockerfile",
        "FROM scratch\nADD base.tar /\n\
         RUN dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Version}\\n' > /before\n\
         RUN dpkg --purge --force-all ncurses-base gzip && echo 'hello hold' | dpkg --set-selections; \\\n    \
             dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Version}\\n' > /after\n",
    );
    sandbox.build_with(&["-o", "tree"]).unwrap();
    sandbox.build().unwrap();
    let listed = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(sandbox.path("tree").join(name)).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("installed ").map(str::to_owned)).collect()
    };
    let packages = |steps: [&str; 2], side: &str| -> Vec<String> {
        let printed = sandbox.kiln(&["diff", "--json", "--only=packages", steps[0], steps[1]]).ok();
        let document: Value = serde_json::from_str(&printed).unwrap();
        let changes = document["packages"]["changes"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let dpkg = changes.iter().filter(|change| change["manager"] == "dpkg");
        let mut found: Vec<String> =
            dpkg.map(|change| format!("{} {}", text(&change["name"]), text(&change[side][0]))).collect();
        found.sort();
        found
    };
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let (before, after) = (sorted(listed("before")), sorted(listed("after")));
    assert!(before.len() > 50 && after.len() == before.len() - 2, "{} {}", before.len(), after.len());
    assert_eq!(packages(["test@0", "test@2"], "after"), before);
    assert_eq!(packages(["test@0", "test"], "after"), after);
    let gone: Vec<String> = before.into_iter().filter(|line| !after.contains(line)).collect();
    assert_eq!(packages(["test@1", "test"], "before"), gone);
}
