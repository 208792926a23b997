//! Equal images from equal content.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln::oci::Digest;

use crate::support::fault_server::{FaultServer, Reply};
use crate::support::git::Repository;
use crate::support::{Image, Need, Sandbox, ran, require};

/// All that needs no process: each kind of source, and directories that nobody made.
const FILES_ALONE: &str = "FROM scratch AS one\nWORKDIR /made/here\nCOPY <<text /text\nhello\ntext\nCOPY tree /a/b/\n\
    FROM scratch\nLABEL a=b\nCOPY --from=one / /\nADD tree/*.txt /texts/\nCOPY --link --parents tree/sub /parents/\n\
    WORKDIR /new\nCMD [\"x\"]\n";

fn tree(sandbox: Sandbox, names: &[&str]) -> Sandbox {
    let fill = |sandbox: Sandbox, name: &&str| sandbox.file(&format!("tree/{name}"), *name);
    names.iter().fold(sandbox, fill).program("tree/run", "#!").symlink("tree/link", "a.txt")
}

/// Changes what a checkout of the same content elsewhere may have otherwise.
fn disturb(sandbox: &Sandbox, directory_mode: u32, file_mode: u32, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (name, mode) in [
        ("tree/a.txt", file_mode),
        ("tree/b.txt", file_mode),
        ("tree/sub/c", file_mode),
        ("tree/run", file_mode | 0o100),
        ("tree/sub", directory_mode),
        ("tree", directory_mode),
    ] {
        let path = sandbox.context(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        File::open(&path).unwrap().set_modified(time).unwrap();
    }
}

fn digest(sandbox: &Sandbox, flags: &[&str]) -> String {
    let metadata = sandbox.path("metadata.json");
    let fixed = ["build", "-q", "--metadata-file", metadata.to_str().unwrap()];
    sandbox.kiln(&[&fixed, flags, &["context"]].concat()).ok();
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

fn built(sandbox: &Sandbox, flags: &[&str]) -> Image {
    let image = sandbox.build_with(flags).unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

fn seconds(image: &Image) -> Vec<Option<i64>> {
    image.config().history.iter().map(|item| item.created.map(|time| time.as_second())).collect()
}

#[test]
fn equal_content_gives_one_digest_wherever_it_lies() {
    let one = tree(Sandbox::new(), &["a.txt", "b.txt", "sub/c"]).dockerfile(FILES_ALONE);
    disturb(&one, 0o755, 0o644, 1_000_000_000);
    let other = tree(Sandbox::new(), &["sub/c", "b.txt", "a.txt"]).dockerfile(FILES_ALONE);
    disturb(&other, 0o700, 0o600, 2_000_000_000);
    fs::remove_file(other.context("tree/b.txt")).unwrap();
    other.write("tree/b.txt", "b.txt");
    let expected = digest(&one, &["--reproducible", "-j", "1"]);
    assert_eq!(digest(&other, &["--reproducible", "-j", "8"]), expected);
    assert_eq!(digest(&one, &["--reproducible", "--no-cache", "-j", "8"]), expected);
    let umask = "umask 077 && exec \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", umask, "sh", "cp", "-r"]).arg(one.path("context")).arg(one.path("elsewhere"));
    ran(&mut shell).ok();
    let id = |context: &str| one.kiln(&["build", "-q", "--reproducible", "--no-cache", context]).ok();
    assert_eq!(id("context"), id("elsewhere"));
    // The content counts.
    one.write("tree/a.txt", "other");
    assert_ne!(digest(&one, &["--reproducible"]), expected);
}

#[test]
fn an_index_of_several_platforms_has_one_digest_too() {
    let platforms = "--platform=linux/amd64,linux/arm64";
    let first = tree(Sandbox::new(), &["a.txt", "b.txt", "sub/c"]).dockerfile(FILES_ALONE);
    let second = tree(Sandbox::new(), &["sub/c", "b.txt", "a.txt"]).dockerfile(FILES_ALONE);
    disturb(&second, 0o700, 0o600, 1_000_000_000);
    let flags = ["--reproducible", "--verify", platforms];
    let index = digest(&first, &flags);
    assert_eq!(digest(&second, &flags), index);
    assert_ne!(digest(&first, &["--reproducible"]), index, "the image of one platform is no index");
}

#[test]
fn without_being_asked_files_keep_their_times_and_modes() {
    let sandbox = tree(Sandbox::new(), &["a.txt", "b.txt", "sub/c"]).dockerfile("FROM scratch\nCOPY tree /d/\n");
    disturb(&sandbox, 0o700, 0o600, 1_000_000_000);
    built(&sandbox, &["--reproducible"]);
    let image = built(&sandbox, &[]);
    let entry = image.layer(0).entry("d/a.txt");
    assert_eq!((entry.mode(), entry.modified()), (0o600, 1_000_000_000));
}

#[test]
fn the_configuration_can_ask_for_it() {
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let expected = digest(&sandbox, &["--reproducible"]);
    fs::write(sandbox.path("config.toml"), "[build]\nreproducible = true\n").unwrap();
    assert_eq!(digest(&sandbox, &[]), expected);
    assert_ne!(digest(&sandbox, &["--reproducible=false"]), expected);
}

fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=me", "-c", "user.email=me@x"]).args(arguments).current_dir(directory);
    command.env("GIT_COMMITTER_DATE", "1600000000 +0000").env("GIT_CONFIG_GLOBAL", "/dev/null");
    ran(&mut command).ok();
}

