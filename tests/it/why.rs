//! `kiln why`: for every kind of change, the cause that is named is the change that was made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Need, Sandbox, require};

const FILE: &str = "\
FROM base AS tools
RUN echo tool > /tool

FROM base AS app
ARG VERSION=1
ENV MODE=fast
WORKDIR /work
COPY src /src/
COPY one.txt two.txt /data/
COPY --from=tools /tool /bin/tool
RUN echo $VERSION > /version
RUN --mount=type=bind,source=src,target=/mounted --mount=type=cache,target=/cache cat /mounted/a
COPY <<note /note
hello
note
RUN <<script
echo script
script
RUN echo last
";

/// What is done to the project before the second build.
enum Change {
    /// A text of the Dockerfile is replaced.
    Text(&'static str, &'static str),
    /// A file is written.
    Write(&'static str, &'static str),
    /// A file is removed.
    Remove(&'static str),
    /// A file gets this mode.
    Mode(&'static str, u32),
    /// The build gets these flags.
    Flags(&'static [&'static str]),
}

use Change::{Flags, Mode, Remove, Text, Write};

/// The change; a part of the title of the first step that has to run for it; what is said of it.
const CASES: &[(Change, &str, &str)] = &[
    (Write("src/a", "2"), "COPY src", "of 2 files, 1 changed: src/a"),
    (Write("src/deep/b", "2"), "COPY src", "of 2 files, 1 changed: src/deep/b"),
    (Write("src/new", "1"), "COPY src", "of 3 files, 1 added: src/new"),
    (Remove("src/deep/b"), "COPY src", "of 1 file, 1 removed: src/deep/b"),
    (Mode("src/a", 0o600), "COPY src", "of 2 files, 1 changed: src/a (mode or owner)"),
    (Write("one.txt", "2"), "COPY one.txt", "of 2 files, 1 changed: one.txt"),
    (Mode("two.txt", 0o755), "COPY one.txt", "of 2 files, 1 changed: two.txt (mode or owner)"),
    (Write("busybox.note", "x"), "nothing", ""),
    (Flags(&["--build-arg=VERSION=2"]), "RUN echo $VERSION", "ARG VERSION changed from `1` to `2`"),
    (Text("VERSION=1", "VERSION=3"), "RUN echo $VERSION", "ARG VERSION changed from `1` to `3`"),
    (Text("ARG VERSION=1\n", ""), "RUN echo $VERSION", "ENV VERSION is gone, which was `1`"),
    (Text("VERSION=1", "VERSION=1\nARG MORE=x"), "RUN echo $VERSION", "ARG MORE is new: `x`"),
    (Text("MODE=fast", "MODE=slow"), "RUN echo $VERSION", "ENV MODE changed from `fast` to `slow`"),
    (Text("ENV MODE=fast\n", ""), "RUN echo $VERSION", "ENV MODE is gone, which was `fast`"),
    (Text("MODE=fast", "MODE=fast OTHER=y"), "RUN echo $VERSION", "ENV OTHER is new: `y`"),
    (
        Text("echo $VERSION", "echo v$VERSION"),
        "RUN echo v$VERSION",
        "the command changed from `echo $VERSION > /version` to `echo v$VERSION > /version`",
    ),
    (
        Text("echo last", "echo the last"),
        "RUN echo the last",
        "the command changed from `echo last` to `echo the last`",
    ),
    (Text("echo script\n", "echo other\n"), "RUN <<script", "the command changed from `echo script␤` to `echo other␤`"),
    (Text("hello", "goodbye"), "COPY <<note", "the heredoc changed from `hello␤` to `goodbye␤`"),
    (
        Text("echo tool", "echo better"),
        "RUN echo better",
        "the command changed from `echo tool > /tool` to `echo better > /tool`",
    ),
    (Text("COPY src /src/", "COPY src /sources/"), "COPY src", "the destination changed from `/src/` to `/sources/`"),
    (Text("COPY src", "COPY --chmod=755 src"), "COPY --chmod", "--chmod is new: `0755`"),
    (Text("COPY src", "COPY --chown=7:8 src"), "COPY --chown", "--chown is new: `7:8`"),
    (Text("COPY src", "COPY --exclude=a src"), "COPY --exclude", "--exclude is new: `a`; of 1 file, 1 removed: src/a"),
    (
        Text("COPY one.txt two.txt", "COPY one.txt"),
        "COPY one.txt",
        "the sources changed from `one.txt two.txt` to `one.txt`",
    ),
    (Text("COPY one.txt two.txt", "COPY one.txt src/a"), "COPY one.txt", "the source changed from `two.txt` to `a`"),
    (
        Text("COPY --from=tools /tool", "COPY --from=tools /bin/busybox"),
        "COPY --from",
        "the source changed from `tool` to `busybox`",
    ),
    (Text("WORKDIR /work", "WORKDIR /elsewhere"), "WORKDIR", "WORKDIR changed"),
    (Text("WORKDIR /work", "WORKDIR /work\nUSER 0"), "RUN echo $VERSION", "USER is new: `0`"),
    (Text("RUN echo last", "RUN --network=none echo last"), "RUN --network", "--network changed from `host` to `none`"),
    (
        Text("type=cache,target=/cache", "type=cache,id=other,target=/cache"),
        "RUN --mount",
        "the mount at `/cache` has other options",
    ),
    (Text(" --mount=type=cache,target=/cache", ""), "RUN --mount", "the mount at `/cache` is gone"),
    (Text("target=/cache", "target=/cache --mount=type=tmpfs,target=/t"), "RUN --mount", "the mount at `/t` is new"),
    (
        Text("RUN echo last", "RUN echo inserted\nRUN echo last"),
        "RUN echo inserted",
        "nothing like it was built before",
    ),
    (
        Text("RUN echo tool > /tool\n", "RUN echo first\nRUN echo tool > /tool\n"),
        "RUN echo first",
        "nothing like it was built before",
    ),
    (
        Text("COPY one.txt two.txt /data/\n", ""),
        "COPY --from",
        "what stood between it and step #N is gone: `COPY one.txt two.txt /data/`",
    ),
    (
        Text("RUN echo $VERSION > /version\n", ""),
        "RUN --mount",
        "what stood between it and step #N is gone: `RUN echo $VERSION > /version`",
    ),
    (Flags(&["--shm-size=1m"]), "--install", "--shm-size is new: `1048576`"),
    (Flags(&["--ulimit=nofile=64"]), "--install", "--ulimit is new: `nofile=64:64`"),
    (Flags(&["--add-host=somewhere:127.0.0.1"]), "--install", "--add-host is new: `somewhere`"),
    (Flags(&["--no-cache"]), "COPY busybox", "cached results are not wanted (--no-cache)"),
];

fn project() -> Sandbox {
    Sandbox::new()
        .file("src/a", "1")
        .file("src/deep/b", "1")
        .file("one.txt", "1")
        .file("two.txt", "1")
        .file(".dockerignore", "*.note\n")
        .busybox(FILE)
}

impl Change {
    /// Makes the change; returns flags for the build.
    fn make(&self, sandbox: &Sandbox) -> &'static [&'static str] {
        match self {
            Text(from, to) => {
                let text = fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
                assert!(text.contains(from), "{from}");
                sandbox.write("Dockerfile", text.replacen(from, to, 1));
            }
            Write(name, content) => sandbox.write(name, content),
            Remove(name) => fs::remove_file(sandbox.context(name)).unwrap(),
            Mode(name, mode) => {
                fs::set_permissions(sandbox.context(name), fs::Permissions::from_mode(*mode)).unwrap();
            }
            Flags(flags) => return flags,
        }
        &[]
    }
}

