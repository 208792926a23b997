//! Starting a program in new namespaces, and waiting for it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

/// A program to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable, for which any descriptor will do. Numbered above all of `fds`.
    pub executable: BorrowedFd<'a>,
    /// Its `argv[0]`; there are no other arguments, and no environment.
    pub name: &'a CStr,
    /// Become descriptors 0, 1, 2 … of the program, which gets no others. Each must be numbered above all of them.
    pub fds: &'a [BorrowedFd<'a>],
    /// `CLONE_NEW*` flags.
    pub namespaces: c_int,
}

/// A started program. It must be waited for.
#[derive(Debug)]
pub struct Process {
    pid: libc::pid_t,
    pidfd: OwnedFd,
}

/// What the child needs between clone and exec; it shares the parent's memory, so `errno` is how it answers.
struct Plan {
    executable: RawFd,
    argv: [*const c_char; 2],
    envp: [*const c_char; 1],
    fds: *const RawFd,
    count: usize,
    errno: c_int,
}

/// Starts `program`. It begins with all signals blocked, and dies when the calling thread does.
///
/// The child borrows the parent's memory until exec (as posix_spawn(3) does), so the cost does not grow with the size
/// of kiln, and threads of kiln that hold locks do not matter.
///
/// # Errors
/// What clone(2) or execveat(2) said.
pub fn spawn(program: &Program<'_>) -> io::Result<Process> {
    const STACK_BYTES: usize = 64 << 10;
    let fds: Vec<RawFd> = program.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut plan = Plan {
        executable: program.executable.as_raw_fd(),
        argv: [program.name.as_ptr(), std::ptr::null()],
        envp: [std::ptr::null()],
        fds: fds.as_ptr(),
        count: fds.len(),
        errno: 0,
    };
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let flags = program.namespaces | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    let all = SigSet::all();
    // A handler of kiln that ran in the child would write to kiln's memory.
    let before = all.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the stack is ours, 16-byte aligned and unused, and its end is passed; `plan` outlives the child's use of
    // it because CLONE_VFORK suspends this thread until the child has called exec or _exit; `child` keeps to
    // async-signal-safe calls.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity()).cast::<c_void>();
        libc::clone(child, top, flags, (&raw mut plan).cast::<c_void>(), &raw mut pidfd)
    };
    let error = io::Error::last_os_error();
    before.thread_set_mask()?;
    if pid < 0 {
        return Err(error);
    }
    // SAFETY: clone succeeded with CLONE_PIDFD, so this is a new descriptor nobody else owns.
    let process = Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } };
    if plan.errno != 0 {
        process.wait()?;
        return Err(io::Error::from_raw_os_error(plan.errno));
    }
    Ok(process)
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its `Plan`, which it keeps alive and does not touch while we run; all pointers in it are to
    // NUL-terminated strings or arrays; every call made is async-signal-safe.
    unsafe {
        let plan = &mut *plan.cast::<Plan>();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for number in 0..plan.count {
            if libc::dup2(*plan.fds.add(number), number as c_int) < 0 {
                plan.errno = *libc::__errno_location();
                libc::_exit(127);
            }
        }
        libc::syscall(libc::SYS_close_range, plan.count as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let (argv, envp) = (plan.argv.as_ptr(), plan.envp.as_ptr());
        libc::syscall(libc::SYS_execveat, plan.executable, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH);
        plan.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Forks a process of the same parent as this one, which has one thread; returns its number, or nothing in the new
/// process.
///
/// # Errors
/// What clone(2) said, or `EDEADLK` when this process has other threads.
pub fn sibling() -> io::Result<Option<libc::pid_t>> {
    one_thread()?;
    // The flags come first, but on s390 the stack does (clone(2), "C library/kernel differences").
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_ulong;
    let (none, nothing) = (0 as libc::c_ulong, std::ptr::null_mut::<c_void>());
    // SAFETY: without CLONE_VM the child gets a copy of this process's memory, stack included, as fork(2) gives it; there
    // is one thread, so that copy is consistent.
    let pid = unsafe {
        if cfg!(target_arch = "s390x") {
            libc::syscall(libc::SYS_clone, none, flags, nothing, nothing, none)
        } else {
            libc::syscall(libc::SYS_clone, flags, none, nothing, nothing, none)
        }
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as libc::pid_t)),
    }
}

