//! ADD of what is elsewhere: files over HTTP, repositories.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln::oci::Digest;
use kiln::store::Store;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::fault_server::{End, FaultServer, Reply};
use crate::support::git::{self, Repository};
use crate::support::{Image, Need, Sandbox, ran, require};

const MODIFIED: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
const MODIFIED_SECONDS: u64 = 1_445_412_480;

fn built(sandbox: &Sandbox) -> Image {
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

fn sandbox(instructions: &str) -> Sandbox {
    Sandbox::new().dockerfile(&format!("FROM scratch\n{instructions}\n"))
}

#[track_caller]
fn fails(sandbox: &Sandbox, parts: &[&str]) {
    let text = sandbox.build().unwrap_err().text;
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_file_has_the_name_of_its_url_and_the_time_of_the_server() {
    let server = FaultServer::start(|asked| match asked.path.as_str() {
        "/moved" => Reply::status(302).header("Location", "/d/a%20b?x=1"),
        _ => Reply::ok("content").header("Last-Modified", MODIFIED),
    });
    let host = server.host();
    let image = built(&sandbox(&format!(
        "ADD http://{host}/d/a%20b?x=/y /opt/\nADD --chown=7:8 --chmod=640 http://{host}/moved /file\nADD http://{host} /"
    )));
    let (first, second) = (image.layer(0), image.layer(1));
    let entry = first.entry("opt/a b");
    assert_eq!((entry.mode(), entry.owner(), entry.modified()), (0o600, (0, 0), MODIFIED_SECONDS));
    assert_eq!((second.entry("file").mode(), second.entry("file").owner()), (0o640, (7, 8)));
    assert_eq!((image.file("/file"), image.file("/__unnamed__")), ("content".into(), "content".into()));
    let told = image.config().history[0].created_by.clone();
    assert_eq!(told.unwrap(), format!("ADD http://{host}/d/a%20b?x=/y /opt/ # buildkit"));
}

#[test]
fn a_file_without_a_time_is_from_1970() {
    let server = FaultServer::start(|_| Reply::ok("x"));
    assert_eq!(built(&sandbox(&format!("ADD http://{}/a /", server.host()))).layer(0).entry("a").modified(), 0);
}

#[test]
fn a_file_is_fetched_again_only_when_it_has_changed() {
    let version = Arc::new(AtomicUsize::new(1));
    let current = version.clone();
    let server = FaultServer::start(move |asked| {
        let etag = format!("\"v{}\"", current.load(Ordering::SeqCst));
        match asked.header("if-none-match") == etag {
            true => Reply::status(304),
            false => Reply::ok(etag.clone()).header("ETag", etag),
        }
    });
    let sandbox = sandbox(&format!("ADD http://{}/a /", server.host()));
    let first = built(&sandbox);
    assert_eq!(built(&sandbox).id(), first.id());
    assert_eq!((server.asked("GET", "/a").len(), server.asked("HEAD", "/a").len()), (1, 1));
    version.store(2, Ordering::SeqCst);
    assert_eq!(built(&sandbox).file("/a"), "\"v2\"");
    assert_eq!(server.asked("GET", "/a").len(), 2);
}

#[test]
fn another_time_of_the_server_is_another_layer() {
    let asked = AtomicUsize::new(0);
    let server = FaultServer::start(move |_| {
        let second = asked.fetch_add(1, Ordering::SeqCst);
        Reply::ok("same").header("Last-Modified", format!("Wed, 21 Oct 2015 07:28:0{second} GMT"))
    });
    let sandbox = sandbox(&format!("ADD http://{}/a /", server.host()));
    for second in 0..2 {
        assert_eq!(built(&sandbox).layer(0).entry("a").modified(), MODIFIED_SECONDS + second);
    }
}

#[test]
fn a_checksum_decides() {
    let server = FaultServer::start(|_| Reply::ok("content"));
    let (host, right, wrong) = (server.host(), Digest::of(b"content"), Digest::of(b"other"));
    let good = sandbox(&format!("ARG SUM={right}\nADD --checksum=$SUM http://{host}/a /"));
    assert_eq!(built(&good).file("/a"), "content");
    built(&good);
    assert_eq!((server.asked("GET", "").len(), server.asked("HEAD", "").len()), (1, 0), "nobody need be asked");
    let mismatch = format!("digest mismatch {right}: {wrong}");
    fails(&sandbox(&format!("ADD --checksum={wrong} http://{host}/a /")), &[&mismatch, "Dockerfile:2:"]);
    fails(&sandbox(&format!("ADD --checksum=md5:1 http://{host}/a /")), &["invalid checksum `md5:1`"]);
    fails(
        &sandbox(&format!("ADD --checksum={right} http://{host}/a http://{host}/b /")),
        &["checksum can't be specified for multiple sources"],
    );
    fails(&sandbox(&format!("ADD --checksum={right} a /")), &["checksum requires HTTP(S) or Git sources"]);
}

#[test]
fn a_fetched_archive_is_unpacked_when_that_is_asked_for() {
    let packing = Sandbox::new().file("d/a", "1");
    let archive = packing.path("a.tar.gz");
    ran(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(packing.context("")).arg("d")).ok();
    let bytes = std::fs::read(archive).unwrap();
    let server = FaultServer::start(move |_| Reply::ok(bytes.clone()));
    let host = server.host();
    let image = built(&sandbox(&format!(
        "ADD http://{host}/a.tar.gz /kept/\nADD --unpack=true http://{host}/a.tar.gz /unpacked\nADD --unpack=false http://{host}/a.tar.gz /x"
    )));
    assert_eq!((image.layer(0).paths(), image.file("/unpacked/d/a")), (vec!["kept", "kept/a.tar.gz"], "1".into()));
    assert_eq!(image.layer(2).paths(), ["x"]);
}

#[test]
fn servers_that_refuse_or_break_off_are_told_with_the_word_that_names_them() {
    let server = FaultServer::start(|asked| match asked.path.as_str() {
        "/cut" => Reply::ok("x".repeat(1000)).end(End::CutAfter(10)),
        "/loop" => Reply::status(302).header("Location", "/loop"),
        "/file" => Reply::status(302).header("Location", "file:///etc/passwd"),
        _ => Reply::status(404),
    });
    let host = server.host();
    fails(
        &sandbox(&format!("ADD http://me:secret@{host}/none?t=secret /")),
        &["invalid response status 404", "Dockerfile:2:5"],
    );
    fails(&sandbox(&format!("ADD http://{host}/cut /")), &["cannot fetch", "/cut", "the connection was lost"]);
    fails(&sandbox(&format!("ADD http://{host}/loop /")), &["redirects without end"]);
    fails(&sandbox(&format!("ADD http://{host}/file /")), &["redirects without end, or to nowhere"]);
    fails(&sandbox("ADD http://127.0.0.1:1/a /"), &["no connection"]);
    fails(&sandbox(&format!("COPY http://{host}/a /")), &["source can't be a URL for COPY"]);
}

#[test]
fn an_interrupt_ends_a_download() {
    let server = FaultServer::start(|_| Reply::ok("x".repeat(1000)).end(End::SilentAfter(10)));
    let sandbox = sandbox(&format!("ADD http://{}/a /", server.host()));
    let child = sandbox.start(&["build", "context"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.asked("GET", "").is_empty() {
        assert!(Instant::now() < deadline, "nothing is asked for");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let left = std::fs::read_dir(sandbox.path("root/remotes")).unwrap().count();
    assert_eq!(left, 0, "nothing half-made stays");
}

#[test]
fn a_repository_is_checked_out() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = Repository::new(&sandbox, "app");
    let first = repository.commit("old", "1");
    repository.git(&["tag", "-a", "v1", "-m", "m"]);
    repository.git(&["rm", "-q", "old"]);
    repository.executable("run");
    let second = repository.commit("d/file", "2");
    let host = git::daemon(&sandbox);
    sandbox.write(
        "Dockerfile",
        format!(
            "FROM scratch\nADD git://{host}/app /main\nADD git://{host}/app#v1 /tag/\nADD git://{host}/app#main:d /sub\n\
             ADD git://{host}/app?ref={second}&mtime=commit /commit\n\
             ADD --keep-git-dir=true --checksum={} git://{host}/app /kept\nADD --checksum={first} git://{host}/app /first\n",
            &second[..9]
        ),
    );
    let image = built(&sandbox);
    let main = image.layer(0);
    assert_eq!(main.paths(), ["main", "main/d", "main/d/file", "main/run"]);
    assert_eq!((main.entry("main/run").mode(), main.entry("main/d/file").mode()), (0o755, 0o644));
    assert_eq!((main.entry("main/d").mode(), main.entry("main/run").owner()), (0o755, (0, 0)));
    assert_eq!(image.layer(1).paths(), ["tag", "tag/old"]);
    assert_eq!(image.layer(2).paths(), ["sub", "sub/file"]);
    assert_eq!(image.layer(3).entry("commit/d/file").modified(), 1_234_567_890);
    assert!(image.layer(4).has("kept/.git/HEAD") && image.layer(4).has("kept/run"));
    let config = image.file("/kept/.git/config");
    assert!(config.contains(&format!("url = git://{host}/app")), "{config}");
    // A whole commit id says which one is meant.
    assert_eq!(image.layer(5).paths(), ["first", "first/old"]);
    assert_eq!(built(&sandbox).id(), image.id());
}

#[test]
fn a_branch_that_moved_is_another_source_and_a_commit_is_not_asked_for_again() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = Repository::new(&sandbox, "app.git");
    let first = repository.commit("a", "1");
    let server = git::http(&sandbox, |_| true);
    let host = server.host();
    sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{host}/app.git#main /\n"));
    assert_eq!(built(&sandbox).file("/a"), "1");
    repository.commit("a", "2");
    assert_eq!(built(&sandbox).file("/a"), "2");
    sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{host}/app.git#{first} /\n"));
    assert_eq!(built(&sandbox).file("/a"), "1");
    let asked = server.asked("", "").len();
    assert_eq!(built(&sandbox).file("/a"), "1");
    assert_eq!(server.asked("", "").len(), asked);
}

#[test]
fn submodules_come_along_unless_they_are_not_wanted() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "library").commit("code", "1");
    let repository = Repository::new(&sandbox, "app");
    repository.git(&["submodule", "add", "-q", "../library", "vendor"]);
    repository.commit("a", "");
    let host = git::daemon(&sandbox);
    sandbox.write(
        "Dockerfile",
        format!("FROM scratch\nADD git://{host}/app /with\nADD git://{host}/app?submodules=false /without\n"),
    );
    let image = built(&sandbox);
    assert_eq!(image.layer(0).paths(), ["with", "with/.gitmodules", "with/a", "with/vendor", "with/vendor/code"]);
    assert!(!image.layer(1).has("without/vendor/code"));
}

#[test]
fn what_a_repository_does_not_have_is_told() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let commit = Repository::new(&sandbox, "app").commit("a", "1");
    let host = git::daemon(&sandbox);
    for (source, part) in [
        (format!("git://{host}/app#nope"), "repository does not contain ref nope".to_owned()),
        (format!("git://{host}/none"), format!("git cannot list the references of git://{host}/none")),
        (format!("git://{host}/app#main:none"), format!("has no directory none at {commit}")),
        (format!("git://{host}/app?what=1"), "unexpected query \"what\"".to_owned()),
        (format!("git://{host}/app?commit=1234567"), format!("expected checksum to match 1234567, got {commit}")),
    ] {
        sandbox.write("Dockerfile", format!("FROM scratch\nADD {source} /\n"));
        fails(&sandbox, &[&part, "Dockerfile:2:5"]);
    }
}

