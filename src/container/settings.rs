use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::oci::ContainerConfig;
use crate::runtime::{
    Access, ContainerSpec, Durability, Limit, Mount, MountKind, Network, RootMount, SystemDirectories,
};

/// How a container runs: what its image says, and what was asked for instead.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// What an image made of it says; the command is the container's own.
    pub config: ContainerConfig,
    /// Host name.
    pub hostname: String,
    /// Whether the process has a terminal.
    pub has_terminal: bool,
    /// Whether the process reads what kiln reads.
    pub has_input: bool,
    /// What the process can reach.
    pub network: Network,
    /// Lines of `/etc/hosts` besides the usual ones: name and address.
    pub hosts: Vec<(String, String)>,
    /// What is mounted.
    pub mounts: Vec<SettingsMount>,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Size of `/dev/shm`, in bytes; none is 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// Whether the root cannot be changed.
    pub is_read_only: bool,
}

/// Something mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingsMount {
    /// A file or directory of the host.
    Bind {
        /// Where, absolute.
        source: PathBuf,
        /// Where in the container.
        target: String,
        /// Whether it can be changed.
        access: Access,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Where in the container.
        target: String,
        /// At most this many bytes.
        size_bytes: Option<u64>,
    },
}

/// What one more process of a container is to be.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables besides those of the container, over them.
    pub env: Vec<(String, String)>,
    /// Working directory; none is the container's.
    pub cwd: Option<String>,
    /// User; none is the container's.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub has_terminal: bool,
}

/// What docker sets where an image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Settings {
    /// Returns what is run: the entry point and its arguments.
    pub fn argv(&self) -> Vec<String> {
        self.config.entrypoint.iter().chain(&self.config.cmd).flatten().cloned().collect()
    }

    fn env(&self, has_terminal: bool) -> Vec<(String, String)> {
        let mut env =
            vec![("PATH".to_owned(), DEFAULT_PATH.to_owned()), ("HOSTNAME".to_owned(), self.hostname.clone())];
        if has_terminal {
            env.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        for item in &self.config.env {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            set(&mut env, name, value);
        }
        env
    }

    fn cwd(&self) -> String {
        if self.config.working_dir.is_empty() { "/".to_owned() } else { self.config.working_dir.clone() }
    }

    /// Returns the container's first process, over `root`.
    pub(super) fn spec(&self, root: RootMount, is_temporary: bool) -> ContainerSpec {
        let root = match root {
            // Nobody will ask for the changes after a crash of the machine.
            RootMount::Overlay { lower, images, upper, work, userxattr, .. } => RootMount::Overlay {
                lower,
                images,
                upper,
                work,
                durability: if is_temporary { Durability::Volatile } else { Durability::Durable },
                userxattr,
            },
            other => other,
        };
        let default = ContainerSpec::new(root, self.argv());
        ContainerSpec {
            env: self.env(self.has_terminal),
            cwd: self.cwd(),
            user: self.config.user.clone(),
            hostname: self.hostname.clone(),
            network: self.network,
            limits: self.limits.clone(),
            shm_size_bytes: self.shm_size_bytes.unwrap_or(default.shm_size_bytes),
            mounts: self.mounts.iter().map(Mount::from).collect(),
            resolv_conf: Some(std::fs::read("/etc/resolv.conf").unwrap_or_default()),
            hosts: Some(self.hosts_file()),
            root_access: if self.is_read_only { Access::ReadOnly } else { Access::ReadWrite },
            system_directories: SystemDirectories::Removed,
            ..default
        }
    }

    /// Returns one more process of the container, whose root and mounts are there already.
    pub(super) fn guest(&self, program: &Program) -> ContainerSpec {
        let root = RootMount::Bind { path: PathBuf::new() };
        let mut env = self.env(program.has_terminal);
        for (name, value) in &program.env {
            set(&mut env, name, value);
        }
        ContainerSpec {
            env,
            cwd: program.cwd.clone().unwrap_or_else(|| self.cwd()),
            user: program.user.clone().unwrap_or_else(|| self.config.user.clone()),
            network: self.network,
            limits: self.limits.clone(),
            ..ContainerSpec::new(root, program.argv.clone())
        }
    }

    fn hosts_file(&self) -> Vec<u8> {
        let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        text.push_str(&format!("127.0.1.1\t{}\n", self.hostname));
        text.extend(self.hosts.iter().map(|(name, address)| format!("{address}\t{name}\n")));
        text.into_bytes()
    }
}

impl From<&SettingsMount> for Mount {
    fn from(mount: &SettingsMount) -> Mount {
        match mount.clone() {
            SettingsMount::Bind { source, target, access } => {
                Mount { target, kind: MountKind::Bind { source, access } }
            }
            SettingsMount::Tmpfs { target, size_bytes } => Mount { target, kind: MountKind::Tmpfs { size_bytes } },
        }
    }
}

/// Sets a variable, where it stands if it is there already.
fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}
