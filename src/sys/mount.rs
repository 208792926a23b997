//! Mounts as descriptors: made first, attached later.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::mount as raw;
pub use rustix::mount::MountAttrFlags as Attributes;
use serde::{Deserialize, Serialize};

/// An option of a new file system.
#[derive(Debug, Clone, Copy)]
pub enum Setting<'a> {
    /// A word of its own.
    Flag(&'a str),
    /// `key=value`.
    Value(&'a str, &'a str),
    /// `key=path`.
    Path(&'a str, &'a Path),
}

/// Makes a file system of type `kind` and a mount of it that is attached nowhere yet.
///
/// # Errors
/// What the kernel said to the type, an option or the whole.
pub fn create(kind: &str, settings: &[Setting<'_>], attributes: Attributes) -> io::Result<OwnedFd> {
    let context = raw::fsopen(kind, raw::FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What /proc/mounts shows in its first column, where it is nothing that the file system is made from.
    if !settings.iter().any(|setting| matches!(setting, Setting::Path("source", _))) {
        raw::fsconfig_set_string(&context, "source", kind)?;
    }
    for setting in settings {
        set(&context, *setting)?;
    }
    raw::fsconfig_create(&context)?;
    Ok(raw::fsmount(&context, raw::FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// An EROFS image in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The file with names and metadata.
    pub image: PathBuf,
    /// The file with contents, the image's second device.
    pub data: PathBuf,
    /// The directory over which it is to be mounted.
    pub place: PathBuf,
    /// The descriptor of a mount of it, that the process which is to attach one inherits.
    pub held: Option<RawFd>,
}

impl Image {
    /// Makes a mount that is attached nowhere yet.
    ///
    /// # Errors
    /// What the kernel said: images in files are mounted since Linux 6.12, and by root.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        let settings = [Setting::Path("source", &self.image), Setting::Path("device", &self.data), Setting::Flag("ro")];
        create("erofs", &settings, Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NODEV)
    }
}

fn set(context: &OwnedFd, setting: Setting<'_>) -> io::Result<()> {
    Ok(match setting {
        Setting::Flag(key) => raw::fsconfig_set_flag(context, key),
        Setting::Value(key, value) => raw::fsconfig_set_string(context, key, value),
        Setting::Path(key, path) => raw::fsconfig_set_string(context, key, path),
    }?)
}

/// How much of a tree of mounts is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One mount.
    One,
    /// It and all below it.
    All,
}

/// Returns a copy, attached nowhere, of the mount that shows `path` (seen from `directory`), rooted there.
///
/// # Errors
/// What open_tree(2) said.
pub fn copy(directory: impl AsFd, path: impl AsRef<Path>, depth: Depth) -> io::Result<OwnedFd> {
    let mut flags =
        raw::OpenTreeFlags::OPEN_TREE_CLONE | raw::OpenTreeFlags::OPEN_TREE_CLOEXEC | raw::OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::All {
        flags |= raw::OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(raw::open_tree(directory, path.as_ref(), flags)?)
}

/// Attaches `mount` over `target`, which is any descriptor of a file or directory.
///
/// # Errors
/// What move_mount(2) said.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = raw::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | raw::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(raw::move_mount(mount, "", target, "", flags)?)
}

/// Adds `attributes` to a mount.
///
/// # Errors
/// What mount_setattr(2) said.
// <https://man7.org/linux/man-pages/man2/mount_setattr.2.html>; rustix does not have it yet.
pub fn restrict(mount: impl AsFd, attributes: Attributes, depth: Depth) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let change = MountAttr { attr_set: u64::from(attributes.bits()), attr_clr: 0, propagation: 0, userns_fd: 0 };
    let recursive = if depth == Depth::All { libc::AT_RECURSIVE } else { 0 };
    const EMPTY: &CStr = c"";
    // SAFETY: the pointers are to a NUL-terminated string and to a live structure of the size that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const change,
            size_of::<MountAttr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