fn one_thread() -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    Ok(())
}

impl Process {
    /// Returns a child of this process that it has not started itself: [`sibling`] of one that it has.
    ///
    /// # Errors
    /// What pidfd_open(2) said.
    pub fn adopt(pid: libc::pid_t) -> io::Result<Process> {
        let number = rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        let pidfd = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty())?;
        Ok(Process { pid, pidfd })
    }

    /// Returns its number.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Returns a descriptor that polls readable when the process has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Kills the process, and with it, when it is the first of its pid namespace, all others there.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) said.
    pub fn kill(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL)?)
    }

    /// Waits for the end of the process and reaps it.
    ///
    /// # Errors
    /// What wait4(2) said.
    pub fn wait(self) -> io::Result<Ended> {
        let mut status: c_int = 0;
        // SAFETY: all-zero bytes are a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: both pointers are to live values of the right type.
            if unsafe { libc::wait4(self.pid, &raw mut status, 0, &raw mut usage) } == self.pid {
                return Ok(Ended::new(status, &usage));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// How a process ended and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Exit code, or the signal that killed it.
    pub how: How,
    /// User and system time of the process and the children it waited for.
    pub cpu: Duration,
    /// Largest resident set of any of these processes.
    pub max_rss_bytes: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It called exit.
    Code(i32),
    /// It was killed.
    Signal(i32),
}

impl Ended {
    fn new(status: c_int, usage: &libc::rusage) -> Ended {
        let how = if libc::WIFSIGNALED(status) {
            How::Signal(libc::WTERMSIG(status))
        } else {
            How::Code(libc::WEXITSTATUS(status))
        };
        let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
        Ended { how, cpu, max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024 }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_usec).unwrap_or(0) * 1000)
}

/// Takes over descriptor `number`, which the process was started with.
///
/// # Errors
/// `EBADF` when there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks; a closed number is reported, not touched.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller says that it was passed to this process, so nothing here owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives every signal its default action and unblocks all of them, as a new program expects.
pub fn reset_signals() {
    // The kernel's own form, in which an all-zero action is the default one: the C library refuses signals 32 and 33,
    // which it keeps for itself, but a parent may have left them ignored.
    const SIGNAL_SET_BYTES: usize = 8;
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: `default` is as large as the kernel's `struct sigaction`; numbers that cannot be changed are refused
        // without effect.
        unsafe {
            let old = std::ptr::null_mut::<c_void>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SIGNAL_SET_BYTES);
        }
    }
    // The mask is a set of constants, so this cannot fail.
    let _ = SigSet::empty().thread_set_mask();
}

/// Forks a process that waits for a byte on `start` and then becomes `argv`; it ends with 127 if it cannot.
///
/// # Errors
/// What fork(2) said, or `EDEADLK` when this process has other threads.
pub fn fork_later(start: BorrowedFd<'_>, unused: BorrowedFd<'_>, argv: &[&CStr]) -> io::Result<libc::pid_t> {
    one_thread()?;
    let mut arguments: Vec<*const c_char> = argv.iter().map(|argument| argument.as_ptr()).collect();
    arguments.push(std::ptr::null());
    // SAFETY: there is one thread, so the child's memory is consistent; the child only reads, execs and exits.
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                libc::close(unused.as_raw_fd());
                let mut byte = 0u8;
                if libc::read(start.as_raw_fd(), (&raw mut byte).cast::<c_void>(), 1) == 1 {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                    libc::dup2(null, 2);
                    libc::execv(arguments[0], arguments.as_ptr());
                }
                libc::_exit(127)
            }
            pid => Ok(pid),
        }
    }
}

/// Sends a signal to the process of a descriptor.
///
/// # Errors
/// What pidfd_send_signal(2) said, `EINVAL` for a number that is no signal.
pub fn send_signal(pidfd: impl std::os::fd::AsFd, signal: c_int) -> io::Result<()> {
    let signal =
        rustix::process::Signal::from_named_raw(signal).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}
