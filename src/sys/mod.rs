//! Every system call the standard library lacks, and all `unsafe` code in kiln. One file per family.

mod cancel;

pub use cancel::{Cancel, Cancelled};
