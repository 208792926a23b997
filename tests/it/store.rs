//! The store among several processes, some of which die, and on a full disk.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln::cache::{Cache, Recipe};
use kiln::oci::{DiffId, Digest, Encoded, ImageConfig, Manifest, media_type};
use kiln::store::{BuildEnd, Error, Outcome, Store};
use kiln::sys::Cancel;

use crate::support::{Need, require};

const ROLE: &str = "KILN_TEST_STORE_ROLE";
const ROOT: &str = "KILN_TEST_STORE_ROOT";

/// The bytes that downloads in these tests fetch.
const BLOB: &[u8] = &[b'x'; 300_000];

/// Runs one role of another process: this test program itself, so that it holds the library.
fn process(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::other_process", "--ignored", "--nocapture"]);
    command.env(ROLE, role).env(ROOT, root).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts another process and waits until it says it is where it should be.
fn until_ready(mut command: Command) -> Child {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "the other process died early");
    child
}

fn ready_and_wait() {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"ready\n").unwrap();
    stdout.flush().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "the other process of the tests in this file"]
fn other_process() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    match role.to_str().unwrap() {
        "ingest" => {
            let store = Store::open(&root).unwrap();
            let _tree = store.new_tree().unwrap();
            store.begin_build("killed").unwrap();
            let mut ingest = store.ingest().unwrap();
            ingest.write_all(BLOB).unwrap();
            ready_and_wait();
        }
        "download" => {
            let store = Store::open(&root).unwrap();
            let mut partial = store.partial(Digest::of(BLOB), &Cancel::new()).unwrap().unwrap();
            partial.write_all(&BLOB[..100_000]).unwrap();
            ready_and_wait();
        }
        "commit" => {
            let store = Store::open(&root).unwrap();
            std::io::stdout().write_all(b"ready\n").unwrap();
            (0..u32::MAX).for_each(|number| {
                commit(&store, &format!("image {number}"), &["moving:1", "moving:2"]);
            });
        }
        "build" => build(&root, std::process::id()),
        "fill" => fill(&root),
        other => panic!("no role {other}"),
    }
}

fn commit(store: &Store, author: &str, tags: &[&str]) -> Digest {
    commit_over(store, author, author, tags)
}

/// Makes an image with one layer of this content.
fn commit_over(store: &Store, content: &str, author: &str, tags: &[&str]) -> Digest {
    let layer = DiffId::new(store.put_bytes(content.as_bytes()).unwrap());
    store.put_layer(layer, content.len() as u64, b"index").unwrap();
    let mut config = ImageConfig { author: Some(author.to_owned()), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![layer];
    let config = Encoded::encode(media_type::OCI_CONFIG, config);
    let layers = vec![kiln::oci::Descriptor::new(media_type::OCI_LAYER, layer.digest(), content.len() as u64)];
    let manifest = Manifest {
        schema_version: 2,
        media_type: None,
        artifact_type: None,
        config: config.descriptor().clone(),
        layers,
        subject: None,
        annotations: Default::default(),
    };
    let manifest = Encoded::encode(media_type::OCI_MANIFEST, manifest);
    let tags: Vec<_> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    store.commit_image(&manifest, &config, &tags).unwrap();
    manifest.digest()
}

/// What a small build does to the store, some of it in common with every other.
fn build(root: &Path, number: u32) {
    let store = Store::open(root).unwrap();
    let cache = Cache::new(&store);
    let build = store.begin_build("one of many").unwrap();
    for step in 0..5 {
        for name in [format!("shared {step}"), format!("{number} {step}")] {
            let layer = DiffId::new(store.put_bytes(name.as_bytes()).unwrap());
            store.put_layer(layer, name.len() as u64, b"index").unwrap();
            let tree = store.new_tree().unwrap();
            if !store.bind_tree(&tree, layer).unwrap() {
                store.drop_tree(&tree).unwrap();
            }
            let recipe = Recipe::new(&name);
            cache.insert(&recipe, None, Some(layer), &build, jiff::Timestamp::now()).unwrap();
            assert_eq!(cache.lookup(&recipe.key()).unwrap().unwrap().result, Some(layer));
        }
    }
    let tags = [&format!("image-{number}"), "latest-of-all"];
    let manifest = commit_over(&store, "shared 0", &format!("author {number}"), &tags);
    // Somebody may have removed the image by now, but no byte of it as long as this store is open.
    std::thread::sleep(Duration::from_millis(5));
    assert!(store.has_layer(DiffId::new(Digest::of(b"shared 0"))).unwrap());
    store.read_blob(manifest, 1 << 20).unwrap();
    let (project, facts) = (String::new(), String::new());
    let end = BuildEnd { outcome: Outcome::Done, project, image: Some(manifest), facts, steps: Vec::new() };
    store.finish_build(&build, &end).unwrap();
}

/// Fills the disk below `root` in every way the store has, and sees each say so.
fn fill(root: &Path) {
    let store = Store::open(root).unwrap();
    let kept = commit(&store, "kept", &["kept"]);
    let mut ingest = store.ingest().unwrap();
    let full = loop {
        if let Err(source) = ingest.write_all(BLOB) {
            break Error::io("write", ingest.path(), source);
        }
    };
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    let index = vec![7; 4 << 20];
    let full = store.put_layer(DiffId::new(Digest::of(b"x")), 1, &index).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    drop(ingest);
    assert_eq!(store.find_image("kept").unwrap().manifest, kept);
    assert_eq!(store.layer_index(DiffId::new(Digest::of(b"x"))).unwrap(), None);
    commit(&store, "another", &["another"]);
    std::io::stdout().write_all(b"said so\n").unwrap();
}

fn files(root: &Path, directory: &str) -> usize {
    std::fs::read_dir(root.join(directory)).unwrap().count()
}

#[test]
fn a_killed_process_leaves_nothing_half_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let mut child = until_ready(process("ingest", &root));
    let beside = Store::open(&root).unwrap();
    assert_eq!((files(&root, "ingest"), files(&root, "trees")), (1, 1), "what the living hold stays");
    drop(beside);
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::open(&root).unwrap();
    assert_eq!((files(&root, "ingest"), files(&root, "trees"), files(&root, "blobs/sha256")), (0, 0, 0));
    assert_eq!(store.find_build(None).unwrap().outcome, Some(Outcome::Interrupted));
}

