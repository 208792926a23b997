//! What a build container may do, and what it leaves behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::runtime::{
    Access, ContainerSpec, Durability, Error, Exit, ExitStatus, Mount, MountKind, Native, Network, RootMount, Stream,
};
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

const APPLETS: [&str; 22] = [
    "mknod", "sh", "cat", "echo", "id", "ls", "grep", "mkdir", "touch", "rm", "sleep", "unshare", "mount", "hostname",
    "pwd", "env", "ip", "stat", "setsid", "kill", "ln", "head",
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
            images: Vec::new(),
            upper: self.path("upper"),
            work: self.path("work"),
            durability: Durability::Volatile,
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

#[test]
fn capabilities_are_dockers_default_set() {
    let ran = Sandbox::new().sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                    CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    assert_eq!(ran.stdout, expected);
}

#[test]
fn another_user_has_the_bounding_set_only() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(&["sh", "-c", "id; echo $HOME; grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status"]);
    spec.user = "app".into();
    let expected = "uid=1000(app) gid=1001(app) groups=44(video),1001(app)\n/home/app\nCapPrm:\t0000000000000000\n\
                    CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n";
    assert_eq!(run(&spec).unwrap().stdout, expected);
    spec.user = "eve".into();
    let error = run(&spec).err().unwrap();
    assert_eq!(error.to_string(), "unable to find user eve: no matching entries in passwd file");
}

