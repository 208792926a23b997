//! The network: one tokio runtime and HTTP clients, behind blocking calls.
//!
//! Nothing exists before it is needed: a build that asks nobody starts no thread and reads no certificate. A caller
//! writes what it wants as a future and runs it on its own thread with [`block_on`]; only the connections live on the
//! runtime's threads. So futures may borrow, need not be [`Send`], and are dropped, with their connections, as soon as
//! somebody cancels.

mod error;
mod http;
mod runtime;

pub use error::{Error, Reason};
pub use http::{Http, Proxy, Route, Trust};
pub use runtime::{block_on, within};
