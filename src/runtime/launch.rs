use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::error::Error;
use super::exit::Exit;
use super::running::{Ending, Running, Stdio, launch};
use super::spec::{ContainerSpec, MountKind, Network, RootMount, Security};
use super::wire::{INIT_NAME, Order, Start, Terminal};
use super::{memory, seccomp};
use crate::sys::clone::{self, Process};
use crate::sys::mount::{self, Attributes, Depth};
use crate::sys::{Cancel, descriptor_channel, receive_descriptor};

/// Where a process wrote something to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Runs containers by itself, without a helper program: kiln's own executable is their init.
#[derive(Debug, Clone)]
pub struct Native {
    executable: PathBuf,
    protected: Arc<OnceLock<OwnedFd>>,
    images: Arc<Mutex<HashMap<PathBuf, Arc<OwnedFd>>>>,
}

impl Default for Native {
    fn default() -> Native {
        Native::with_init("/proc/self/exe")
    }
}

impl Native {
    /// Returns a runtime whose init is `executable`: a program whose `main` begins with [`enter`](super::enter).
    pub fn with_init(executable: impl Into<PathBuf>) -> Native {
        Native { executable: executable.into(), protected: Arc::default(), images: Arc::default() }
    }

    /// Runs `spec` to its end. `output` gets what it writes, as it comes. Mount points that had to be made in the root
    /// are removed again.
    ///
    /// # Errors
    /// [`Error::Cancelled`] within 50 ms of `cancel`, everything in the container being dead then; [`Error::User`] and
    /// [`Error::Program`] when the root has no such user or program; [`Error::Setup`] with the step that failed.
    pub fn run(
        &self,
        spec: &ContainerSpec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<Exit, Error> {
        cancel.check()?;
        let kills_before = memory::kills();
        let ((stdin, _), (stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?, pipe()?);
        let (process, report) = self.begin(spec, [stdin, stdout_end, stderr_end], None)?;
        let mut pipes = Pipes {
            streams: [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))],
            status: Some(report),
            report: Vec::new(),
            is_large: false,
        };
        let interrupted = watch(&process, &mut pipes, output, cancel);
        if interrupted.is_err() {
            process.kill().map_err(launch("kill the process"))?;
        }
        let ended = process.wait().map_err(launch("wait for the process"))?;
        let ending = Ending::of(spec, kills_before);
        ending.forget_volatile();
        interrupted?;
        pipes.drain(output)?;
        ending.exit(ended, &pipes.report)
    }

    /// Starts `spec` and returns once its program runs.
    ///
    /// # Errors
    /// As [`Native::run`].
    pub fn start(&self, spec: &ContainerSpec, stdio: Stdio, cancel: &Cancel) -> Result<Running, Error> {
        cancel.check()?;
        let kills_before = memory::kills();
        let (ends, streams) = stdio.open()?;
        let terminal = stdio.terminal();
        let socket = terminal.map(|_| descriptor_channel().map_err(launch("make a socket"))).transpose()?;
        let (ours, theirs) = socket.unzip();
        let theirs = theirs.map(above_images).transpose()?;
        let (process, report) = self.begin(spec, ends, terminal.zip(theirs))?;
        Running::new(process, streams, report, ours, Ending::of(spec, kills_before), cancel)
    }

    /// Starts one more process in the container whose first process is `container`, and returns once its program runs.
    /// Of `spec`, the root and all that is mounted in it do not matter.
    ///
    /// # Errors
    /// As [`Native::run`].
    pub fn join(
        &self,
        container: BorrowedFd<'_>,
        spec: &ContainerSpec,
        stdio: Stdio,
        cancel: &Cancel,
    ) -> Result<Running, Error> {
        cancel.check()?;
        let (ends, streams) = stdio.open()?;
        let terminal = stdio.terminal();
        let socket = terminal.map(|_| descriptor_channel().map_err(launch("make a socket"))).transpose()?;
        let (ours, theirs) = socket.unzip();
        let container = container.try_clone_to_owned().map_err(launch("find the container"))?;
        let mut others = vec![above_images(container)?];
        others.extend(theirs.map(above_images).transpose()?);
        let terminal = terminal.map(|size| Terminal { socket: FIXED_FDS + 1, size });
        let start = start(spec.clone(), terminal);
        let (process, report) = self.spawn(&Order::Join { container: FIXED_FDS, start }, ends, &others, 0)?;
        Running::new(process, streams, report, ours, Ending::of_guest(), cancel)
    }

