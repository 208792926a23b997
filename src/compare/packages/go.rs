use std::io::{self, Read};

use super::{Manager, Package};

/// No Go program is smaller.
pub(super) const LEAST_BYTES: u64 = 256 << 10;

/// What begins the build information of a program (Go's package debug/buildinfo), at a multiple of 16 bytes.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: usize = 16;
/// After the magic: the size of a pointer, flags, and zeros.
const HEADER_BYTES: usize = 32;
/// The flag that says that the texts follow; before Go 1.18 there were pointers to them.
const INLINE: u8 = 2;
/// Of the texts, which name every module; the largest programs have thousands.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// The list of modules stands between two marks of so many bytes.
const MARK_BYTES: usize = 16;

/// Reads the modules that a Go program is made of, and the version of Go itself as that of `stdlib`; none of what is no
/// ELF file, no Go program, or one of before Go 1.18.
pub(super) fn modules(content: &mut dyn Read) -> io::Result<Vec<Package>> {
    let mut buffer = vec![0; 1 << 20];
    let mut filled = fill(content, &mut buffer)?;
    if !buffer[..filled].starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    loop {
        let found = (0..filled).step_by(ALIGNMENT).find(|&at| buffer[at..filled].starts_with(MAGIC));
        if let Some(at) = found {
            let mut texts = buffer[at..filled].to_vec();
            content.take(MAX_TEXT_BYTES as u64).read_to_end(&mut texts)?;
            return Ok(parse(&texts).unwrap_or_default());
        }
        if filled < buffer.len() {
            return Ok(Vec::new());
        }
        // The buffer's size is a multiple of the alignment, and the magic is shorter than that.
        filled = fill(content, &mut buffer)?;
    }
}

fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn parse(bytes: &[u8]) -> Option<Vec<Package>> {
    let flags = *bytes.get(ALIGNMENT - 1)?;
    if flags & INLINE == 0 {
        return None;
    }
    let mut rest = bytes.get(HEADER_BYTES..)?;
    let version = take_text(&mut rest)?;
    let list = take_text(&mut rest)?;
    let go = std::str::from_utf8(version).ok()?.split(' ').next()?.to_owned();
    let mut found = vec![Package { manager: Manager::Go, name: "stdlib".to_owned(), version: go }];
    let list = list.get(MARK_BYTES..list.len().checked_sub(MARK_BYTES)?).unwrap_or_default();
    for line in String::from_utf8_lossy(list).lines() {
        let mut words = line.split('\t');
        if let (Some(kind), Some(name), Some(version)) = (words.next(), words.next(), words.next()) {
            let package = Package { manager: Manager::Go, name: name.to_owned(), version: version.to_owned() };
            match kind {
                "mod" | "dep" => found.push(package),
                // In place of the one before.
                "=>" if found.len() > 1 => {
                    found.pop();
                    found.push(package);
                }
                _ => {}
            }
        }
    }
    Some(found)
}

/// Takes a text with its length before it, in seven bits a byte (encoding/binary, "Uvarint").
fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0_usize;
    for shift in (0..28).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(padding: usize, list: &str) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(padding, 0);
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE]);
        bytes.extend([0; 16]);
        bytes.push(8);
        bytes.extend(b"go1.22.1");
        let list = [&[1; MARK_BYTES][..], list.as_bytes(), &[2; MARK_BYTES]].concat();
        bytes.extend([(list.len() & 0x7f) as u8 | 0x80, (list.len() >> 7) as u8]);
        bytes.extend(list);
        bytes
    }

    #[test]
    fn modules_are_found_wherever_they_are() {
        let list =
            "path\tx/cmd\nmod\tx\t(devel)\t\ndep\ta.b/c\tv1.0.0\th1:x\ndep\td\tv2\n=>\te\tv3\th1:y\nbuild\t-x=1\n";
        // In the first block, and over the seam of two.
        for padding in [64, (1 << 20) - 16, (3 << 20) + 32] {
            let found = modules(&mut &program(padding, list)[..]).unwrap();
            let told: Vec<String> = found.iter().map(|each| format!("{} {}", each.name, each.version)).collect();
            assert_eq!(told, ["stdlib go1.22.1", "x (devel)", "a.b/c v1.0.0", "e v3"], "{padding}");
        }
        assert_eq!(modules(&mut &b"#!/bin/sh"[..]).unwrap(), []);
        let whole = program(64, list);
        for end in 0..whole.len() {
            modules(&mut &whole[..end]).unwrap();
        }
    }
}
