//! Layers of base images that no step reads: whoever only pushes leaves them in their registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kiln::oci::Digest;

use crate::support::fault_server::{Asked, FaultServer, Reply};
use crate::support::registry::Registry;
use crate::support::{Need, Sandbox, User, require};

/// What a registry has, by repository and digest or tag; manifests along with blobs.
type Kept = Arc<Mutex<BTreeMap<(String, String), Vec<u8>>>>;

/// A registry that keeps what it is sent, and lends it to its other repositories if `lends`.
fn registry(lends: bool) -> (FaultServer, Kept) {
    let kept = Kept::default();
    let shared = kept.clone();
    (FaultServer::start(move |asked| answer(asked, &shared, lends)), kept)
}

fn answer(asked: &Asked, kept: &Kept, lends: bool) -> Reply {
    let mut kept = kept.lock().unwrap();
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let parameters: BTreeMap<&str, &str> = query.split('&').filter_map(|each| each.split_once('=')).collect();
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    let Some((repository, rest)) = path.split_once("/blobs/").or_else(|| path.split_once("/manifests/")) else {
        return Reply::ok("{}");
    };
    let key = |name: &str| (repository.to_owned(), name.to_owned());
    match (asked.method.as_str(), parameters.get("mount"), parameters.get("from")) {
        ("POST", Some(digest), Some(from)) if lends => {
            match kept.get(&((*from).to_owned(), (*digest).to_owned())).cloned() {
                Some(bytes) => drop(kept.insert(key(digest), bytes)),
                None => return Reply::status(202).header("Location", asked.path.clone()),
            }
            Reply::status(201)
        }
        ("POST", ..) => Reply::status(202).header("Location", format!("/v2/{repository}/blobs/uploads/1")),
        ("PUT", ..) => {
            let name = parameters.get("digest").copied().unwrap_or(rest);
            kept.insert(key(name), asked.body.clone());
            kept.insert(key(&Digest::of(&asked.body).to_string()), asked.body.clone());
            Reply::status(201)
        }
        _ => match kept.get(&key(rest)) {
            Some(bytes) => Reply::ok(bytes.clone()),
            None => Reply::status(404),
        },
    }
}

/// Publishes an image of two layers and returns the digests of their blobs.
fn publish(host: &str) -> Vec<String> {
    let sandbox = Sandbox::new().file("a", "one").file("b", "two");
    let sandbox = sandbox.dockerfile("FROM scratch\nCOPY a /a\nCOPY b /b\n");
    let name = format!("{host}/team/base:1");
    sandbox.kiln(&["build", "-q", "--push", "-t", &name, "context"]).ok();
    sandbox.image(&name).manifest().layers.iter().map(|layer| layer.digest.to_string()).collect()
}

/// A sandbox whose build adds a file to that image, without a look at what is there.
fn adding(host: &str) -> Sandbox {
    Sandbox::new().file("c", "three").dockerfile(&format!("FROM {host}/team/base:1\nCOPY --link c /c\n"))
}

/// Returns how often any of the blobs was fetched from a server, and how often one was sent to one.
fn moved(server: &FaultServer, blobs: &[String], to: &FaultServer) -> (usize, usize) {
    let fetched = blobs.iter().map(|blob| server.asked("GET", &format!("/blobs/{blob}")).len()).sum();
    let sent = blobs.iter().map(|blob| to.asked("PUT", &format!("/v2/team/app/blobs/uploads/1?digest={blob}")).len());
    (fetched, sent.sum())
}

#[test]
fn a_push_leaves_base_layers_where_they_are() {
    let (server, kept) = registry(true);
    let base = publish(&server.host());
    let sandbox = adding(&server.host());
    let name = format!("{}/team/app:1", server.host());
    for asked in ["--push", "--output=type=image,push=true"] {
        sandbox.kiln(&["build", asked, "-t", &name, "context"]).ok();
        assert_eq!(moved(&server, &base, &server), (0, 0), "{asked:?}");
    }
    let manifest: serde_json::Value =
        serde_json::from_slice(&kept.lock().unwrap()[&("team/app".to_owned(), "1".to_owned())]).unwrap();
    let layers: Vec<&str> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap()).collect();
    assert_eq!((layers.len(), &layers[..2]), (3, &[base[0].as_str(), &base[1]][..]));

    // Whoever reads the image here fetches what is missing, once.
    sandbox.image(&name).validate();
    assert_eq!(moved(&server, &base, &server), (2, 0));
    sandbox.kiln(&["diff", &name]).ok();
    assert_eq!(moved(&server, &base, &server), (2, 0));

    // And elsewhere it is an image like any.
    let other = Sandbox::new();
    other.kiln(&["pull", &name]).ok();
    assert_eq!(other.image(&name).file("a"), "one");
}

#[test]
fn what_was_never_fetched_can_be_pushed_under_another_name() {
    let (server, _) = registry(true);
    let base = publish(&server.host());
    let sandbox = adding(&server.host());
    let (name, other) = (format!("{}/team/app:1", server.host()), format!("{}/team/other:1", server.host()));
    sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    sandbox.kiln(&["tag", &name, &other]).ok();
    sandbox.kiln(&["push", &other]).ok();
    assert_eq!(moved(&server, &base, &server), (0, 0));
    // Another registry has to be sent them.
    let (elsewhere, _) = registry(true);
    let there = format!("{}/team/app:1", elsewhere.host());
    sandbox.kiln(&["tag", &name, &there]).ok();
    sandbox.kiln(&["push", &there]).ok();
    assert_eq!((moved(&server, &base, &server), moved(&elsewhere, &base, &elsewhere)), ((2, 0), (0, 2)));
}

