//! Every system call the standard library lacks, and all `unsafe` code in kiln. One file per family.

#![expect(unsafe_code, reason = "the one module where kiln talks to the kernel without a safe wrapper")]

mod cancel;
pub mod clone;
mod identity;
pub mod mount;
pub mod ns;
pub mod seccomp;
mod socket;

pub use cancel::{Cancel, Cancelled, Guarded};
pub use clone::send_signal;
pub use identity::ProcessIdentity;
pub use socket::{descriptor_channel, receive_descriptor, send_descriptor};
