use std::collections::BTreeMap;

use tar::EntryType;

use super::view::{join, split};

/// The unit of a tar archive.
pub(super) const BLOCK_BYTES: usize = 512;

/// The types of entries that layers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Hardlink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// An entry's header before it is bytes: ustar, preceded by PAX records only when ustar has no room (semantics 13.5).
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// With a slash at the end for directories.
    pub(super) path: Vec<u8>,
    pub(super) kind: Type,
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime_seconds: i64,
    pub(super) device: (u32, u32),
    pub(super) capability: Option<&'a [u8]>,
}

/// The largest numbers of ustar's eight- and twelve-byte fields.
const NAME_BYTES: usize = 100;
const MAX_7_DIGITS: u64 = 0o7777777;
const MAX_11_DIGITS: u64 = 0o77777777777;

impl<'a> Header<'a> {
    /// Returns a header of zeros.
    pub(super) fn new(path: Vec<u8>, kind: Type) -> Header<'a> {
        let (link, capability): (&[u8], _) = (&[], None);
        Header { path, kind, link, mode: 0, uid: 0, gid: 0, size: 0, mtime_seconds: 0, device: (0, 0), capability }
    }

    /// Returns the blocks that precede the entry's content.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let records = self.records();
        let mut bytes = Vec::with_capacity(3 * BLOCK_BYTES);
        if !records.is_empty() {
            bytes.extend(extension(&self.path, records.len() as u64).as_bytes());
            bytes.extend(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        bytes.extend(self.block().as_bytes());
        bytes
    }

    fn block(&self) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        {
            let fields = header.as_old_mut();
            put_name(&mut fields.name, &self.path);
            put_name(&mut fields.linkname, self.link);
        }
        header.set_entry_type(match self.kind {
            Type::File => EntryType::Regular,
            Type::Hardlink => EntryType::Link,
            Type::Symlink => EntryType::Symlink,
            Type::CharDevice => EntryType::Char,
            Type::BlockDevice => EntryType::Block,
            Type::Directory => EntryType::Directory,
            Type::Fifo => EntryType::Fifo,
        });
        header.set_mode(self.mode);
        // What does not fit is in a record, and zero here.
        header.set_uid(fitting(self.uid.into(), MAX_7_DIGITS));
        header.set_gid(fitting(self.gid.into(), MAX_7_DIGITS));
        header.set_size(fitting(self.size, MAX_11_DIGITS));
        header.set_mtime(u64::try_from(self.mtime_seconds).map_or(0, |seconds| fitting(seconds, MAX_11_DIGITS)));
        set_device(&mut header, self.device);
        header.set_cksum();
        header
    }

    /// Returns the PAX records, sorted by key.
    fn records(&self) -> Vec<u8> {
        let mut records: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        if let Some(value) = self.capability {
            records.insert("SCHILY.xattr.security.capability", value.to_vec());
        }
        for (key, name) in [("path", &self.path[..]), ("linkpath", self.link)] {
            if name.len() > NAME_BYTES || !name.is_ascii() {
                records.insert(key, name.to_vec());
            }
        }
        for (key, value, limit) in [
            ("uid", i128::from(self.uid), MAX_7_DIGITS),
            ("gid", self.gid.into(), MAX_7_DIGITS),
            ("size", self.size.into(), MAX_11_DIGITS),
            ("mtime", self.mtime_seconds.into(), MAX_11_DIGITS),
        ] {
            if !(0..=limit.into()).contains(&value) {
                records.insert(key, value.to_string().into_bytes());
            }
        }
        records.iter().flat_map(|(key, value)| record(key, value)).collect()
    }
}

/// Returns one PAX record: its own length in decimal, key and value.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    // The length counts its own digits, which may make it one digit longer.
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

/// Returns the header of the PAX records that precede the entry at `path`. It looks as Go's archive/tar makes it, so
/// that equal changes have equal diff ids in kiln and BuildKit.
fn extension(path: &[u8], size: u64) -> tar::Header {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let (parent, name) = split(trimmed);
    let mut whole = parent.to_vec();
    join(&mut whole, b"PaxHeaders.0");
    join(&mut whole, name);
    whole.retain(u8::is_ascii);
    whole.truncate(NAME_BYTES);
    let mut header = tar::Header::new_ustar();
    put_name(&mut header.as_old_mut().name, without_slashes(&whole));
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn fitting(value: u64, limit: u64) -> u64 {
    if value <= limit { value } else { 0 }
}

/// Writes as much of a name as fits; the whole is in a record then. A name that is cut right after a slash must not
/// look like a directory's to readers that ignore records.
fn put_name(field: &mut [u8; NAME_BYTES], name: &[u8]) {
    let ascii: Vec<u8> = name.iter().copied().filter(u8::is_ascii).collect();
    let kept = match ascii.get(..NAME_BYTES) {
        Some(cut) if ascii.len() > NAME_BYTES => without_slashes(cut),
        _ => &ascii[..],
    };
    field[..kept.len()].copy_from_slice(kept);
}

fn without_slashes(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    &name[..end]
}

fn set_device(header: &mut tar::Header, (major, minor): (u32, u32)) {
    let fields = header.as_ustar_mut().expect("it was made as ustar");
    fields.set_device_major(major);
    fields.set_device_minor(minor);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn sizes_that_ustar_has_no_room_for_are_in_a_record() {
        for size in [0, (8 << 30) - 1, 8 << 30, 9 << 30, 100 << 30, 1 << 50] {
            let header = Header { size, ..Header::new(b"big".to_vec(), Type::File) };
            let bytes = header.to_bytes();
            assert_eq!(bytes.len(), if size < 8 << 30 { 512 } else { 3 * 512 }, "{size}");
            // Content is read only if somebody asks for it.
            let mut archive = tar::Archive::new(bytes[..].chain(std::io::repeat(0)));
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!((entry.size(), &*entry.path_bytes()), (size, &b"big"[..]), "{size}");
        }
    }
}
