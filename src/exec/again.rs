use super::library::{Asker, Library};
use super::mounts::{Mounted, Mounting};
use super::run::spec;
use super::{Error, Keyring, Stack};
use crate::graph::{self, MountKind};
use crate::runtime::{ContainerSpec, DEFAULT_HOSTNAME};
use crate::snapshot::View;

/// A step's process, to be had once more: with other arguments, or over other files.
#[derive(Clone, Copy)]
pub struct Again<'a> {
    /// What its mounts are had from.
    pub library: &'a Library,
    /// What opens its secrets. Those that are missing it does without.
    pub keyring: Keyring<'a>,
    /// The process.
    pub run: &'a graph::Run,
    /// The layers of its inputs.
    pub trees: &'a [Stack],
    /// Who asks.
    pub asker: Asker<'a>,
}

/// A process that can be started, as long as this is kept.
pub struct Prepared {
    spec: ContainerSpec,
    _mounted: Mounted,
}

impl Prepared {
    /// Returns what to start.
    pub fn spec(&self) -> &ContainerSpec {
        &self.spec
    }
}

impl Again<'_> {
    /// Returns the process over the files of `root`.
    ///
    /// # Errors
    /// Those of mounts.
    pub(crate) fn prepare(&self, root: &View) -> Result<Prepared, Error> {
        let mut run = self.run.clone();
        let is_missing = |id: &str| Ok::<_, Error>(self.keyring.secrets.get(id)?.is_none());
        let mut present = Vec::new();
        for variable in run.secret_env {
            if !is_missing(&variable.id)? {
                present.push(variable);
            }
        }
        run.secret_env = present;
        for mount in &mut run.mounts {
            if let MountKind::Secret { required, .. } | MountKind::Agent { required, .. } = &mut mount.kind {
                *required = false;
            }
        }
        let Again { library, keyring, trees, asker, .. } = *self;
        let mounted = Mounting { library, keyring, trees, asker }.all(&run)?;
        let hostname = run.hostname.clone();
        let spec = spec(&run, root, &mounted, hostname.as_deref().unwrap_or(DEFAULT_HOSTNAME));
        Ok(Prepared { spec, _mounted: mounted })
    }

    /// Returns the ids of the secrets that the process does without.
    ///
    /// # Errors
    /// Those of reading secrets.
    pub fn missing_secrets(&self) -> Result<Vec<String>, Error> {
        let mounts = self.run.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Secret { id, .. } => Some(id),
            _ => None,
        });
        let mut missing = Vec::new();
        for id in mounts.chain(self.run.secret_env.iter().map(|variable| &variable.id)) {
            if self.keyring.secrets.get(id)?.is_none() && !missing.contains(id) {
                missing.push(id.clone());
            }
        }
        Ok(missing)
    }
}
