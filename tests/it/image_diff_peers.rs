//! diff finds what other tools find, and reads what they write.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::image_diff::{changes, json, sandbox};
use crate::support::registry::Registry;
use crate::support::{Need, Sandbox, ran, require};

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

#[test]
fn what_skopeo_writes_is_compared() {
    if !(require(Need::Skopeo) && require(Need::Registry)) {
        return;
    }
    let (from, registry) = (sandbox(), Registry::start());
    let copy = |tag: u8, target: &str| {
        let source = format!("oci-archive:{}", from.path(&format!("{tag}.tar")).display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", &source, target]);
        ran(&mut skopeo).ok();
    };
    let path = |name: String| from.path(&name).display().to_string();
    let forms = |tag: u8| {
        [
            format!("docker-archive:{}", path(format!("skopeo{tag}.tar"))),
            format!("oci-archive:{}", path(format!("skopeo-oci{tag}.tar"))),
            format!("oci:{}:v{tag}", path("skopeo-layout".to_owned())),
            format!("docker://{}/app:{tag}", registry.host()),
        ]
    };
    for tag in [1, 2] {
        from.kiln(&["save", "--format=oci", "-o", &format!("{tag}.tar"), &format!("app:{tag}")]).ok();
        forms(tag).iter().for_each(|target| copy(tag, target));
    }
    let expected = ["added /usr/new", "added /usr/new/file", "changed /usr/tool"];
    for before in forms(1) {
        for after in forms(2) {
            let fresh = Sandbox::new();
            let document = json(&fresh, &["--fetch-shared", &before, &after]);
            assert_eq!(changes(&document), expected, "{before} {after}");
            assert_eq!(document["shared_layers"], 1, "{before} {after}");
        }
    }
    // Layers that skopeo compressed its own way are the same layers.
    for form in forms(1) {
        assert_eq!(changes(&json(&from, &["app:1", &form])), [""; 0], "{form}");
    }
}

#[test]
fn podman_and_kiln_find_the_same() {
    if !(require(Need::Root) && require(Need::Podman) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.context("")).unwrap();
    fs::copy("/bin/busybox", sandbox.context("busybox")).unwrap();
    let steps = [
        "mkdir -p /data/a/b /data/c && for i in 1 2 3; do echo $i > /data/a/$i; echo $i > /data/a/b/$i; done",
        "echo more >> /data/a/1 && rm -r /data/a/b && rm /data/a/2 && ln -s a /data/link && chmod 600 /data/a/3",
        "rm -r /data/c && echo file > /data/c && rm /data/link && mkdir /data/link && echo x > /data/link/x",
    ];
    let name = |count: usize| format!("localhost/app:{count}");
    for count in 1..=steps.len() {
        let runs: String =
            steps[..count].iter().map(|step| format!("RUN [\"/bin/sh\", \"-c\", \"{step}\"]\n")).collect();
        let links = "COPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\n";
        sandbox.write("Dockerfile", format!("FROM scratch\n{links}{runs}"));
        sandbox.kiln(&["build", "-q", "-t", &name(count), "context"]).ok();
    }
    let names: Vec<String> = (1..=steps.len()).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    sandbox.kiln(&[&["save", "-o", "all.tar"], &names[..]].concat()).ok();
    let podman = |arguments: &[&str]| {
        let mut podman = Command::new("podman");
        let state = |name: &str| sandbox.path(name).display().to_string();
        podman.args(["--root", &state("p"), "--runroot", &state("r"), "--storage-driver", "vfs"]);
        ran(podman.args(["--events-backend", "none"]).args(arguments)).ok()
    };
    podman(&["load", "-q", "-i", &sandbox.path("all.tar").display().to_string()]);
    for (before, after) in [(0, 1), (1, 2), (0, 2), (2, 0)] {
        let document = json(&sandbox, &["--mtime", names[before], names[after]]);
        let found = document["files"]["changes"].as_array().unwrap();
        let is_directory =
            |change: &&Value| change["before"]["type"] == "directory" && change["after"]["type"] == "directory";
        let directories: BTreeSet<&str> =
            found.iter().filter(is_directory).map(|change| change["path"].as_str().unwrap()).collect();
        // podman tells of a directory wherever something in it is another, and of what was in one that is gone it is silent.
        let lines = podman(&["diff", names[after], names[before]]);
        let told = lines.lines().map(|line| line.split_once(' ').unwrap());
        let theirs: BTreeSet<String> = told
            .filter(|(letter, path)| *letter != "C" || !(directories.contains(path) || has_changes_below(found, path)))
            .map(|(letter, path)| format!("{letter} {path}"))
            .collect();
        let gone: BTreeSet<&str> = found
            .iter()
            .filter(|change| change["change"] == "deleted")
            .map(|change| change["path"].as_str().unwrap())
            .collect();
        let is_below_gone = |path: &str| gone.contains(path.rsplit_once('/').unwrap().0);
        let ours: BTreeSet<String> = found
            .iter()
            .filter(|change| !is_directory(change))
            .map(|change| (change["change"].as_str().unwrap(), change["path"].as_str().unwrap()))
            .filter(|(word, path)| *word != "deleted" || !is_below_gone(path))
            .map(|(word, path)| format!("{} {path}", word[..1].to_uppercase()))
            .collect();
        assert!(!ours.is_empty());
        assert_eq!(ours, theirs, "{before} {after}");
    }
}

/// Tells whether a path is a directory of which nothing but what is in it differs.
fn has_changes_below(changes: &[Value], path: &str) -> bool {
    let is_below =
        |change: &Value| change["path"].as_str().unwrap().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    changes.iter().any(is_below) && !changes.iter().any(|change| change["path"] == path)
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
