//! Results as files: a directory, a tar.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Asker, Error, Library, Stack};
use crate::layer::{Content, FileId, Kind, Metadata, Mtime, Node, Writer};

/// Writes the files of stacks as one tar, each below the directory of its name, or at the top where that is empty; names
/// in byte order, without whiteouts, all of one time if `epoch` says so.
///
/// # Errors
/// Those of fetching and reading layers, and of writing.
pub fn write_tar(
    library: &Library,
    stacks: &[(String, &Stack)],
    out: &mut dyn Write,
    epoch: Option<Mtime>,
    asker: Asker<'_>,
) -> Result<(), Error> {
    let mut writer = Writer::new(out);
    for (name, stack) in stacks {
        if !name.is_empty() {
            let metadata = Metadata { mode: 0o755, mtime: epoch.unwrap_or_default(), ..Metadata::default() };
            writer.append(name.as_bytes(), &metadata, Content::Directory)?;
        }
        append_tree(library, (name, stack), &mut writer, epoch, asker)?;
    }
    writer.finish()?;
    Ok(())
}

fn append_tree(
    library: &Library,
    (directory, stack): (&str, &Stack),
    writer: &mut Writer<&mut dyn Write>,
    epoch: Option<Mtime>,
    asker: Asker<'_>,
) -> Result<(), Error> {
    let view = library.view(stack, asker)?;
    let mut names: HashMap<FileId, Vec<u8>> = HashMap::new();
    for (path, node) in view.walk(b"") {
        asker.cancel.check()?;
        let path = if directory.is_empty() { path } else { [directory.as_bytes(), b"/", &path].concat() };
        let metadata = Metadata { mtime: epoch.unwrap_or(node.metadata.mtime), ..node.metadata.clone() };
        if let Some(first) = names.get(&node.id).filter(|_| !node.is_directory()) {
            writer.append(&path, &metadata, Content::Hardlink(first))?;
            continue;
        }
        let mut bytes = None;
        let content = match &node.kind {
            Kind::File { size, .. } => {
                Content::File { size: *size, reader: bytes.insert(library.content(stack, node, asker)?) }
            }
            Kind::Directory => Content::Directory,
            Kind::Symlink { target } => Content::Symlink(target),
            Kind::CharDevice { major, minor } => Content::CharDevice { major: *major, minor: *minor },
            Kind::BlockDevice { major, minor } => Content::BlockDevice { major: *major, minor: *minor },
            Kind::Fifo => Content::Fifo,
            Kind::Hardlink { .. } | Kind::Whiteout | Kind::Opaque => continue,
        };
        writer.append(&path, &metadata, content)?;
        names.insert(node.id, path);
    }
    Ok(())
}

/// Writes the files of a stack into a directory, over what is there, all of one time if `epoch` says so. They belong to
/// who runs kiln; devices are left out.
///
/// # Errors
/// Those of fetching and reading layers, and [`Error::Export`].
pub fn copy_to(
    library: &Library,
    stack: &Stack,
    target: &Path,
    epoch: Option<Mtime>,
    asker: Asker<'_>,
) -> Result<(), Error> {
    let view = library.view(stack, asker)?;
    let mut copy = Copy { library, stack, target, epoch, asker, names: HashMap::new(), directories: Vec::new() };
    fs::create_dir_all(target).map_err(export(target))?;
    for (path, node) in view.walk(b"") {
        copy.node(&path, node)?;
    }
    // Deepest first: a directory that nobody may write to is closed when all in it is done.
    copy.directories.iter().rev().try_for_each(|(path, metadata)| close(path, metadata))
}

struct Copy<'a> {
    library: &'a Library,
    stack: &'a Stack,
    target: &'a Path,
    epoch: Option<Mtime>,
    asker: Asker<'a>,
    names: HashMap<FileId, PathBuf>,
    directories: Vec<(PathBuf, Metadata)>,
}

impl Copy<'_> {
    fn node(&mut self, path: &[u8], node: &Node) -> Result<(), Error> {
        self.asker.cancel.check()?;
        let path = self.target.join(std::ffi::OsStr::from_bytes(path));
        let failed = export(path.clone());
        let there = fs::symlink_metadata(&path).ok();
        if node.is_directory() {
            match there {
                Some(there) if there.is_dir() => {}
                Some(_) => fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).map_err(&failed)?,
                None => fs::create_dir(&path).map_err(&failed)?,
            }
            let mtime = self.epoch.unwrap_or(node.metadata.mtime);
            self.directories.push((path, Metadata { mtime, ..node.metadata.clone() }));
            return Ok(());
        }
        match there {
            Some(there) if there.is_dir() => fs::remove_dir_all(&path).map_err(&failed)?,
            Some(_) => fs::remove_file(&path).map_err(&failed)?,
            None => {}
        }
        if let Some(first) = self.names.get(&node.id) {
            return fs::hard_link(first, &path).map_err(&failed);
        }
        match &node.kind {
            Kind::File { .. } => {
                let mut file = File::create_new(&path).map_err(&failed)?;
                let mut content = self.library.content(self.stack, node, self.asker)?;
                io::copy(&mut content, &mut file).map_err(&failed)?;
                file.set_permissions(Permissions::from_mode(node.metadata.mode)).map_err(&failed)?;
                file.set_modified(time(self.epoch.unwrap_or(node.metadata.mtime))).map_err(&failed)?;
            }
            Kind::Symlink { target } => symlink(std::ffi::OsStr::from_bytes(target), &path).map_err(&failed)?,
            _ => tracing::warn!(path = %path.display(), "a device or pipe is left out"),
        }
        self.names.insert(node.id, path);
        Ok(())
    }
}

fn close(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let closed = File::open(path).and_then(|directory| {
        directory.set_permissions(Permissions::from_mode(metadata.mode))?;
        directory.set_modified(time(metadata.mtime))
    });
    closed.map_err(export(path))
}

fn time(mtime: Mtime) -> SystemTime {
    let fraction = Duration::from_nanos(mtime.nanoseconds.into());
    let seconds = Duration::from_secs(mtime.seconds.unsigned_abs());
    let whole = if mtime.seconds < 0 { SystemTime::UNIX_EPOCH - seconds } else { SystemTime::UNIX_EPOCH + seconds };
    whole + fraction
}

fn export(path: impl Into<PathBuf>) -> impl Fn(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Export { path: path.clone(), source }
}
