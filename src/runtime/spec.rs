use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::mount;

/// One isolated process: what it runs and what it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its `/`.
    pub rootfs: RootMount,
    /// Program and arguments. A program without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment, but for `HOME`, which is added when missing.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute; made when missing (0755, owned by the user), and then stays in the layer.
    pub cwd: String,
    /// `user[:group]` by name or number, looked up in the root's own user database; empty is user 0.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// What it can reach.
    pub network: Network,
    /// How far it is confined.
    pub security: Security,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size_bytes: u64,
    /// In any order; they are mounted in order of their targets.
    pub mounts: Vec<Mount>,
    /// Content of `/etc/resolv.conf`; none leaves what the root has.
    pub resolv_conf: Option<Vec<u8>>,
    /// Content of `/etc/hosts`; none leaves what the root has.
    pub hosts: Option<Vec<u8>>,
    /// Whether the root can be changed; what is mounted in it can be, as it says itself.
    pub root_access: Access,
    /// What becomes of `/proc`, `/sys` and `/dev` where the root does not have them.
    pub system_directories: SystemDirectories,
}

/// What becomes of the directories that the kernel's file systems are mounted over, where they had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemDirectories {
    /// They stay in the root, as BuildKit leaves them in a layer.
    Kept,
    /// They are removed again, as docker has them nowhere in a container's changes.
    Removed,
}

/// Host name of a container when nobody says otherwise. BuildKit's, because build results can contain it.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// Size of `/dev/shm` when nobody says otherwise, in bytes.
const DEFAULT_SHM_SIZE_BYTES: u64 = 64 << 20;

impl ContainerSpec {
    /// Returns a container that runs `argv` in `/` as user 0 with an empty environment, reaching nothing.
    pub fn new(rootfs: RootMount, argv: Vec<String>) -> ContainerSpec {
        ContainerSpec {
            rootfs,
            argv,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            network: Network::None,
            security: Security::Sandbox,
            limits: Vec::new(),
            shm_size_bytes: DEFAULT_SHM_SIZE_BYTES,
            mounts: Vec::new(),
            resolv_conf: None,
            hosts: None,
            root_access: Access::ReadWrite,
            system_directories: SystemDirectories::Kept,
        }
    }
}

/// What becomes `/`. It is mounted in the container's own mount namespace, so nothing is left when kiln dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootMount {
    /// A writable view over layers. Without any layer, `upper` itself is the root.
    Overlay {
        /// Trees in overlayfs lower form, top first.
        lower: Vec<PathBuf>,
        /// Those of them that are images, to be mounted in their places first.
        images: Vec<mount::Image>,
        /// Receives the changes. Used by one overlay at a time, and always over the same trees.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
        /// Whether what programs ask to be on disk is on disk.
        durability: Durability,
        /// Keep overlayfs' marks in `user.overlay.*`, as a user namespace needs it.
        userxattr: bool,
    },
    /// All files of such a view, to be looked at only: also while a process changes them.
    Merged {
        /// Trees in overlayfs lower form, that of the changes first.
        layers: Vec<PathBuf>,
        /// Those of them that are images, to be mounted in their places first.
        images: Vec<mount::Image>,
        /// Keep overlayfs' marks in `user.overlay.*`, as a user namespace needs it.
        userxattr: bool,
    },
    /// A directory, changed in place.
    Bind {
        /// The directory.
        path: PathBuf,
    },
}

/// What fsync(2) means to the programs of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Nothing: the changes are read as soon as the last process has ended.
    Volatile,
    /// What it says: the changes outlive the process, perhaps the machine's next crash.
    Durable,
}

impl RootMount {
    /// Returns the directory in which the changes of the process end up.
    pub fn changes(&self) -> &std::path::Path {
        match self {
            RootMount::Overlay { upper, .. } => upper,
            RootMount::Merged { layers, .. } => layers.first().map_or(std::path::Path::new("/"), |top| top),
            RootMount::Bind { path } => path,
        }
    }
}

/// What a process can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// What kiln itself can reach.
    Host,
    /// Its own loopback.
    None,
}

/// How far a process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's capabilities, its system call filter, and masked paths.
    Sandbox,
    /// Every capability, no filter, nothing masked, and the devices of the machine.
    Insecure,
}

/// A resource limit (setrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is limited: the name of the constant, in lower case and without its prefix, such as `nofile`.
    pub name: String,
    /// What holds; `None` is no limit.
    pub soft: Option<u64>,
    /// How far it may be raised; `None` is no limit.
    pub hard: Option<u64>,
}

/// Something more that is mounted in the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; symbolic links are followed inside the root.
    pub target: String,
    /// What is there.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A read-only file.
    File {
        /// Permission bits; the mount is `noexec` when there is no `x` among them.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A file or directory of the host.
    Bind {
        /// Where.
        source: PathBuf,
        /// Whether it can be changed.
        access: Access,
    },
    /// A file or directory below another root.
    Tree {
        /// The root.
        root: RootMount,
        /// Absolute path in it; links are followed inside that root.
        path: String,
        /// Whether it can be changed.
        access: Access,
    },
    /// A new, empty directory in memory.
    Tmpfs {
        /// At most this many bytes; none is the kernel's default, half of the memory.
        size_bytes: Option<u64>,
    },
}

/// Whether something mounted can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It cannot.
    ReadOnly,
    /// It can.
    ReadWrite,
}