fn why(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    serde_json::from_str(&sandbox.kiln(&[&["why", "--format=json"], arguments].concat()).ok()).unwrap()
}

/// Returns title and reason of the first step of the last build that ran for a reason of its own.
fn first_cause(sandbox: &Sandbox) -> Option<(String, String)> {
    let told = why(sandbox, &[]);
    let own = |step: &&Value| {
        let miss = &step["behind"][0]["miss"];
        let elsewhere = |one: &Value| one["what"] == "base" || one["what"] == "mount" && one["change"] == "content";
        miss["cause"] != "changed" || !miss["differences"].as_array().unwrap().iter().all(elsewhere)
    };
    let step = told["steps"].as_array().unwrap().iter().find(own)?;
    Some((step["title"].as_str()?.to_owned(), step["behind"][0]["why"].as_str()?.to_owned()))
}

/// Replaces the numbers of steps, which each case has others of.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split('#');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "#N" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn check(cases: &[(Change, &str, &str)]) {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = project();
    let original = fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
    for (change, step, expected) in cases {
        for (name, content) in
            [("src/a", "1"), ("src/deep/b", "1"), ("one.txt", "1"), ("two.txt", "1"), ("Dockerfile", &original)]
        {
            sandbox.write(name, content);
        }
        for added in ["src/new", "busybox.note"] {
            let _ = fs::remove_file(sandbox.context(added));
        }
        sandbox.build().unwrap();
        let flags = change.make(&sandbox);
        sandbox.build_with(flags).unwrap();
        match first_cause(&sandbox) {
            None => assert_eq!((*step, *expected), ("nothing", "")),
            Some((title, cause)) => {
                let cause = without_numbers(&cause);
                assert!(title.contains(step), "{title}: {cause}, where {step} was expected");
                assert!(cause.starts_with(expected), "{title}: {cause}, where {expected} was expected");
            }
        }
    }
}

