//! Contexts that are elsewhere, and named ones (semantics reference, sections 7.2, 7.3, 8.11 and 8.12).

use crate::support::fault_server::{FaultServer, Reply};
use crate::support::git::{self, Repository};
use crate::support::{Image, Need, Sandbox, require};

/// Builds with these flags from `context`.
fn built_from(sandbox: &Sandbox, flags: &[&str], context: &str) -> Image {
    sandbox.kiln(&[&["build", "-t", "test"], flags, &[context]].concat()).ok();
    let image = sandbox.image("test");
    image.validate();
    image
}

fn named(sandbox: &Sandbox, contexts: &[&str]) -> Image {
    let flags: Vec<String> = contexts.iter().map(|context| format!("--build-context={context}")).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    built_from(sandbox, &flags, "context")
}

fn directory(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) -> String {
    for (file, content) in files {
        let path = sandbox.path(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    sandbox.path(name).display().to_string()
}

#[test]
fn a_directory_stands_for_a_name_and_has_its_own_ignore_rules() {
    let sandbox = Sandbox::new()
        .dockerfile("FROM scratch\nCOPY --from=extra . /e/\nCOPY --from=extra d/b /b\n")
        .file(".dockerignore", "*\n");
    let extra = directory(&sandbox, "extra", &[("a", "a"), ("d/b", "b"), ("no", ""), (".dockerignore", "no\n")]);
    let image = named(&sandbox, &[&format!("extra={extra}")]);
    assert_eq!((image.file("/e/a"), image.file("/b")), ("a".to_owned(), "b".to_owned()));
    assert!(image.find("/e/no").is_none());
    // A file that changed is read again.
    std::fs::write(sandbox.path("extra/a"), "changed").unwrap();
    assert_eq!(named(&sandbox, &[&format!("extra={extra}")]).file("/e/a"), "changed");
}

#[test]
fn a_name_replaces_an_image_and_a_whole_stage() {
    let sandbox = Sandbox::new().file("x", "x").dockerfile(
        "FROM no.example/never:1 AS base\nFROM no.example/other AS build\nRUN never\nFROM base\n\
         COPY --from=build /f /from-build\nCOPY x /x\n",
    );
    let base = directory(&sandbox, "base", &[("root-file", "base")]);
    let build = directory(&sandbox, "build", &[("f", "built")]);
    let contexts = [format!("no.example/never:1={base}"), format!("build={build}")];
    let image = named(&sandbox, &[&contexts[0], &contexts[1]]);
    assert_eq!((image.file("/root-file"), image.file("/from-build")), ("base".to_owned(), "built".to_owned()));
    assert_eq!(image.file("/x"), "x");
}

#[test]
fn an_image_and_a_layout_stand_for_a_name() {
    let sandbox = Sandbox::new().file("a", "a").dockerfile("FROM scratch\nCOPY a /a\nENV FROM_BASE=1\n");
    built_from(&sandbox, &["-t", "made"], "context");
    let layout = sandbox.path("layout");
    std::fs::create_dir(&layout).unwrap();
    let archive = sandbox.path("made.tar");
    sandbox.kiln(&["save", "--format=oci", "-o", archive.to_str().unwrap(), "made"]).ok();
    tar::Archive::new(std::fs::File::open(&archive).unwrap()).unpack(&layout).unwrap();
    sandbox.write("Dockerfile", "FROM base\nCOPY --from=other a /b\n");
    let image =
        named(&sandbox, &[&format!("base=oci-layout://{}", layout.display()), "other=docker-image://made:latest"]);
    assert_eq!((image.file("/a"), image.file("/b")), ("a".to_owned(), "a".to_owned()));
    assert!(image.config().config.env.contains(&"FROM_BASE=1".to_owned()));
    // Also in a store that does not know the image.
    let fresh = Sandbox::new().dockerfile("FROM base\n");
    let image = named(&fresh, &[&format!("base=oci-layout://{}", layout.display())]);
    assert_eq!(image.file("/a"), "a");
}

#[test]
fn a_mount_reads_a_named_context() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN --mount=from=extra,target=/m cat /m/a > /a\n");
    let extra = directory(&sandbox, "extra", &[("a", "mounted")]);
    assert_eq!(named(&sandbox, &[&format!("extra={extra}")]).file("/a"), "mounted");
}

#[test]
fn a_mount_reads_a_repository() {
    if !(require(Need::Git) && require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "app").commit("f", "1");
    let host = git::daemon(&sandbox);
    let sandbox = sandbox.busybox("RUN --mount=from=extra,target=/m,source=f cat /m > /f\n");
    assert_eq!(named(&sandbox, &[&format!("extra=git://{host}/app")]).file("/f"), "1");
}

#[test]
fn a_context_is_fetched() {
    let archive = {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "in the archive")] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let server = FaultServer::start(move |asked| match asked.path.as_str() {
        "/c.tar" => Reply::ok(archive.clone()),
        "/Dockerfile" => Reply::ok("FROM scratch\nLABEL from=url\n"),
        _ => Reply::status(404),
    });
    let (sandbox, host) = (Sandbox::new(), server.host());
    assert_eq!(built_from(&sandbox, &[], &format!("http://{host}/c.tar")).file("/f"), "in the archive");
    let image = built_from(&sandbox, &[], &format!("http://{host}/Dockerfile"));
    assert_eq!(image.config().config.labels["from"], "url");
    let missing = sandbox.kiln(&["build", &format!("http://{host}/missing")]).fails(1);
    assert!(missing.contains("404"), "{missing}");
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --from=file context /got\n");
    assert_eq!(
        named(&sandbox, &[&format!("file=http://{host}/Dockerfile")]).file("/got"),
        "FROM scratch\nLABEL from=url\n"
    );
}

#[test]
fn a_repository_is_a_context() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = Repository::new(&sandbox, "app");
    repository.commit("sub/Dockerfile", "FROM scratch\nCOPY . /c/\n");
    repository.commit("sub/f", "1");
    let host = git::daemon(&sandbox);
    let image = built_from(&sandbox, &[], &format!("git://{host}/app#main:sub"));
    assert_eq!(image.file("/c/f"), "1");
    assert!(image.find("/c/.git").is_none());
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --from=app sub/f /f\n");
    assert_eq!(named(&sandbox, &[&format!("app=git://{host}/app#main")]).file("/f"), "1");
}

#[test]
fn what_cannot_be_a_context_is_told() {
    let sandbox = Sandbox::new().dockerfile("FROM base\n");
    for (context, part) in
        [("base=no/such/directory", "no/such/directory"), ("Up=.", "Up"), ("base=oci-layout://no", "no")]
    {
        let said = sandbox.kiln(&["build", &format!("--build-context={context}"), "context"]).fails(1);
        assert!(said.contains(part), "{said}");
    }
    sandbox.kiln(&["build", "--build-context=base", "context"]).fails(2);
}
