use serde::{Deserialize, Serialize};

use super::{Git, Http};
use crate::oci::{DiffId, Digest, Platform, Reference};

/// Index into the inputs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Input(pub u32);

/// One operation. Its serialised form, over the digests of its inputs, is its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Files from outside.
    Source(Source),
    /// A process.
    Run(Run),
    /// Changes to files.
    File(File),
    /// A stack of independent layers.
    Merge(Merge),
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An image.
    Image(Image),
    /// A directory on this machine.
    Local(Local),
    /// A file that is fetched.
    Http(Http),
    /// A commit of a repository.
    Git(Git),
}

/// An image whose manifest and config are already resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where its blobs can be fetched.
    pub reference: Reference,
    /// The platform's manifest.
    pub manifest: Digest,
    /// What it was chosen for.
    pub platform: Platform,
    /// Its layers, base first.
    pub diff_ids: Vec<DiffId>,
}

/// A directory on this machine, under the name the build gave it; where it is, and what is ignored in it, is up to
/// the executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// `context` for the main one.
    pub name: String,
}

/// A process over a root file system; its result is the changed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The root; none is an empty one.
    pub root: Option<Input>,
    /// Program and arguments; never empty. A program without a slash is looked up in the root's PATH.
    pub argv: Vec<String>,
    /// `KEY=value`, in order.
    pub env: Vec<(String, String)>,
    /// Environment that does not change what the process does (proxies): outside the identity.
    #[serde(skip)]
    pub proxy_env: Vec<(String, String)>,
    /// Which of these are arguments of the build: outside the identity, for telling what changed.
    #[serde(skip)]
    pub arguments: Vec<String>,
    /// Working directory, absolute; made when missing.
    pub cwd: String,
    /// `user[:group]` by name or number, as the root's user database has it; empty is user 0.
    pub user: String,
    /// What the process can reach.
    pub network: Network,
    /// How far it is confined.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security: Security,
    /// In order.
    pub mounts: Vec<Mount>,
    /// Variables whose values are secrets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secret_env: Vec<SecretVariable>,
    /// Lines of `/etc/hosts` besides the usual ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hosts: Vec<Host>,
    /// Host name; none is the runtime's default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    /// Resource limits, as setrlimit(2) has them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; none is the runtime's default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shm_size_bytes: Option<u64>,
    /// The platform the process is for.
    pub platform: Platform,
}

/// What nobody asked for is not part of an identity, so that a new option changes no old one.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a process can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// What kiln itself can reach.
    Host,
    /// Its own loopback.
    None,
}

/// How far a process is confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// As untrusted code should be.
    #[default]
    Sandbox,
    /// It has every privilege that kiln itself has.
    Insecure,
}

/// A name that the process can look up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name.
    pub name: String,
    /// Its address. Machines have different ones for the same service, so it is outside the identity.
    #[serde(skip)]
    pub address: String,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As `ulimit` and docker name it: `nofile`, `core`…
    pub name: String,
    /// What holds; -1 is no limit.
    pub soft: i64,
    /// How far the process may raise it; -1 is no limit.
    pub hard: i64,
}

/// A variable whose value is a secret; the value is in no identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVariable {
    /// The variable.
    pub name: String,
    /// The secret.
    pub id: String,
    /// Whether the step fails without it; else the variable is empty.
    pub required: bool,
}

/// Something mounted while a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path.
    pub target: String,
    /// What is there.
    pub kind: MountKind,
}

/// Whether something mounted can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It cannot.
    ReadOnly,
    /// It can.
    ReadWrite,
}

/// Who else may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// Nobody; another one gets a directory of its own.
    Private,
    /// Nobody; another one waits.
    Locked,
}

/// Permission bits and owner of something made for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Twelve bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// One read-only file with these bytes.
    File {
        /// Permission bits.
        mode: u32,
        /// The bytes.
        data: String,
    },
    /// Files of a tree. Its identity for the process is the content at `path`; changes are thrown away.
    Tree {
        /// The tree.
        from: Input,
        /// Absolute path in it.
        path: String,
        /// Whether the process sees its own changes.
        access: Access,
    },
    /// A directory kept between builds. Its content is in no identity.
    Cache {
        /// Everybody who says it gets the same directory.
        id: String,
        /// What the directory holds at first; none is nothing.
        seed: Option<Input>,
        /// Mode and owner of a new directory; none is 0755 of user 0.
        owner: Option<Ownership>,
        /// Who else may use it.
        sharing: Sharing,
        /// Whether it can be changed.
        access: Access,
    },
    /// Memory.
    Tmpfs {
        /// At most; none is the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A secret as a file.
    Secret {
        /// The secret.
        id: String,
        /// Whether the step fails without it; else there is no file.
        required: bool,
        /// Mode and owner of the file.
        owner: Ownership,
    },
    /// The socket of an ssh agent.
    Agent {
        /// The agent.
        id: String,
        /// Whether the step fails without it; else there is no socket.
        required: bool,
        /// Mode and owner of the socket.
        owner: Ownership,
    },
}

/// Changes to files; its result is the changed tree, as one layer over `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The tree to change; none is an empty one.
    pub base: Option<Input>,
    /// In order.
    pub actions: Vec<FileAction>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAction {
    /// Copies files.
    Copy {
        /// What.
        source: CopySource,
        /// Where to: absolute; a trailing slash means a directory.
        destination: String,
        /// How.
        options: CopyOptions,
    },
    /// Makes a directory and its missing parents, mode 0755. An existing one stays as it is.
    MakeDirectory {
        /// Absolute path.
        path: String,
        /// Owner of what is made.
        owner: Option<Owner>,
    },
}

/// What a copy reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopySource {
    /// A path in a tree.
    Path {
        /// The tree.
        from: Input,
        /// Relative to its root; may have wildcards.
        path: String,
    },
    /// A file of its own.
    Inline {
        /// File name.
        name: String,
        /// The bytes.
        data: String,
    },
}

/// How a copy is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOptions {
    /// Owner of everything copied; none keeps the source's.
    pub owner: Option<Owner>,
    /// Mode of everything copied; none keeps the source's.
    pub mode: Option<Mode>,
    /// What happens to archives.
    pub add: Add,
    /// Whether the path of a source is kept below the destination, made of its directories. A `/./` in the path says
    /// where what is kept begins; that part is a pattern as ignore files have them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parents: bool,
    /// Patterns, as ignore files have them, of what is left out below a directory that is copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Whether a copied archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Add {
    /// Archives are files like others.
    #[default]
    Copy,
    /// A source that is an archive is unpacked into the destination.
    Unpack,
}

/// `user[:group]`; names are looked up in the tree that is changed, unknown ones are 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// As written.
    pub text: String,
}

/// A mode to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Twelve bits, for files and directories alike.
    Octal(u32),
    /// Clauses as chmod(1) has them.
    Symbolic(Symbolic),
}

/// Clauses as chmod(1) has them, such as `u+x,go-w`; checked by the front end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Symbolic(pub String);

/// A stack of independent layers: the first input, then the own layer of each further one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// Base first; each contributes what it adds over its own base.
    pub layers: Vec<Input>,
}
