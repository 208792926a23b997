use std::io::Write;
use std::path::Path;

use super::{At, Error};

/// Replaces the file at `path` with `bytes`, as a whole or not at all, and durably.
///
/// # Errors
/// [`Error::Io`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".kiln-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .at("create a file in", directory)?;
    file.write_all(bytes).at("write", path)?;
    file.as_file().sync_all().at("sync", path)?;
    file.persist(path).map_err(|failed| failed.error).at("replace", path)?;
    // The rename itself lives in the directory.
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).at("sync", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_atomic(&path, b"a longer first version").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_directory() {
        let error = write_atomic(Path::new("/nowhere/file"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot create a file in /nowhere");
        assert!(error.is_not_found());
    }
}
