use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, capabilities};

use super::ids::{self, Ids};
use crate::sys::{clone, ns};

/// Why this process cannot get a user namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The administrator has switched them off.
    #[error(
        "user namespaces are switched off for normal users: {sysctl} is {value} (`sysctl -w {sysctl}={wanted}` as root allows them)"
    )]
    SwitchedOff {
        /// The setting.
        sysctl: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The kernel refused for a reason that has no setting, such as a seccomp filter around kiln.
    #[error("this system refuses user namespaces to user {uid}, and kiln needs one when it is not root")]
    Refused {
        /// The user.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The maps of ids could not be written.
    #[error("cannot write {path} of the new user namespace")]
    Map {
        /// The file.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes this process root in a user namespace of its own, with a private mount namespace, unless it may mount
/// already. Users other than 0 exist in it when /etc/subuid and /etc/subgid have ranges for the user and `newuidmap` and
/// `newgidmap` are installed; [`ids()`](fn@super::ids) tells. Must be called before there are threads.
///
/// The process stays the same one, so signals, its exit status and kill -9 work as if nothing had happened.
///
/// # Errors
/// See [`Error`]; nothing has changed then but for [`Error::Map`], after which the process should end.
pub fn enter_user_namespace() -> Result<Ids, Error> {
    if may_mount() {
        return Ok(super::ids());
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ranges = Ranges::of(uid);
    let refused = |source: io::Error| switched_off().unwrap_or(Error::Refused { uid, source });
    let mapped = match &ranges {
        Some(ranges) => enter_with(ranges, uid, gid).map_err(refused)?,
        None => ns::unshare_user_and_mount().map(|()| false).map_err(refused)?,
    };
    if !mapped {
        write_single_map(uid, gid)?;
    }
    // Mounts made here must not be seen outside; what is unmounted outside must not be held here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| refused(error.into()))?;
    ids::remember(if mapped { Ids::Subordinate { uid, gid } } else { Ids::Single { uid, gid } });
    Ok(super::ids())
}

/// Makes this process what [`enter_user_namespace`] would, but in the user namespace that another process of this user
/// has made, whose containers can only be entered from there. Must be called before there are threads.
///
/// # Errors
/// See [`Error`].
pub fn enter_user_namespace_of(process: impl AsFd) -> Result<Ids, Error> {
    if may_mount() {
        return Ok(super::ids());
    }
    let uid = rustix::process::geteuid().as_raw();
    let refused = |source: io::Error| Error::Refused { uid, source };
    ns::join_user_and_unshare_mount(process).map_err(refused)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| refused(error.into()))?;
    Ok(super::ids())
}

fn may_mount() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    is_root && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Subordinate ids of a user, and the programs that may map them.
struct Ranges {
    uids: (u32, u32),
    gids: (u32, u32),
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl Ranges {
    fn of(uid: u32) -> Option<Ranges> {
        let name = name_of(uid);
        let range = |file: &str| first_range(&std::fs::read_to_string(file).ok()?, name.as_deref(), uid);
        Some(Ranges {
            uids: range("/etc/subuid")?,
            gids: range("/etc/subgid")?,
            newuidmap: in_path("newuidmap")?,
            newgidmap: in_path("newgidmap")?,
        })
    }
}

/// Returns the login name. Not through the C library, which would load plug-ins into a static program; users that only
/// a directory service knows are trusted to say who they are, since `newuidmap` asks the service itself.
fn name_of(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    listed.or_else(|| std::env::var("LOGNAME").or_else(|_| std::env::var("USER")).ok())
}

/// Finds the first range of a user in the text of subuid(5).
fn first_range(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (count > 0 && (Some(owner) == name || owner == uid)).then_some((start, count))
    })
}

fn in_path(program: &str) -> Option<PathBuf> {
    // sbin and a fallback for environments without PATH; the programs are set-user-ID and check everything themselves.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Enters the namespace and has its maps written from outside; false when the programs refused to.
fn enter_with(ranges: &Ranges, uid: u32, gid: u32) -> io::Result<bool> {
    let (start, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut helpers = Vec::new();
    for (program, outside, range) in [(&ranges.newuidmap, uid, ranges.uids), (&ranges.newgidmap, gid, ranges.gids)] {
        let argv = map_command(program, outside, range)?;
        let argv: Vec<&CStr> = argv.iter().map(CString::as_c_str).collect();
        helpers.push(clone::fork_later(start.as_fd(), go.as_fd(), &argv)?);
    }
    let unshared = ns::unshare_user_and_mount();
    if unshared.is_ok() {
        rustix::io::write(&go, &[0, 0])?;
    }
    drop((start, go));
    let mut mapped = true;
    for helper in helpers {
        mapped &= ended_well(helper)?;
    }
    unshared.map(|()| mapped)
}

fn map_command(program: &Path, outside: u32, (start, count): (u32, u32)) -> io::Result<Vec<CString>> {
    let pid = std::process::id();
    let numbers = [pid, 0, outside, 1, 1, start, count].map(|number| number.to_string().into_bytes());
    let words = std::iter::once(program.as_os_str().as_bytes().to_vec()).chain(numbers);
    Ok(words.map(CString::new).collect::<Result<_, _>>()?)
}

fn ended_well(pid: libc::pid_t) -> io::Result<bool> {
    let pid = Pid::from_raw(pid);
    let ended = loop {
        match waitpid(pid, WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

/// Maps user 0 to `uid` and group 0 to `gid`, which everybody may do for themselves.
fn write_single_map(uid: u32, gid: u32) -> Result<(), Error> {
    let write = |path: &'static str, text: &str| {
        std::fs::write(path, text).map_err(|source| switched_off().unwrap_or(Error::Map { path, source }))
    };
    // One of the two helper programs may have written its map before the other failed.
    let unmapped = |path| std::fs::read_to_string(path).is_ok_and(|map| map.trim().is_empty());
    if unmapped("/proc/self/uid_map") {
        write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    }
    if unmapped("/proc/self/gid_map") {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// Finds the setting that forbids user namespaces.
fn switched_off() -> Option<Error> {
    const SETTINGS: [(&str, &str, &str); 3] = [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    SETTINGS.into_iter().find_map(|(sysctl, forbidding, wanted)| {
        let value = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/"))).ok()?;
        let value = value.trim().to_owned();
        (value == forbidding).then_some(Error::SwitchedOff { sysctl, value, wanted })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_a_name_or_a_number() {
        let text = "alice:100000:65536\n1001:200000:65536\nbob:300000:0\nbob:400000:10\nbroken\n";
        let cases = [
            (Some("alice"), 1000, Some((100_000, 65536))),
            (None, 1001, Some((200_000, 65536))),
            (Some("bob"), 1002, Some((400_000, 10))),
            (Some("carol"), 1003, None),
        ];
        for (name, uid, expected) in cases {
            assert_eq!(first_range(text, name, uid), expected, "{name:?} {uid}");
        }
    }
}
