//! diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::fault_server::{Asked, FaultServer, Reply};
use crate::support::registry::Registry;
use crate::support::{Need, Sandbox, ran, require};

/// A store with `app:1` and `app:2`, which share their first layer.
pub(crate) fn sandbox() -> Sandbox {
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

pub(crate) fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.kiln(&[&["diff", "--json"], arguments].concat()).ok()).unwrap()
}

/// Returns `added /path`, one for each change.
pub(crate) fn changes(document: &Value) -> Vec<String> {
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
    assert!(sandbox.kiln(&["diff", "docker-daemon:x", "app:2"]).fails(1).contains("cannot compare"));
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
    // All are counted, and none is listed.
    let shown = sandbox.kiln(&["diff", "--stat", "--exit-code", "app:3"]);
    assert!(
        shown.stdout.contains("\n6 added, 0 changed, 0 deleted\n") && !shown.stdout.contains("A /"),
        "{}",
        shown.stdout
    );
    assert_eq!(shown.code, Some(1));
}

/// Returns `dpkg libc6 1 → 2`, one for each package that differs.
fn packages(document: &Value) -> Vec<String> {
    let versions = |value: &Value| {
        value.as_array().unwrap().iter().map(|version| version.as_str().unwrap()).collect::<Vec<_>>().join("+")
    };
    let text = |change: &Value| {
        let words = [&change["manager"], &change["name"]].map(|word| word.as_str().unwrap());
        format!("{} {} → {}", words.join(" "), versions(&change["before"]), versions(&change["after"]))
    };
    document["packages"]["changes"].as_array().unwrap().iter().map(text).collect()
}

/// Files of several package managers, each with packages of this version.
fn write_packages(sandbox: &Sandbox, context: &str, version: &str) {
    let write = |path: &str, text: &str| sandbox.write(&format!("{context}/{path}"), text);
    let status =
        format!("Package: libc6\nStatus: install ok installed\nVersion: {version}\n\nPackage: x\nVersion: 1\n");
    write("var/lib/dpkg/status", &status);
    write("lib/apk/db/installed", &format!("P:musl\nV:{version}-r0\n\n"));
    write(&format!("usr/lib/python3/six-{version}.dist-info/METADATA"), "Name: six\n");
    write("app/node_modules/@a/b/package.json", &format!("{{\"version\":\"{version}\"}}"));
    write("root/.cargo/.crates2.json", &format!("{{\"installs\":{{\"rg {version} (x)\":{{}}}}}}"));
    write("var/lib/rpm/Packages", version);
}

/// A store with `old` and `new`, whose packages differ.
fn packaged() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, version) in [("old", "1.2"), ("new", "1.10\u{1b}[2J")] {
        write_packages(&sandbox, name, version.trim_end_matches("\u{1b}[2J"));
        if name == "new" {
            sandbox.write("new/lib/apk/db/installed", format!("P:musl\nV:{version}\n\nP:curl\nV:8\n"));
        }
        sandbox.write("Dockerfile", format!("FROM scratch\nCOPY {name} /\n"));
        sandbox.kiln(&["build", "-t", name, "context"]).ok();
    }
    sandbox
}

