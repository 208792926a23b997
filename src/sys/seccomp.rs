//! Installing a system call filter.

use std::io;

/// Bytes of one BPF instruction, in the memory layout of the kernel's `struct sock_filter`.
pub type Instruction = [u8; 8];

/// Puts `program` between this thread and the kernel, for good. Needs `CAP_SYS_ADMIN`, because `no_new_privs` stays off.
///
/// # Errors
/// What seccomp(2) said.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    // Copied because `sock_filter` must be aligned to four bytes.
    let instructions: Vec<libc::sock_filter> = program.iter().map(|bytes| decode(*bytes)).collect();
    let length = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // Without SPEC_ALLOW, kernels before 5.16 slow filtered processes down with store-bypass mitigations.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `filter` describes `instructions`, and both outlive the call; the kernel only reads them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn decode(bytes: Instruction) -> libc::sock_filter {
    let [c0, c1, jt, jf, k0, k1, k2, k3] = bytes;
    libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) }
}