#[test]
fn a_killed_download_is_resumed_by_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let mut child = until_ready(process("download", &root));
    let store = Store::open(&root).unwrap();
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || {
            let mut partial = store.partial(Digest::of(BLOB), &Cancel::new()).unwrap().unwrap();
            assert_eq!(partial.len(), 100_000);
            partial.write_all(&BLOB[100_000..]).unwrap();
            partial.finish(BLOB.len() as u64).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished(), "only one process downloads a blob");
    child.kill().unwrap();
    child.wait().unwrap();
    waiting.join().unwrap();
    assert_eq!(store.has_blob(Digest::of(BLOB)).unwrap(), Some(BLOB.len() as u64));
}

#[test]
fn names_move_together_however_a_process_dies() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    for round in 0..8 {
        let mut child = until_ready(process("commit", &root));
        std::thread::sleep(Duration::from_millis(10 + 7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(&root).unwrap();
        let tag = |name: &str| store.tag(&name.parse().unwrap()).unwrap();
        assert_eq!(tag("moving:1"), tag("moving:2"));
        for image in store.images().unwrap() {
            store.read_blob(image.manifest, 1 << 20).unwrap();
            store.read_blob(image.image_id, 1 << 20).unwrap();
            assert!(
                store.image_layers(image.manifest).unwrap().iter().all(|(layer, _)| store.has_layer(*layer).unwrap())
            );
        }
        assert_eq!(files(&root, "ingest"), 0);
    }
}

#[test]
fn many_processes_build_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    // No store is there yet, so they also make it at once.
    let children: Vec<Child> = (0..16).map(|_| process("build", &root).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let store = Store::open(&root).unwrap();
    assert_eq!((store.images().unwrap().len(), store.tags().unwrap().len()), (16, 17));
    assert_eq!(files(&root, "trees"), 5 + 16 * 5, "one tree for each layer, whoever made it");
    assert_eq!(files(&root, "ingest"), 0);
    assert!(store.builds().unwrap().iter().all(|build| build.outcome == Some(Outcome::Done)));
}

#[test]
fn many_threads_build_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..64 {
            let store = &store;
            scope.spawn(move || commit(store, &format!("author {number}"), &[&format!("image-{number}"), "last"]));
        }
    });
    assert_eq!((store.images().unwrap().len(), store.tags().unwrap().len()), (64, 65));
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 65);
}

#[test]
fn removing_images_does_not_disturb_builds() {
    const BUILDS: usize = 24;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let remove_all = || {
        let store = Store::open(&root).unwrap();
        for image in store.images().unwrap() {
            store.remove_image(&image.manifest.to_string(), true).unwrap();
        }
    };
    // A new store each time, which deletes whenever it is alone; what builds have in common makes them collide.
    std::thread::scope(|scope| {
        let builds = scope.spawn(|| {
            for _ in 0..BUILDS / 3 {
                let children: Vec<Child> = (0..3).map(|_| process("build", &root).spawn().unwrap()).collect();
                for child in children {
                    let output = child.wait_with_output().unwrap();
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
                }
            }
        });
        while !builds.is_finished() {
            remove_all();
        }
    });
    remove_all();
    let store = Store::open(&root).unwrap();
    assert!(store.images().unwrap().is_empty() && store.tags().unwrap().is_empty());
    // What is left are the cached steps that were never in an image.
    assert_eq!(files(&root, "blobs/sha256"), 4 + BUILDS * 5);
    assert_eq!(files(&root, "trees"), 4 + BUILDS * 5);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    if !require(Need::UserNamespaces) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // In namespaces of its own, so that no mount outlives the test.
    let mut command = Command::new("unshare");
    let test = process("fill", &directory.path().join("root"));
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"",
    ]);
    command.arg(directory.path()).arg(test.get_program()).args(test.get_args());
    command.envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("said so"), "{stdout}{stderr}");
}