    /// Returns a descriptor of a root, to work in as the container would; the mount is seen by nobody, and is gone with
    /// the last descriptor in it.
    ///
    /// # Errors
    /// [`Error::Setup`], [`Error::Launch`].
    pub fn open_root(&self, root: &RootMount) -> Result<OwnedFd, Error> {
        let mut spec = ContainerSpec::new(root.clone(), Vec::new());
        let (with_images, mut others) = self.holding_images(&spec);
        spec.rootfs = with_images.rootfs;
        let (ours, theirs) = descriptor_channel().map_err(launch("make a socket"))?;
        let socket = FIXED_FDS + others.len() as RawFd;
        others.push(Arc::new(above_images(theirs)?));
        let (ends, _streams) = Stdio::Pipes { input: false }.open()?;
        let order = Order::Open { root: spec.rootfs.clone(), socket };
        let (process, report) = self.spawn(&order, ends, &others, libc::CLONE_NEWNS)?;
        drop(others);
        let root = receive_descriptor(&ours).map_err(launch("receive the root"))?;
        process.wait().map_err(launch("wait for the process"))?;
        super::running::failure(report)?;
        root.ok_or_else(|| launch("receive the root")(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Starts the init of a container.
    fn begin(
        &self,
        spec: &ContainerSpec,
        stdio: [OwnedFd; 3],
        terminal: Option<(super::TerminalSize, OwnedFd)>,
    ) -> Result<(Process, OwnedFd), Error> {
        let (spec, mut others) = self.holding_images(spec);
        let mut namespaces =
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        if spec.network == Network::None {
            namespaces |= libc::CLONE_NEWNET;
        }
        let terminal = terminal.map(|(size, socket)| {
            let number = FIXED_FDS + others.len() as RawFd;
            others.push(Arc::new(socket));
            Terminal { socket: number, size }
        });
        self.spawn(&Order::Begin(start(spec, terminal)), stdio, &others, namespaces)
    }

    /// Starts an init, which has `others` from [`FIXED_FDS`] on; returns it with what it reports.
    fn spawn<T: AsFd>(
        &self,
        order: &Order,
        stdio: [OwnedFd; 3],
        others: &[T],
        namespaces: libc::c_int,
    ) -> Result<(Process, OwnedFd), Error> {
        let order = memory_file(order)?;
        let (report, report_end) = pipe()?;
        let fixed = stdio.iter().map(AsFd::as_fd).chain([order.as_fd(), report_end.as_fd()]);
        let process = clone::spawn(&clone::Program {
            executable: self.protected()?,
            name: INIT_NAME,
            fds: &fixed.chain(others.iter().map(AsFd::as_fd)).collect::<Vec<_>>(),
            namespaces,
        })
        .map_err(launch("start a process"))?;
        Ok((process, report))
    }
}

/// Descriptors that init has in any case.
const FIXED_FDS: RawFd = 5;
/// Further ones are mounted by init itself.
const MOST_IMAGES: usize = 128;
/// Above all numbers that descriptors get in init, so that none takes the place of another there: besides the images,
/// a socket.
const LOWEST_IMAGE_FD: RawFd = FIXED_FDS + MOST_IMAGES as RawFd + 1;

impl Native {
    /// Returns the container with a number for each image that this process keeps mounted, and the descriptors from
    /// [`FIXED_FDS`] on. While a mount is kept, so is what the kernel has read of it, from one step to the next.
    fn holding_images(&self, spec: &ContainerSpec) -> (ContainerSpec, Vec<Arc<OwnedFd>>) {
        let mut spec = spec.clone();
        let trees = spec.mounts.iter_mut().filter_map(|mount| match &mut mount.kind {
            MountKind::Tree { root, .. } => Some(root),
            _ => None,
        });
        let roots = std::iter::once(&mut spec.rootfs).chain(trees);
        let mut held = Vec::new();
        let mut known = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        for root in roots {
            let (RootMount::Overlay { images, .. } | RootMount::Merged { images, .. }) = root else { continue };
            for image in images {
                // One that cannot be mounted here is for init to complain about.
                let keep =
                    || Some(Arc::new(rustix::io::fcntl_dupfd_cloexec(image.mount().ok()?, LOWEST_IMAGE_FD).ok()?));
                let mount = known.get(&image.image).cloned().or_else(keep);
                if let Some(mount) = mount.filter(|_| held.len() < MOST_IMAGES) {
                    known.insert(image.image.clone(), mount.clone());
                    image.held = Some(FIXED_FDS + held.len() as RawFd);
                    held.push(mount);
                }
            }
        }
        (spec, held)
    }

    fn protected(&self) -> Result<BorrowedFd<'_>, Error> {
        if let Some(made) = self.protected.get() {
            return Ok(made.as_fd());
        }
        let made = protect(&self.executable).map_err(launch("open kiln's own program"))?;
        Ok(self.protected.get_or_init(|| made).as_fd())
    }
}

/// Returns `executable` in a form nobody can write to. A container's first program may be `/proc/self/exe`, which is
/// then the init, and a process that has its own program open can write to it once it runs another (CVE-2019-5736).
fn protect(executable: &Path) -> io::Result<OwnedFd> {
    let read_only = || -> io::Result<OwnedFd> {
        let copy = mount::copy(rustix::fs::CWD, executable, Depth::One)?;
        mount::restrict(&copy, Attributes::MOUNT_ATTR_RDONLY, Depth::One)?;
        Ok(copy)
    };
    // What is on no mount of this namespace can still be copied.
    let protected = read_only().or_else(|_| sealed_copy(executable))?;
    Ok(above_the_standard_ones(protected)?)
}

fn sealed_copy(executable: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = std::fs::File::from(rustix::fs::memfd_create("kiln", flags)?);
    io::copy(&mut std::fs::File::open(executable)?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // Through a new descriptor, because a file that somebody may write to cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Returns how `spec` starts.
fn start(spec: ContainerSpec, terminal: Option<Terminal>) -> Start {
    let filter = match spec.security {
        Security::Sandbox => seccomp::filter().to_vec(),
        Security::Insecure => Vec::new(),
    };
    Start { spec, ids: super::ids(), filter, terminal }
}

/// Returns a file with the order to init.
fn memory_file(order: &Order) -> Result<OwnedFd, Error> {
    let bytes = postcard::to_stdvec(order).map_err(|error| launch("encode the order")(io::Error::other(error)))?;
    let file = rustix::fs::memfd_create("kiln-order", MemfdFlags::CLOEXEC).and_then(above_the_standard_ones);
    let file = file.map_err(|error| launch("make a memory file")(error.into()))?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, &bytes).map_err(launch("write a memory file"))?;
    Ok(file.into())
}

pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(read, write)| Ok((above_the_standard_ones(read)?, above_the_standard_ones(write)?)))
        .map_err(|error| launch("make a pipe")(error.into()))
}

/// Moves a descriptor out of the way of those the child gets.
fn above_the_standard_ones(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    const LOWEST: i32 = 10;
    if fd.as_raw_fd() >= LOWEST { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(fd, LOWEST) }
}

fn above_images(fd: OwnedFd) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(fd, LOWEST_IMAGE_FD).map_err(|error| launch("copy a descriptor")(error.into()))
}

