use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::root;
use super::target::{Targets, Want};
use crate::runtime::ids::Ids;
use crate::runtime::spec::{Access, ContainerSpec, Mount, MountKind, Network, RootMount, Security};
use crate::runtime::wire::{Failure, Step};
use crate::sys::mount::{self, Attributes, Depth, Setting};

/// Device nodes of a container. They are the host's, each bound by itself, and everything else is mounted `nodev`: root
/// in a container may make nodes, for its layer, but a node it made would reach the host's disks.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What tells about, or reaches into, the whole machine; shown empty.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Devices of the machine that an unconfined process finds besides, where there are any.
const MACHINE_DEVICES: [&str; 13] = [
    "kmsg",
    "cuse",
    "fuse",
    "kvm",
    "net/tun",
    "loop-control",
    "loop0",
    "loop1",
    "loop2",
    "loop3",
    "loop4",
    "loop5",
    "loop6",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Mounts that exist but have no place yet.
pub(super) struct Detached {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    devices: Vec<(&'static str, OwnedFd)>,
    binds: Vec<(OwnedFd, Want)>,
}

fn closed() -> Attributes {
    Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC | Attributes::MOUNT_ATTR_NODEV
}

/// Makes the mounts that need the host in view.
pub(super) fn prepare(spec: &ContainerSpec, ids: Ids) -> Result<Detached, Failure> {
    let binds = sorted(spec).iter().filter_map(|mount| bind(mount)).collect::<Result<_, _>>()?;
    Ok(Detached {
        proc: mount::create("proc", &[], closed()).step("mount /proc")?,
        sys: sys(spec, ids)?,
        // Missing in old kernels and where the machine has the first version only; steps rarely look.
        cgroup: (ids == Ids::Root).then(|| mount::create("cgroup2", &[], system(spec)).ok()).flatten(),
        devices: devices(spec, ids)?,
        binds,
    })
}

/// Returns how the file systems of the kernel are mounted.
fn system(spec: &ContainerSpec) -> Attributes {
    match spec.security {
        Security::Sandbox => closed() | Attributes::MOUNT_ATTR_RDONLY,
        Security::Insecure => closed(),
    }
}

/// Makes /sys. The kernel allows a fresh one to the owner of the network namespace only; otherwise it is the host's, or
/// missing.
fn sys(spec: &ContainerSpec, ids: Ids) -> Result<Option<OwnedFd>, Failure> {
    let attributes = system(spec);
    if ids == Ids::Root {
        return Ok(Some(mount::create("sysfs", &[], attributes).step("mount /sys")?));
    }
    if spec.network == Network::None
        && let Ok(fresh) = mount::create("sysfs", &[], attributes)
    {
        return Ok(Some(fresh));
    }
    let host = mount::copy(CWD, "/sys", Depth::All);
    Ok(host.ok().filter(|host| mount::restrict(host, attributes, Depth::All).is_ok()))
}

fn devices(spec: &ContainerSpec, ids: Ids) -> Result<Vec<(&'static str, OwnedFd)>, Failure> {
    let bind = |name| -> io::Result<OwnedFd> {
        let node = mount::copy(CWD, format!("/dev/{name}"), Depth::One)?;
        mount::restrict(&node, closed_but_devices(), Depth::One)?;
        Ok(node)
    };
    let usual = DEVICES.into_iter().map(|name| Ok((name, bind(name).step(format!("bind /dev/{name}"))?)));
    let has_more = spec.security == Security::Insecure && ids == Ids::Root;
    let more = MACHINE_DEVICES.into_iter().filter(|_| has_more).filter_map(|name| Some(Ok((name, bind(name).ok()?))));
    usual.chain(more).collect()
}

/// Mounts by target, so that what lies below another mount comes after it.
fn sorted(spec: &ContainerSpec) -> Vec<&Mount> {
    let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
    mounts.sort_by(|a, b| Path::new(&a.target).cmp(Path::new(&b.target)));
    mounts
}

fn bind(mount: &Mount) -> Option<Result<(OwnedFd, Want), Failure>> {
    match &mount.kind {
        MountKind::Bind { source, access } => {
            let copy = || attachable(mount::copy(CWD, source, Depth::All)?, *access);
            Some(copy().step(format!("bind {}", source.display())))
        }
        MountKind::Tree { root, path, access } => Some(tree(root, path, *access)),
        MountKind::File { .. } | MountKind::Tmpfs { .. } => None,
    }
}

/// Mounts another root where this process alone sees it, and takes `path` of it.
fn tree(root: &RootMount, path: &str, access: Access) -> Result<(OwnedFd, Want), Failure> {
    let root = root::mount(root)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let take = || -> io::Result<(OwnedFd, Want)> {
        let place = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?;
        attachable(mount::copy(place, "", Depth::One)?, access)
    };
    take().step(format!("mount {path} of another file system"))
}

fn attachable(tree: OwnedFd, access: Access) -> io::Result<(OwnedFd, Want)> {
    let mode = rustix::fs::fstat(&tree)?.st_mode;
    let want = if FileType::from_raw_mode(mode) == FileType::Directory { Want::Directory } else { Want::File };
    let mut attributes = Attributes::MOUNT_ATTR_NODEV;
    attributes.set(Attributes::MOUNT_ATTR_RDONLY, access == Access::ReadOnly);
    mount::restrict(&tree, attributes, Depth::All)?;
    Ok((tree, want))
}

/// Puts everything in its place; the root is `/` now.
pub(super) fn attach(detached: Detached, spec: &ContainerSpec, ids: Ids, targets: &mut Targets) -> Result<(), Failure> {
    at(targets, "/proc", detached.proc)?;
    let mut files = files(spec, targets)?;
    device_files(detached.devices, spec, ids, targets)?;
    if let Some(sys) = detached.sys {
        at(targets, "/sys", sys)?;
    } else {
        targets.open_kept(Path::new("/sys")).step("make /sys")?;
    }
    if let Some(cgroup) = detached.cgroup
        && let Ok(place) = rustix::fs::open("/sys/fs/cgroup", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    {
        mount::attach(cgroup, place).step("mount /sys/fs/cgroup")?;
    }
    if spec.security == Security::Sandbox {
        hide()?;
    }
    for (path, data) in [("/etc/resolv.conf", &spec.resolv_conf), ("/etc/hosts", &spec.hosts)] {
        if data.is_some() {
            over_file(targets, path, next(&mut files)?)?;
        }
    }
    let mut binds = detached.binds.into_iter();
    for mount in sorted(spec) {
        match &mount.kind {
            MountKind::File { .. } => over_file(targets, &mount.target, next(&mut files)?)?,
            MountKind::Bind { .. } | MountKind::Tree { .. } => {
                let Some((tree, want)) = binds.next() else { continue };
                over(targets, &mount.target, want, tree)?;
            }
            MountKind::Tmpfs { size_bytes } => {
                let size = size_bytes.map(|size| size.to_string());
                let mut settings = vec![Setting::Value("mode", "1777")];
                settings.extend(size.as_deref().map(|size| Setting::Value("size", size)));
                let tmpfs =
                    mount::create("tmpfs", &settings, Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV);
                over(targets, &mount.target, Want::Directory, tmpfs.step(format!("mount {}", mount.target))?)?;
            }
        }
    }
    Ok(())
}

/// Mounts at a directory that stays in the layer when it had to be made, as those of the system do.
fn at(targets: &mut Targets, path: &str, mount: OwnedFd) -> Result<(), Failure> {
    let place = targets.open_kept(Path::new(path)).step(format!("make {path}"))?;
    mount::attach(mount, place).step(format!("mount {path}"))
}

fn over(targets: &mut Targets, path: &str, want: Want, mount: OwnedFd) -> Result<(), Failure> {
    let place = targets.open(Path::new(path), want).step(format!("make the mount point {path}"))?;
    mount::attach(mount, place).step(format!("mount {path}"))
}

fn over_file(targets: &mut Targets, path: &str, mount: OwnedFd) -> Result<(), Failure> {
    over(targets, path, Want::File, mount)
}

fn next(files: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Failure> {
    files.next().ok_or(Errno::NOENT).step("mount a file")
}

/// Makes the files whose content came with the order, each as a mount of its own: resolv.conf, hosts, then those of
/// `mounts` by target. They live on a file system in memory that has no place in the container. It is attached for a
/// moment where /dev will be, because only an attached mount can be copied.
fn files(spec: &ContainerSpec, targets: &mut Targets) -> Result<impl Iterator<Item = OwnedFd> + use<>, Failure> {
    let system = [&spec.resolv_conf, &spec.hosts].into_iter().flatten();
    let system = system.map(|data| Made { mode: 0o644, uid: 0, gid: 0, data });
    let own = sorted(spec).into_iter().filter_map(|mount| match &mount.kind {
        MountKind::File { mode, uid, gid, data } => Some(Made { mode: *mode, uid: *uid, gid: *gid, data }),
        MountKind::Bind { .. } | MountKind::Tree { .. } | MountKind::Tmpfs { .. } => None,
    });
    let all: Vec<Made<'_>> = system.chain(own).collect();
    let mut mounts = Vec::with_capacity(all.len());
    let place = targets.open_kept(Path::new("/dev")).step("make /dev")?;
    if !all.is_empty() {
        let shelf = mount::create("tmpfs", &[], Attributes::empty()).step("mount files")?;
        mount::attach(&shelf, place).step("mount files")?;
        for (number, made) in all.iter().enumerate() {
            mounts.push(file(&shelf, &number.to_string(), made).step("mount files")?);
        }
        unmount("/dev", UnmountFlags::DETACH).step("unmount files")?;
    }
    Ok(mounts.into_iter())
}

/// A file whose content came with the order.
struct Made<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    data: &'a [u8],
}

fn file(shelf: &OwnedFd, name: &str, made: &Made<'_>) -> io::Result<OwnedFd> {
    let mode = made.mode;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(shelf, name, flags, Mode::from_raw_mode(mode))?;
    if (made.uid, made.gid) != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(made.uid), rustix::fs::Gid::from_raw(made.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    io::Write::write_all(&mut std::fs::File::from(file), made.data)?;
    let copy = mount::copy(shelf, name, Depth::One)?;
    let mut attributes = closed() | Attributes::MOUNT_ATTR_RDONLY;
    if mode & 0o111 != 0 {
        attributes.remove(Attributes::MOUNT_ATTR_NOEXEC);
    }
    mount::restrict(&copy, attributes, Depth::One)?;
    Ok(copy)
}

/// Fills /dev.
fn device_files(
    nodes: Vec<(&'static str, OwnedFd)>,
    spec: &ContainerSpec,
    ids: Ids,
    targets: &mut Targets,
) -> Result<(), Failure> {
    let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_STRICTATIME;
    let settings = [Setting::Value("mode", "755"), Setting::Value("size", "65536k")];
    at(targets, "/dev", mount::create("tmpfs", &settings, attributes).step("mount /dev")?)?;
    let dev = rustix::fs::open("/dev", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("open /dev")?;
    for (name, node) in nodes {
        if let Some((directory, _)) = name.split_once('/') {
            rustix::fs::mkdirat(&dev, directory, Mode::from_raw_mode(0o755)).step(format!("make /dev/{directory}"))?;
        }
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&dev, name, flags, Mode::from_raw_mode(0o666));
        mount::attach(node, place.step(format!("make /dev/{name}"))?).step(format!("bind /dev/{name}"))?;
    }
    for (name, link) in DEVICE_LINKS {
        rustix::fs::symlinkat(link, &dev, name).step(format!("make /dev/{name}"))?;
    }
    let size = spec.shm_size_bytes.to_string();
    let memory = [Setting::Value("mode", "1777"), Setting::Value("size", &size)];
    below(&dev, "pts", mount::create("devpts", &terminals(ids), closed_but_devices()).step("mount /dev/pts")?)?;
    below(&dev, "shm", mount::create("tmpfs", &memory, closed()).step("mount /dev/shm")?)?;
    below(&dev, "mqueue", mount::create("mqueue", &[], closed()).step("mount /dev/mqueue")?)
}

fn closed_but_devices() -> Attributes {
    Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC
}

/// Options of /dev/pts. Group 5, which may write to terminals, is not there under a single-id mapping.
fn terminals(ids: Ids) -> Vec<Setting<'static>> {
    let mut settings =
        vec![Setting::Flag("newinstance"), Setting::Value("ptmxmode", "0666"), Setting::Value("mode", "0620")];
    if !matches!(ids, Ids::Single { .. }) {
        settings.push(Setting::Value("gid", "5"));
    }
    settings
}

fn below(dev: &OwnedFd, name: &str, mount: OwnedFd) -> Result<(), Failure> {
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).step(format!("make /dev/{name}"))?;
    let place = rustix::fs::openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    mount::attach(mount, place.step(format!("open /dev/{name}"))?).step(format!("mount /dev/{name}"))
}

/// Masks what is to be masked and freezes what is read-only; what this machine does not have needs neither.
fn hide() -> Result<(), Failure> {
    let mut empty: Option<OwnedFd> = None;
    for path in MASKED {
        let Some(place) = existing(path).step(format!("open {path}"))? else { continue };
        let directory = FileType::from_raw_mode(rustix::fs::fstat(&place).step(format!("open {path}"))?.st_mode)
            == FileType::Directory;
        let cover = match (&empty, directory) {
            (_, false) => mount::copy(CWD, "/dev/null", Depth::One),
            (Some(first), true) => mount::copy(first, "", Depth::One),
            (None, true) => mount::create("tmpfs", &[], closed() | Attributes::MOUNT_ATTR_RDONLY),
        };
        let cover = cover.step(format!("mask {path}"))?;
        mount::attach(&cover, place).step(format!("mask {path}"))?;
        if directory {
            empty = Some(cover);
        }
    }
    for path in READ_ONLY {
        let Some(place) = existing(path).step(format!("open {path}"))? else { continue };
        let step = || format!("make {path} read-only");
        let copy = mount::copy(place.as_fd(), "", Depth::All).step(step())?;
        mount::restrict(&copy, Attributes::MOUNT_ATTR_RDONLY, Depth::All).step(step())?;
        mount::attach(copy, place).step(step())?;
    }
    Ok(())
}

fn existing(path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        found => found.map(Some),
    }
}
