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
