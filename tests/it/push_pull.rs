//! Registries.

use std::fs;
use std::process::Command;

use crate::support::registry::Registry;
use crate::support::{Need, Sandbox, ran, require};

fn sandbox() -> Sandbox {
    Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\nCOPY a /b\n")
}

#[test]
fn an_image_travels_through_a_registry() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.host());
    let (from, to) = (sandbox(), Sandbox::new());
    from.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    to.kiln(&["pull", &name]).ok();
    assert_eq!(to.image(&name).id(), from.image(&name).id());
    to.image(&name).validate();
}

#[test]
fn other_tools_pull_what_kiln_pushed_and_kiln_what_they_pushed() {
    if !(require(Need::Registry) && require(Need::Skopeo)) {
        return;
    }
    let registry = Registry::start();
    let name = |path: &str| format!("{}/{path}", registry.host());
    let (from, to) = (sandbox(), Sandbox::new());
    from.kiln(&["build", "-t", &name("a:1"), "context"]).ok();
    from.kiln(&["push", &name("a:1")]).ok();
    let skopeo = ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    for format in ["oci", "v2s2"] {
        let (source, target) = (format!("docker://{}", name("a:1")), format!("docker://{}", name(format)));
        ran(Command::new("skopeo").args(skopeo).args(["--format", format, &source, &target])).ok();
        to.kiln(&["pull", "-q", &name(format)]).ok();
        assert_eq!(to.image(&name(format)).file("/b"), "1", "{format}");
    }
}

#[test]
fn a_base_is_pulled_once_and_used_offline() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/base", registry.host());
    let other = sandbox();
    other.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    let sandbox = Sandbox::new().file("c", "3").dockerfile(&format!("FROM {name}\nCOPY c /c\n"));
    let image = sandbox.build().unwrap();
    assert_eq!((image.layers().len(), image.file("/a"), image.file("/c")), (3, "1".into(), "3".into()));
    image.validate();
    drop(registry);
    sandbox.write("c", "4");
    assert_eq!(sandbox.build().unwrap().file("/c"), "4");
    assert!(sandbox.build_with(&["--pull"]).is_err());
}

#[test]
fn pull_asks_for_the_newest_base() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/base", registry.host());
    let (base, sandbox) = (sandbox(), Sandbox::new().dockerfile(&format!("FROM {name}\nLABEL x=y\n")));
    base.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    sandbox.build().unwrap();
    base.write("a", "2");
    base.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    assert_eq!(sandbox.build().unwrap().file("/a"), "1");
    assert_eq!(sandbox.build_with(&["--pull"]).unwrap().file("/a"), "2");
}

#[test]
fn files_are_copied_from_images() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/tools:1", registry.host());
    sandbox().kiln(&["build", "--push", "-t", &name, "context"]).ok();
    let image =
        Sandbox::new().dockerfile(&format!("FROM scratch\nCOPY --from={name} /a /from-image\n")).build().unwrap();
    assert_eq!(image.file("/from-image"), "1");
}

#[test]
fn credentials_come_from_dockers_file() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::with_password("me", "secret");
    let name = format!("{}/private:1", registry.host());
    let sandbox = sandbox();
    sandbox.kiln(&["build", "-t", &name, "context"]).ok();
    let stderr = sandbox.kiln(&["push", &name]).fails(1);
    assert!(stderr.contains(&registry.host()) && !stderr.contains("secret"), "{stderr}");
    // "me:secret" in base64.
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, registry.host());
    fs::create_dir(sandbox.path("docker")).unwrap();
    fs::write(sandbox.path("docker/config.json"), config).unwrap();
    sandbox.kiln(&["push", &name]).ok();
    sandbox.kiln(&["rmi", &name]).ok();
    sandbox.kiln(&["pull", &name]).ok();
}

#[test]
fn a_second_push_sends_no_blob() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    let sandbox = sandbox();
    sandbox.kiln(&["build", "--push", "-t", &name("1"), "context"]).ok();
    sandbox.kiln(&["tag", &name("1"), &name("2")]).ok();
    let first = sandbox.kiln(&["push", &name("1")]).ok();
    assert_eq!(first.replace(":1 ", ":2 "), sandbox.kiln(&["push", &name("2")]).ok());
}

#[test]
fn mirrors_are_asked_first() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    sandbox().kiln(&["build", "--push", "-t", &format!("{}/library/base:1", registry.host()), "context"]).ok();
    let sandbox = Sandbox::new().dockerfile("FROM base:1\nLABEL x=y\n");
    fs::write(sandbox.path("config.toml"), format!("[registry.\"docker.io\"]\nmirrors = [\"{}\"]\n", registry.host()))
        .unwrap();
    assert_eq!(sandbox.build().unwrap().file("/a"), "1");
}

#[test]
fn what_a_registry_does_not_have_is_named() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/absent:1", registry.host());
    let stderr = Sandbox::new().kiln(&["pull", &name]).fails(1);
    assert!(stderr.contains(&name), "{stderr}");
    let failure = Sandbox::new().dockerfile(&format!("FROM {name}\n")).build().unwrap_err();
    assert!(failure.text.contains(&name) && failure.text.contains("Dockerfile:1:"), "{}", failure.text);
}
