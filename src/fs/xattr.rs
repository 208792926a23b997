use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use super::{At, Error, os_path};

/// Extended attributes by full name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The path by which a name in an open directory reaches calls that take only paths, however deep it lies.
pub(super) fn through(directory: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let directory = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if name.is_empty() { directory } else { directory.join(os_path(name)) }
}

/// Returns all extended attributes of `name` in `directory` that this process may see; of a symbolic link, its own.
///
/// # Errors
/// [`Error::Io`].
pub fn xattrs(directory: impl AsFd, name: &[u8]) -> Result<Xattrs, Error> {
    let path = through(directory.as_fd(), name);
    let names = match sized(|buffer| llistxattr(&path, buffer)) {
        Err(Errno::OPNOTSUPP) => Vec::new(),
        names => names.at("list the extended attributes of", os_path(name))?,
    };
    let mut found = Xattrs::new();
    for key in names.split(|&byte| byte == 0).filter(|key| !key.is_empty()) {
        if let Some(value) = value(&path, key).at("read an extended attribute of", os_path(name))? {
            found.insert(key.to_owned(), value);
        }
    }
    Ok(found)
}

/// Returns one extended attribute of `name` in `directory`.
///
/// # Errors
/// [`Error::Io`].
pub fn get_xattr(directory: impl AsFd, name: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    value(&through(directory.as_fd(), name), key).at("read an extended attribute of", os_path(name))
}

/// Sets one extended attribute of `name` in `directory`; of a symbolic link, its own. An empty name means the
/// directory, or any other file that the descriptor is of, itself.
///
/// # Errors
/// [`Error::Io`].
pub fn set_xattr(directory: impl AsFd, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
    let path = through(directory.as_fd(), name);
    let set = if name.is_empty() {
        rustix::fs::setxattr(&path, key, value, XattrFlags::empty())
    } else {
        lsetxattr(&path, key, value, XattrFlags::empty())
    };
    set.at("set an extended attribute of", os_path(name))
}

fn value(path: &Path, key: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    match sized(|buffer| lgetxattr(path, key, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `read` with a buffer that is large enough; most attributes fit the first.
fn sized(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The kernel's own limit is 64 KiB, for lists and for values.
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
        }
    }
}
