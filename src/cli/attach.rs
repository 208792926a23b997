//! A program in the foreground: its streams are kiln's, its terminal is the one kiln has, and what kiln is told it is
//! told.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::Error;
use crate::runtime::{Running, Stdio, Streams, TerminalSize};
use crate::sys::send_signal;

/// What a program is told when kiln is.
const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// So many times asked to end, a program that does not is ended: as docker gives up after three.
const ASKED_IN_VAIN: u32 = 3;

/// How long a program whose terminal is gone may take to notice.
const HANGING_UP: Duration = Duration::from_secs(10);

/// What a program's streams are connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// A terminal.
    pub(super) terminal: bool,
    /// What kiln reads.
    pub(super) input: bool,
}

impl Wish {
    /// Returns how the program is to be started.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is to have a terminal, and there is none to type at.
    pub(super) fn stdio(self) -> Result<Stdio, Error> {
        if !self.terminal {
            return Ok(Stdio::Pipes { input: self.input });
        }
        if self.input && !io::stdin().is_terminal() {
            return Err(Error::Usage("the input device is not a terminal; leave `-t` away".to_owned()));
        }
        Ok(Stdio::Terminal(size().unwrap_or_default()))
    }
}

/// Takes part in a program's run until it has ended. Kiln's own terminal is as before then, whatever happens.
///
/// # Errors
/// [`Error::Signals`], [`Error::Output`].
pub(super) fn attend(running: &mut Running, wish: Wish) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let _raw = if wish.terminal && wish.input { Raw::enter()? } else { None };
    let (ended, stop) = UnixStream::pair()?;
    let Streams { stdin, stdout, stderr, terminal } = running.take_streams();
    let terminal = terminal.map(std::sync::Arc::new);
    let mut outputs = Vec::new();
    if let Some(terminal) = &terminal {
        outputs.push(carry_out(terminal.try_clone()?, io::stdout().as_fd(), &stop)?);
        if wish.input {
            carry_in(terminal.try_clone()?)?;
        }
    }
    for (from, to) in [(stdout, io::stdout().as_fd()), (stderr, io::stderr().as_fd())] {
        outputs.extend(from.map(|from| carry_out(from, to, &stop)).transpose()?);
    }
    if let Some(stdin) = stdin {
        carry_in(stdin)?;
    }
    drop(stop);
    let watched = watch(running, terminal.as_deref(), &mut signals);
    // What is written is carried on; what may still be written by who holds a stream outside is not waited for.
    drop(ended);
    for output in outputs {
        // One that has panicked has said so.
        let _ = output.join();
    }
    watched
}

/// Hands on signals and sizes until the program has ended.
fn watch(running: &Running, terminal: Option<&OwnedFd>, signals: &mut Signals) -> Result<(), Error> {
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut asked = 0;
    let mut hung_up: Option<Instant> = None;
    loop {
        let (pidfd, told) = (running.pidfd(), signals.delivery.get_read().try_clone()?);
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(&told, PollFlags::IN)];
        match poll(&mut fds, hung_up.map(|_| &TICK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Output(error.into())),
        }
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        for signal in signals.pending() {
            match (signal, terminal) {
                (SIGWINCH, Some(terminal)) => {
                    if let Some(size) = size() {
                        // A terminal that nobody has open any more has no size.
                        let _ = tcsetwinsize(terminal, size.into());
                    }
                }
                (SIGWINCH, None) => {}
                (signal, terminal) => {
                    asked += u32::from(matches!(signal, SIGINT | SIGTERM));
                    if signal == SIGHUP && terminal.is_some() {
                        hung_up = hung_up.or_else(|| Some(Instant::now()));
                    }
                    let signal = if asked >= ASKED_IN_VAIN { libc::SIGKILL } else { signal };
                    // One that has just ended hears nothing.
                    let _ = send_signal(pidfd, signal);
                }
            }
        }
        if hung_up.is_some_and(|since| since.elapsed() > HANGING_UP) {
            let _ = send_signal(pidfd, libc::SIGKILL);
        }
    }
}

/// Signals as something to wait for beside other things.
struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        let signals = FORWARDED.iter().chain(&[SIGWINCH]);
        Ok(Signals { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, signals)? })
    }

    fn pending(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }
}

/// Returns the size of kiln's terminal.
fn size() -> Option<TerminalSize> {
    let of = |fd: BorrowedFd<'_>| tcgetwinsize(fd).ok().filter(|size| size.ws_col > 0);
    of(io::stdout().as_fd()).or_else(|| of(io::stdin().as_fd())).map(TerminalSize::from)
}

/// Kiln's terminal, which hands on every key as it is until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Option<Raw>, Error> {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(|error| Error::Output(error.into()))?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Without a terminal any more, there is nothing to mend.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

const BUFFER_BYTES: usize = 64 << 10;

/// Carries what a program writes to where kiln writes, until nobody can write any more or, once `stop` is closed, there
/// is nothing left. A reader of kiln that has gone is one of the program that has gone.
fn carry_out(from: OwnedFd, to: BorrowedFd<'_>, stop: &UnixStream) -> io::Result<JoinHandle<()>> {
    let (to, stop) = (to.try_clone_to_owned()?, stop.try_clone()?);
    Ok(thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let mut fds = [PollFd::new(&from, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
            if !matches!(poll(&mut fds, None), Ok(_) | Err(Errno::INTR)) {
                return;
            }
            let (has_more, is_over) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            match has_more.then(|| rustix::io::read(&from, &mut *buffer)) {
                Some(Ok(length)) if length > 0 && write_all(&to, &buffer[..length]).is_ok() => {}
                Some(Err(Errno::INTR | Errno::AGAIN)) => {}
                // The end, or a reader who has gone; EIO: of a terminal, nobody has its other end open.
                Some(_) => return,
                None if is_over => return,
                None => {}
            }
        }
    }))
}

/// Carries what kiln reads to a program, until there is no more or the program does not want it. Nobody waits for that:
/// it ends with kiln.
fn carry_in(to: OwnedFd) -> io::Result<()> {
    let from = io::stdin().as_fd().try_clone_to_owned()?;
    thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match rustix::io::read(&from, &mut *buffer) {
                Ok(0) => return,
                Ok(length) => {
                    if write_all(&to, &buffer[..length]).is_err() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Whoever shares it with kiln does not want to wait for it.
                    let _ = poll(&mut [PollFd::new(&from, PollFlags::IN)], None);
                }
                Err(_) => return,
            }
        }
    });
    Ok(())
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(to, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
