//! One isolated process: a build step in namespaces of its own, under a root of its own, set up by kiln itself.
//!
//! ```text
//!  kiln ── clone(new mount, pid, ipc, uts, cgroup, net) + exec ──▶ kiln-init ── exec ──▶ the program, as PID 1
//!    │  ◀─────────── stdout, stderr, reports ──────────────────────────┘
//!    └─ poll, wait4, remove mount points that had to be made
//! ```
//!
//! A further process joins the namespaces of a container that runs: its init enters them, and what goes on in there is a
//! child of kiln too. Standard streams are pipes, or a terminal of the container's own whose other end its init sends back.
//!
//! Everything is mounted by the container's init in its own mount namespace. When kiln dies, the init is killed, the
//! kernel kills whatever else lives in the pid namespace, and the mounts go with the last of them.

pub mod emulation;
mod error;
mod exit;
mod ids;
mod init;
mod launch;
mod limits;
mod memory;
mod running;
mod seccomp;
mod spec;
mod stubs;
mod terminal;
mod user_namespace;
mod wire;

pub use error::{Error, ProgramError, UserError};
pub use exit::{Exit, ExitStatus};
pub use ids::{Ids, ids};
pub use launch::{Native, Stream};
pub use limits::is_limit;
pub use running::{Running, Stdio, Streams, remove_stubs};
pub use spec::{
    Access, ContainerSpec, DEFAULT_HOSTNAME, Durability, Limit, Mount, MountKind, Network, RootMount, Security,
    SystemDirectories,
};
pub use terminal::TerminalSize;
pub use user_namespace::{Error as UserNamespaceError, enter_user_namespace, enter_user_namespace_of};

/// Becomes the init of a container if that is what this process was started as, and does not return then. The first
/// statement of `main`.
pub fn enter() {
    use std::os::unix::ffi::OsStrExt;
    if std::env::args_os().next().is_some_and(|name| name.as_bytes() == wire::INIT_NAME.to_bytes()) {
        init::main();
    }
}
