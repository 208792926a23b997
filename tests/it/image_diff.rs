//! diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::{Need, Sandbox, ran, require};

/// A store with `app:1` and `app:2`, which share their first layer.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .file("base/etc/same", "same")
        .file("base/etc/conf", "one\ntwo\n")
        .file("base/opt/gone/data", "x".repeat(3000))
        .file("one/tool", "1")
        .program("two/tool", "22")
        .file("two/new/file", "new");
    sandbox.write("Dockerfile", "FROM scratch\nCOPY base /\nCOPY one /usr/\nENV A=1\nCMD [\"/a\"]\n");
    sandbox.kiln(&["build", "-t", "app:1", "context"]).ok();
    sandbox.write("Dockerfile", "FROM scratch\nCOPY base /\nCOPY two /usr/\nENV A=2\nCMD [\"/a\"]\n");
    sandbox.kiln(&["build", "-t", "app:2", "context"]).ok();
    sandbox
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.kiln(&[&["diff", "--json"], arguments].concat()).ok()).unwrap()
}

/// Returns `added /path`, one for each change.
fn changes(document: &Value) -> Vec<String> {
    let changes = document["files"]["changes"].as_array().unwrap();
    let text = |member: &Value| member.as_str().unwrap().to_owned();
    changes.iter().map(|change| format!("{} {}", text(&change["change"]), text(&change["path"]))).collect()
}

