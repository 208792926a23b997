use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::Forwarder;
use super::file::{self, Source};
use super::library::{Asker, Library};
use super::{Error, Executor, Keyring, Output, Stack};
use crate::graph::{self, Input, MountKind, Ownership, Sharing};
use crate::layer::OverlayXattrs;
use crate::oci::{Digest, Hasher};
use crate::runtime::{self, Durability, Mount, RootMount};
use crate::snapshot::{Active, View};
use crate::solve::Work;
use crate::store::{CacheDirectory, CacheUse};

/// What a process gets besides its root, as long as this lives.
#[derive(Default)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    /// Variables with secrets.
    pub(super) env: Vec<(String, String)>,
    trees: Vec<Arc<Active>>,
    caches: HashMap<Digest, CacheDirectory>,
    agents: Vec<Forwarder>,
}

impl Executor {
    /// Returns what a process depends on by its mounts: the content of what it sees of other trees. What it finds in a
    /// cache, and secrets, do not count.
    ///
    /// # Errors
    /// When a tree has nothing where it is to be mounted from.
    pub(super) fn reads_of_mounts(&self, work: &Work<'_, Output>, run: &graph::Run) -> Result<Value, Error> {
        let mut reads = Vec::new();
        for mount in &run.mounts {
            let MountKind::Tree { from, path, .. } = &mount.kind else { continue };
            let stack = stack(work, *from);
            let view = self.library.view(stack, Asker::of(work))?;
            // Digests are in the view; no content is read for them.
            let content = |_: &_| Err(std::io::ErrorKind::Unsupported.into());
            let source = Source::Stack(file::Stack { view: &view, content: &content });
            reads.push(json!({ "target": mount.target, "content": file::identify(&source, path)? }));
        }
        Ok(if reads.is_empty() { Value::Null } else { json!({ "mounts": reads }) })
    }

    /// Gets everything a process has mounted, and its secrets.
    pub(super) fn mount(&self, work: &Work<'_, Output>, run: &graph::Run) -> Result<Mounted, Error> {
        let trees: Vec<Stack> = work.inputs.iter().map(Output::as_stack).collect();
        let (library, keyring) = (&self.library, self.keyring());
        Mounting { library, keyring, trees: &trees, asker: Asker::of(work) }.all(run)
    }
}

/// What mounts are made with.
#[derive(Clone, Copy)]
pub(super) struct Mounting<'a> {
    pub(super) library: &'a Library,
    pub(super) keyring: Keyring<'a>,
    /// The inputs of the process.
    pub(super) trees: &'a [Stack],
    pub(super) asker: Asker<'a>,
}

impl Mounting<'_> {
    /// Gets everything a process has mounted, and its secrets.
    pub(super) fn all(&self, run: &graph::Run) -> Result<Mounted, Error> {
        let mut mounted = Mounted::default();
        for variable in &run.secret_env {
            let value = self.keyring.secrets.text(&variable.id, variable.required)?;
            mounted.env.push((variable.name.clone(), value));
        }
        for mount in &run.mounts {
            if let Some(kind) = self.one(&mount.kind, &mut mounted)? {
                mounted.mounts.push(Mount { target: mount.target.clone(), kind });
            }
        }
        Ok(mounted)
    }

    fn one(&self, kind: &MountKind, mounted: &mut Mounted) -> Result<Option<runtime::MountKind>, Error> {
        Ok(Some(match kind {
            MountKind::File { mode, data } => {
                runtime::MountKind::File { mode: *mode, uid: 0, gid: 0, data: data.clone().into_bytes() }
            }
            MountKind::Tree { from, path, access } => {
                let active = Arc::new(self.library.writable(self.tree(*from), self.asker)?);
                let root = RootMount::from(active.view());
                mounted.trees.push(active);
                runtime::MountKind::Tree { root, path: path.clone(), access: of(*access) }
            }
            MountKind::Cache { access, .. } => {
                let source = self.cache_directory(kind, mounted)?.path().to_owned();
                runtime::MountKind::Bind { source, access: of(*access) }
            }
            MountKind::Tmpfs { size_bytes } => runtime::MountKind::Tmpfs { size_bytes: *size_bytes },
            MountKind::Secret { id, required, owner } => {
                let Some(data) = self.keyring.secrets.ask(id, *required)? else { return Ok(None) };
                runtime::MountKind::File { mode: owner.mode, uid: owner.uid, gid: owner.gid, data }
            }
            MountKind::Agent { id, required, owner } => {
                let Some(forwarder) = self.keyring.agents.forward(id, *required, *owner)? else { return Ok(None) };
                let source = forwarder.socket();
                mounted.agents.push(forwarder);
                runtime::MountKind::Bind { source, access: runtime::Access::ReadWrite }
            }
        }))
    }

    /// Returns the directory of a cache mount. Two mounts of one process that mean the same share it.
    fn cache_directory<'m>(&self, kind: &MountKind, mounted: &'m mut Mounted) -> Result<&'m CacheDirectory, Error> {
        let MountKind::Cache { id, seed, owner, sharing, .. } = kind else { unreachable!("the caller has looked") };
        let seed = seed.map(|input| self.tree(input));
        let key = key(id, seed, *owner)?;
        let entry = match mounted.caches.entry(key) {
            Entry::Occupied(entry) => return Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let way = match sharing {
            Sharing::Shared => CacheUse::Shared,
            Sharing::Private => CacheUse::Private,
            Sharing::Locked => CacheUse::Locked,
        };
        let fill = |path: &std::path::Path| -> Result<(), Error> {
            for layer in seed.map(Stack::layers).unwrap_or_default() {
                self.library.unpack_onto(layer, path, self.asker)?;
            }
            Ok(())
        };
        let owner = owner.map(|owner| (owner.mode, owner.uid, owner.gid)).unwrap_or((0o755, 0, 0));
        let directory = self.library.store().cache_directory(key, way, owner, fill, self.asker.cancel)?;
        Ok(entry.insert(directory))
    }

    fn tree(&self, input: Input) -> &Stack {
        &self.trees[input.0 as usize]
    }
}

/// Returns what names the directory of a cache: its id, and what it began with (semantics reference, section 10.5).
fn key(id: &str, seed: Option<&Stack>, owner: Option<Ownership>) -> Result<Digest, Error> {
    let mut hasher = Hasher::new();
    hasher.field(id.as_bytes());
    if let Some(seed) = seed {
        hasher.field(seed.chain_id()?.map(|chain| chain.digest().to_string()).unwrap_or_default().as_bytes());
    }
    if let Some(Ownership { mode, uid, gid }) = owner {
        hasher.field(format!("{mode:o} {uid} {gid}").as_bytes());
    }
    Ok(hasher.finish())
}

fn stack<'w>(work: &'w Work<'_, Output>, input: Input) -> &'w Stack {
    work.inputs[input.0 as usize].stack()
}

fn of(access: graph::Access) -> runtime::Access {
    match access {
        graph::Access::ReadOnly => runtime::Access::ReadOnly,
        graph::Access::ReadWrite => runtime::Access::ReadWrite,
    }
}

impl From<&View> for RootMount {
    fn from(view: &View) -> RootMount {
        match view.clone() {
            View::Overlay { lower, images, upper, work, xattrs } => RootMount::Overlay {
                lower,
                images,
                upper,
                work,
                durability: Durability::Volatile,
                userxattr: xattrs == OverlayXattrs::User,
            },
            View::Whole { path } => RootMount::Bind { path },
        }
    }
}