/// What comes out of a container.
struct Pipes {
    streams: [(Stream, Option<OwnedFd>); 2],
    status: Option<OwnedFd>,
    report: Vec<u8>,
    /// Whether the streams have been given more room than pipes have.
    is_large: bool,
}

/// Hands on what comes until the process has ended.
fn watch(
    process: &Process,
    pipes: &mut Pipes,
    output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<(), Error> {
    // How soon an interrupt is seen, half of what is promised, and the price of a thousand wake-ups in 25 seconds.
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 25_000_000 };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut flood = Flood::default();
    loop {
        cancel.check()?;
        let ready = pipes.poll(process, &TICK)?;
        let mut largest = 0;
        for (index, ready) in ready.into_iter().enumerate() {
            match (ready, index) {
                (false, _) => {}
                (true, 3) => return Ok(()),
                (true, index) => largest = largest.max(pipes.read(index, &mut buffer, output)?),
            }
        }
        if let Some(nap) = flood.nap(largest, Instant::now()) {
            pipes.enlarge();
            std::thread::sleep(nap);
        }
    }
}

/// Read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// What a pipe may hold without asking the administrator (pipe(7), `/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;

/// Finds out whether very much is written: then whoever reads each line as it comes slows the writer down.
#[derive(Debug, Default)]
struct Flood {
    since: Option<Instant>,
    bytes: usize,
    is_on: bool,
}