#[test]
fn two_images_differ_in_files_config_and_history() {
    let shown = sandbox().kiln(&["diff", "app:1", "app:2"]).ok();
    for expected in [
        "--- app:1  (",
        "2 layers, 1 shared)",
        "files  2 added, 1 changed, 0 deleted",
        "A /usr/new/\n",
        "A /usr/new/file  3B\n",
        "C /usr/tool  content 1B → 2B, mode 0644 → 0755\n",
        "\nsize by layer\n+5B",
        "\nC Env A  1 → 2\n",
        "\n- layer 2  COPY one /usr/ # buildkit\n",
        "\n+ ENV A=2\n",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    assert!(!shown.contains("/etc") && !shown.contains("CMD"), "{shown}");
}

#[test]
fn equal_images_have_no_differences() {
    let sandbox = sandbox();
    let shown = sandbox.kiln(&["diff", "--exit-code", "app:1", "app:1"]).ok();
    assert!(shown.ends_with("\nno differences\n"), "{shown}");
    assert_eq!(sandbox.kiln(&["diff", "--exit-code", "app:1", "app:2"]).fails(1), "");
    assert_eq!(sandbox.kiln(&["diff", "--exit-code", "--only=files", "app:1", "app:2", "--", "etc"]).code, Some(0));
}

#[test]
fn every_kind_of_side_is_the_same_image() {
    let sandbox = sandbox();
    sandbox.kiln(&["save", "-o", "docker.tar", "app:1"]).ok();
    sandbox.kiln(&["save", "--format=oci", "-o", "oci.tar", "app:1"]).ok();
    sandbox.kiln(&["save", "-o", "both.tar", "app:1", "app:2"]).ok();
    fs::create_dir(sandbox.path("layout")).unwrap();
    tar::Archive::new(fs::File::open(sandbox.path("oci.tar")).unwrap()).unpack(sandbox.path("layout")).unwrap();
    let id = sandbox.image("app:1").id().to_string();
    let fresh = Sandbox::new();
    for side in [
        "docker.tar",
        "./oci.tar",
        "docker-archive:docker.tar",
        "oci-archive:oci.tar",
        "docker-archive:both.tar:app:1",
        "layout",
        "./layout",
        "oci:layout",
        "app:1",
        &id,
        &id[7..19],
        "app:1@4",
    ] {
        let document = json(&sandbox, &[side, "app:2"]);
        let expected = ["added /usr/new", "added /usr/new/file", "changed /usr/tool"];
        assert_eq!(changes(&document), expected, "{side}");
    }
    // What was compared is no image of the store, and moved no name.
    let archive = sandbox.path("docker.tar");
    fresh.kiln(&["diff", "--exit-code", archive.to_str().unwrap(), sandbox.path("layout").to_str().unwrap()]).ok();
    assert_eq!(fresh.kiln(&["images", "-q"]).ok(), "");
    let stderr = sandbox.kiln(&["diff", "both.tar", "app:2"]).fails(1);
    assert!(stderr.contains("app:1, app:2"), "{stderr}");
    assert!(sandbox.kiln(&["diff", "app:1@9", "app:2"]).fails(1).contains("app:1@9 has 4 steps"));
    assert!(sandbox.kiln(&["diff", "container:x", "app:2"]).fails(1).contains("cannot compare"));
}

#[test]
fn a_step_is_what_was_there_after_it() {
    let sandbox = sandbox();
    let document = json(&sandbox, &["app:1@1", "app:1"]);
    assert_eq!(changes(&document), ["added /usr", "added /usr/tool"]);
    assert_eq!(document["config"], Value::Null);
    assert_eq!(document["history"][1]["change"], "added");
    assert_eq!(json(&sandbox, &["app:1@0", "app:1@1"])["files"]["added"], 6);
}

#[test]
fn a_directory_is_compared_with_an_image() {
    let sandbox = sandbox();
    sandbox.kiln(&["build", "-q", "-o", "tree", "context"]).ok();
    assert_eq!(changes(&json(&sandbox, &["app:2", "./tree"])), [""; 0]);
    fs::write(sandbox.path("tree/etc/conf"), "other").unwrap();
    fs::remove_file(sandbox.path("tree/usr/tool")).unwrap();
    assert_eq!(changes(&json(&sandbox, &["app:2", "dir:tree"])), ["changed /etc/conf", "deleted /usr/tool"]);
    assert_eq!(changes(&json(&sandbox, &["tree", "tree"])), [""; 0]);
}

#[test]
fn one_image_shows_what_each_layer_did() {
    let sandbox = sandbox();
    sandbox.write("Dockerfile", "FROM app:2\nCOPY one /usr/\n");
    sandbox.kiln(&["build", "-t", "app:3", "context"]).ok();
    let shown = sandbox.kiln(&["diff", "app:3"]).ok();
    assert!(
        shown.contains("layer 3  ") && shown.ends_with("\nC /usr/tool  content 2B → 1B, mode 0755 → 0644\n"),
        "{shown}"
    );
    let document = json(&sandbox, &["app:3"]);
    assert_eq!(document.as_array().unwrap().len(), 3);
    assert_eq!(document[2]["files"]["changed"], 1);
    let shown = sandbox.kiln(&["diff", "--limit=1", "app:3"]).ok();
    assert!(shown.contains("\n… 5 more (--limit 0)\n"), "{shown}");
}

#[test]
fn growth_is_held_against_a_budget() {
    let sandbox = sandbox();
    sandbox.write("big", "x".repeat(20_000));
    sandbox.write("Dockerfile", "FROM app:1\nCOPY big /big\n");
    sandbox.kiln(&["build", "-t", "big", "context"]).ok();
    let stderr = sandbox.kiln(&["diff", "--budget=+10kB", "app:1", "big"]).fails(1);
    assert!(stderr.contains("big is larger than app:1 by") && stderr.contains("the budget is +10kB"), "{stderr}");
    sandbox.kiln(&["diff", "--budget", "+1MB", "app:1", "big"]).ok();
    sandbox.kiln(&["diff", "--budget=0", "big", "app:1"]).ok();
    sandbox.kiln(&["diff", "--budget=+1%", "app:1", "big"]).fails(1);
    sandbox.kiln(&["diff", "--budget=+1000%", "app:1", "big"]).ok();
    assert!(sandbox.kiln(&["diff", "--budget=much", "app:1", "big"]).fails(2).contains("+10MB"));
}

#[test]
fn hostile_names_reach_no_terminal() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nCOPY a /a\n");
    sandbox.write("a/\u{1b}[31mred\nline", "1");
    fs::write(sandbox.context("a").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "2")
        .unwrap();
    sandbox.kiln(&["build", "-t", "test", "context"]).ok();
    for arguments in [&["diff", "test@0", "test"][..], &["diff", "test"]] {
        let shown = sandbox.kiln(arguments).ok();
        assert!(!shown.contains('\u{1b}') && shown.contains("A /a/\\u{1b}[31mred\\nline"), "{shown}");
        assert!(shown.contains("A /a/\\xff"), "{shown}");
    }
    let document = json(&sandbox, &["test@0", "test"]);
    let paths = document["files"]["changes"].as_array().unwrap();
    assert_eq!(paths[1]["path"], "/a/\u{1b}[31mred\nline");
    assert_eq!((&paths[2]["path"], &paths[2]["path_hex"]), (&"/a/\\xff".into(), &"2f612fff".into()));
}

