//! Files of a container, looked at and copied from outside. Every path of it is resolved inside its root, whatever links
//! its processes have made.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, statat};

use super::changes::{stopped, stubs};
use super::{Containers, Error};
use crate::exec::Asker;
use crate::fs::{At, Root, os_path};
use crate::layer::{self, Collision, Devices, Ownership, TreeKind, TreeOptions, Writer};
use crate::runtime::{Ids, RootMount, ids};
use crate::store::{ContainerRecord, ContainerState};
use crate::sys::Cancel;

/// How files are copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Copy what links lead to where the source is one, not the link.
    pub follow: bool,
    /// Leave files to those they belong to; else they belong to root in a container, and to who copies outside.
    pub archive: bool,
}

/// What is copied, or where to.
#[derive(Debug)]
pub struct Place<'a> {
    /// In which file system.
    pub root: &'a Root,
    /// Where in it, as it was written but absolute. A `/` at the end asks for a directory, and `/.` for what is in it.
    pub path: PathBuf,
    /// Whether it is in a container.
    pub is_container: bool,
}

impl Place<'_> {
    fn name(&self) -> &'static str {
        if self.is_container { "in the container" } else { "on this machine" }
    }
}

impl Containers {
    /// Opens the files of a container: as its processes see them where it runs, else as they would; then this process must
    /// keep it as long.
    ///
    /// # Errors
    /// [`Error::Identity`], those of the runtime and of unpacking layers.
    pub fn files(&self, container: &ContainerRecord, asker: Asker<'_>) -> Result<Root, Error> {
        let shown = PathBuf::from(format!("{}:", container.name));
        if container.state() != ContainerState::Running {
            let root = self.root_mount(container, asker)?;
            return Ok(Root::of(self.runtime.open_root(&root)?, shown));
        }
        let not_running = || Error::NotRunning { name: container.name.clone() };
        let process = container.process.as_ref().ok_or_else(not_running)?;
        let root = Root::open(Path::new(&format!("/proc/{}/root", process.pid())))?;
        // Looked at after it was opened, it was that process's.
        if !process.is_alive() {
            return Err(not_running());
        }
        let directory = root.as_fd().try_clone_to_owned().map_err(Error::Identity)?;
        Ok(Root::of(directory, shown))
    }

    /// Writes all files of a container as a tar, in the order of their names; what is mounted in it is not among them.
    ///
    /// # Errors
    /// Those of reading files, of unpacking layers, and of writing.
    pub fn export(&self, container: &ContainerRecord, out: &mut dyn Write, asker: Asker<'_>) -> Result<(), Error> {
        let stack = self.stack(container)?;
        let (upper, kind) = self.library.changes(&self.tree(container)?)?;
        let root = match kind {
            TreeKind::Upper(xattrs) => self.library.merged(&stack, &upper, xattrs, asker)?,
            TreeKind::Whole => RootMount::Bind { path: upper },
        };
        let root = self.runtime.open_root(&root)?;
        let mut writer = Writer::new(asker.cancel.guard(out));
        let written = layer::pack(&root, b".", b"", Devices::Told, &stubs(container), &mut writer);
        stopped(asker.cancel)?;
        written?;
        let finished = writer.finish().map(drop);
        stopped(asker.cancel)?;
        Ok(finished?)
    }
}

/// Something that is there to be copied: `file` in the directory `at`.
struct Source {
    at: OwnedFd,
    file: Vec<u8>,
    /// What it is called; empty where it has no name, or what is in it is meant and not itself.
    name: Vec<u8>,
    is_directory: bool,
}

