//! Containers without privilege. A program of its own, because a process enters a user namespace before it has threads,
//! and the usual test harness has many.
//!
//! As root, it makes a fresh user and runs itself as that user, once with and once without subordinate ids; as another
//! user, it runs what that user can get.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is its own harness")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::runtime::{self, ContainerSpec, Durability, Ids, Native, Network, RootMount, Stream};
use kiln::sys::Cancel;

fn main() {
    runtime::enter();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("inside") => inside(&arguments[2]),
        Some("hold") => hold(Path::new(&arguments[2])),
        _ if rustix::process::geteuid().is_root() => as_fresh_user(),
        _ => inside("any"),
    }
}

/// Runs this program as a user made for it.
fn as_fresh_user() {
    let name = format!("kiln{}", std::process::id());
    let made = Command::new("useradd").args(["--create-home", &name]).status();
    if !made.is_ok_and(|status| status.success()) {
        let strict = std::env::var_os("KILN_TEST_STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "useradd is needed");
        return println!("skipped: useradd is needed");
    }
    let user = FreshUser { name };
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, user.name.as_str()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
    };
    let home = PathBuf::from("/home").join(&user.name);
    // Where cargo puts it, other users may not be let in.
    let program = home.join("rootless");
    fs::copy("/proc/self/exe", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut kinds = vec![("single", "/nowhere")];
    if Path::new("/usr/bin/newuidmap").exists() {
        kinds.push(("subordinate", "/usr/bin:/bin"));
    }
    for (kind, path) in kinds {
        let mut command = Command::new(&program);
        command.args(["inside", kind]).current_dir(&home).env_clear().env("PATH", path).env("RUST_BACKTRACE", "1");
        command.env("TMPDIR", &home).gid(id("-g")).uid(id("-u"));
        assert!(command.status().unwrap().success(), "as {kind}");
    }
}

struct FreshUser {
    name: String,
}

impl Drop for FreshUser {
    fn drop(&mut self) {
        let removed = Command::new("userdel").args(["--remove", &self.name]).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("user {} stays behind", self.name);
        }
    }
}

/// Runs containers as the user this process has, in `kind` of user namespace.
fn inside(kind: &str) {
    let before = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ids = runtime::enter_user_namespace().unwrap();
    assert!(rustix::process::geteuid().is_root());
    match (kind, ids) {
        ("single", Ids::Single { uid, gid }) => assert_eq!((uid, gid), before),
        ("subordinate", Ids::Subordinate { uid, gid }) => assert_eq!((uid, gid), before),
        ("any", _) => {}
        _ => panic!("{ids:?} where {kind} was expected"),
    }
    assert_eq!(ids.notice().is_some(), matches!(ids, Ids::Single { .. }));
    let sandbox = Sandbox::new();
    a_step_runs_as_root_of_the_namespace(&sandbox);
    the_host_cannot_be_reached(&sandbox);
    devices_and_mounts_are_there(&sandbox);
    with_the_host_network_too(&sandbox);
    other_users_exist_if_mapped(&sandbox, ids);
    nothing_of_the_mount_points_stays(&sandbox);
    a_container_dies_with_kiln(&sandbox);
    println!("test rootless with {ids:?} ... ok");
}

struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Sandbox {
        let sandbox = Sandbox { directory: tempfile::tempdir().unwrap() };
        for directory in ["lower/bin", "lower/etc", "upper", "work"] {
            fs::create_dir_all(sandbox.path(directory)).unwrap();
        }
        fs::copy("/bin/busybox", sandbox.path("lower/bin/busybox")).unwrap();
        for applet in ["sh", "cat", "id", "touch", "ls", "grep", "unshare", "mount", "rm", "mkdir"] {
            std::os::unix::fs::symlink("busybox", sandbox.path("lower/bin").join(applet)).unwrap();
        }
        sandbox
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn spec(&self, script: &str) -> ContainerSpec {
        let root = RootMount::Overlay {
            lower: vec![self.path("lower")],
            images: Vec::new(),
            upper: self.path("upper"),
            work: self.path("work"),
            durability: Durability::Volatile,
            userxattr: true,
        };
        let mut spec = ContainerSpec::new(root, ["sh", "-c", script].map(str::to_owned).to_vec());
        spec.env.push(("PATH".into(), "/bin".into()));
        spec.hosts = Some(b"127.0.0.1\tlocalhost\n".to_vec());
        spec
    }

    fn sh(&self, script: &str) -> String {
        run(&self.spec(script)).unwrap()
    }
}

