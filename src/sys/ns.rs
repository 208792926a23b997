//! Namespaces of the running process.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::UnshareFlags;

/// Moves this process, which has one thread, into a new user namespace and a new mount namespace owned by it.
///
/// # Errors
/// What unshare(2) said.
pub fn unshare_user_and_mount() -> io::Result<()> {
    // SAFETY: neither flag changes what the descriptors of this process mean; CLONE_FS, which CLONE_NEWNS implies, is
    // not shared with anyone because the kernel refuses CLONE_NEWUSER to a process with threads.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?)
}

/// Moves this process, which has one thread, into the namespaces of another one but its user and pid namespace, and into
/// its network if it is `own_network`, not that of who made it; its children begin in that pid namespace.
///
/// # Errors
/// What setns(2) said.
pub fn join(pidfd: impl AsFd, own_network: bool) -> io::Result<()> {
    use nix::sched::CloneFlags;
    let mut all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    // The machine's own takes its root to enter, even for who is in it.
    all.set(CloneFlags::CLONE_NEWNET, own_network);
    Ok(nix::sched::setns(pidfd, all)?)
}

/// Moves this process, which has one thread, into the user namespace of another one, and from there into a mount
/// namespace of its own.
///
/// # Errors
/// What setns(2) or unshare(2) said.
pub fn join_user_and_unshare_mount(pidfd: impl AsFd) -> io::Result<()> {
    use nix::sched::CloneFlags;
    nix::sched::setns(pidfd, CloneFlags::CLONE_NEWUSER)?;
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNS)?)
}

/// Switches the loopback interface on.
///
/// # Errors
/// What socket(2) or netdevice(7) said.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // A fresh loopback has no other flags to keep.
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the descriptor is a socket and the argument is a live ifreq.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Drops `capability` from the bounding set; false when the kernel does not know it.
pub fn drop_from_bounding_set(capability: u32) -> bool {
    // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) == 0 }
}
