use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Something a test cannot do without and a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The tests run as root.
    Root,
    /// User namespaces for a normal user.
    UserNamespaces,
    /// newuidmap, newgidmap and useradd.
    SubordinateIds,
    /// A static busybox.
    Busybox,
    /// Debian's docker-registry.
    Registry,
    /// skopeo.
    Skopeo,
    /// umoci.
    Umoci,
    /// runc.
    Runc,
    /// podman.
    Podman,
    /// mmdebstrap and a Debian mirror.
    Debian,
    /// git.
    Git,
    /// tmux, whose panes are terminals.
    Tmux,
    /// A C compiler that links statically.
    Compiler,
    /// A handler of binfmt_misc that runs arm64 programs in any root.
    Emulation,
}

impl Need {
    fn missing(self) -> Option<String> {
        let programs = |names: &[&str]| {
            names.iter().find(|name| !is_installed(name)).map(|name| format!("`{name}` is not installed"))
        };
        match self {
            Need::Root => (!rustix::process::geteuid().is_root()).then(|| "this user is not root".to_owned()),
            Need::UserNamespaces => (!user_namespaces()).then(|| "user namespaces are switched off".to_owned()),
            Need::SubordinateIds => programs(&["newuidmap", "newgidmap", "useradd"]),
            Need::Busybox => programs(&["busybox"]),
            Need::Registry => programs(&["docker-registry"]),
            Need::Skopeo => programs(&["skopeo"]),
            Need::Umoci => programs(&["umoci"]),
            Need::Runc => programs(&["runc"]),
            Need::Podman => programs(&["podman"]),
            Need::Debian => programs(&["mmdebstrap"]),
            Need::Git => programs(&["git"]),
            Need::Tmux => programs(&["tmux"]),
            Need::Compiler => programs(&["cc"]),
            Need::Emulation => (!emulates()).then(|| "binfmt_misc has no handler for arm64 with the flag F".to_owned()),
        }
    }
}

/// Tells whether `need` is met, and if not, says so: a test that is skipped is announced. With `KILN_TEST_STRICT=1`, as
/// in CI, it fails.
#[must_use]
pub fn require(need: Need) -> bool {
    let Some(why) = need.missing() else { return true };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let strict = std::env::var_os("KILN_TEST_STRICT").is_some_and(|value| value == "1");
    assert!(!strict, "{test} needs {need:?}: {why}");
    // Not through `eprintln!`, whose text the test harness keeps to itself when the test succeeds.
    let line = format!("skipped: {test} needs {need:?}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"].iter().any(|at| Path::new(at).join(program).exists())
}

fn emulates() -> bool {
    let handler = std::fs::read_to_string("/proc/sys/fs/binfmt_misc/qemu-aarch64").unwrap_or_default();
    let has_flag = |line: &str| line.strip_prefix("flags:").is_some_and(|flags| flags.contains('F'));
    cfg!(target_arch = "aarch64") || handler.starts_with("enabled") && handler.lines().any(has_flag)
}

fn user_namespaces() -> bool {
    Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|status| status.success())
}