#[test]
fn packages_are_told_by_name_and_version() {
    let sandbox = packaged();
    let expected = [
        "dpkg libc6 1.2 → 1.10",
        "apk curl  → 8",
        "apk musl 1.2-r0 → 1.10\u{1b}[2J",
        "pip six 1.2 → 1.10",
        "npm @a/b 1.2 → 1.10",
        "cargo rg 1.2 → 1.10",
    ];
    sandbox.kiln(&["build", "-q", "-o", "tree", "context"]).ok();
    sandbox.kiln(&["save", "-o", "new.tar", "new"]).ok();
    // The second time, from what is remembered.
    for side in ["new", "new", "new.tar", "dir:tree"] {
        let document = json(&sandbox, &["old", side]);
        assert_eq!(packages(&document), expected, "{side}");
        let unread = &document["packages"]["unread"];
        assert_eq!((unread[0]["path"].as_str(), unread[1].is_null()), (Some("/var/lib/rpm/Packages"), true), "{side}");
    }
    let shown = sandbox.kiln(&["diff", "--only=packages", "old", "new"]).ok();
    for line in [
        "\npackages\nC dpkg  libc6  1.2 → 1.10\nA apk   curl  8\nC apk   musl  1.2-r0 → 1.10\\u{1b}[2J\n",
        "\n? /var/lib/rpm/Packages: it is a package database in Berkeley DB's format, which kiln cannot read\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("files") && !shown.contains("history"), "{shown}");
    assert_eq!(sandbox.kiln(&["diff", "--exit-code", "--only=packages", "old", "new"]).code, Some(1));
    assert_eq!(sandbox.kiln(&["diff", "--exit-code", "--only=packages", "new", "new.tar"]).code, Some(0));
    assert_eq!(packages(&json(&sandbox, &["old", "new", "--", "lib/apk"])), expected[1..3]);
}

#[test]
fn a_damaged_list_of_packages_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("a/root/.cargo/.crates2.json", "{");
    sandbox.write("a/var/lib/rpm/rpmdb.sqlite", "no database");
    sandbox.write("a/var/lib/dpkg/status", b"\xff\0\n\nPackage: \xff\nVersion: 1\n");
    sandbox.write("Dockerfile", "FROM scratch\nCOPY a /\n");
    let document = sandbox.build().map(|_| json(&sandbox, &["test@0", "test"])).unwrap();
    assert_eq!(packages(&document), ["dpkg \u{fffd}  → 1"]);
    assert_eq!(document["packages"]["unread"].as_array().unwrap().len(), 2, "{document}");
}

#[test]
fn texts_are_compared_line_by_line() {
    let sandbox = Sandbox::new()
        .file("one/text", "same\nold\n\tend\n")
        .file("one/gone", "bye")
        .file("one/binary", "a\0b")
        .file("one/large", "x".repeat((1 << 20) + 1))
        .file("two/text", "same\nnew \u{1b}[31m\n\tend\n")
        .file("two/came", "hi\r\n")
        .file("two/binary", "a\0c")
        .file("two/large", "y".repeat((1 << 20) + 1));
    for name in ["one", "two"] {
        sandbox.write("Dockerfile", format!("FROM scratch\nCOPY {name} /\n"));
        sandbox.kiln(&["build", "-t", name, "context"]).ok();
    }
    sandbox.kiln(&["build", "-q", "-o", "tree", "context"]).ok();
    for side in ["two", "./tree"] {
        let shown = sandbox.kiln(&["diff", "--patch", "one", side]).ok();
        for expected in [
            "\n--- a/text\n+++ b/text\n@@ -1,3 +1,3 @@\n same\n-old\n+new \\u{1b}[31m\n \tend\n",
            "\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n\\ No newline at end of file\n",
            "\n--- /dev/null\n+++ b/came\n@@ -0,0 +1 @@\n+hi\\r\n",
            "\nBinary files a/binary and b/binary differ\n",
            "\nFiles a/large and b/large differ, and are large\n",
        ] {
            assert!(shown.contains(expected), "{expected}\n{shown}");
        }
    }
    let document = json(&sandbox, &["--patch", "one", "two", "--", "text", "binary"]);
    assert_eq!(document["patches"][0]["why"], "binary");
    assert_eq!(document["patches"][1]["hunks"], "@@ -1,3 +1,3 @@\n same\n-old\n+new \u{1b}[31m\n \tend\n");
    assert_eq!(json(&sandbox, &["one", "two"])["patches"], Value::Null);
}