/// Copies a file, or a directory with all in it, by the rules of `docker cp`.
///
/// # Errors
/// [`Error::NoFile`], [`Error::LostLink`], [`Error::NotADirectory`], [`Error::DirectoryOverFile`], those of reading and
/// writing files.
pub fn copy(from: &Place<'_>, to: &Place<'_>, options: CopyOptions, cancel: &Cancel) -> Result<(), Error> {
    let source = find(from, options.follow)?;
    let (into, name) = destination(&source, to)?;
    // What comes out of a container may be a device for which nobody outside has asked.
    let devices = if to.is_container { Devices::Told } else { Devices::LeftOut };
    carry(
        |out| {
            let mut writer = Writer::new(cancel.guard(out));
            layer::pack(&source.at, &source.file, &name, devices, &BTreeSet::new(), &mut writer)?;
            writer.finish().map(drop)
        },
        |tar| merge(tar, &into, ownership(options.archive), cancel),
        cancel,
    )
}

/// Returns the directory that a copy goes into, and what it is called there; nothing where what is in it goes there.
fn destination(source: &Source, to: &Place<'_>) -> Result<(OwnedFd, Vec<u8>), Error> {
    let path = chase(to)?;
    let not_a_directory = || Error::NotADirectory { path: to.path.clone() };
    match lookup(to, &path)? {
        Some(FileType::Directory) => Ok((to.root.open_directory(&path)?, source.name.clone())),
        Some(_) if source.is_directory => Err(Error::DirectoryOverFile { path: to.path.clone() }),
        Some(_) if wants_directory(&to.path) => Err(not_a_directory()),
        None if wants_directory(&to.path) && !source.is_directory => Err(lost_link(to).unwrap_or_else(not_a_directory)),
        Some(_) | None => {
            let (parent, name) = to.root.open_parent(&path).map_err(|error| match error.is_not_found() {
                // What a copy makes need not be there, but its directory.
                true => lost_link(to).unwrap_or_else(|| no_file(to, to.path.parent().unwrap_or(&to.path))),
                false => error.into(),
            })?;
            Ok((parent, name.to_vec()))
        }
    }
}

/// Writes a file, or a directory with all in it, as a tar of which it is the first entry.
///
/// # Errors
/// [`Error::NoFile`], those of reading files and of writing.
pub fn copy_out(from: &Place<'_>, out: &mut dyn Write, options: CopyOptions, cancel: &Cancel) -> Result<(), Error> {
    let source = find(from, options.follow)?;
    let mut writer = Writer::new(cancel.guard(out));
    let written = layer::pack(&source.at, &source.file, &source.name, Devices::Told, &BTreeSet::new(), &mut writer);
    stopped(cancel)?;
    written?;
    let finished = writer.finish().map(drop);
    stopped(cancel)?;
    Ok(finished?)
}

/// Makes the files of a tar, compressed or not, in a directory; they belong to those the tar says.
///
/// # Errors
/// [`Error::NotADirectory`], those of the archive and of making files.
pub fn copy_in(tar: &mut (dyn Read + Send), to: &Place<'_>, cancel: &Cancel) -> Result<(), Error> {
    let path = to.path.as_os_str().as_bytes();
    let directory = match lookup(to, path)? {
        Some(FileType::Directory) => to.root.open_directory(path)?,
        Some(_) => return Err(Error::NotADirectory { path: to.path.clone() }),
        None => return Err(missing(to)),
    };
    let (_, tar) = layer::decompress(cancel.guard(tar)).map_err(layer::Error::Read)?;
    let merged = merge(tar, &directory, ownership(true), cancel);
    stopped(cancel)?;
    Ok(merged?)
}

fn ownership(archive: bool) -> Ownership {
    match (archive, ids()) {
        (false, _) => Ownership::Nobodys,
        (true, Ids::Single { .. }) => Ownership::AsPermitted,
        (true, _) => Ownership::Exact,
    }
}

fn merge(tar: impl Read, into: &OwnedFd, ownership: Ownership, cancel: &Cancel) -> Result<(), layer::Error> {
    let options =
        TreeOptions { ownership, collision: Collision::Refuse, cancel: cancel.clone(), ..TreeOptions::default() };
    layer::merge(tar, Path::new(&format!("/proc/self/fd/{}", into.as_raw_fd())), &options)
}

