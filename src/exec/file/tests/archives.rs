use super::*;

/// One member: type flag, name, mode, ids, and link target or content.
type Line<'a> = (u8, &'a str, u32, u64, &'a str);

fn tar(members: &[Line<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(kind, name, mode, id, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        // Not `set_path`, which refuses what hostile archives have.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(mode);
        header.set_uid(id);
        header.set_gid(id);
        header.set_mtime(1);
        let content = if kind == b'0' { text } else { "" };
        header.as_mut_bytes()[157..][..text.len() - content.len()].copy_from_slice(&text.as_bytes()[content.len()..]);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn added(archive: &[u8], base: &str, destination: &str, options: CopyOptions) -> Result<Vec<String>, Error> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.tar"), archive).unwrap();
    let context = context(directory.path(), "");
    let base = Layer::of(base);
    let action = copy_with("a.tar", destination, options);
    let entries = entries(Source::Context(&context), &base, vec![action])?;
    let mut bytes = base.bytes;
    let texts = [archive, b"x", b"y", b"z", b""].map(|text| (Digest::of(text), text.to_vec()));
    bytes.extend(texts);
    Ok(entries.iter().map(|entry| shown_entry(entry, &bytes)).collect())
}

const PLAIN: &[Line<'_>] = &[
    (b'5', "./", 0o700, 9, ""),
    (b'0', "./b", 0o4755, 7, "x"),
    (b'5', "a/", 0o750, 8, ""),
    (b'0', "a/f", 0o600, 8, "y"),
    (b'2', "a/l", 0, 8, "f"),
    (b'1', "a/h", 0o600, 8, "b"),
    (b'0', "/abs/f", 0o644, 0, "z"),
];

#[test]
fn members_keep_modes_and_owners() {
    let expected = [
        "d 755 0:0 d",
        "d 750 8:8 d/a",
        "f 600 8:8 d/a/f y",
        "f 4755 7:7 d/a/h x",
        "l d/a/l f",
        "d 755 0:0 d/abs",
        "f 644 0:0 d/abs/f z",
        "h d/b d/a/h",
    ];
    for destination in ["/d", "/d/"] {
        assert_eq!(added(&tar(PLAIN), "", destination, unpacked()).unwrap(), expected);
    }
    let owned = CopyOptions { add: Add::Unpack, mode: Some(Mode::Octal(0o777)), ..owned("5:6") };
    let layer = added(&tar(PLAIN), "", "/d", owned).unwrap();
    assert_eq!(layer[..3], ["d 755 5:6 d", "d 750 5:6 d/a", "f 600 5:6 d/a/f y"]);
}

#[test]
fn what_is_no_archive_is_copied() {
    for bytes in [&b""[..], b"x", &tar(PLAIN)[..300], &[0; 1024], &[0x1f, 0x8b, 8, 0, 0, 0, 0]] {
        let layer = added(bytes, "", "/d/", unpacked()).unwrap();
        assert!(layer[1].starts_with("f 644 0:0 d/a.tar"), "{layer:?}");
    }
    let layer = added(&tar(PLAIN), "", "/d/", CopyOptions::default()).unwrap();
    assert!(layer[1].starts_with("f 644 0:0 d/a.tar"), "{layer:?}");
}

#[test]
fn every_compression_is_unpacked() {
    let plain = tar(PLAIN);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    for bytes in [gzip.finish().unwrap(), bzip2.finish().unwrap(), xz.finish().unwrap(), zstd] {
        assert_eq!(added(&bytes, "", "/d", unpacked()).unwrap().len(), 8);
    }
}

#[test]
fn members_replace_what_is_there_and_directories_merge() {
    let base = "
        d 755 0:0 d
        d 700 1:1 d/dir
        f 644 0:0 d/dir/kept k
        f 644 0:0 d/file old
        d 755 0:0 d/gone
        f 644 0:0 d/gone/x old
        d 755 0:0 d/new
        f 644 0:0 d/new/old old
        l d/link /etc
    ";
    let members = tar(&[
        (b'5', "dir", 0o750, 2, ""),
        (b'0', "file", 0o600, 0, "x"),
        (b'0', "gone", 0o600, 0, "x"),
        (b'0', "new", 0o600, 0, "x"),
        (b'5', "new", 0o755, 0, ""),
        (b'0', "new/f", 0o600, 0, "y"),
        (b'5', "link", 0o755, 0, ""),
    ]);
    let expected = [
        "d 755 0:0 d",
        "d 750 2:2 d/dir",
        "f 600 0:0 d/file x",
        "f 600 0:0 d/gone x",
        "d 755 0:0 d/link",
        "d 755 0:0 d/new",
        "f 600 0:0 d/new/f y",
        "w d/new/old",
    ];
    assert_eq!(added(&members, base, "/d", unpacked()).unwrap(), expected);
}

#[test]
fn links_of_members_stay_below_the_destination() {
    let members = tar(&[
        (b'2', "out", 0, 0, "/etc"),
        (b'0', "out/f", 0o600, 0, "x"),
        (b'2', "up", 0, 0, "../../.."),
        (b'0', "up/g", 0o600, 0, "y"),
    ]);
    let layer = added(&members, "d 755 0:0 etc", "/d", unpacked()).unwrap();
    let expected =
        ["d 755 0:0 d", "d 755 0:0 d/etc", "f 600 0:0 d/etc/f x", "f 600 0:0 d/g y", "l d/out /etc", "l d/up ../../.."];
    assert_eq!(layer, expected);
}

#[test]
fn a_hard_link_to_what_was_there_has_its_data() {
    let base = "d 755 0:0 d\nf 640 3:4 d/old text";
    let layer = added(&tar(&[(b'1', "new", 0, 0, "old")]), base, "/d", unpacked()).unwrap();
    assert_eq!(layer, ["d 755 0:0 d", "f 640 3:4 d/new text"]);
}

#[test]
fn hostile_archives_are_refused() {
    let mut cut = tar(&[(b'0', "f", 0o644, 0, "x"), (b'0', "g", 0o644, 0, "y")]);
    cut.truncate(1500);
    let huge = {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 33);
        header.set_cksum();
        [&tar(&[(b'0', "f", 0o644, 0, "x")])[..1024], header.as_bytes(), &vec![b'a'; 9 << 20]].concat()
    };
    for (bytes, expected) in [
        (tar(&[(b'0', "../f", 0o644, 0, "x")]), "../f is outside of the destination"),
        (tar(&[(b'0', "a/../../f", 0o644, 0, "x")]), "a/../../f is outside of the destination"),
        (tar(&[(b'1', "f", 0o644, 0, "../etc/passwd")]), "../etc/passwd is outside of the destination"),
        (tar(&[(b'1', "f", 0o644, 0, "gone")]), "/f is a hard link to /gone, which is not there"),
        (tar(&[(b'5', "d", 0o755, 0, ""), (b'1', "f", 0, 0, "d")]), "/f is a hard link to /d, which is not there"),
        (tar(&[(b'Z', "f", 0, 0, "")]), "/f is of unknown type 'Z'"),
        (cut, "the archive is damaged"),
        (huge, "the archive is damaged"),
    ] {
        let error = added(&bytes, "", "/d", unpacked()).unwrap_err();
        let Error::Archive { path, source } = &error else { panic!("{error}") };
        assert_eq!((&path[..], source.to_string()), ("/a.tar", expected.to_owned()));
    }
}

#[test]
fn times_have_fractions_and_signs() {
    for (text, expected) in [
        ("1", Some((1, 0))),
        ("1.5", Some((1, 500_000_000))),
        ("1.123456789123", Some((1, 123_456_789))),
        ("-1.25", Some((-2, 750_000_000))),
        ("-0.5", Some((-1, 500_000_000))),
        ("x", None),
        ("1.x", None),
    ] {
        let mtime = archive::mtime(text).map(|mtime| (mtime.seconds, mtime.nanoseconds));
        assert_eq!(mtime, expected, "{text}");
    }
}