#[test]
fn the_time_is_that_of_the_commit() {
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    let sandbox = Sandbox::new().file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    assert_eq!(seconds(&built(&sandbox, &["--reproducible"])), [Some(0)]);
    git(&sandbox.context(""), &["init", "-q"]);
    git(&sandbox.context(""), &["add", "."]);
    // A repository without a commit has no time.
    assert_eq!(seconds(&built(&sandbox, &["--reproducible"])), [Some(0)]);
    git(&sandbox.context(""), &["commit", "-q", "-m", "first"]);
    let image = built(&sandbox, &["--reproducible"]);
    assert_eq!((seconds(&image), image.layer(0).entry("a").modified()), (vec![Some(1_600_000_000)], 1_600_000_000));
    let given = built(&sandbox, &["--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=17"]);
    assert_eq!(seconds(&given), [Some(17)]);
}

#[test]
fn the_epoch_comes_from_an_argument_the_environment_or_the_file() {
    let sandbox = Sandbox::new().dockerfile("ARG SOURCE_DATE_EPOCH=100\nFROM scratch\nWORKDIR /w\nCMD x\n");
    let image = built(&sandbox, &[]);
    assert_eq!((seconds(&image), image.layer(0).entry("w").modified()), (vec![Some(100); 2], 100));
    let argument = ["build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=200", "-t", "test", "context"];
    ran(sandbox.command(&argument).env("SOURCE_DATE_EPOCH", "300")).ok();
    assert_eq!(seconds(&sandbox.image("test")), [Some(200); 2]);
    ran(sandbox.command(&["build", "-q", "-t", "test", "context"]).env("SOURCE_DATE_EPOCH", "300")).ok();
    assert_eq!(seconds(&sandbox.image("test")), [Some(300); 2]);
    for flags in
        [&["--build-arg", "SOURCE_DATE_EPOCH=abc"][..], &["--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=abc"]]
    {
        assert!(sandbox.build_with(flags).unwrap_err().text.contains("invalid SOURCE_DATE_EPOCH: abc"));
    }
    sandbox.write("Dockerfile", "ARG SOURCE_DATE_EPOCH=abc\nFROM scratch\n");
    let text = sandbox.build().unwrap_err().text;
    assert!(text.contains("invalid SOURCE_DATE_EPOCH: abc") && text.contains("Dockerfile:1:5"), "{text}");
}

