//! What several builds want at once is fetched once.

use std::fs;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::fault_server::{End, FaultServer, Published};
use crate::support::{Sandbox, comes_true};

/// Longer than a build takes to want the layer. Its wish cannot be seen from outside: it asks nobody.
const A_WHILE: Duration = Duration::from_secs(1);

/// A sandbox whose build copies the file of the image.
fn copying(server: &FaultServer) -> Sandbox {
    Sandbox::new().dockerfile(&format!("FROM scratch\nCOPY --from={}/team/app:1 /noise /\n", server.host()))
}

fn start(sandbox: &Sandbox, name: &str) -> Child {
    sandbox.start(&["build", "--progress=plain", "-t", name, "context"])
}

#[track_caller]
fn succeeds(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_builds_that_want_a_layer_at_once_fetch_it_once() {
    let published = Published::new();
    let (image, started) = (published.clone(), Arc::new(AtomicBool::new(false)));
    let both = started.clone();
    let server = FaultServer::start(move |asked| {
        if asked.path.contains(&image.layer.to_string()) {
            assert!(comes_true(|| both.load(Ordering::SeqCst)));
            std::thread::sleep(A_WHILE);
        }
        image.answer(asked)
    });
    let sandbox = copying(&server);
    let builds = ["one", "two"].map(|name| start(&sandbox, name));
    started.store(true, Ordering::SeqCst);
    builds.into_iter().for_each(succeeds);
    assert_eq!(server.asked("GET", &published.layer.to_string()).len(), 1);
    for name in ["one", "two"] {
        sandbox.image(name).validate();
    }
}

#[test]
fn a_build_goes_on_with_what_another_had_when_it_was_killed() {
    let published = Published::new();
    let (image, asked_before) = (published.clone(), AtomicUsize::new(0));
    let server = FaultServer::start(move |asked| {
        let reply = image.answer(asked);
        let is_layer = asked.path.contains(&image.layer.to_string());
        match is_layer && asked_before.fetch_add(1, Ordering::SeqCst) == 0 {
            true => reply.end(End::SilentAfter(300_000)),
            false => reply,
        }
    });
    let sandbox = copying(&server);
    let mut first = start(&sandbox, "one");
    let partial = sandbox.path("root/ingest").join(format!("{}.partial", published.layer.hex()));
    assert!(comes_true(|| fs::metadata(&partial).is_ok_and(|metadata| metadata.len() == 300_000)));
    let second = start(&sandbox, "two");
    std::thread::sleep(A_WHILE);
    assert_eq!(server.asked("GET", &published.layer.to_string()).len(), 1, "the second waits");
    first.kill().unwrap();
    first.wait().unwrap();
    succeeds(second);
    let ranges = server.asked("GET", &published.layer.to_string());
    let ranges: Vec<_> = ranges.iter().map(|asked| asked.header("range")).collect();
    assert_eq!(ranges, ["", "bytes=300000-"]);
}
