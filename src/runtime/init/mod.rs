//! The first process of a container: mounts its root, becomes its user, and executes its program.
//!
//! It has one thread and only what it was given: three streams, the order, and a pipe for reports.

mod mounts;
mod privileges;
mod program;
mod root;
mod target;
mod terminal;
mod user;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::mount::{MountPropagationFlags, mount_change};

use super::spec::{Access, Network, RootMount, Security, SystemDirectories};
use super::wire::{Failure, ORDER_FD, Order, REPORT_FD, Report, Start, Step};
use crate::sys::{clone, mount, ns, send_descriptor};
use mount::{Attributes, Depth};
use target::Targets;
use user::User;

/// Does what the order says; ends the process if it cannot.
pub(super) fn main() -> ! {
    // Without the pipe nobody can be told.
    let Ok(report) = clone::inherited(REPORT_FD) else { std::process::exit(127) };
    let Err(failure) = run(&report);
    // kiln may be gone, and then nobody reads it.
    let _ = send(&report, &Report::Failed(failure));
    std::process::exit(127)
}

fn run(report: &OwnedFd) -> Result<Infallible, Failure> {
    match read_order().step("read the order")? {
        Order::Begin(start) => begin(&start, report),
        Order::Join { container, start } => join(container, &start, report),
        Order::Open { root, socket } => open(&root, socket),
    }
}

/// Becomes the first process of a container.
fn begin(start: &Start, report: &OwnedFd) -> Result<Infallible, Failure> {
    let spec = &start.spec;
    make_mounts_private()?;
    let root = root::mount(&spec.rootfs)?;
    // What comes from the host, and what the kernel only allows while the host's own /proc is in view, is made before
    // the root is entered, and attached after.
    let detached = mounts::prepare(spec, start.ids)?;
    root::enter(&root)?;
    let mut targets = Targets::new(spec.system_directories == SystemDirectories::Kept).step("look at the root")?;
    mounts::attach(detached, spec, start.ids, &mut targets)?;
    nix::unistd::sethostname(&spec.hostname).step("set the host name")?;
    if spec.network == Network::None {
        ns::loopback_up().step("switch the loopback interface on")?;
    }
    let user = User::resolve(&spec.user)?;
    let directory = targets.working_directory(spec.cwd.as_ref(), &user).step(format!("make {}", spec.cwd))?;
    rustix::process::fchdir(directory).step(format!("enter {}", spec.cwd))?;
    send(report, &Report::Stubs(targets.into_stubs())).step("report")?;
    if let Some(terminal) = start.terminal {
        terminal::open(terminal, &user, terminal::Console::Yes)?;
    } else {
        rustix::process::setsid().step("begin a session")?;
    }
    if spec.root_access == Access::ReadOnly {
        mount::restrict(root, Attributes::MOUNT_ATTR_RDONLY, Depth::One).step("make / read-only")?;
    }
    become_program(start, &user, report)
}

/// Becomes one more process of a container. What it can be seen as from in there, before it is a program of the
/// container, nobody may look into (CVE-2016-9962).
fn join(container: RawFd, start: &Start, report: &OwnedFd) -> Result<Infallible, Failure> {
    let spec = &start.spec;
    let nobody = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(nobody).step("hide from the container")?;
    let container = clone::inherited(container).step("find the container")?;
    ns::join(container, spec.network == Network::None).step("enter the container")?;
    // A pid namespace is that of children alone.
    if let Some(pid) = clone::sibling().step("start a process in the container")? {
        send(report, &Report::Joined(pid)).step("report")?;
        std::process::exit(0);
    }
    let user = User::resolve(&spec.user)?;
    rustix::process::chdir(spec.cwd.as_str()).step(format!("enter {}", spec.cwd))?;
    if let Some(terminal) = start.terminal {
        terminal::open(terminal, &user, terminal::Console::No)?;
    } else {
        rustix::process::setsid().step("begin a session")?;
    }
    become_program(start, &user, report)
}

fn become_program(start: &Start, user: &User, report: &OwnedFd) -> Result<Infallible, Failure> {
    let spec = &start.spec;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    clone::reset_signals();
    super::limits::set(&spec.limits)?;
    match spec.security {
        Security::Sandbox => privileges::drop_to(user, start.ids, &start.filter)?,
        Security::Insecure => privileges::keep_as(user, start.ids)?,
    }
    die_with_kiln(report)?;
    program::execute(&spec.argv, &spec.env, &user.home)
}

/// Mounts a root for kiln to work in. It has a place in this mount namespace alone, and lives on with the descriptor.
fn open(root: &RootMount, socket: RawFd) -> Result<Infallible, Failure> {
    make_mounts_private()?;
    let mounted = root::mount(root)?;
    let socket = clone::inherited(socket).step("answer")?;
    send_descriptor(socket.as_fd(), mounted.as_fd()).step("answer")?;
    std::process::exit(0)
}

fn make_mounts_private() -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::empty());
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).step("make mounts private")
}

fn read_order() -> std::io::Result<Order> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(clone::inherited(ORDER_FD)?);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    postcard::from_bytes(&bytes).map_err(|_| std::io::Error::from_raw_os_error(libc::EPROTO))
}

fn send(report: &OwnedFd, message: &Report) -> std::io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(|_| std::io::Error::from_raw_os_error(libc::EPROTO))?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(report, rest)?..];
    }
    Ok(())
}

/// Asks to be killed when kiln's thread ends; a change of user has cancelled what was asked before exec. kiln may have
/// died in between: its pid cannot be seen from here, but its end of the report pipe can.
fn die_with_kiln(report: &OwnedFd) -> Result<(), Failure> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).step("tie to kiln")?;
    let mut fds = [PollFd::new(report, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).step("look for kiln")?;
    if fds[0].revents().contains(PollFlags::ERR) {
        std::process::exit(127);
    }
    rustix::io::fcntl_setfd(report, rustix::io::FdFlags::CLOEXEC).step("look for kiln")
}
