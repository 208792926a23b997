//! Work that is larger than memory, or than the disk.

use std::fs::{File, read_to_string};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::{Need, Ran, Sandbox, ran, require};

const MEBIBYTE: u64 = 1 << 20;

/// What kiln may take for anything in this file.
const BOUND_BYTES: u64 = 64 * MEBIBYTE;

/// Runs kiln to its end, and returns the most memory that it had.
fn peak_bytes(sandbox: &Sandbox, arguments: &[&str]) -> u64 {
    let mut command = sandbox.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        // The kernel's own maximum, so that nothing is missed between two looks but what comes after the last.
        let status = read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
        peak = kilobytes.map_or(peak, |kilobytes: u64| kilobytes << 10);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    assert!(status.success(), "{arguments:?}: {status}");
    assert!(peak > MEBIBYTE, "nothing was measured");
    peak
}

/// Returns how much room the store takes on disk.
fn disk_bytes(sandbox: &Sandbox) -> u64 {
    let files = walkdir::WalkDir::new(sandbox.path("root")).into_iter().map(Result::unwrap);
    files.map(|file| file.metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn the_holes_of_a_file_take_neither_memory_nor_disk() {
    if !(require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    const SIZE_BYTES: u64 = 200 * MEBIBYTE;
    let end = SIZE_BYTES + 4;
    let is_right = |file: &str| format!("test $(stat -c %s {file}) = {end} && test $(tail -c 4 {file}) = end");
    let sandbox = Sandbox::new().busybox(&format!(
        "COPY sparse /copied\nRUN truncate -s {SIZE_BYTES} /made && echo end >> /made\nRUN {} && {}\n",
        is_right("/copied"),
        is_right("/made")
    ));
    let file = File::create(sandbox.context("sparse")).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    file.write_all_at(b"end\n", SIZE_BYTES).unwrap();
    let peak = peak_bytes(&sandbox, &["build", "-t", "test", "context"]);
    assert!(peak < BOUND_BYTES, "{peak} bytes of memory");
    let disk = disk_bytes(&sandbox);
    assert!(disk < BOUND_BYTES, "{disk} bytes on disk");
}

#[test]
fn what_a_step_prints_is_not_kept_in_memory() {
    if !(require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let lines = "yes 'a line of some length, as programs print them while they work' | head -c 67108864";
    let sandbox = Sandbox::new().busybox(&format!("RUN {lines}\nRUN {lines} | tr -d '\\n'\n"));
    for progress in ["plain", "json", "quiet"] {
        let peak = peak_bytes(&sandbox, &["build", "--no-cache", "--progress", progress, "-t", "test", "context"]);
        assert!(peak < BOUND_BYTES, "{peak} bytes of memory with --progress {progress}");
    }
}

#[test]
fn of_what_a_step_prints_without_end_both_ends_are_kept() {
    if !(require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN seq 1 10000000\n");
    sandbox.kiln(&["build", "-q", "context"]).ok();
    let log = sandbox.kiln(&["log"]).ok();
    assert!(log.len() < 40 << 20, "{} bytes", log.len());
    assert!(log.contains("\n1\n2\n3\n") && log.ends_with("\n9999999\n10000000\n"));
    // All numbers have 78,888,897 bytes together, and 16 MiB of each end are there.
    assert!(log.contains(&format!("\n[{} bytes are left out here]\n", 78_888_897 - (32 << 20))));
}

/// The disk fills half-way through a layer; then there is room again.
#[test]
fn a_layer_that_fills_the_disk_is_given_up_and_the_store_goes_on() {
    if !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nCOPY large /\n").file("large", vec![b'x'; 24 << 20]);
    sandbox.write("small/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let script = "mount -t tmpfs -o size=16m none root
        \"$1\" build -t before context/small
        \"$1\" build -t large context || echo \"code $?\"
        echo \"left: $(ls root/ingest)\"
        \"$1\" build -t after --no-cache context/small
        \"$1\" images -q --no-trunc | wc -l";
    let kiln = sandbox.command(&[]);
    let mut command = Command::new("unshare");
    // In namespaces of its own, so that no mount outlives the test.
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]).arg(kiln.get_program());
    command.current_dir(sandbox.path("")).envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ran { code, stdout, stderr } = ran(&mut command);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
    let told: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("sha256:")).collect();
    assert_eq!(told, ["code 1", "left: ", "2"]);
}
