use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use crate::runtime::spec::{Durability, RootMount};
use crate::runtime::wire::{Failure, Step};
use crate::sys::clone;
use crate::sys::mount::{self, Attributes, Depth, Setting};

/// Mounts the root, over the directory that receives its changes: it surely exists, and nothing else here needs it.
/// Returns a descriptor of the root.
pub(super) fn mount(root: &RootMount) -> Result<OwnedFd, Failure> {
    let place = root.changes();
    match root {
        RootMount::Overlay { lower, images, upper, work, durability, userxattr } if !lower.is_empty() => {
            for image in images {
                let mounted = mounted(image).and_then(|mounted| mount::attach(mounted, open(&image.place)?));
                mounted.step(format!("mount {}", image.image.display()))?;
            }
            let overlay = Overlay { lower, upper, work, durability: *durability, userxattr: *userxattr };
            overlay.mount().step("mount / (overlay)")?;
        }
        RootMount::Merged { layers, images, userxattr } if layers.len() > 1 => {
            for image in images {
                let mounted = mounted(image).and_then(|mounted| mount::attach(mounted, open(&image.place)?));
                mounted.step(format!("mount {}", image.image.display()))?;
            }
            merged(layers, *userxattr)
                .and_then(|merged| mount::attach(merged, open(place)?))
                .step("mount / (overlay)")?;
        }
        _ => {
            bind(place).step("mount / (bind)")?;
        }
    }
    open(place).step("open /")
}

/// Returns an overlay without a directory for changes.
fn merged(layers: &[PathBuf], userxattr: bool) -> io::Result<OwnedFd> {
    let mut settings: Vec<Setting<'_>> = layers.iter().map(|layer| Setting::Path("lowerdir+", layer)).collect();
    if userxattr {
        settings.push(Setting::Flag("userxattr"));
    } else {
        settings.extend(SELF_CONTAINED.map(|(key, value)| Setting::Value(key, value)));
    }
    let attributes = Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_RDONLY;
    match mount::create("overlay", &settings, attributes) {
        // Layers one by one are known since Linux 6.5.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let all: Vec<String> = layers.iter().map(|layer| escaped(layer)).collect();
            let all = all.join(":");
            settings.retain(|setting| !matches!(setting, Setting::Path(..)));
            settings.push(Setting::Value("lowerdir", &all));
            mount::create("overlay", &settings, attributes)
        }
        made => made,
    }
}

/// Returns a mount of an image: a copy of the one that kiln keeps, with which it shares all that the kernel has read. Mounts
/// of nobody's namespace can be copied since Linux 6.15.
fn mounted(image: &mount::Image) -> io::Result<OwnedFd> {
    if let Some(held) = image.held
        && let Ok(copy) = mount::copy(clone::inherited(held)?, "", Depth::One)
    {
        return Ok(copy);
    }
    image.mount()
}

fn bind(place: &Path) -> io::Result<()> {
    let root = mount::copy(CWD, place, Depth::One)?;
    mount::restrict(&root, Attributes::MOUNT_ATTR_NODEV, Depth::One)?;
    mount::attach(root, open(place)?)
}

/// Makes `root` the `/` of this process and its mount namespace, and lets go of everything else.
pub(super) fn enter(root: &OwnedFd) -> Result<(), Failure> {
    rustix::process::fchdir(root).step("enter /")?;
    // With both the same, the old root lies over the new one and can be unmounted without a place for it in the image
    // (pivot_root(2), "pivot_root(".", ".")").
    rustix::process::pivot_root(".", ".").step("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).step("unmount the host's root")?;
    rustix::process::chdir("/").step("enter /")
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

struct Overlay<'a> {
    lower: &'a [PathBuf],
    upper: &'a Path,
    work: &'a Path,
    durability: Durability,
    userxattr: bool,
}

/// A layer is made from the upper directory alone, so nothing in it may stand for something elsewhere. With `userxattr`
/// these are off anyway, and naming them is refused.
const SELF_CONTAINED: [(&str, &str); 3] = [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

impl Overlay<'_> {
    /// Mounts with the first form this kernel knows. `volatile` (5.10) saves syncing a directory that is read once and
    /// deleted; layers one by one (6.5) have no common limit of length.
    fn mount(&self) -> io::Result<()> {
        let invalid = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        let attempts: [fn(&Self) -> io::Result<()>; 4] = [
            |overlay| overlay.mount_by_layer(true),
            |overlay| overlay.mount_by_layer(false),
            |overlay| overlay.mount_in_one_line(true),
            |overlay| overlay.mount_in_one_line(false),
        ];
        let is_wanted = |number: &usize| self.durability == Durability::Volatile || number % 2 == 1;
        let mut result = Ok(());
        for attempt in (0..attempts.len()).filter(is_wanted).map(|number| attempts[number]) {
            result = attempt(self);
            if !result.as_ref().is_err_and(invalid) {
                break;
            }
        }
        result
    }

    fn mount_by_layer(&self, volatile: bool) -> io::Result<()> {
        let mut settings = vec![Setting::Path("upperdir", self.upper), Setting::Path("workdir", self.work)];
        settings.extend(self.lower.iter().map(|lower| Setting::Path("lowerdir+", lower)));
        if self.userxattr {
            settings.push(Setting::Flag("userxattr"));
        } else {
            settings.extend(SELF_CONTAINED.map(|(key, value)| Setting::Value(key, value)));
        }
        if volatile {
            settings.push(Setting::Flag("volatile"));
        }
        let overlay = mount::create("overlay", &settings, Attributes::MOUNT_ATTR_NODEV)?;
        mount::attach(overlay, open(self.upper)?)
    }

    /// mount(2) takes at most a page of options, so paths are given from the deepest directory they share.
    fn mount_in_one_line(&self, volatile: bool) -> io::Result<()> {
        let all = || self.lower.iter().map(PathBuf::as_path).chain([self.upper, self.work]);
        let shared = all().skip(1).fold(self.upper.to_owned(), |shared, path| common(&shared, path));
        let shared = all().fold(shared, |shared, path| common(&shared, path));
        let before = rustix::process::getcwd(Vec::new())?;
        rustix::process::chdir(&shared)?;
        let option = |path: &Path| escaped(path.strip_prefix(&shared).unwrap_or(path));
        let lower: Vec<String> = self.lower.iter().map(|path| option(path)).collect();
        let mut options =
            format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), option(self.upper), option(self.work));
        if self.userxattr {
            options.push_str(",userxattr");
        } else {
            for (key, value) in SELF_CONTAINED {
                options.push_str(&format!(",{key}={value}"));
            }
        }
        if volatile {
            options.push_str(",volatile");
        }
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount("overlay", self.upper, "overlay", MountFlags::NODEV, options.as_c_str())?;
        Ok(rustix::process::chdir(before)?)
    }
}

fn common(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// Escapes what separates layers and options.
fn escaped(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_their_deepest_directory() {
        assert_eq!(common(Path::new("/a/b/c"), Path::new("/a/b/d/e")), Path::new("/a/b"));
        assert_eq!(common(Path::new("/a"), Path::new("/b")), Path::new("/"));
    }

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escaped(Path::new("a:b,c\\d")), r"a\:b\,c\\d");
    }
}
