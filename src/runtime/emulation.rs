//! Programs for other machines, and what runs them here: binfmt_misc (Documentation/admin-guide/binfmt-misc.rst).

use std::fs;
use std::path::{Path, PathBuf};

use crate::oci::Platform;

/// Where the kernel tells of its handlers, once somebody has mounted them.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// How programs begin: architecture, variant, ELF class and byte order (elf(5)), machine.
const MACHINES: [(&str, Option<&str>, u8, u8, u16); 12] = [
    ("amd64", None, 2, 1, 62),
    ("386", None, 1, 1, 3),
    ("arm64", None, 2, 1, 183),
    ("arm", Some("v7"), 1, 1, 40),
    ("arm", Some("v6"), 1, 1, 40),
    ("riscv64", None, 2, 1, 243),
    ("ppc64le", None, 2, 1, 21),
    ("s390x", None, 2, 2, 22),
    ("loong64", None, 2, 1, 258),
    ("mips64le", None, 2, 1, 8),
    ("mips64", None, 2, 2, 8),
    ("ppc64", None, 2, 2, 21),
];

/// One registered interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Handler {
    name: String,
    interpreter: PathBuf,
    /// The kernel opened the interpreter when it was registered, so it need not be in the root (flag F).
    is_fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

/// Returns the platforms whose programs this machine runs with an interpreter.
pub fn emulated() -> Vec<Platform> {
    platforms(&handlers(Path::new(HANDLERS)))
}

/// Names the machine of an ELF file that begins with `head`; nothing where it is another file.
pub(super) fn machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let (class, order) = (*head.get(4)?, *head.get(5)?);
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = if order == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let known = MACHINES.iter().find(|(_, _, c, o, n)| (*c, *o, *n) == (class, order, number));
    Some(known.map_or_else(|| format!("machine type {number}"), |(name, ..)| (*name).to_owned()))
}

/// Returns what would let programs for `architecture` run here.
pub fn advice(architecture: &str) -> String {
    advise(architecture, &handlers(Path::new(HANDLERS)))
}

fn advise(architecture: &str, handlers: &[Handler]) -> String {
    let handler = MACHINES
        .iter()
        .find(|(name, ..)| *name == architecture)
        .and_then(|&(_, _, class, order, number)| handlers.iter().find(|handler| handler.takes(class, order, number)));
    match handler {
        Some(Handler { name, interpreter, is_fixed: false, .. }) => format!(
            "the handler `{name}` of binfmt_misc runs such programs with {}, which is not in the image, as the handler \
             was registered without the flag F: register it with that flag, as Debian's `qemu-user-static` with \
             `binfmt-support` does",
            interpreter.display()
        ),
        _ => format!(
            "no handler of binfmt_misc runs programs for {architecture}: install `qemu-user-static` and \
             `binfmt-support`, or let a stage `FROM --platform=$BUILDPLATFORM` make the files on this machine's own \
             platform and COPY them"
        ),
    }
}

fn platforms(handlers: &[Handler]) -> Vec<Platform> {
    let host = Platform::host();
    let runs = |(name, variant, class, order, number): &(&str, Option<&str>, u8, u8, u16)| {
        // A 64-bit x86 runs the programs of its predecessor itself.
        let itself = *name == "386" && host.architecture == "amd64";
        let is_host = *name == host.architecture;
        let emulated = || handlers.iter().any(|handler| handler.takes(*class, *order, *number));
        (!is_host && (itself || emulated())).then(|| Platform::new("linux", name, *variant))
    };
    MACHINES.iter().filter_map(runs).collect()
}

impl Handler {
    /// Tells whether static programs of a machine are given to this interpreter.
    fn takes(&self, class: u8, order: u8, number: u16) -> bool {
        let number = if order == 2 { number.to_be_bytes() } else { number.to_le_bytes() };
        let kind = if order == 2 { [0, 2] } else { [2, 0] };
        let mut head = [b"\x7fELF".as_slice(), &[class, order, 1], &[0; 9], &kind, &number].concat();
        head.resize(128, 0);
        let Some(bytes) = head.get(self.offset..self.offset + self.magic.len()) else { return false };
        !self.magic.is_empty()
            && bytes.iter().zip(&self.magic).enumerate().all(|(place, (byte, magic))| {
                let mask = self.mask.get(place).copied().unwrap_or(0xff);
                byte & mask == magic & mask
            })
    }
}

/// Reads the handlers that are switched on; none where they are not mounted.
fn handlers(directory: &Path) -> Vec<Handler> {
    let off = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.trim() == "disabled");
    if off(&directory.join("status")) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut handlers: Vec<Handler> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            parse(&entry.file_name().to_string_lossy(), &fs::read_to_string(entry.path()).ok()?)
        })
        .collect();
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    handlers
}

/// Reads one handler as the kernel tells of it; nothing where it is off, or goes by file extension.
fn parse(name: &str, text: &str) -> Option<Handler> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if text.lines().next()? != "enabled" {
        return None;
    }
    Some(Handler {
        name: name.to_owned(),
        interpreter: value("interpreter ")?.into(),
        is_fixed: value("flags:").is_some_and(|flags| flags.contains('F')),
        offset: value("offset ").and_then(|offset| offset.parse().ok()).unwrap_or(0),
        magic: bytes(value("magic ")?)?,
        mask: value("mask ").map_or(Some(Vec::new()), bytes)?,
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |place: usize| u8::from_str_radix(hex.get(place..place + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm64(flags: &str) -> String {
        format!(
            "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: {flags}\noffset 0\n\
             magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
        )
    }

    #[test]
    fn handlers_tell_which_platforms_run() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("status", "enabled\n");
        write("qemu-aarch64", &arm64("PF"));
        write("qemu-s390x", "disabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c46020201\n");
        write("python", "enabled\ninterpreter /usr/bin/python3\nflags: \nextension .py\n");
        let found: Vec<String> = platforms(&handlers(directory.path())).iter().map(Platform::to_string).collect();
        let foreign: Vec<&str> = found.iter().map(String::as_str).filter(|name| *name != "linux/386").collect();
        if Platform::host().architecture == "amd64" {
            assert_eq!(foreign, ["linux/arm64"]);
        }
        write("status", "disabled\n");
        assert!(handlers(directory.path()).is_empty());
        assert!(handlers(&directory.path().join("absent")).is_empty());
    }

    #[test]
    fn advice_tells_what_is_missing() {
        assert!(advise("arm64", &[]).contains("install `qemu-user-static` and `binfmt-support`"));
        let handler = parse("qemu-aarch64", &arm64("OC")).unwrap();
        let advice = advise("arm64", &[handler]);
        assert!(advice.contains("/usr/bin/qemu-aarch64-static, which is not in the image"), "{advice}");
        assert!(advise("riscv64", &[parse("qemu-aarch64", &arm64("F")).unwrap()]).contains("programs for riscv64"));
    }

    #[test]
    fn machines_are_named_in_either_byte_order() {
        let head = |class, order, machine: [u8; 2]| {
            [b"\x7fELF".as_slice(), &[class, order, 1], &[0; 9], &[0, 0], &machine].concat()
        };
        for (head, expected) in [
            (head(2, 1, [183, 0]), Some("arm64")),
            (head(2, 2, [0, 22]), Some("s390x")),
            (head(1, 1, [93, 0]), Some("machine type 93")),
            (b"#!/bin/sh\n".to_vec(), None),
        ] {
            assert_eq!(machine(&head).as_deref(), expected);
        }
    }
}