#[test]
fn only_layers_that_differ_are_fetched() {
    if !require(Need::Registry) {
        return;
    }
    let registry = Registry::start();
    let (from, to) = (sandbox(), Sandbox::new());
    let name = |tag: u8| format!("{}/app:{tag}", registry.host());
    for tag in [1, 2] {
        from.kiln(&["tag", &format!("app:{tag}"), &name(tag)]).ok();
        from.kiln(&["push", &name(tag)]).ok();
    }
    let compressed = |tag: u8, layer: usize| from.image(&name(tag)).manifest().layers[layer].digest;
    let has = |digest: kiln::oci::Digest| to.path("root/blobs/sha256").join(digest.hex()).exists();
    let document = json(&to, &[&name(1), &name(2)]);
    assert_eq!(changes(&document), ["changed /usr/new/file", "changed /usr/tool"]);
    assert_eq!(document["files"]["shared_layers_known"], false);
    assert!(has(compressed(1, 1)) && has(compressed(2, 1)) && !has(compressed(1, 0)));
    assert!(to.kiln(&["diff", &name(1), &name(2)]).ok().contains("--fetch-shared"));
    // No more than the documents for these.
    assert_eq!(json(&to, &["--only=config", &name(1), &name(2)])["files"], Value::Null);
    let document = json(&to, &["--fetch-shared", &name(1), &name(2)]);
    assert_eq!(changes(&document), ["added /usr/new", "added /usr/new/file", "changed /usr/tool"]);
    assert!(has(compressed(1, 0)));
    assert_eq!(to.kiln(&["images", "-q"]).ok(), "");
}

#[test]
fn broken_layers_and_lost_blobs_are_errors() {
    let sandbox = sandbox();
    sandbox.kiln(&["save", "--format=oci", "-o", "oci.tar", "app:1"]).ok();
    let layout = sandbox.path("layout");
    fs::create_dir(&layout).unwrap();
    tar::Archive::new(fs::File::open(sandbox.path("oci.tar")).unwrap()).unpack(&layout).unwrap();
    let layer = sandbox.image("app:1").manifest().layers[1].digest.hex();
    let blob = layout.join("blobs/sha256").join(layer);
    let bytes = fs::read(&blob).unwrap();
    let fresh = Sandbox::new();
    let layout = layout.to_str().unwrap();
    fs::write(&blob, &bytes[..bytes.len() - 3]).unwrap();
    let stderr = fresh.kiln(&["diff", layout]).fails(1);
    assert!(stderr.contains("sha256:"), "{stderr}");
    fs::remove_file(&blob).unwrap();
    let stderr = fresh.kiln(&["diff", layout]).fails(1);
    assert!(stderr.contains("cannot read"), "{stderr}");
    fs::write(sandbox.path("no.tar"), "this is no archive").unwrap();
    sandbox.kiln(&["diff", "no.tar", "app:1"]).fails(1);
    sandbox.kiln(&["diff", "./none", "app:1"]).fails(1);
}

#[test]
fn an_image_without_layers_is_compared() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nLABEL a=b\n");
    sandbox.kiln(&["build", "-t", "empty", "context"]).ok();
    assert_eq!(sandbox.kiln(&["diff", "empty"]).ok(), "no layers\n");
    assert!(sandbox.kiln(&["diff", "empty", "empty"]).ok().contains("no differences"));
}