#[test]
fn every_kind_of_change_is_named() {
    assert!(CASES.len() >= 40);
    // In parts, for tests run beside each other.
    check(&CASES[..14]);
}

#[test]
fn every_kind_of_change_is_named_and_more() {
    check(&CASES[14..28]);
}

#[test]
fn every_kind_of_change_is_named_and_the_rest() {
    check(&CASES[28..]);
}

#[test]
fn a_base_image_that_moved_is_named() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().file("a", "1").busybox("");
    sandbox.build().unwrap();
    sandbox.kiln(&["tag", "test", "busybox-base"]).ok();
    let base = |name: &str, text: &str| {
        sandbox.write("Dockerfile.base", format!("FROM busybox-base\nRUN echo {text} > /base\n"));
        sandbox.kiln(&["build", "-q", "-t", name, "-f", "context/Dockerfile.base", "context"]).ok();
    };
    base("moving", "old");
    sandbox.write("Dockerfile", "FROM moving\nCOPY a /a\nRUN cat /a\n");
    sandbox.build().unwrap();
    base("moving", "new");
    sandbox.build().unwrap();
    let (title, cause) = first_cause(&sandbox).unwrap();
    assert!(title.contains("COPY a"), "{title}");
    assert!(cause.starts_with("the image `docker.io/library/moving:latest` changed from sha256:"), "{cause}");
    base("other", "other");
    sandbox.write("Dockerfile", "FROM other\nCOPY a /a\nRUN cat /a\n");
    sandbox.build().unwrap();
    let (_, cause) = first_cause(&sandbox).unwrap();
    let expected = "the image changed from `docker.io/library/moving:latest` to `docker.io/library/other:latest`";
    assert_eq!(cause, expected);
}

#[test]
fn a_removed_result_is_told_with_its_date() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo result > /result\n");
    sandbox.build().unwrap();
    sandbox.kiln(&["rmi", "test"]).ok();
    sandbox.build().unwrap();
    let (title, cause) = first_cause(&sandbox).unwrap();
    assert!(title.contains("COPY busybox"), "{title}");
    assert!(cause.starts_with("its result was removed on 2"), "{cause}");
}

#[test]
fn what_lies_behind_a_step_is_followed_to_its_root() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = project();
    sandbox.build().unwrap();
    sandbox.write("src/a", "2");
    let built = sandbox.kiln(&["build", "--progress=plain", "-t", "test", "context"]);
    assert!(built.stderr.contains("not cached: of 2 files, 1 changed: src/a"), "{}", built.stderr);
    let told = sandbox.kiln(&["why", "echo last"]).ok();
    assert!(told.contains("COPY src /src/  (Dockerfile:") && told.contains("\n      M src/a\n"), "{told}");
    let error = sandbox.kiln(&["why", "99"]).fails(1);
    assert!(error.contains("the build has no step `99`"), "{error}");
    let error = sandbox.kiln(&["why", "--build=nope"]).fails(1);
    assert!(error.contains("nope"), "{error}");
}

#[test]
fn builds_are_listed_with_what_they_did() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo ok\n");
    sandbox.build().unwrap();
    sandbox.build().unwrap();
    sandbox.write("Dockerfile", "FROM scratch\nRUN [\"/nothing\"]\n");
    sandbox.build().unwrap_err();
    let listed = sandbox.kiln(&["builds", "--format=json"]).ok();
    let builds: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let facts: Vec<_> =
        builds.iter().map(|build| (build["Outcome"].as_str().unwrap(), build["Ran"].as_u64().unwrap())).collect();
    assert_eq!(facts, [("failed", 1), ("done", 0), ("done", 3)]);
    assert!(builds[0]["Error"].as_str().unwrap().contains("nothing"), "{listed}");
    assert!(builds[1]["Image"].as_str().unwrap().starts_with("sha256:"));
    let text = sandbox.kiln(&["builds", "-n1"]).ok();
    assert_eq!(text.lines().count(), 2, "{text}");
}