#[test]
fn what_is_kept_is_not_read_again_for_its_digest() {
    if !require(Need::Git) {
        return;
    }
    let server = FaultServer::start(|asked| match asked.header("if-none-match") {
        "\"1\"" => Reply::status(304),
        _ => Reply::ok("fetched").header("ETag", "\"1\""),
    });
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "app").commit("a", "1");
    let (file, repositories) = (server.host(), git::daemon(&sandbox));
    sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{file}/f /f\nADD git://{repositories}/app /app\n"));
    let image = built(&sandbox);
    // A file that was written just now may change within the same tick of the clock.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(built(&sandbox).id(), image.id());
    let kept = |name: &str| {
        let all = walkdir::WalkDir::new(sandbox.path("root/remotes")).into_iter().map(Result::unwrap);
        all.map(|entry| entry.into_path()).find(|path| path.ends_with(format!("files/{name}"))).unwrap()
    };
    let stat = std::fs::metadata(kept("a")).unwrap();
    let (store, checkout) = (Store::open(&sandbox.path("root")).unwrap(), kept("a").parent().unwrap().to_owned());
    let known = store.stat_digests(checkout.as_os_str().as_bytes(), &[(stat.dev(), stat.ino())]).unwrap();
    assert_eq!(known.iter().map(|known| known.digest).collect::<Vec<_>>(), [Digest::of(b"1")]);
    // The digest of a download is known without reading it.
    std::fs::write(kept("f"), "changed").unwrap();
    assert_eq!(built(&sandbox).id(), image.id());
}