/// Returns what `diff -r` says of two trees: paths that one has alone, with all below, and files that differ.
fn by_diff(before: &Path, after: &Path) -> BTreeSet<String> {
    let output = ran(Command::new("diff").args(["-rq", "--no-dereference"]).args([before, after])).stdout;
    let mut found = BTreeSet::new();
    let below = |path: &Path, root: &Path| format!("/{}", path.strip_prefix(root).unwrap().display());
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("Only in ") {
            let (directory, name) = rest.split_once(": ").unwrap();
            let path = Path::new(directory).join(name);
            let (word, root) = if path.starts_with(before) { ("deleted", before) } else { ("added", after) };
            let all = walkdir::WalkDir::new(&path).follow_root_links(false).into_iter().map(Result::unwrap);
            found.extend(all.map(|entry| format!("{word} {}", below(entry.path(), root))));
        } else {
            let path = line.split(' ').find(|word| word.starts_with(before.to_str().unwrap())).unwrap();
            found.insert(format!("changed {}", below(Path::new(path), before)));
        }
    }
    found
}

#[test]
fn umoci_and_diff_find_the_same() {
    if !(require(Need::Root) && require(Need::Umoci) && require(Need::Skopeo) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "RUN mkdir -p /data/a/b /data/c && for i in 1 2 3 4; do echo $i > /data/a/$i; echo $i > /data/a/b/$i; done && \
         ln /data/a/1 /data/c/hard && ln -s a /data/link && mkfifo /data/fifo\n\
         RUN echo more >> /data/a/1 && rm -r /data/a/b && mkdir /data/a/b && echo 5 > /data/a/b/5 && rm /data/a/2 && \
         rm /data/link && mkdir /data/link && echo x > /data/link/x && rm /data/fifo && mv /data/a/3 /data/c/3\n\
         RUN rm -r /data/c && echo file > /data/c && ln -s /nowhere /data/a/2 && chmod 600 /data/a/4\n",
    );
    let image = sandbox.build().unwrap();
    let count = image.config().history.len();
    let unpack = |step: usize| {
        // The image up to a step is one whose Dockerfile ends there.
        let text = fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
        let kept: Vec<&str> = text.lines().take(step + 1).collect();
        let cut = Sandbox::new().dockerfile(&(kept.join("\n") + "\n"));
        fs::copy("/bin/busybox", cut.context("busybox")).unwrap();
        let target = sandbox.path(&format!("unpacked{step}"));
        fs::create_dir(&target).unwrap();
        cut.build().unwrap().unpack_with_umoci(&target).join("rootfs")
    };
    let trees: Vec<_> = (2..=count).map(unpack).collect();
    for (old, before) in (2..=count).zip(&trees) {
        for (new, after) in (2..=count).zip(&trees) {
            let document = json(&sandbox, &[&format!("test@{old}"), &format!("test@{new}")]);
            let found: BTreeSet<String> = document["files"]["changes"]
                .as_array()
                .unwrap()
                .iter()
                // diff looks at contents, links and what is there, but not at modes and owners.
                .filter(|change| {
                    let classes = change["classes"].as_array().unwrap();
                    classes.is_empty()
                        || classes.iter().any(|class| matches!(class.as_str(), Some("content" | "link" | "type")))
                })
                .map(|change| format!("{} {}", change["change"].as_str().unwrap(), change["path"].as_str().unwrap()))
                .collect();
            assert_eq!(ordered(&found), ordered(&by_diff(before, after)), "{old} {new}");
        }
    }
}

/// A file that became a directory is one change for diff, and kiln tells what is in it as well.
fn ordered(found: &BTreeSet<String>) -> Vec<String> {
    let changed: Vec<&str> = found.iter().filter_map(|line| line.strip_prefix("changed ")).collect();
    let is_below = |line: &&String| {
        let path = line.split_once(' ').unwrap().1;
        changed.iter().any(|changed| path.strip_prefix(changed).is_some_and(|rest| rest.starts_with('/')))
    };
    found.iter().filter(|line| !is_below(line)).cloned().collect()
}