#[test]
fn namespaces_and_mounts_are_refused() {
    let sandbox = Sandbox::new();
    for command in ["unshare -m true", "unshare -U true", "mount -t tmpfs x /tmp", "mount -o remount,rw /proc/sys"] {
        let ran = sandbox.sh(command);
        assert!(!ran.exit.status.success(), "{command}");
        assert!(
            ran.stderr.contains("Operation not permitted") || ran.stderr.contains("permission denied"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn the_kernel_is_out_of_reach() {
    let sandbox = Sandbox::new();
    let ran = sandbox.sh("cat /proc/kcore /proc/keys /proc/timer_list | head -c 1; ls /sys/firmware /proc/scsi");
    assert_eq!(ran.stdout.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).count(), 0, "{}", ran.stdout);
    for path in ["/proc/sys/kernel/hostname", "/sys/kernel/x", "/etc/hosts", "/etc/resolv.conf"] {
        let ran = sandbox.sh(&format!("echo h > {path}"));
        assert!(ran.stderr.contains("Read-only file system"), "{path}: {}", ran.stderr);
    }
}

#[test]
fn mounts_are_as_buildkit_has_them() {
    let ran =
        Sandbox::new().sh("cat /proc/mounts; cat /etc/hosts; hostname; ls /dev; echo x > /dev/null; ls -l /dev/fd");
    let mounts = [
        "overlay / overlay rw,nodev,",
        "proc /proc proc rw,nosuid,nodev,noexec,relatime",
        "tmpfs /dev tmpfs rw,nosuid,nodev,size=65536k,mode=755",
        "devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666",
        "tmpfs /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k",
        "mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime",
        "sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime",
        "tmpfs /etc/hosts tmpfs ro,nosuid,nodev,noexec,relatime",
        "127.0.0.1\tlocalhost buildkitsandbox\nbuildkitsandbox\n",
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
        "/dev/fd -> /proc/self/fd",
    ];
    for expected in mounts {
        assert!(ran.stdout.contains(expected), "{expected}\n{}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn nothing_of_the_mount_points_stays() {
    let sandbox = Sandbox::new();
    let etc = fs::metadata(sandbox.path("lower/etc")).unwrap();
    let mut spec = sandbox.spec(&["sh", "-c", "cat /run/secrets/key /dev/pipes/EOF"]);
    let file = |target: &str, data: &str| Mount {
        target: target.into(),
        kind: MountKind::File { mode: 0o755, uid: 0, gid: 0, data: data.into() },
    };
    spec.mounts = vec![file("/run/secrets/key", "secret\n"), file("/dev/pipes/EOF", "script\n")];
    assert_eq!(run(&spec).unwrap().stdout, "secret\nscript\n");
    assert_eq!(sandbox.changes(), ["dev", "etc", "proc", "sys"]);
    let after = fs::metadata(sandbox.path("upper/etc")).unwrap();
    assert_eq!(after.modified().unwrap(), etc.modified().unwrap());
    assert_eq!((after.mode(), after.uid()), (etc.mode(), etc.uid()));
    assert_eq!(fs::metadata(sandbox.path("upper/proc")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_a_step_writes_beside_a_mount_point_stays() {
    let sandbox = Sandbox::new();
    sandbox.sh("echo mine > /etc/mine; mkdir -p /srv/a; rm /tmp -r");
    assert_eq!(sandbox.changes(), ["dev", "etc", "etc/mine", "proc", "srv", "srv/a", "sys", "tmp"]);
}

#[test]
fn a_mount_point_may_be_a_dangling_link() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("../run/resolve/stub.conf", sandbox.path("lower/etc/resolv.conf")).unwrap();
    let ran = sandbox.sh("cat /etc/resolv.conf");
    assert_eq!(ran.stdout, "nameserver 192.0.2.1\n");
    assert_eq!(sandbox.changes(), ["dev", "etc", "proc", "sys"]);
}

#[test]
fn a_mount_point_never_leaves_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    fs::remove_dir_all(sandbox.path("lower/etc")).unwrap();
    std::os::unix::fs::symlink(outside.path(), sandbox.path("lower/etc")).unwrap();
    sandbox.sh("true");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn without_network_there_is_only_loopback() {
    let sandbox = Sandbox::new();
    let ran = sandbox.sh("cat /proc/net/dev | grep -c :; ip addr show lo");
    assert!(ran.stdout.starts_with("1\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("127.0.0.1/8"), "{}", ran.stdout);
    let mut spec = sandbox.spec(&["cat", "/proc/net/dev"]);
    spec.network = Network::Host;
    fs::create_dir(sandbox.path("upper2")).unwrap();
    assert_eq!(
        run(&spec).unwrap().stdout.lines().count(),
        fs::read_to_string("/proc/net/dev").unwrap().lines().count()
    );
}

#[test]
fn orphans_die_with_process_1() {
    let sandbox = Sandbox::new();
    let start = Instant::now();
    sandbox.sh("setsid sh -c 'sleep 102; echo late' & setsid sleep 102 & exit 0");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!any_process_runs(&["sleep", "102"]));
}

#[test]
fn cancellation_kills_everything_within_200_ms() {
    let sandbox = Sandbox::new();
    let spec = sandbox.spec(&["sh", "-c", "echo started; sleep 101 & sleep 101"]);
    let cancel = Cancel::new();
    let mut asked = None;
    let result = native().run(
        &spec,
        &mut |_, _| {
            cancel.cancel();
            asked.get_or_insert_with(Instant::now);
        },
        &cancel,
    );
    assert!(asked.unwrap().elapsed() < Duration::from_millis(200));
    assert!(matches!(result, Err(Error::Cancelled(_))));
    assert!(!any_process_runs(&["sleep", "101"]));
}

fn any_process_runs(argv: &[&str]) -> bool {
    let wanted = argv.join("\0") + "\0";
    let processes = fs::read_dir("/proc").unwrap().map(Result::unwrap);
    processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok()).any(|line| line == wanted.as_bytes())
}

#[test]
fn programs_that_cannot_start_say_why() {
    let sandbox = Sandbox::new();
    sandbox.file("tmp/plain", "echo");
    sandbox.file("tmp/lost", "#!/bin/lost\n");
    sandbox.file("tmp/text", "text");
    let mut foreign = fs::read("/bin/busybox").unwrap();
    foreign[18] = 93;
    fs::write(sandbox.path("lower/tmp/foreign"), &foreign[..4096]).unwrap();
    for name in ["lost", "text", "foreign"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(sandbox.path("lower/tmp").join(name), mode).unwrap();
    }
    let cases = [
        ("nowhere", "nowhere: not found in PATH (/usr/bin:/bin)"),
        ("/bin/nowhere", "/bin/nowhere: not found"),
        ("/tmp/plain", "/tmp/plain: permission denied; it is not an executable file for this user"),
        ("/tmp/lost", "/tmp/lost: its interpreter /bin/lost is not in the image"),
        ("/tmp/text", "/tmp/text: is not a program (no `#!` line and not an executable for this machine)"),
        ("/tmp/foreign", "/tmp/foreign: is a program for machine type 93, which this machine cannot run"),
    ];
    for (program, expected) in cases {
        let error = run(&sandbox.spec(&[program])).err().unwrap();
        assert!(matches!(error, Error::Program(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_missing_working_directory_is_made_for_the_user_and_stays() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(&["sh", "-c", "pwd; touch here; umask"]);
    spec.user = "app".into();
    spec.cwd = "/work/deep".into();
    assert_eq!(run(&spec).unwrap().stdout, "/work/deep\n0022\n");
    let made = fs::metadata(sandbox.path("upper/work/deep")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1001, 0o755));
    assert_eq!(fs::metadata(sandbox.path("upper/work")).unwrap().uid(), 1000);
}

#[test]
fn a_failed_set_up_names_its_step() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(&["true"]);
    spec.rootfs = RootMount::Overlay {
        lower: vec![sandbox.path("missing")],
        images: Vec::new(),
        upper: sandbox.path("upper"),
        work: sandbox.path("work"),
        durability: Durability::Volatile,
        userxattr: false,
    };
    let error = run(&spec).err().unwrap();
    assert_eq!(error.to_string(), "cannot set up the container: mount / (overlay)");
}

#[test]
fn a_plain_directory_can_be_the_root() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(&["touch", "/made"]);
    spec.rootfs = RootMount::Bind { path: sandbox.path("lower") };
    assert!(run(&spec).unwrap().exit.status.success());
    assert!(sandbox.path("lower/made").exists());
    assert!(!sandbox.path("lower/etc/hosts").exists());
}

#[test]
fn signals_and_input_are_those_of_a_new_program() {
    let sandbox = Sandbox::new();
    let ran = sandbox.sh("cat; grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd");
    assert_eq!(ran.stdout, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n");
    let ran = run(&sandbox.spec(&["cat", "/proc/self/environ"])).unwrap();
    assert_eq!(ran.stdout, "PATH=/usr/bin:/bin\0HOME=/root\0");
}

#[test]
fn system_calls_are_refused_as_dockers_profile_refuses_them() {
    let sandbox = Sandbox::new();
    let calls = [
        (libc::SYS_keyctl, [0, 0], libc::EPERM),
        (libc::SYS_bpf, [0, 0], libc::EPERM),
        (libc::SYS_io_uring_setup, [1, 0], libc::EPERM),
        (libc::SYS_setns, [0, 0], libc::EPERM),
        (libc::SYS_socket, [i64::from(libc::AF_ALG), 5], libc::EPERM),
        (libc::SYS_socket, [i64::from(libc::AF_VSOCK), 1], libc::EPERM),
        (libc::SYS_socket, [-1, 1], libc::EAFNOSUPPORT),
        (libc::SYS_clone, [i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD), 0], libc::EPERM),
        (libc::SYS_clone3, [0, 0], libc::ENOSYS),
        (libc::SYS_personality, [0x40_0000, 0], libc::EPERM),
        (600, [0, 0], libc::ENOSYS),
    ];
    // perl is on every Debian, and calls by number.
    let script: String = calls
        .iter()
        .map(|(number, [a, b], _)| format!("$!=0; syscall({number}, {a}, {b}, 0, 0, 0); print $!+0, qq(\\n);"))
        .collect();
    let mut spec = sandbox.spec(&["/usr/bin/perl", "-e", &script]);
    spec.mounts = ["/usr", "/lib", "/lib64"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| Mount {
            target: path.into(),
            kind: MountKind::Bind { source: path.into(), access: Access::ReadOnly },
        })
        .collect();
    let expected: String = calls.iter().map(|(_, _, errno)| format!("{errno}\n")).collect();
    let ran = run(&spec).unwrap();
    assert_eq!((ran.stdout, ran.stderr), (expected, String::new()));
    assert_eq!(sandbox.changes(), ["dev", "etc", "proc", "sys"]);
}

#[test]
fn bound_directories_are_read_only_when_asked() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("bound/sub")).unwrap();
    let mut spec = sandbox.spec(&["sh", "-c", "touch /mnt/a/new; touch /mnt/b/new"]);
    let bind = |target: &str, access| Mount {
        target: target.into(),
        kind: MountKind::Bind { source: sandbox.path("bound"), access },
    };
    spec.mounts = vec![bind("/mnt/a", Access::ReadOnly), bind("/mnt/b", Access::ReadWrite)];
    let ran = run(&spec).unwrap();
    assert_eq!(ran.stderr, "touch: /mnt/a/new: Read-only file system\n");
    assert!(sandbox.path("bound/new").exists());
    assert_eq!(sandbox.changes(), ["dev", "etc", "proc", "sys"]);
}

#[test]
fn a_root_of_many_layers_works() {
    let sandbox = Sandbox::new();
    let layer = |number: usize| sandbox.path(&format!("layer-with-a-rather-long-name-{number:0100}"));
    for number in 0..120 {
        fs::create_dir(layer(number)).unwrap();
        fs::write(layer(number).join(format!("file{number}")), "").unwrap();
    }
    let mut spec = sandbox.spec(&["sh", "-c", "ls / | grep -c file"]);
    let RootMount::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!("as spec() makes it") };
    lower.extend((0..120).map(layer));
    assert_eq!(run(&spec).unwrap().stdout, "120\n");
}

#[test]
fn device_nodes_can_be_made_for_the_layer_but_not_opened() {
    let sandbox = Sandbox::new();
    for place in ["/tmp", "/dev", "/dev/shm"] {
        let ran = sandbox.sh(&format!("mknod {place}/disk c 1 5 && cat {place}/disk | head -c 1"));
        assert_eq!(ran.stderr, format!("cat: can't open '{place}/disk': Permission denied\n"));
    }
    assert!(sandbox.changes().contains(&"tmp/disk".to_owned()));
}