const MODIFIED: (&str, i64) = ("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_480);

/// Returns an archive whose newest file is of second 3000, and whose directory is later.
fn archive(dockerfile: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let files = [("Dockerfile", dockerfile, 1000), ("new", "", 3000), ("d/old", "", 2000), ("d", "", 9000)];
    for (name, content, second) in files {
        let mut header = tar::Header::new_ustar();
        let kind = if name == "d" { tar::EntryType::Directory } else { tar::EntryType::Regular };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(second);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

const DATED: &str = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL epoch=$SOURCE_DATE_EPOCH\n";
const OF_CONTEXT: [&str; 2] = ["--build-arg", "SOURCE_DATE_EPOCH=context"];

/// Serves an archive with and without a time, and a text without one.
fn files(dockerfile: &str) -> FaultServer {
    let (archive, text) = (archive(dockerfile), dockerfile.to_owned());
    FaultServer::start(move |asked| match asked.path.as_str() {
        "/dated.tar" => Reply::ok(archive.clone()).header("Last-Modified", MODIFIED.0),
        "/undated.tar" => Reply::ok(archive.clone()),
        "/text" => Reply::ok(text.clone()),
        _ => Reply::status(404),
    })
}

/// Returns the second of an image, none where nobody says it, and what its Dockerfile saw of it.
fn epoch(image: &Image) -> (Option<i64>, &str) {
    image.validate();
    (*seconds(image).last().unwrap(), &image.config().config.labels["epoch"])
}

#[test]
fn the_epoch_is_that_of_the_context() {
    let (server, sandbox) = (files(DATED), Sandbox::new().dockerfile(DATED));
    let of = |context: &str, flags: &[&str]| {
        sandbox.kiln(&[&["build", "-q", "-t", "test"], &OF_CONTEXT[..], flags, &[context]].concat()).ok();
        let image = sandbox.image("test");
        let (second, seen) = epoch(&image);
        (second, seen.to_owned())
    };
    let url = |name: &str| format!("http://{}/{name}", server.host());
    let at = |second: i64| (Some(second), second.to_string());
    assert_eq!(of(&url("dated.tar"), &[]), at(MODIFIED.1));
    assert_eq!(of(&url("undated.tar"), &[]), at(3000));
    fs::write(sandbox.path("context.tar"), archive(DATED)).unwrap();
    assert_eq!(of("context.tar", &[]), at(3000));
    // A directory has no time, nor has a text; a reproducible build has one all the same.
    for context in ["context", &url("text")] {
        assert_eq!(of(context, &[]), (None, String::new()));
    }
    assert_eq!(of("context", &["--reproducible"]), at(0));
    if require(Need::Git) {
        let repository = Repository::new(&sandbox, "app");
        repository.commit("Dockerfile", DATED);
        let host = crate::support::git::daemon(&sandbox);
        assert_eq!(of(&format!("git://{host}/app"), &[]), at(1_234_567_890));
    }
}

#[test]
fn the_epoch_is_that_of_a_named_context() {
    let (server, sandbox) = (files(DATED), Sandbox::new().dockerfile(DATED));
    let named = |source: &str| format!("--build-context=src={source}");
    for (name, expected) in [("dated.tar", MODIFIED.1), ("undated.tar", 3000)] {
        let context = named(&format!("http://{}/{name}", server.host()));
        let image = built(&sandbox, &["--build-arg", "SOURCE_DATE_EPOCH=src", &context]);
        assert_eq!(epoch(&image), (Some(expected), &*expected.to_string()));
    }
    let image = built(&sandbox, &["--build-arg", "SOURCE_DATE_EPOCH=src", &named("context")]);
    assert_eq!(epoch(&image), (None, ""));
    let missing = named(&format!("http://{}/missing", server.host()));
    let failed = sandbox.build_with(&["--build-arg", "SOURCE_DATE_EPOCH=src", &missing]).unwrap_err().text;
    assert!(failed.contains("cannot find out the time of SOURCE_DATE_EPOCH") && failed.contains("404"), "{failed}");
    let failed = sandbox.build_with(&["--build-arg", "SOURCE_DATE_EPOCH=other", &missing]).unwrap_err().text;
    assert!(failed.contains("invalid SOURCE_DATE_EPOCH: other"), "{failed}");
}

#[test]
fn the_epoch_is_that_of_a_stage_that_is_a_source() {
    let server = files("");
    let sum = Digest::of(&archive(""));
    let sandbox = Sandbox::new().dockerfile(&format!(
        "ARG HOST={}\nARG SOURCE_DATE_EPOCH=Src\nFROM scratch AS src\nARG HOST SUM=unset NAME=dated\n\
         ADD --checksum=$SUM http://$HOST/$NAME.tar /\n{DATED}COPY --from=src / /\n",
        server.host()
    ));
    let image = built(&sandbox, &["--build-arg", &format!("SUM={sum}")]);
    assert_eq!(epoch(&image), (Some(MODIFIED.1), &*MODIFIED.1.to_string()));
    assert_eq!(server.asked("GET", "").len(), 1, "what was fetched for its time is not fetched again");
    for (stage, place) in [
        ("FROM other AS src\nADD http://x.example/a /", ":1:6"),
        ("FROM scratch AS src", ":1:1"),
        ("FROM scratch AS src\nADD http://x.example/a /\nADD http://x.example/b /", ":3:1"),
        ("FROM scratch AS src\nADD http://x.example/a http://x.example/b /", ":2:1"),
        ("FROM scratch AS src\nADD a /", ":2:1"),
        ("FROM scratch AS src\nADD http://x.example/a /\nRUN x", ":3:1"),
        ("FROM scratch AS src\nADD http://x.example/a?x=1 /\nENV A=b", ":3:1"),
    ] {
        sandbox.write("Dockerfile", format!("{stage}\nFROM scratch\n"));
        let failed = sandbox.build_with(&["--build-arg", "SOURCE_DATE_EPOCH=src"]).unwrap_err().text;
        assert!(failed.contains("invalid SOURCE_DATE_EPOCH: src"), "{failed}");
        assert!(failed.contains(&format!("Dockerfile{place}")), "{stage}: {failed}");
    }
}

#[test]
fn rewriting_limits_the_times_of_new_layers_alone() {
    let base = Sandbox::new().file("old", "1").file("new", "2").dockerfile("FROM scratch\nCOPY old new /base/\n");
    let time = |name: &str, seconds| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(base.context(name)).unwrap().set_modified(time).unwrap();
    };
    time("old", 1000);
    time("new", 3000);
    base.build().unwrap();
    base.kiln(&["tag", "test", "base"]).ok();
    base.write("Dockerfile", "FROM base\nCOPY --chown=1:2 old new /own/\n");
    let archive = base.path("out.tar");
    let output = format!("type=oci,dest={},rewrite-timestamp=true", archive.display());
    let image = built(&base, &["-o", &output, "--build-arg", "SOURCE_DATE_EPOCH=2000"]);
    let time = |layer: usize, path: &str| image.layer(layer).entry(path).modified();
    assert_eq!((time(0, "base/old"), time(0, "base/new")), (1000, 3000));
    assert_eq!((time(1, "own/old"), time(1, "own/new"), time(1, "own")), (1000, 2000, 2000));
    assert_eq!((image.file("own/new"), image.layer(1).entry("own/new").owner()), ("2".to_owned(), (1, 2)));
    // The archive's layers are compressed, and say the same.
    let archived = Image::from_archive(&archive);
    archived.validate();
    let annotation =
        |layer: usize| archived.manifest().layers[layer].annotations.get("buildkit/rewritten-timestamp").cloned();
    assert_eq!((annotation(0), annotation(1)), (None, Some("2000".to_owned())));
    assert_eq!(archived.layer(1).entry("own/new").modified(), 2000);
    // Without an epoch there is nothing to limit.
    let plain = built(&base, &["-o", "type=image,rewrite-timestamp=true"]);
    assert_eq!(plain.layer(1).entry("own/new").modified(), 3000);
}

#[test]
fn exported_files_have_the_epoch() {
    let sandbox = Sandbox::new().file("d/a", "1").dockerfile("FROM scratch\nCOPY d /d\n");
    let out = sandbox.path("out");
    built(&sandbox, &["-o", out.to_str().unwrap(), "--build-arg", "SOURCE_DATE_EPOCH=1000"]);
    for path in ["d", "d/a"] {
        let modified = fs::metadata(out.join(path)).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1000), "{path}");
    }
}

