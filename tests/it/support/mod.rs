//! What capability tests stand on: a sandbox with a store of its own, and images read back from what kiln wrote.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "several test programs share this, and none uses all of it"
)]

pub mod fault_server;
pub mod git;
mod image;
mod need;
pub mod planted;
pub mod registry;
mod sandbox;
mod user;

pub use image::{Entry, Image, Layer};
pub use need::{Need, require};
pub use sandbox::{Failure, Ran, Sandbox, ran};
pub use user::User;

/// How long anything may take that a test waits for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Waits until `is_true`, and tells whether it was before patience ended.
pub fn comes_true(is_true: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_true() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    is_true()
}
