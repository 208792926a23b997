use std::convert::Infallible;
use std::ffi::{CStr, CString};

use nix::errno::Errno;

use crate::runtime::emulation::machine;
use crate::runtime::error::ProgramError;
use crate::runtime::wire::Failure;

/// Becomes the program. Returns only why it could not.
pub(super) fn execute(argv: &[String], env: &[(String, String)], home: &str) -> Result<Infallible, Failure> {
    let program = argv.first().filter(|program| !program.is_empty()).ok_or(ProgramError::Empty)?;
    let mut variables: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !env.iter().any(|(name, _)| name == "HOME") {
        variables.push(format!("HOME={home}"));
    }
    let (argv, variables) = (c_strings(argv)?, c_strings(&variables)?);
    let path = env.iter().rfind(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    Err(attempt(program, path, &argv, &variables).into())
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>, ProgramError> {
    strings.iter().map(|string| CString::new(string.as_str()).map_err(|_| ProgramError::Nul)).collect()
}

/// Tries `program`, or each file of that name in PATH, the way execvp(3) does: a file that may not be executed is only
/// an error when no later directory has a better one.
fn attempt(program: &str, path: &str, argv: &[CString], env: &[CString]) -> ProgramError {
    if program.contains('/') {
        return explain(program, try_file(program, argv, env));
    }
    let mut refused = None;
    for directory in path.split(':') {
        let file = if directory.is_empty() { format!("./{program}") } else { format!("{directory}/{program}") };
        match try_file(&file, argv, env) {
            Errno::ENOENT if !exists(&file) => {}
            Errno::ENOTDIR => {}
            Errno::EACCES => refused = refused.or(Some(ProgramError::Permission { program: file })),
            errno => return explain(&file, errno),
        }
    }
    refused.unwrap_or_else(|| ProgramError::NotInPath { program: program.to_owned(), path: path.to_owned() })
}

fn try_file(file: &str, argv: &[CString], env: &[CString]) -> Errno {
    match CString::new(file) {
        Ok(file) => match nix::unistd::execve(&file, argv, env) {
            Err(errno) => errno,
            Ok(never) => match never {},
        },
        Err(_) => Errno::EINVAL,
    }
}

fn exists(file: &str) -> bool {
    std::fs::symlink_metadata(file).is_ok()
}

/// Says why the kernel refused `file`.
fn explain(file: &str, errno: Errno) -> ProgramError {
    let program = file.to_owned();
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            let head = head(file);
            match (interpreter(&head), machine(&head)) {
                (Some(interpreter), _) if !exists(&interpreter) => ProgramError::NoInterpreter { program, interpreter },
                // What the kernel missed is neither the file nor what the file asks for.
                (_, Some(architecture)) => ProgramError::NoEmulator { program, architecture },
                (Some(interpreter), None) => ProgramError::NoInterpreter { program, interpreter },
                (None, None) => ProgramError::NotFound { program },
            }
        }
        Errno::EACCES => ProgramError::Permission { program },
        Errno::ENOEXEC => match machine(&head(file)) {
            Some(architecture) => ProgramError::ForeignArchitecture { program, architecture },
            None => ProgramError::Format { program },
        },
        errno => ProgramError::Other { program, errno: errno as i32 },
    }
}

/// Returns the first bytes of a file; nothing when it cannot be read.
fn head(file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Enough for any `#!` line, and for the program headers, which linkers put at the start.
    let read = std::fs::File::open(file).map(|file| std::io::Read::take(file, 4096));
    match read.and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut bytes)) {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Returns what must interpret the file that begins with `head`.
fn interpreter(head: &[u8]) -> Option<String> {
    match head.strip_prefix(b"#!") {
        Some(line) => {
            let line = line.split(|byte| *byte == b'\n').next()?;
            let line = String::from_utf8_lossy(line);
            // A carriage return is the usual reason, so it is shown.
            line.trim_start().split([' ', '\t']).next().map(|word| word.replace('\r', "\\r"))
        }
        None => elf_interpreter(head),
    }
}

/// Finds PT_INTERP of a 64-bit little-endian ELF file (elf(5)).
fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |offset: usize, length: usize| -> Option<u64> {
        let bytes = head.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    (0..count).find_map(|index| {
        let header = usize::try_from(table.checked_add(index * size)?).ok()?;
        if number(header, 4)? != PT_INTERP {
            return None;
        }
        let start = usize::try_from(number(header + 8, 8)?).ok()?;
        let path = CStr::from_bytes_until_nul(head.get(start..)?).ok()?;
        Some(path.to_string_lossy().into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_named() {
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"#!/bin/bash -e\necho", Some("/bin/bash")),
            (b"#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            (b"#!/bin/sh\r\n", Some("/bin/sh\\r")),
            (b"\x7fELF\x02\x01short", None),
            (b"echo", None),
        ];
        for (head, expected) in cases {
            assert_eq!(interpreter(head).as_deref(), expected);
        }
    }

    #[test]
    fn the_loader_of_this_test_is_found() {
        let head = head("/proc/self/exe");
        if let Some(loader) = interpreter(&head) {
            assert!(loader.contains("ld-"), "{loader}");
        }
        assert!(machine(&head).is_some_and(|name| name == "amd64" || name == "arm64"));
    }
}