#[test]
fn a_build_stands_for_the_image_it_made() {
    let sandbox = sandbox();
    let ids = sandbox.kiln(&["builds", "-q"]).ok();
    let (new, old) = ids.trim().split_once('\n').unwrap();
    let document = json(&sandbox, &[&format!("build:{old}"), &format!("build:{new}")]);
    assert_eq!(changes(&document), ["added /usr/new", "added /usr/new/file", "changed /usr/tool"]);
    let last = json(&sandbox, &["app:2", &format!("build:{new}@1")]);
    assert_eq!(changes(&last), ["deleted /usr", "deleted /usr/new", "deleted /usr/new/file", "deleted /usr/tool"]);
    let stderr = sandbox.kiln(&["diff", "build:nonesuch", "app:2"]).fails(1);
    assert!(stderr.contains("nonesuch"), "{stderr}");
    sandbox.write("Dockerfile", "FROM scratch\nCOPY none /\n");
    sandbox.kiln(&["build", "context"]).fails(1);
    let failed = sandbox.kiln(&["builds", "-q"]).ok().lines().next().unwrap().to_owned();
    let stderr = sandbox.kiln(&["diff", &format!("build:{failed}"), "app:2"]).fails(1);
    assert!(stderr.contains("made no image"), "{stderr}");
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

/// Returns a server that has `app:1` and `app:2` of a sandbox.
fn serve(from: &Sandbox) -> FaultServer {
    for tag in ["1", "2"] {
        from.kiln(&["save", "--format=oci", "-o", &format!("{tag}.tar"), &format!("app:{tag}")]).ok();
        fs::create_dir(from.path(tag)).unwrap();
        tar::Archive::new(fs::File::open(from.path(&format!("{tag}.tar"))).unwrap()).unpack(from.path(tag)).unwrap();
    }
    let root = from.path("");
    FaultServer::start(move |asked: &Asked| {
        let name = asked.path.rsplit('/').next().unwrap();
        let blob =
            |name: &str| ["1", "2"].iter().find_map(|tag| fs::read(root.join(tag).join("blobs").join(name)).ok());
        if asked.is("", "/blobs/") {
            return blob(&name.replace(':', "/")).map_or(Reply::status(404), Reply::ok);
        }
        if !asked.is("", "/manifests/") {
            return Reply::status(200);
        }
        let digest = fs::read(root.join(name).join("index.json")).map_or(name.to_owned(), |index| {
            let index: Value = serde_json::from_slice(&index).unwrap();
            index["manifests"][0]["digest"].as_str().unwrap().to_owned()
        });
        let manifest = blob(&digest.replace(':', "/")).unwrap();
        Reply::ok(manifest).header("content-type", "application/vnd.oci.image.manifest.v1+json")
    })
}

#[test]
fn every_blob_that_differs_is_asked_for_once() {
    let (from, to) = (sandbox(), Sandbox::new());
    let server = serve(&from);
    let name = |tag: u8| format!("docker://{}/app:{tag}", server.host());
    let (one, two) = (from.image("app:1"), from.image("app:2"));
    let own = |image: &crate::support::Image| [image.id().to_string(), image.manifest().layers[1].digest.to_string()];
    let gets = || {
        let asked = server.asked("GET", "/blobs/").into_iter();
        asked.map(|asked| asked.path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    json(&to, &["--only=config", &name(1), &name(2)]);
    let configs = BTreeSet::from([own(&one)[0].clone(), own(&two)[0].clone()]);
    assert_eq!((gets().len(), gets().into_iter().collect()), (2, configs));
    assert_eq!(changes(&json(&to, &[&name(1), &name(2)])), ["changed /usr/new/file", "changed /usr/tool"]);
    let all: BTreeSet<String> = own(&one).into_iter().chain(own(&two)).collect();
    assert_eq!((gets().len(), gets().into_iter().collect()), (4, all.clone()));
    // Texts and packages come out of what is here by now.
    json(&to, &["--patch", &name(1), &name(2)]);
    assert_eq!(gets().len(), 4);
    let stderr = to.kiln(&["diff", &name(1), &format!("docker://{}/app:none", server.host())]);
    assert_eq!(stderr.code, Some(1));
}

#[test]
fn types_change_and_directories_are_replaced() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\n");
    let (base, top) = (sandbox.path("base.tar"), sandbox.path("top.tar"));
    let mut files = tar::Builder::new(fs::File::create(&base).unwrap());
    let put = |files: &mut tar::Builder<fs::File>, path: &str, kind: tar::EntryType, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(0);
        match target {
            "" => files.append_data(&mut header, path, std::io::empty()).unwrap(),
            target => files.append_link(&mut header, path, target).unwrap(),
        }
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    for (path, kind) in [("d", Directory), ("d/old", Regular), ("f", Regular), ("l", Directory), ("l/x", Regular)] {
        put(&mut files, path, kind, "");
    }
    files.finish().unwrap();
    let mut files = tar::Builder::new(fs::File::create(&top).unwrap());
    for (path, kind, target) in [
        ("d", Directory, ""),
        ("d/.wh..wh..opq", Regular, ""),
        ("d/new", Regular, ""),
        (".wh.f", Regular, ""),
        ("f", Directory, ""),
        ("f/in", Regular, ""),
        (".wh.l", Regular, ""),
        ("l", Symlink, "d"),
    ] {
        put(&mut files, path, kind, target);
    }
    files.finish().unwrap();
    let archive = docker_archive(&sandbox, &[&base, &top]);
    let document = json(&sandbox, &[&format!("{archive}@1"), &archive]);
    let expected = ["deleted /d/old", "added /d/new", "changed /f", "added /f/in", "changed /l", "deleted /l/x"];
    let sorted = |lines: Vec<String>| lines.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(changes(&document)), sorted(expected.map(str::to_owned).to_vec()));
    let one = json(&sandbox, &[&archive]);
    assert_eq!((&one[0]["files"]["added"], &one[1]["files"]["deleted"]), (&5.into(), &2.into()));
}

/// Writes an archive as `docker save` does, of layers that no builder would make, and returns its path.
fn docker_archive(sandbox: &Sandbox, layers: &[&Path]) -> String {
    let read = |path: &Path| fs::read(path).unwrap();
    let diff_ids: Vec<String> = layers.iter().map(|layer| kiln::oci::Digest::of(&read(layer)).to_string()).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let names: Vec<String> = (0..layers.len()).map(|place| format!("{place}.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["odd:1"], "Layers": names }]);
    let path = sandbox.path("odd.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    put("config.json", config.to_string().as_bytes());
    names.iter().zip(layers).for_each(|(name, layer)| put(name, &read(layer)));
    put("manifest.json", manifest.to_string().as_bytes());
    archive.finish().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn five_hundred_layers_are_no_trouble() {
    let sandbox = Sandbox::new();
    let paths: Vec<_> = (0..500).map(|place| sandbox.path(&format!("layer{place}"))).collect();
    for (place, path) in paths.iter().enumerate() {
        let mut files = tar::Builder::new(fs::File::create(path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        files.append_data(&mut header, format!("d{}/f{place}", place % 9), &b"abc"[..]).unwrap();
        files.finish().unwrap();
    }
    let archive = docker_archive(&sandbox, &paths.iter().map(std::path::PathBuf::as_path).collect::<Vec<_>>());
    let document = json(&sandbox, &[&format!("{archive}@499"), &archive]);
    assert_eq!(changes(&document), ["added /d4/f499"]);
    assert_eq!(json(&sandbox, &[&archive]).as_array().unwrap().len(), 500);
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

#[test]
fn a_container_is_a_side_like_any() {
    if !require(Need::Busybox) {
        return;
    }
    for user in crate::containers::users() {
        let sandbox = crate::containers::sandbox(user);
        let script = "echo 1 > /made; rm /bin/vi; echo 2 >> /work/x; chmod 700 /work";
        sandbox.kiln(&["run", "--name", "changed", "test", "sh", "-c", script]).ok();
        let expected = ["deleted /bin/vi", "added /made", "changed /work", "added /work/x"];
        for side in ["changed", "container:changed"] {
            assert_eq!(changes(&json(&sandbox, &["test", side])), expected, "{user:?} {side}");
        }
        sandbox.kiln(&["commit", "changed", "made"]).ok();
        sandbox.kiln(&["save", "-o", "made.tar", "made"]).ok();
        // What it becomes is what it was, in whatever form.
        for side in ["made", "./made.tar", "container:changed"] {
            let found = json(&sandbox, &["--only=files", "container:changed", side]);
            assert_eq!(changes(&found), [""; 0], "{user:?} {side}");
        }
        sandbox.kiln(&["export", "-o", "files.tar", "changed"]).ok();
        fs::create_dir(sandbox.path("files")).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(sandbox.path("files.tar")).arg("-C").arg(sandbox.path("files"));
        // Nobody else can make what belongs to others.
        if matches!(user, crate::support::User::Current) && require(Need::Root) {
            ran(tar.args(["--same-owner", "--numeric-owner"])).ok();
            let found = json(&sandbox, &["--only=files", "container:changed", "dir:files"]);
            assert_eq!(changes(&found), [""; 0], "{user:?}");
        }
    }
}
