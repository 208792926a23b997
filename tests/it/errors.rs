//! Bad input: one clear message with cause and place, and an exit code.

use std::fs;

use crate::support::{Failure, Need, Sandbox, require};

fn failure(sandbox: Sandbox) -> Failure {
    let failure = sandbox.build().unwrap_err();
    assert_eq!(failure.code, Some(1), "{}", failure.text);
    failure
}

/// Asserts that the message for a Dockerfile holds all of `parts`.
#[track_caller]
fn says(dockerfile: &str, parts: &[&str]) {
    let failure = failure(Sandbox::new().file("app.conf", "").dockerfile(dockerfile));
    for part in parts {
        assert!(failure.text.contains(part), "`{part}` is not in:\n{}", failure.text);
    }
}

#[test]
fn every_error_of_a_file_is_shown_in_one_run() {
    says("FROM scratch\nRNU make\nCOPY a\n", &["Dockerfile:2:1", "did you mean `RUN`?", "Dockerfile:3:", "2 errors"]);
}

#[test]
fn an_image_that_is_missing_hides_nothing_else() {
    let dockerfile = "FROM 127.0.0.1:1/missing AS build\nEXPOSE many\nCOPY --chown=a:b app.conf /\n\
                      FROM build\nSTOPSIGNAL x\nCOPY --from=127.0.0.1:1/other / /\nRUN --mount=from=127.0.0.1:1/third,target=/m true\n";
    let places = ["Dockerfile:1:6", "Dockerfile:2:8", "Dockerfile:5:12", "Dockerfile:6:13", "Dockerfile:7:"];
    says(dockerfile, &[&places[..], &["5 errors"]].concat());
}

#[test]
fn a_missing_source_names_the_nearest() {
    says("FROM scratch\nCOPY app.cnf /\n", &["Dockerfile:2:", "app.cnf", "app.conf"]);
}

#[test]
fn unknown_and_cyclic_stages_are_pointed_at() {
    says("FROM scratch AS build\nFROM scratch\nCOPY --from=build2 /a /\n", &["Dockerfile:3:", "build2"]);
    says("FROM a AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n", &["Dockerfile:"]);
}

#[test]
fn sources_cannot_leave_the_context() {
    let failure =
        failure(Sandbox::new().symlink("up", "../..").dockerfile("FROM scratch\nCOPY up/root/lock /stolen\n"));
    assert!(failure.text.contains("up/root/lock"), "{}", failure.text);
}

#[test]
fn instructions_of_later_versions_are_not_ignored() {
    says("FROM scratch\nRUN --device=vendor/class=x true\n", &["Dockerfile:2:", "not supported yet"]);
}

#[test]
fn a_failed_step_shows_its_line_its_status_and_its_last_output() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let failure = failure(Sandbox::new().busybox("RUN echo first; echo last words >&2; exit 42\n"));
    for part in ["Dockerfile:4:1", "42", "last words", "RUN echo first"] {
        assert!(failure.text.contains(part), "{part}: {}", failure.text);
    }
}

#[test]
fn a_signal_has_a_name() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let failure = failure(Sandbox::new().busybox("RUN sh -c 'kill -SEGV $$'; exit $?\nRUN true\n"));
    assert!(failure.text.contains("SEGV"), "{}", failure.text);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let failure = failure(Sandbox::new().dockerfile("FROM scratch\nRUN [\"/absent\"]\n"));
    assert!(failure.text.contains("/absent") && failure.text.contains("Dockerfile:2:"), "{}", failure.text);
}

#[test]
fn a_failure_keeps_what_was_done_before() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo one > /one\nRUN false\n");
    sandbox.build().unwrap_err();
    let sandbox = sandbox.busybox("RUN echo one > /one\nRUN true\n");
    let image = sandbox.build().unwrap();
    assert_eq!(image.executed().iter().filter(|title| title.contains("RUN")).count(), 1);
}

#[test]
fn flags_of_other_builders_are_refused_clearly() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nLABEL a=b\n");
    for flags in [&["--cache-to", "x"][..], &["--cache-from", "x"]] {
        let stderr = sandbox.kiln(&[&["build"], flags, &["context"]].concat()).fails(2);
        assert!(stderr.contains(flags[0]) && stderr.contains("not supported yet"), "{stderr}");
    }
    sandbox.kiln(&["build", "--nonsense", "context"]).fails(2);
    sandbox.kiln(&["build", "-t", "UPPER", "context"]).fails(2);
}

#[test]
fn a_context_that_is_not_there_is_named() {
    for (arguments, part) in [(["build", "absent"], "absent"), (["build", "context"], "Dockerfile")] {
        let stderr = Sandbox::new().kiln(&arguments).fails(1);
        assert!(stderr.contains(part), "{stderr}");
    }
}

/// Returns a tar with one file whose name is written as it is, which no tar program would do.
fn archive_of(path: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(1);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_hostile_archive_does_no_harm() {
    for (name, is_kept) in [("inside", Some("/a/b/inside")), ("../../../kiln-escape", None), ("/kiln-escape", None)] {
        let sandbox = Sandbox::new().file("x.tar", archive_of(name)).dockerfile("FROM scratch\nADD x.tar /a/b/\n");
        match (sandbox.build(), is_kept) {
            (Ok(image), Some(path)) => assert_eq!(image.file(path), "x"),
            // Kept inside the root or refused by name: either is safe.
            (Ok(image), None) => assert!(!image.last().paths().iter().any(|path| path.contains(".."))),
            (Err(failure), None) => assert!(failure.text.contains("kiln-escape"), "{}", failure.text),
            (Err(failure), Some(_)) => panic!("{}", failure.text),
        }
        let places = ["kiln-escape", "context/kiln-escape", "root/kiln-escape"].map(|place| sandbox.path(place));
        assert!(places.iter().all(|place| !place.exists()) && !fs::exists("/kiln-escape").unwrap(), "{name}");
    }
}

#[test]
fn a_truncated_archive_is_not_loaded() {
    let sandbox = Sandbox::new().file("a", "1".repeat(100_000)).dockerfile("FROM scratch\nCOPY a /\n");
    sandbox.kiln(&["build", "-t", "test", "context"]).ok();
    sandbox.kiln(&["save", "-o", "image.tar", "test"]).ok();
    let archive = fs::read(sandbox.path("image.tar")).unwrap();
    fs::write(sandbox.path("image.tar"), &archive[..archive.len() / 2]).unwrap();
    let other = Sandbox::new();
    other.kiln(&["load", "-i", sandbox.path("image.tar").to_str().unwrap()]).fails(1);
    assert_eq!(other.kiln(&["images", "-q"]).ok(), "");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.start(&["images"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
