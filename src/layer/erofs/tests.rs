//! The kernel reads what kiln writes, and sees what it would see in files.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::*;
use crate::layer::{self, TreeForm, TreeOptions};
use crate::sys::mount;

/// Lists a tree: everything that a process could tell two of them apart by, but for inode numbers and whose blocks
/// they are.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes: BTreeMap<u64, usize> = BTreeMap::new();
    let walk = walkdir::WalkDir::new(root).sort_by_file_name();
    for (number, entry) in walk.into_iter().enumerate() {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let content = match () {
            () if kind.is_file() => format!("{:?}", crate::oci::Digest::of(&fs::read(entry.path()).unwrap())),
            () if kind.is_symlink() => format!("{:?}", fs::read_link(entry.path()).unwrap()),
            () => String::new(),
        };
        let first = *inodes.entry(metadata.ino()).or_insert(number);
        let device = kind.is_char_device() || kind.is_block_device();
        let is_mark = kind.is_char_device() && metadata.rdev() == 0;
        let time = if is_mark || entry.depth() == 0 { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
        let links = if kind.is_dir() { 0 } else { metadata.nlink() };
        lines.push(format!(
            "{:?} {:o} {}:{} {time:?} {links} {} {} {:?} {content}",
            entry.path().strip_prefix(root).unwrap(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            if device { metadata.rdev() } else { 0 },
            if kind.is_file() { metadata.len() } else { 0 },
            attributes(entry.path(), entry.depth()),
        ));
        lines.push(format!("  is {first}"));
    }
    lines
}

fn attributes(path: &Path, depth: usize) -> crate::fs::Xattrs {
    let (directory, name) = match depth {
        0 => (path, &b"."[..]),
        _ => (path.parent().unwrap(), std::os::unix::ffi::OsStrExt::as_bytes(path.file_name().unwrap())),
    };
    crate::fs::xattrs(fs::File::open(directory).unwrap(), name).unwrap()
}

/// Returns what the kernel shows of a layer's image, and what it shows of its files.
fn both(tar: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("tar"), tar).unwrap();
    fs::create_dir(at("files")).unwrap();
    let options = TreeOptions { form: TreeForm::Overlay(OverlayXattrs::Trusted), ..TreeOptions::default() };
    let finished = layer::unpack(tar, &at("files"), &options).ok()?;
    let image = Image::new(&finished.index, tar.len() as u64, OverlayXattrs::Trusted).unwrap();
    let mut bytes = Vec::new();
    image.write(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, image.blocks * BLOCK);
    fs::write(at("image"), bytes).unwrap();
    let image = mount::Image { image: at("image"), data: at("tar"), place: at(""), held: None };
    let mounted = image.mount().ok()?;
    let seen = listing(Path::new(&format!("/proc/self/fd/{}/.", mounted.as_raw_fd())));
    Some((seen, listing(&at("files"))))
}

fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, change: impl FnOnce(&mut tar::Header)) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o750);
    header.set_uid(3_000_000);
    header.set_gid(7);
    header.set_mtime(1_234_567_890);
    header.set_size(0);
    change(&mut header);
    builder.append_data(&mut header, path, std::io::empty()).unwrap();
}

fn file(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o4755);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, path, content).unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn the_kernel_sees_in_an_image_what_it_sees_in_the_files() {
    let mut builder = tar::Builder::new(Vec::new());
    for size in [0, 1, 511, 512, 513, 4096, 70_000] {
        file(&mut builder, &format!("sizes/{size}"), &vec![b'x'; size]);
    }
    entry(&mut builder, "d", tar::EntryType::Directory, |header| header.set_mode(0o1777));
    // Directories of many blocks, with names of all lengths.
    for number in 0..600 {
        file(&mut builder, &format!("d/{number}{}", "n".repeat(number % 250)), number.to_string().as_bytes());
    }
    for length in [1, 100, 400, 447, 448, 449, 600, 2000] {
        entry(&mut builder, &format!("links/{length}"), tar::EntryType::Symlink, |header| {
            header.set_mode(0o777);
            header.set_link_name("t").unwrap();
        });
        let target = "t".repeat(length);
        builder.append_link(&mut tar::Header::new_gnu().clone(), format!("links/long{length}"), &target).unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Link);
    builder.append_link(&mut link, "d/hard", "sizes/513").unwrap();
    entry(&mut builder, "null", tar::EntryType::Char, |header| {
        header.set_device_major(1).unwrap();
        header.set_device_minor(300).unwrap();
    });
    entry(&mut builder, "block", tar::EntryType::Block, |header| {
        header.set_device_major(7).unwrap();
        header.set_device_minor(0).unwrap();
    });
    entry(&mut builder, "pipe", tar::EntryType::Fifo, |_| {});
    file(&mut builder, ".wh.gone", b"");
    file(&mut builder, "deep/er/.wh..wh..opq", b"");
    file(&mut builder, "replaced", b"old");
    file(&mut builder, "replaced", b"new");
    file(&mut builder, ".wh.dir", b"");
    entry(&mut builder, "dir", tar::EntryType::Directory, |_| {});
    file(&mut builder, "implied/by/this", b"");
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.user.a", &b"1"[..]),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ])
        .unwrap();
    file(&mut builder, "capable", b"program");
    let Some((image, files)) = both(&builder.into_inner().unwrap()) else {
        eprintln!("skipped: this user or kernel mounts no EROFS images from files");
        return;
    };
    for (image, files) in image.iter().zip(&files) {
        assert_eq!(image, files);
    }
    assert_eq!(image.len(), files.len());
}

#[test]
fn what_has_no_image_is_told() {
    let unfit = |build: fn(&mut tar::Builder<Vec<u8>>)| {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let tar = builder.into_inner().unwrap();
        let index = layer::read(&tar[..], &layer::Limits::default()).unwrap().index;
        Image::new(&index, tar.len() as u64, OverlayXattrs::Trusted).err()
    };
    let through_a_link = unfit(|builder| {
        entry(builder, "l", tar::EntryType::Symlink, |header| header.set_link_name("d").unwrap());
        file(builder, "l/x", b"");
    });
    assert!(through_a_link.is_some());
    let attribute = unfit(|builder| {
        builder.append_pax_extensions([("SCHILY.xattr.system.other", &b"1"[..])]).unwrap();
        file(builder, "x", b"");
    });
    assert!(attribute.is_some());
    assert_eq!(unfit(|_| {}), None);
}
