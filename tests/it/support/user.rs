use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Who runs kiln.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Current,
    /// A normal user who has subordinate ids.
    Subordinate,
    /// A normal user who has no id but the own one.
    Single,
}

const NAME: &str = "kiln-test";

impl User {
    /// Returns the command that runs kiln as this user.
    pub fn kiln(self) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_kiln"));
        if self == User::Current {
            return Command::new(program);
        }
        let mut command = Command::new(reachable(program));
        let (uid, gid) = ids();
        // Without a PATH, kiln finds no newuidmap, as on a machine that has none.
        command.uid(uid).gid(gid).env("PATH", if self == User::Single { "/nowhere" } else { "/usr/bin:/bin" });
        command.env("HOME", format!("/home/{NAME}")).env_remove("XDG_RUNTIME_DIR").env_remove("XDG_DATA_HOME");
        command
    }

    /// Gives a file or directory to this user.
    pub fn own(self, path: &Path) {
        if self != User::Current {
            let (uid, gid) = ids();
            std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
        }
    }
}

/// Returns uid and gid of the test user, who is made when first asked for.
fn ids() -> (u32, u32) {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    *IDS.get_or_init(|| {
        let home = PathBuf::from("/home").join(NAME);
        let made = Command::new("useradd").args(["--create-home", NAME]).output().unwrap();
        // 9: the user exists.
        assert!(matches!(made.status.code(), Some(0 | 9)), "{}", String::from_utf8_lossy(&made.stderr));
        let home = fs::metadata(home).unwrap();
        (home.uid(), home.gid())
    })
}

/// Returns a path of the program that every user may execute: what cargo makes may be in a home that others cannot enter.
fn reachable(program: &Path) -> PathBuf {
    let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
    if program.ancestors().all(open) {
        return program.to_owned();
    }
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let changed = fs::metadata(program).unwrap().mtime_nsec();
        let copy = std::env::temp_dir().join("kiln-test-program");
        let new = std::env::temp_dir().join(format!("kiln-test-program-{}-{changed}", std::process::id()));
        fs::copy(program, &new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        // Atomically, because another test program may be executing the older one.
        fs::rename(&new, &copy).unwrap();
        copy
    })
    .clone()
}
