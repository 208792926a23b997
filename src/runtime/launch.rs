use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::error::Error;
use super::exit::{Exit, ExitStatus};
use super::spec::{ContainerSpec, MountKind, Network, RootMount, Security};
use super::wire::{INIT_NAME, Order, Report};
use super::{memory, seccomp, stubs, wire};
use crate::sys::Cancel;
use crate::sys::clone::{self, Ended, How, Process};
use crate::sys::mount::{self, Attributes, Depth};

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
        let (process, mut pipes) = self.start(spec)?;
        let interrupted = watch(&process, &mut pipes, output, cancel);
        if interrupted.is_err() {
            process.kill().map_err(launch("kill the process"))?;
        }
        let ended = process.wait().map_err(launch("wait for the process"))?;
        forget_volatile(&spec.rootfs);
        for mount in &spec.mounts {
            if let MountKind::Tree { root, .. } = &mount.kind {
                forget_volatile(root);
            }
        }
        interrupted?;
        pipes.drain(output)?;
        finish(spec, ended, &pipes.report, kills_before)
    }

    fn start(&self, spec: &ContainerSpec) -> Result<(Process, Pipes), Error> {
        let (spec, images) = self.holding_images(spec);
        let network = spec.network;
        let order = order(spec)?;
        let (stdin, _) = pipe()?;
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let (report, report_end) = pipe()?;
        let mut namespaces =
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        if network == Network::None {
            namespaces |= libc::CLONE_NEWNET;
        }
        let process = clone::spawn(&clone::Program {
            executable: self.protected()?,
            name: INIT_NAME,
            fds: &[stdin.as_fd(), stdout_end.as_fd(), stderr_end.as_fd(), order.as_fd(), report_end.as_fd()]
                .into_iter()
                .chain(images.iter().map(|image| image.as_fd()))
                .collect::<Vec<_>>(),
            namespaces,
        })
        .map_err(launch("start a process"))?;
        let pipes = Pipes {
            streams: [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))],
            status: Some(report),
            report: Vec::new(),
        };
        Ok((process, pipes))
    }
}

/// Descriptors that init has in any case.
const FIXED_FDS: RawFd = 5;
/// Further ones are mounted by init itself.
const MOST_IMAGES: usize = 128;
/// Above all numbers that descriptors get in init, so that none takes the place of another there.
const LOWEST_IMAGE_FD: RawFd = FIXED_FDS + MOST_IMAGES as RawFd;

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
            let RootMount::Overlay { images, .. } = root else { continue };
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

fn launch(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Launch { action, source }
}

/// Returns a file with the order to init.
fn order(spec: ContainerSpec) -> Result<OwnedFd, Error> {
    let filter = match spec.security {
        Security::Sandbox => seccomp::filter().to_vec(),
        Security::Insecure => Vec::new(),
    };
    let order = Order { spec, ids: super::ids(), filter };
    let bytes = postcard::to_stdvec(&order).map_err(|error| launch("encode the order")(io::Error::other(error)))?;
    let file = rustix::fs::memfd_create("kiln-order", MemfdFlags::CLOEXEC).and_then(above_the_standard_ones);
    let file = file.map_err(|error| launch("make a memory file")(error.into()))?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, &bytes).map_err(launch("write a memory file"))?;
    Ok(file.into())
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(read, write)| Ok((above_the_standard_ones(read)?, above_the_standard_ones(write)?)))
        .map_err(|error| launch("make a pipe")(error.into()))
}

/// Moves a descriptor out of the way of those the child gets.
fn above_the_standard_ones(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    const LOWEST: i32 = 10;
    if fd.as_raw_fd() >= LOWEST { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(fd, LOWEST) }
}

/// What comes out of a container.
struct Pipes {
    streams: [(Stream, Option<OwnedFd>); 2],
    status: Option<OwnedFd>,
    report: Vec<u8>,
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
    let mut buffer = vec![0; 64 << 10];
    loop {
        cancel.check()?;
        let ready = pipes.poll(process, &TICK)?;
        for (index, ready) in ready.into_iter().enumerate() {
            match (ready, index) {
                (false, _) => {}
                (true, 3) => return Ok(()),
                (true, index) => pipes.read(index, &mut buffer, output)?,
            }
        }
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

    fn fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        match index {
            2 => self.status.as_ref(),
            stream => self.streams[stream].1.as_ref(),
        }
        .map(AsFd::as_fd)
    }

    fn read(&mut self, index: usize, buffer: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Error> {
        let Some(fd) = self.fd(index) else { return Ok(()) };
        let length = match rustix::io::read(fd, &mut *buffer) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(launch("read output")(error.into())),
        };
        match (index, length) {
            (2, 0) => self.status = None,
            (2, length) => self.report.extend_from_slice(&buffer[..length]),
            (stream, 0) => self.streams[stream].1 = None,
            (stream, length) => output(self.streams[stream].0, &buffer[..length]),
        }
        Ok(())
    }

    /// Reads what is left. Nobody in the container lives any more; should a descriptor have been passed out of it, its
    /// holder is not waited for.
    fn drain(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        for index in 0..3 {
            while let Some(fd) = self.fd(index) {
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                    Ok(0) => break,
                    Ok(_) => self.read(index, &mut buffer, output)?,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(launch("read output")(error.into())),
                }
            }
        }
        Ok(())
    }
}

/// Removes the mark by which overlayfs refuses a directory that was mounted `volatile`: it warns of a machine that went
/// down meanwhile, and this one has not. The container's mount may outlive its processes by a moment, which is harmless.
fn forget_volatile(root: &RootMount) {
    if let RootMount::Overlay { work, .. } = root {
        // Without the mark there is nothing to do; with one that stays, the next mount says so.
        let mark = work.join("work/incompat/volatile");
        let _ = std::fs::remove_file(mark.join("dirty"));
        let _ = std::fs::remove_dir(&mark);
        let _ = std::fs::remove_dir(work.join("work/incompat"));
    }
}

fn finish(spec: &ContainerSpec, ended: Ended, report: &[u8], kills_before: Option<u64>) -> Result<Exit, Error> {
    let out_of_memory = matches!(ended.how, How::Signal(9) | How::Code(137))
        && kills_before.zip(memory::kills()).is_some_and(|(before, after)| after > before);
    let status = match ended.how {
        _ if out_of_memory => ExitStatus::OutOfMemory,
        How::Code(code) => ExitStatus::Code(code),
        How::Signal(signal) => ExitStatus::Signal(signal),
    };
    let mut ready = false;
    for report in wire::reports(report) {
        match report {
            Report::Stubs(list) => {
                stubs::remove(spec.rootfs.changes(), &list)?;
                ready = true;
            }
            Report::Failed(failure) => return Err(failure.into()),
        }
    }
    if !ready {
        return Err(Error::Silent(status));
    }
    Ok(Exit { status, cpu: ended.cpu, max_rss_bytes: ended.max_rss_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

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
