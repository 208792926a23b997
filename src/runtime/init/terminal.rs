use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::user::User;
use crate::runtime::wire::{Failure, Step, Terminal};
use crate::sys::mount::{self, Depth};
use crate::sys::{clone, send_descriptor};

/// Whether the terminal is the container's own, its `/dev/console`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    Yes,
    No,
}

/// Makes a terminal of the container's own, sends its other end to kiln, and begins a session that it controls, with
/// the three streams on it.
pub(super) fn open(wanted: Terminal, user: &User, console: Console) -> Result<(), Failure> {
    // The container's own /dev/ptmx, so that the terminal has a name in its /dev/pts.
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).step("open a terminal")?;
    unlockpt(&ours).step("unlock the terminal")?;
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .step("open the terminal's other end")?;
    rustix::termios::tcsetwinsize(&theirs, wanted.size.into()).step("set the terminal's size")?;
    if user.uid != 0 {
        // Who logs in owns the terminal; else a program could not open it by its name.
        let uid = rustix::fs::Uid::from_raw(user.uid);
        rustix::fs::fchown(&theirs, Some(uid), None).step("give the terminal away")?;
    }
    if console == Console::Yes {
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
        let place = rustix::fs::open("/dev/console", flags, Mode::from_raw_mode(0o600)).step("make /dev/console")?;
        let copy = mount::copy(theirs.as_fd(), "", Depth::One).step("mount /dev/console")?;
        mount::attach(copy, place).step("mount /dev/console")?;
    }
    let socket = clone::inherited(wanted.socket).step("send the terminal")?;
    send_descriptor(socket.as_fd(), ours.as_fd()).step("send the terminal")?;
    rustix::process::setsid().step("begin a session")?;
    rustix::process::ioctl_tiocsctty(&theirs).step("make the terminal the session's")?;
    rustix::stdio::dup2_stdin(&theirs)
        .and_then(|()| rustix::stdio::dup2_stdout(&theirs))
        .and_then(|()| rustix::stdio::dup2_stderr(&theirs))
        .step("connect the terminal")
}
