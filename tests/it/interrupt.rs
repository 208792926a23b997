//! Interrupts and kills.

use std::fs;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Need, Sandbox, require};

/// A build whose second step never ends, and the process once it is there.
fn sleeping() -> Option<(Sandbox, Child, String)> {
    if !(require(Need::Busybox) && require(Need::UserNamespaces)) {
        return None;
    }
    // A number that no other process on the machine sleeps for.
    static BUILDS: AtomicU32 = AtomicU32::new(100);
    let seconds = format!("9{}{}", std::process::id(), BUILDS.fetch_add(1, Ordering::Relaxed));
    let sandbox = Sandbox::new().busybox(&format!("RUN touch /done\nRUN sleep {seconds}\n"));
    let child = sandbox.start(&["build", "--progress=plain", "-t", "test", "context"]);
    wait_until("the step to start", || sleeps(&seconds));
    Some((sandbox, child, seconds))
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tells whether a process anywhere is `sleep seconds`.
fn sleeps(seconds: &str) -> bool {
    let command_lines =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let wanted = format!("sleep\0{seconds}\0");
    command_lines.into_iter().any(|line| line == wanted.as_bytes())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn mounts_below(sandbox: &Sandbox) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(sandbox.path("").to_str().unwrap())
}

#[test]
fn an_interrupt_ends_the_build_at_once_and_leaves_nothing() {
    for interruption in [Signal::INT, Signal::TERM] {
        let Some((sandbox, child, seconds)) = sleeping() else { return };
        let started = Instant::now();
        signal(&child, interruption);
        let output = child.wait_with_output().unwrap();
        let took = started.elapsed();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert!(!sleeps(&seconds) && !mounts_below(&sandbox));
        assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    }
}

#[test]
fn after_a_kill_the_store_is_whole_and_the_work_is_kept() {
    let Some((sandbox, mut child, seconds)) = sleeping() else { return };
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the step to be gone", || !sleeps(&seconds));
    assert!(!mounts_below(&sandbox));
    let sandbox = sandbox.busybox("RUN touch /done\nRUN true\n");
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    assert_eq!(image.executed().iter().filter(|title| title.contains("RUN")).count(), 1);
    image.validate();
}

#[test]
fn an_interrupt_ends_the_reading_of_a_large_context() {
    let sandbox = Sandbox::new().file("huge", "").dockerfile("FROM scratch\nCOPY huge /\n");
    // Holes cost no disk, and reading them takes minutes.
    fs::File::options().write(true).open(sandbox.context("huge")).unwrap().set_len(256 << 30).unwrap();
    let child = sandbox.start(&["build", "--progress=plain", "context"]);
    let descriptors = format!("/proc/{}/fd", child.id());
    let reads = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|file| file == sandbox.context("huge"));
    wait_until("the file to be read", || {
        fs::read_dir(&descriptors).is_ok_and(|open| open.filter_map(Result::ok).any(reads))
    });
    let started = Instant::now();
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took < Duration::from_millis(500), "{took:?}");
}