#[test]
fn verifying_says_that_two_builds_are_equal() {
    let sandbox = tree(Sandbox::new(), &["a.txt", "b.txt", "sub/c"]).dockerfile(FILES_ALONE);
    let image = built(&sandbox, &["--verify"]);
    let said =
        |event: &&serde_json::Value| event["result"].as_str().is_some_and(|text| text.starts_with("reproducible: "));
    assert!(image.events().iter().any(|event| said(&event)), "{:?}", image.events());
}

#[test]
fn verifying_names_the_file_and_the_step() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    for (line, path, what) in [
        ("RUN echo same > /same; date > /etc-date", "/etc-date", "content"),
        ("RUN hostname > /name", "/name", "content"),
        ("RUN touch /f-$(date +%s)", "/f-", "being there"),
    ] {
        let sandbox = Sandbox::new().busybox(&format!("{line}\nRUN echo fine > /fine\n"));
        let text = sandbox.build_with(&["--verify"]).unwrap_err().text;
        assert!(text.contains("the build is not reproducible") && text.contains(path), "{text}");
        assert!(text.contains(&format!("differs in {what}")) && text.contains(line), "{text}");
        // What was not proved is not kept.
        assert!(!sandbox.kiln(&["images"]).ok().contains("test"));
    }
    let sandbox = Sandbox::new().busybox("RUN echo same > /same; mkdir /d; touch /d/e\n");
    for folding in ["--compact", "--squash", "--squash=all"] {
        built(&sandbox, &["--verify", folding]);
    }
    built(&sandbox, &["--verify"]);
    let sandbox = Sandbox::new().busybox("RUN hostname > /name\nRUN echo fine > /fine\n");
    let text = sandbox.build_with(&["--verify", "--squash"]).unwrap_err().text;
    assert!(text.contains("/name") && text.contains("all steps"), "{text}");
}

#[test]
fn the_host_name_can_be_chosen() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN hostname > /name; cat /etc/hosts >> /name\n");
    assert!(built(&sandbox, &[]).file("/name").starts_with("buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n"));
    let image = built(&sandbox, &["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=other"]);
    assert!(image.file("/name").starts_with("other\n127.0.0.1\tlocalhost other\n"));
}