fn run(spec: &ContainerSpec) -> Result<String, runtime::Error> {
    let mut all = Vec::new();
    Native::default().run(spec, &mut |_: Stream, bytes| all.extend_from_slice(bytes), &Cancel::new())?;
    Ok(String::from_utf8(all).unwrap())
}

fn a_step_runs_as_root_of_the_namespace(sandbox: &Sandbox) {
    assert_eq!(sandbox.sh("id -u; id -g; echo $$; cat /etc/hosts"), "0\n0\n1\n127.0.0.1\tlocalhost\n");
    let status = sandbox.sh("grep -E '^(CapEff|CapBnd|Seccomp:)' /proc/self/status");
    assert_eq!(status, "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n");
}

fn the_host_cannot_be_reached(sandbox: &Sandbox) {
    for script in ["unshare -U id", "mount -t tmpfs x /etc", "touch /proc/sys/kernel/x", "cat /proc/kcore | grep ."] {
        let said = sandbox.sh(&format!("({script}) 2> /dev/null || echo refused"));
        assert!(said.ends_with("refused\n"), "{script}: {said}");
    }
}

fn devices_and_mounts_are_there(sandbox: &Sandbox) {
    let script = "echo x > /dev/null && ls /dev/pts /dev/shm && cat /dev/zero | /bin/busybox head -c 1 > /dev/shm/x && \
                  grep -c -E ' (/proc|/dev|/dev/pts|/dev/shm|/dev/mqueue) ' /proc/mounts";
    assert!(sandbox.sh(script).ends_with("5\n"), "{}", sandbox.sh(script));
}

fn with_the_host_network_too(sandbox: &Sandbox) {
    let mut spec =
        sandbox.spec("cat /proc/net/dev; ls /sys/kernel > /dev/null; touch /sys/x 2> /dev/null || echo read-only");
    spec.network = Network::Host;
    let said = run(&spec).unwrap();
    assert!(said.ends_with("read-only\n"), "{said}");
}

fn other_users_exist_if_mapped(sandbox: &Sandbox, ids: Ids) {
    let mut spec = sandbox.spec("id -u; id -g");
    spec.user = "1000:1001".into();
    match ids {
        Ids::Single { .. } => assert!(matches!(run(&spec), Err(runtime::Error::User(_)))),
        Ids::Root | Ids::Subordinate { .. } => assert_eq!(run(&spec).unwrap(), "1000\n1001\n"),
    }
}

fn nothing_of_the_mount_points_stays(sandbox: &Sandbox) {
    sandbox.sh("touch /made; rm -r /bin/id");
    let mut names: Vec<_> =
        fs::read_dir(sandbox.path("upper")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "dev", "etc", "made", "proc", "sys"]);
    assert_eq!(fs::read_dir(sandbox.path("upper/etc")).unwrap().count(), 0);
    assert_eq!(fs::metadata(sandbox.path("upper/made")).unwrap().uid(), 0);
}

/// Runs a container that does not end by itself, over the sandbox in `directory`.
fn hold(directory: &Path) {
    let root = RootMount::Bind { path: directory.join("lower") };
    let spec = ContainerSpec::new(root, ["/bin/busybox", "sleep", "103"].map(str::to_owned).to_vec());
    Native::default().run(&spec, &mut |_, _| {}, &Cancel::new()).unwrap();
}

fn a_container_dies_with_kiln(sandbox: &Sandbox) {
    let mut kiln = Command::new("/proc/self/exe").arg("hold").arg(sandbox.directory.path()).spawn().unwrap();
    wait_until("the container runs", || sleepers() > 0);
    kiln.kill().unwrap();
    kiln.wait().unwrap();
    wait_until("the container is gone", || sleepers() == 0);
}

fn sleepers() -> usize {
    let processes = fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line == b"/bin/busybox\0sleep\x00103\0").count()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not within 5 s: {what}");
}