impl Flood {
    /// Over how long it is measured.
    const WINDOW: Duration = Duration::from_millis(20);
    /// What is much in that time: 25 MB in a second.
    const MUCH_BYTES: usize = 512 << 10;
    /// What is little to be read at once.
    const LITTLE_BYTES: usize = 16 << 10;
    /// Nobody sees such a delay, and in it a pipe is not filled.
    const NAP: Duration = Duration::from_micros(300);

    /// Takes the bytes that were read at once, and returns how long to wait before the next time, if at all.
    fn nap(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        self.bytes += bytes;
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= Flood::WINDOW {
            self.is_on = self.bytes >= Flood::MUCH_BYTES;
            (self.since, self.bytes) = (Some(now), 0);
        }
        // Who is not ahead of the writer does not wait for it.
        (self.is_on && bytes < Flood::LITTLE_BYTES).then_some(Flood::NAP)
    }
}

impl Pipes {
    /// Waits until something can be read. Returns what: standard output, standard error, reports, the end.
    fn poll(&self, process: &Process, timeout: &Timespec) -> Result<[bool; 4], Error> {
        let all = [self.fd(0), self.fd(1), self.fd(2), Some(process.pidfd().as_fd())];
        let open: Vec<(usize, BorrowedFd<'_>)> =
            all.iter().enumerate().filter_map(|(index, fd)| Some((index, (*fd)?))).collect();
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(launch("wait for output")(error.into())),
        }
        let mut ready = [false; 4];
        for ((index, _), fd) in open.iter().zip(&fds) {
            ready[*index] = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    /// Gives the pipes of both streams all the room there can be. Where there is none, they are as useful as before.
    fn enlarge(&mut self) {
        if !std::mem::replace(&mut self.is_large, true) {
            for (_, fd) in &self.streams {
                let _ = fd.as_ref().map(|fd| rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES));
            }
        }
    }

    fn fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        match index {
            2 => self.status.as_ref(),
            stream => self.streams[stream].1.as_ref(),
        }
        .map(AsFd::as_fd)
    }

    /// Hands on what can be read at once, and returns how many bytes that were.
    fn read(&mut self, index: usize, buffer: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> Result<usize, Error> {
        let Some(fd) = self.fd(index) else { return Ok(0) };
        let length = match rustix::io::read(fd, &mut *buffer) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(launch("read output")(error.into())),
        };
        match (index, length) {
            (2, 0) => self.status = None,
            (2, length) => self.report.extend_from_slice(&buffer[..length]),
            (stream, 0) => self.streams[stream].1 = None,
            (stream, length) => output(self.streams[stream].0, &buffer[..length]),
        }
        Ok(length)
    }

    /// Reads what is left. Nobody in the container lives any more; should a descriptor have been passed out of it, its
    /// holder is not waited for.
    fn drain(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Error> {
        let mut buffer = vec![0; BUFFER_BYTES];
        for index in 0..3 {
            while let Some(fd) = self.fd(index) {
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                    Ok(0) => break,
                    Ok(_) => drop(self.read(index, &mut buffer, output)?),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(launch("read output")(error.into())),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flood_is_waited_for_and_only_by_who_is_ahead_of_it() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let (line, much, nap) = (100, Flood::MUCH_BYTES, Some(Flood::NAP));
        let mut flood = Flood::default();
        for (bytes, now, expected) in [
            (line, 0, None),
            (much, 10, None),
            // From here on it is one.
            (line, 20, nap),
            (much, 30, None),
            (line, 31, nap),
            // The pieces between are counted: this is still one, and then no more.
            (line, 41, nap),
            (line, 50, nap),
            (line, 61, None),
            (line, 90, None),
        ] {
            assert_eq!(flood.nap(bytes, at(now)), expected, "{bytes} bytes at {now} ms");
        }
    }

    #[test]
    fn nobody_can_write_to_the_program_of_init() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy("/bin/true", file.path()).unwrap();
        for protected in [protect(file.path()).unwrap(), sealed_copy(file.path()).unwrap()] {
            let path = format!("/proc/self/fd/{}", protected.as_raw_fd());
            let opened = std::fs::OpenOptions::new().write(true).open(&path);
            let written = opened.and_then(|mut file| io::Write::write_all(&mut file, b"x"));
            let errno = written.err().and_then(|error| error.raw_os_error());
            assert!(matches!(errno, Some(libc::EROFS | libc::EPERM | libc::ETXTBSY)), "{errno:?}");
        }
    }
}
