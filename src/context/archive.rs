use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::Error;
use crate::layer::{self, Compression, EntryPath, Metadata, Ownership, TreeOptions};
use crate::sys::Cancel;

/// How many bytes [`is_archive`] looks at: one header of a tar archive.
pub const ARCHIVE_START_BYTES: usize = 512;

/// Tells by its first bytes whether a stream is a tar archive, or compressed and so nothing else. BuildKit asks the same.
pub fn is_archive(start: &[u8]) -> bool {
    Compression::detect(start) != Compression::None || start.len() == ARCHIVE_START_BYTES && is_tar_header(start)
}

fn is_tar_header(block: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    // An archive without entries begins with its end.
    if block.iter().all(|&byte| byte == 0) {
        return true;
    }
    let written = str::from_utf8(&block[SUM]).ok().map(|text| text.trim_matches(['\0', ' ']));
    let blanks = SUM.len() as u64 * u64::from(b' ');
    let sum = block[..SUM.start].iter().chain(&block[SUM.end..]).map(|&byte| u64::from(byte)).sum::<u64>() + blanks;
    written.is_some_and(|text| u64::from_str_radix(text, 8) == Ok(sum))
}

/// User and group of files by their paths in a context; those that are not named belong to root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<EntryPath, (u32, u32)>);

impl Owners {
    /// Returns user and group of the file at `path`.
    pub(super) fn of(&self, path: &[u8]) -> (u32, u32) {
        self.0.get(path).copied().unwrap_or_default()
    }
}

/// Unpacks an archive, compressed or not, into the empty directory `target`, which nothing in it can lead out of. All
/// belongs to this process there; returns whom it belongs to in the archive.
///
/// # Errors
/// [`Error::Archive`], [`Error::Cancelled`].
pub fn unpack(reader: impl Read + Send, target: &Path, cancel: &Cancel) -> Result<Owners, Error> {
    let options = TreeOptions { ownership: Ownership::Nobodys, cancel: cancel.clone(), ..TreeOptions::default() };
    let mut owners = Owners::default();
    let mut note = |path: &[u8], metadata: &Metadata| match (metadata.uid, metadata.gid) {
        (0, 0) => drop(owners.0.remove(path)),
        owner => drop(owners.0.insert(path.to_vec(), owner)),
    };
    let unpacked = layer::decompress(cancel.guard(reader))
        .map_err(layer::Error::Read)
        .and_then(|(_, content)| layer::extract(content, target, &options, &mut note));
    // A reader that gives up can say so only in the shape of an I/O error.
    cancel.check()?;
    unpacked?;
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn header(path: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o750);
        header.set_uid(4_000_000);
        header.set_gid(7);
        header.set_mtime(1_000_000_000);
        header.set_size(size);
        header
    }

    fn tar(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn add(builder: &mut Builder<Vec<u8>>, path: &str, content: &str) {
        let mut header = header(path, EntryType::Regular, content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }

    fn link(builder: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, target: &str) {
        let mut header = header(path, kind, 0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Result<Owners, Error>) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("in")).unwrap();
        let result = unpack(archive, &directory.path().join("in"), &Cancel::new());
        (directory, result)
    }

    #[test]
    fn archives_are_told_from_text() {
        let archive = tar(|builder| add(builder, "a", "x"));
        for (start, expected) in [
            (&archive[..ARCHIVE_START_BYTES], true),
            (&[0; ARCHIVE_START_BYTES][..], true),
            (&archive[..100], false),
            (b"\x1f\x8b\x08\0", true),
            (b"BZh91AY", true),
            (b"\xfd7zXZ\0", true),
            (b"\x28\xb5\x2f\xfd\0\0", true),
            (b"FROM scratch\n", false),
            (&[b'#'; ARCHIVE_START_BYTES], false),
            (b"", false),
        ] {
            assert_eq!(is_archive(start), expected, "{:?}", &start[..start.len().min(8)]);
        }
    }

    #[test]
    fn files_keep_mode_and_time_and_whiteouts_are_names() {
        use std::os::unix::fs::MetadataExt;
        let (directory, result) = unpacked(&tar(|builder| {
            add(builder, "./d/.wh.a", "content");
            link(builder, "d/hard", EntryType::Link, "d/.wh.a");
            link(builder, "l", EntryType::Symlink, "/etc/passwd");
        }));
        let owners = result.unwrap();
        assert_eq!(
            ["d/.wh.a", "d/hard", "l", "d"].map(|path| owners.of(path.as_bytes())),
            [(4_000_000, 7), (4_000_000, 7), (4_000_000, 7), (0, 0)]
        );
        let path = directory.path().join("in/d/.wh.a");
        let metadata = path.metadata().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"content");
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime(), metadata.nlink()), (0o750, 1_000_000_000, 2));
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
        assert_eq!(std::fs::read_link(directory.path().join("in/l")).unwrap(), Path::new("/etc/passwd"));
    }

    #[test]
    fn nothing_leaves_the_directory() {
        for build in [
            (|builder: &mut Builder<Vec<u8>>| add(builder, "../out", "x")) as fn(&mut Builder<Vec<u8>>),
            |builder| add(builder, "a/../../out", "x"),
            |builder| {
                link(builder, "up", EntryType::Symlink, "..");
                add(builder, "up/out", "x");
            },
            |builder| {
                link(builder, "up", EntryType::Symlink, "../..");
                link(builder, "up/out", EntryType::Symlink, "x");
            },
            |builder| link(builder, "out", EntryType::Link, "../../etc/passwd"),
            |builder| link(builder, "out", EntryType::Link, "/etc/passwd"),
            |builder| add(builder, "/out", "x"),
        ] {
            // Whether it is refused, or lands inside as it would in a root of its own, is up to each.
            let (directory, _result) = unpacked(&tar(build));
            let names: Vec<_> =
                std::fs::read_dir(directory.path()).unwrap().map(|each| each.unwrap().file_name()).collect();
            assert_eq!(names, ["in"]);
        }
    }

    #[test]
    fn damage_is_told() {
        let archive = tar(|builder| add(builder, "a", &"x".repeat(2000)));
        for damaged in [&archive[..700], &b"\x1f\x8b\x08 not gzip"[..], &b"BZh9 neither"[..]] {
            assert!(matches!(unpacked(damaged).1, Err(Error::Archive(_))));
        }
    }
}
