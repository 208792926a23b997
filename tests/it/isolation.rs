//! What a build container may do, and what it leaves behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::runtime::{ContainerSpec, Error, Exit, ExitStatus, Mount, MountKind, Native, Network, RootMount, Stream};
use kiln::sys::Cancel;
use tempfile::TempDir;

/// A root of busybox, as an overlay.
struct Sandbox {
    directory: TempDir,
}

struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
}

const APPLETS: [&str; 21] = [
    "sh", "cat", "echo", "id", "ls", "grep", "mkdir", "touch", "rm", "sleep", "unshare", "mount", "hostname", "pwd",
    "env", "ip", "stat", "setsid", "kill", "ln", "head",
];

impl Sandbox {
    fn new() -> Sandbox {
        let sandbox = Sandbox { directory: tempfile::tempdir().unwrap() };
        for directory in ["lower/bin", "lower/etc", "lower/tmp", "upper", "work"] {
            fs::create_dir_all(sandbox.path(directory)).unwrap();
        }
        fs::copy("/bin/busybox", sandbox.path("lower/bin/busybox")).unwrap();
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", sandbox.path("lower/bin").join(applet)).unwrap();
        }
        sandbox.file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
        sandbox.file("etc/group", "root:x:0:\napp:x:1001:\nvideo:x:44:app\n");
        sandbox
    }

    fn file(&self, path: &str, content: &str) {
        fs::write(self.path("lower").join(path), content).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn spec(&self, argv: &[&str]) -> ContainerSpec {
        let root = RootMount::Overlay {
            lower: vec![self.path("lower")],
            upper: self.path("upper"),
            work: self.path("work"),
            userxattr: false,
        };
        let mut spec = ContainerSpec::new(root, argv.iter().map(|word| (*word).to_owned()).collect());
        spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
        spec.resolv_conf = Some(b"nameserver 192.0.2.1\n".to_vec());
        spec.hosts = Some(b"127.0.0.1\tlocalhost buildkitsandbox\n".to_vec());
        spec
    }

    fn sh(&self, script: &str) -> Ran {
        run(&self.spec(&["sh", "-c", script])).unwrap()
    }

    /// Paths in the upper directory, sorted.
    fn changes(&self) -> Vec<String> {
        fn walk(directory: &Path, prefix: &str, all: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{path}/"), all);
                }
                all.push(path);
            }
        }
        let mut all = Vec::new();
        walk(&self.path("upper"), "", &mut all);
        all.sort();
        all
    }
}

fn native() -> Native {
    Native::with_init(env!("CARGO_BIN_EXE_kiln"))
}

fn run(spec: &ContainerSpec) -> Result<Ran, Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let exit = native().run(spec, &mut output, &Cancel::new())?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok(Ran { exit, stdout: text(stdout), stderr: text(stderr) })
}

#[test]
fn a_command_runs_as_process_1_and_its_streams_stay_apart() {
    let ran = Sandbox::new().sh("echo out $$; echo err >&2; exit 3");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out 1\n", "err\n"));
    assert_eq!(ran.exit.status, ExitStatus::Code(3));
}