/// Connects who writes a tar with who reads it.
fn carry(
    write: impl FnOnce(std::io::PipeWriter) -> Result<(), layer::Error> + Send,
    read: impl FnOnce(std::io::PipeReader) -> Result<(), layer::Error>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let (reader, writer) = std::io::pipe().map_err(layer::Error::Write)?;
    let (written, merged) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || write(writer));
        let merged = read(reader);
        (writing.join(), merged)
    });
    stopped(cancel)?;
    match (written.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), merged) {
        // Who reads an archive that ends too early is not to blame, nor who writes one that nobody reads.
        (Err(error), Err(layer::Error::Truncated { .. } | layer::Error::Read(_))) => Err(error.into()),
        (Err(layer::Error::Write(_)), Err(error)) | (_, Err(error)) | (Err(error), Ok(())) => Err(error.into()),
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn missing(place: &Place<'_>) -> Error {
    lost_link(place).unwrap_or_else(|| no_file(place, &place.path))
}

fn no_file(place: &Place<'_>, path: &Path) -> Error {
    Error::NoFile { path: path.to_owned(), place: place.name() }
}

/// Returns what to say where a link on the way leads to nothing: it is there itself, and whoever is told that it is not
/// would look in the wrong place.
fn lost_link(place: &Place<'_>) -> Option<Error> {
    let path = place.path.as_os_str().as_bytes();
    let ends = (1..=path.len()).filter(|&end| path[end - 1] != b'/' && path.get(end).is_none_or(|&next| next == b'/'));
    let missing = ends.map(|end| &path[..end]).find(|part| !matches!(lookup(place, part), Ok(Some(_))))?;
    let (parent, name) = place.root.open_parent(missing).ok()?;
    let target = rustix::fs::readlinkat(&parent, os_path(name), Vec::new()).ok()?.into_bytes();
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    Some(Error::LostLink { link: path(missing), target: path(&target), place: place.name() })
}

fn wants_directory(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.")
}

fn find(from: &Place<'_>, follow: bool) -> Result<Source, Error> {
    let written = from.path.as_os_str().as_bytes();
    let name = from.path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    let path = if follow || wants_directory(&from.path) { chase(from)? } else { written.to_vec() };
    if wants_directory(&from.path) || name.is_empty() {
        return match lookup(from, &path)? {
            Some(FileType::Directory) => {
                let name = if written.ends_with(b"/.") { Vec::new() } else { name };
                Ok(Source { at: from.root.open_directory(&path)?, file: b".".to_vec(), name, is_directory: true })
            }
            Some(_) => Err(Error::NotADirectory { path: from.path.clone() }),
            None => Err(missing(from)),
        };
    }
    let (at, file) = match from.root.open_parent(&path) {
        Err(error) if error.is_not_found() => return Err(missing(from)),
        opened => opened?,
    };
    let Some(kind) = kind_at(&at, file, from)? else { return Err(missing(from)) };
    Ok(Source { at, file: file.to_vec(), name, is_directory: kind == FileType::Directory })
}

/// Returns a path to what `place` leads to in the end, whose last component is no link; it may be missing.
fn chase(place: &Place<'_>) -> Result<Vec<u8>, Error> {
    // As many as the kernel follows.
    const MOST_LINKS: usize = 40;
    let mut path = place.path.as_os_str().as_bytes().to_vec();
    while path.len() > 1 && (path.ends_with(b"/") || path.ends_with(b"/.")) {
        path.pop();
    }
    for _ in 0..MOST_LINKS {
        // What is no name, such as `..`, is a directory.
        let Ok((parent, name)) = place.root.open_parent(&path) else { return Ok(path) };
        if kind_at(&parent, name, place)? != Some(FileType::Symlink) {
            return Ok(path);
        }
        let target = rustix::fs::readlinkat(&parent, os_path(name), Vec::new())
            .at("read the link", place.root.shown(&path))?
            .into_bytes();
        let above = path.len() - name.len() - path.iter().rev().take_while(|&&byte| byte == b'/').count();
        path = if target.starts_with(b"/") { target } else { [&path[..above], &target].concat() };
    }
    Err(rustix::io::Errno::LOOP).at("open", place.root.shown(&path)).map_err(Error::from)
}

/// Returns what is at a path, through links.
fn lookup(place: &Place<'_>, path: &[u8]) -> Result<Option<FileType>, Error> {
    let found = match place.root.open_at(path, OFlags::PATH, Mode::empty()) {
        Err(error) if error.is_not_found() => return Ok(None),
        found => found?,
    };
    let stat = rustix::fs::fstat(found).at("look at", place.root.shown(path))?;
    Ok(Some(FileType::from_raw_mode(stat.st_mode)))
}

fn kind_at(directory: impl AsFd, name: &[u8], place: &Place<'_>) -> Result<Option<FileType>, Error> {
    match statat(directory, os_path(name), AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => Ok(None),
        stat => Ok(Some(FileType::from_raw_mode(stat.at("look at", place.root.shown(name))?.st_mode))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Two file systems: `a` holds files, `b` receives them.
    fn roots() -> (tempfile::TempDir, Root, Root) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a/d/sub", "b/dir", "b/d"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        for (name, text) in
            [("a/file", "1"), ("a/d/x", "2"), ("a/d/sub/y", "3"), ("b/there", "old"), ("outside", "out")]
        {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let root = |name: &str| Root::open(&directory.path().join(name)).unwrap();
        let (a, b) = (root("a"), root("b"));
        (directory, a, b)
    }

    fn place<'a>(root: &'a Root, path: &str) -> Place<'a> {
        Place { root, path: path.into(), is_container: false }
    }

    fn copied(a: &Root, from: &str, b: &Root, to: &str) -> Result<(), Error> {
        copy(&place(a, from), &place(b, to), CopyOptions::default(), &Cancel::new())
    }

    #[test]
    fn files_go_where_docker_puts_them() {
        for (from, to, expected) in [
            ("/file", "/new", "new"),
            ("/file", "/there", "there"),
            ("/file", "/dir", "dir/file"),
            ("/file", "/dir/", "dir/file"),
            ("/d", "/new", "new/sub/y"),
            ("/d", "/new/", "new/x"),
            ("/d", "/dir", "dir/d/sub/y"),
            ("/d/", "/dir", "dir/d/x"),
            ("/d/.", "/dir", "dir/sub/y"),
            ("/d/.", "/new", "new/x"),
            ("/d", "/", "d/sub/y"),
            ("/", "/dir", "dir/d/sub/y"),
        ] {
            let (directory, a, b) = roots();
            copied(&a, from, &b, to).unwrap_or_else(|error| panic!("{from} {to}: {error}"));
            assert!(directory.path().join("b").join(expected).is_file(), "{from} {to}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let (directory, a, b) = roots();
        fs::create_dir(directory.path().join("b/dir/file")).unwrap();
        fs::write(directory.path().join("b/d/sub"), "a file").unwrap();
        for (from, to) in [
            ("/none", "/new"),
            ("/file/", "/new"),
            ("/file/.", "/new"),
            ("/file", "/new/"),
            ("/file", "/none/new"),
            ("/file", "/there/"),
            ("/d", "/there"),
            ("/file", "/dir"),
            ("/d", "/"),
        ] {
            assert!(copied(&a, from, &b, to).is_err(), "{from} {to}");
        }
        assert_eq!(fs::read_to_string(directory.path().join("b/there")).unwrap(), "old");
        assert!(directory.path().join("b/dir/file").is_dir());
        assert_eq!(fs::read_to_string(directory.path().join("b/d/sub")).unwrap(), "a file");
    }

    #[test]
    fn links_stay_links_unless_they_are_to_be_followed() {
        let (directory, a, b) = roots();
        symlink("/d/x", directory.path().join("a/link")).unwrap();
        copied(&a, "/link", &b, "/new").unwrap();
        assert!(directory.path().join("b/new").is_symlink());
        let options = CopyOptions { follow: true, ..CopyOptions::default() };
        copy(&place(&a, "/link"), &place(&b, "/followed"), options, &Cancel::new()).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("b/followed")).unwrap(), "2");
        // A link in the place of the copy is what it leads to.
        symlink("dir/target", directory.path().join("b/to")).unwrap();
        copied(&a, "/file", &b, "/to").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("b/dir/target")).unwrap(), "1");
    }

    #[test]
    fn a_link_that_leads_to_nothing_is_named() {
        let (directory, a, b) = roots();
        for root in ["a", "b"] {
            symlink("/none/x\u{1b}", directory.path().join(root).join("lost")).unwrap();
            symlink("../lost", directory.path().join(root).join("d/on")).unwrap();
        }
        let follow = CopyOptions { follow: true, ..CopyOptions::default() };
        for (from, to, expected) in [
            ("/file", "/lost", "/lost is a link to \"/none/x\\u{1b}\", which is not on this machine"),
            ("/file", "/lost/", "/lost is a link to \"/none/x\\u{1b}\", which is not on this machine"),
            ("/file", "/lost/in/it", "/lost is a link to \"/none/x\\u{1b}\", which is not on this machine"),
            ("/file", "/d/on/it", "/d/on is a link to \"../lost\", which is not on this machine"),
            ("/lost", "/new", "/lost is a link to \"/none/x\\u{1b}\", which is not on this machine"),
            ("/lost/in/it", "/new", "/lost is a link to \"/none/x\\u{1b}\", which is not on this machine"),
            ("/file", "/none/deep/new", "there is no /none/deep on this machine"),
            ("/none/file", "/new", "there is no /none/file on this machine"),
        ] {
            let error = copy(&place(&a, from), &place(&b, to), follow, &Cancel::new()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{from} {to}");
        }
    }

    #[test]
    fn no_link_leads_out_of_a_root() {
        let (directory, a, b) = roots();
        let outside = directory.path().join("outside");
        symlink(&outside, directory.path().join("a/absolute")).unwrap();
        symlink("../outside", directory.path().join("a/dots")).unwrap();
        symlink("..", directory.path().join("a/up")).unwrap();
        symlink("loop", directory.path().join("a/loop")).unwrap();
        let follow = CopyOptions { follow: true, ..CopyOptions::default() };
        for from in ["/absolute", "/dots", "/up/outside", "/../outside", "/loop"] {
            assert!(copy(&place(&a, from), &place(&b, "/got"), follow, &Cancel::new()).is_err(), "{from}");
        }
        for (link, target) in [("absolute", outside.to_str().unwrap()), ("dots", "../outside"), ("up", "..")] {
            symlink(target, directory.path().join("b").join(link)).unwrap();
            // Wherever it goes, it is inside; a directory that is missing there is an error.
            let _ = copied(&a, "/file", &b, &format!("/{link}"));
            let _ = copied(&a, "/file", &b, &format!("/{link}/outside"));
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "out");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        // Nor does one that is met on the way.
        fs::create_dir(directory.path().join("target")).unwrap();
        symlink(directory.path().join("target"), directory.path().join("b/dir/d")).unwrap();
        let _ = copied(&a, "/d", &b, "/dir");
        assert_eq!(fs::read_dir(directory.path().join("target")).unwrap().count(), 0);
    }

    #[test]
    fn a_tar_comes_out_and_goes_in() {
        let (directory, a, b) = roots();
        let mut tar = Vec::new();
        copy_out(&place(&a, "/d"), &mut tar, CopyOptions::default(), &Cancel::new()).unwrap();
        let mut archive = tar::Archive::new(&*tar);
        let name = |entry: tar::Entry<'_, &[u8]>| entry.path().unwrap().display().to_string();
        let names: Vec<_> = archive.entries().unwrap().map(|entry| name(entry.unwrap())).collect();
        assert_eq!(names, ["d/", "d/sub/", "d/sub/y", "d/x"]);
        copy_in(&mut &*tar, &place(&b, "/dir"), &Cancel::new()).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("b/dir/d/sub/y")).unwrap(), "3");
        assert!(copy_in(&mut &*tar, &place(&b, "/there"), &Cancel::new()).is_err());
        assert!(copy_in(&mut &b"no tar"[..], &place(&b, "/dir"), &Cancel::new()).is_err());
    }
}
