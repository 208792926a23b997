//! Every system call the standard library lacks, and all `unsafe` code in kiln. One file per family.

#![expect(unsafe_code, reason = "the one module where kiln talks to the kernel without a safe wrapper")]

mod cancel;
pub mod clone;
pub mod mount;
pub mod ns;
pub mod seccomp;

pub use cancel::{Cancel, Cancelled, Guarded};