#[test]
fn what_is_not_lent_is_fetched_and_sent() {
    let (server, _) = registry(false);
    let base = publish(&server.host());
    let sandbox = adding(&server.host());
    let name = format!("{}/team/app:1", server.host());
    sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    assert_eq!(moved(&server, &base, &server), (2, 2));

    let ((server, _), (elsewhere, _)) = (registry(true), registry(true));
    let base = publish(&server.host());
    let sandbox = adding(&server.host());
    let (here, there) = (format!("{}/team/app:1", server.host()), format!("{}/team/app:1", elsewhere.host()));
    sandbox.kiln(&["build", "--push", "-t", &here, "-t", &there, "context"]).ok();
    assert_eq!((moved(&server, &base, &server).0, moved(&server, &base, &elsewhere).1), (2, 2));
}

#[test]
fn who_wants_more_than_a_push_has_all_layers() {
    let archive = tempfile::tempdir().unwrap();
    let archive = format!("type=oci,dest={}", archive.path().join("a.tar").display());
    let (server, _) = registry(true);
    for flags in [
        &["--push", "--load"][..],
        &["--push", "--output", &archive],
        &["--push", "--squash=all"],
        &["--push", "--insecure-registry", &server.host()],
        &["--output", "type=registry,compression=zstd,force-compression=true"],
        &[],
    ] {
        let (server, _) = registry(true);
        let base = publish(&server.host());
        let sandbox = adding(&server.host());
        let name = format!("{}/team/app:1", server.host());
        sandbox.kiln(&[&["build"], flags, &["-t", &name, "context"]].concat()).ok();
        assert_eq!(moved(&server, &base, &server).0, 2, "{flags:?}");
    }
}

#[test]
fn a_step_has_the_files_that_it_reads() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let (server, _) = registry(true);
    let base = publish(&server.host());
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let steps = "COPY --link --chmod=755 busybox /bin/busybox\nRUN [\"/bin/busybox\", \"cp\", \"/a\", \"/copy\"]\n";
    let text = format!("FROM {}/team/base:1\n{steps}", server.host());
    let sandbox = Sandbox::new().file("busybox", busybox).dockerfile(&text);
    let name = format!("{}/team/app:1", server.host());
    sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    assert_eq!(moved(&server, &base, &server), (2, 0));
    assert_eq!(sandbox.image(&name).file("copy"), "one");
}

#[test]
fn a_layer_of_another_size_than_its_image_says_is_not_published() {
    let (server, kept) = registry(true);
    publish(&server.host());
    let key = ("team/base".to_owned(), "1".to_owned());
    let manifest = String::from_utf8(kept.lock().unwrap()[&key].clone()).unwrap();
    let mut wrong: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    wrong["layers"][0]["size"] = 7.into();
    kept.lock().unwrap().insert(key, wrong.to_string().into_bytes());
    let sandbox = adding(&server.host());
    let name = format!("{}/team/app:1", server.host());
    let stderr = sandbox.kiln(&["build", "--push", "-t", &name, "context"]).fails(1);
    assert!(stderr.contains("which should have 7"), "{stderr}");
    assert!(!kept.lock().unwrap().contains_key(&("team/app".to_owned(), "1".to_owned())));
}

#[test]
fn a_name_that_was_only_given_here_keeps_nobody_from_the_layers() {
    let (server, _) = registry(true);
    let base = publish(&server.host());
    let sandbox = adding(&server.host());
    let (name, given) = (format!("{}/team/app:1", server.host()), format!("{}/never/pushed:1", server.host()));
    sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    sandbox.kiln(&["tag", &name, &given]).ok();
    sandbox.write("Dockerfile", format!("FROM {given}\nENV A=1\n"));
    let other = format!("{}/team/other:1", server.host());
    sandbox.kiln(&["build", "--push", "-t", &other, "context"]).ok();
    assert_eq!(moved(&server, &base, &server), (0, 0));
    sandbox.image(&other).validate();
}

#[test]
fn a_registry_that_is_gone_is_named_by_whoever_needs_it() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/team/app:1", registry.host());
    publish(&registry.host());
    let sandbox = adding(&registry.host());
    sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
    let host = registry.host();
    drop(registry);
    let stderr = sandbox.kiln(&["save", "-o", "x.tar", &name]).fails(1);
    assert!(stderr.contains(&host), "{stderr}");
}

#[test]
fn any_user_leaves_base_layers_in_a_real_registry() {
    if !require(Need::Registry) {
        return;
    }
    let users =
        [(User::Current, Need::Registry), (User::Subordinate, Need::SubordinateIds), (User::Single, Need::Root)];
    for user in users.into_iter().filter(|(_, need)| require(*need)).map(|(user, _)| user) {
        let registry = Registry::start();
        let name = format!("{}/team/app:1", registry.host());
        let base = publish(&registry.host());
        let sandbox = Sandbox::of(user).file("c", "three");
        let sandbox = sandbox.dockerfile(&format!("FROM {}/team/base:1\nCOPY --link c /c\n", registry.host()));
        sandbox.kiln(&["build", "--push", "-t", &name, "context"]).ok();
        let blob = |digest: &String| sandbox.path("root/blobs/sha256").join(digest.trim_start_matches("sha256:"));
        assert!(base.iter().all(|digest| !blob(digest).exists()));
        sandbox.image(&name).validate();
        assert!(base.iter().all(|digest| blob(digest).exists()));
    }
}
