use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};

use super::{Containers, Error, Facts, Image, Settings};
use crate::exec::{Failed, Stack};
use crate::graph::{self, Host, MountKind};
use crate::oci::{ContainerConfig, DiffId};
use crate::runtime::{DEFAULT_HOSTNAME, Limit, Network};
use crate::store::{ContainerId, ContainerRecord, NewContainer, NewFailure};

/// What the process of a step was, so that one like it can be started elsewhere. Of secrets it has the ids alone, and
/// nothing of proxies, whose addresses may hold passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The step, as people read it.
    pub title: String,
    run: graph::Run,
    /// Addresses of the names it can look up, which are no part of the process's identity.
    hosts: Vec<(String, String)>,
    /// The layers of each input that is mounted.
    trees: Vec<Vec<DiffId>>,
}

impl Recipe {
    /// Returns the recipe of a process over `trees`, its inputs; waits for their layers.
    ///
    /// # Errors
    /// Those of layers that are being written.
    pub fn new(title: String, run: &graph::Run, trees: &[Stack]) -> Result<Recipe, Error> {
        let nowhere = |host: &Host| Host { address: String::new(), ..host.clone() };
        let mut recipe = Recipe {
            title,
            run: graph::Run {
                proxy_env: Vec::new(),
                arguments: Vec::new(),
                hosts: run.hosts.iter().map(nowhere).collect(),
                ..run.clone()
            },
            hosts: run.hosts.iter().map(|host| (host.name.clone(), host.address.clone())).collect(),
            trees: vec![Vec::new(); trees.len()],
        };
        for mount in &run.mounts {
            let (MountKind::Tree { from: input, .. } | MountKind::Cache { seed: Some(input), .. }) = &mount.kind else {
                continue;
            };
            let place = input.0 as usize;
            recipe.trees[place] = trees[place].diff_ids()?;
        }
        Ok(recipe)
    }

    /// Returns the process.
    pub fn run(&self) -> graph::Run {
        let host = |(name, address): &(String, String)| Host { name: name.clone(), address: address.clone() };
        graph::Run { hosts: self.hosts.iter().map(host).collect(), ..self.run.clone() }
    }

    /// Returns its inputs; of those that are not mounted, nothing.
    pub fn trees(&self) -> Vec<Stack> {
        self.trees.iter().map(|layers| Stack::stored(layers)).collect()
    }

    /// Returns the recipe for another machine, or from one: without what is mounted of other trees, which are not there, with
    /// empty directories for caches, which are none of a stranger's business, without the values of these variables, and as
    /// confined as any image.
    pub fn portable(&self, unsaid: &[String]) -> Recipe {
        let mut run = graph::Run { security: graph::Security::Sandbox, ..self.run.clone() };
        run.env.retain(|(name, _)| !unsaid.contains(name));
        run.mounts.retain(|mount| !matches!(mount.kind, MountKind::Tree { .. }));
        for mount in &mut run.mounts {
            if let MountKind::Cache { .. } = mount.kind {
                mount.kind = MountKind::Tmpfs { size_bytes: None };
            }
        }
        Recipe { run, trees: Vec::new(), ..self.clone() }
    }

    /// Returns how a container would run that does what the step did.
    pub fn config(&self) -> ContainerConfig {
        ContainerConfig {
            user: self.run.user.clone(),
            env: self.run.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cmd: Some(self.run.argv.clone()),
            working_dir: self.run.cwd.clone(),
            ..ContainerConfig::default()
        }
    }

    fn settings(&self) -> Settings {
        let limit = |value: i64| u64::try_from(value).ok();
        let limits = self.run.ulimits.iter().map(|ulimit| Limit {
            name: ulimit.name.clone(),
            soft: limit(ulimit.soft),
            hard: limit(ulimit.hard),
        });
        Settings {
            config: self.config(),
            hostname: self.run.hostname.clone().unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned()),
            has_terminal: false,
            has_input: false,
            network: match self.run.network {
                graph::Network::Host => Network::Host,
                graph::Network::None => Network::None,
            },
            hosts: self.hosts.clone(),
            mounts: Vec::new(),
            limits: limits.collect(),
            shm_size_bytes: self.run.shm_size_bytes,
            is_read_only: false,
        }
    }
}

/// A failed step that is to be kept.
#[derive(Debug, Clone)]
pub struct FailedStep {
    /// The name of what is kept.
    pub name: String,
    /// The files it began with, as an image.
    pub image: Image,
    /// Of its build.
    pub project: String,
    /// What it was.
    pub recipe: Recipe,
}

/// With less space than that, of all and at least, what failed may have failed for want of space, and the next build
/// needs it more.
const SCARCE: (u64, u64) = (20, 1 << 30);

impl Containers {
    /// Keeps the files that a failed step has left, as those of a container that has ended; nothing is copied.
    ///
    /// # Errors
    /// Those of the store.
    pub fn keep_failure(&self, step: FailedStep, failed: &Failed) -> Result<ContainerRecord, Error> {
        let FailedStep { name, image, project, recipe } = step;
        let root = recipe.run.root.map(|input| failed.trees[input.0 as usize].diff_ids()).transpose()?;
        let facts = Facts { settings: recipe.settings(), commits: Vec::new(), recipe: Some(recipe.clone()) };
        let new = NewContainer {
            id: ContainerId::random(),
            name,
            image: image.name,
            manifest: image.manifest,
            config: image.config,
            layers: root.unwrap_or_default(),
            is_temporary: false,
            facts: serde_json::to_string(&facts)?,
            failure: Some(NewFailure {
                project,
                exit_code: failed.exit_code,
                mounted: recipe.trees.iter().flatten().copied().collect(),
            }),
        };
        self.store().create_container(&new, failed.active.kept_by())?;
        failed.active.keep();
        self.store().forget_old_failures()?;
        Ok(self.store().find_container(&new.id.to_string())?)
    }

    /// Returns what the step was that has left a container; none of what no step has left.
    ///
    /// # Errors
    /// [`Error::Facts`].
    pub fn recipe(&self, container: &ContainerRecord) -> Result<Option<Recipe>, Error> {
        Ok(super::facts(container)?.recipe)
    }

    /// Returns what a step has left, unless space is short: then it goes, and what others have left too.
    ///
    /// # Errors
    /// Those of the store.
    pub fn make_room(&self, failed: Failed) -> Result<Option<Failed>, Error> {
        if !self.is_short_of_space() {
            return Ok(Some(failed));
        }
        // Without this, there may not even be room to say that the others are to go.
        drop(failed);
        self.store().forget_failures()?;
        Ok(None)
    }

    fn is_short_of_space(&self) -> bool {
        // What cannot be asked shows when something is written.
        let Ok(space) = statvfs(self.store().root()) else { return false };
        let (part, most) = SCARCE;
        let total = space.f_blocks.saturating_mul(space.f_frsize);
        space.f_bavail.saturating_mul(space.f_frsize) < (total / part).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_has_no_values_but_those_of_the_step() {
        let run = graph::Run {
            proxy_env: vec![("http_proxy".into(), "http://user:password@proxy".into())],
            hosts: vec![Host { name: "db".into(), address: "10.0.0.1".into() }],
            env: vec![("A".into(), "1".into())],
            argv: vec!["make".into()],
            cwd: "/src".into(),
            user: "me".into(),
            ..blank()
        };
        let recipe = Recipe::new("RUN make".into(), &run, &[]).unwrap();
        let text = serde_json::to_string(&recipe).unwrap();
        assert!(!text.contains("password"), "{text}");
        let again: Recipe = serde_json::from_str(&text).unwrap();
        assert_eq!(again, recipe);
        assert_eq!(again.run(), graph::Run { proxy_env: Vec::new(), ..run });
        let config = again.config();
        assert_eq!((&*config.user, &*config.working_dir, &*config.env), ("me", "/src", &["A=1".to_owned()][..]));
    }

    fn blank() -> graph::Run {
        graph::Run {
            root: None,
            argv: Vec::new(),
            env: Vec::new(),
            proxy_env: Vec::new(),
            arguments: Vec::new(),
            cwd: "/".into(),
            user: String::new(),
            network: graph::Network::None,
            security: graph::Security::Sandbox,
            mounts: Vec::new(),
            secret_env: Vec::new(),
            hosts: Vec::new(),
            hostname: None,
            ulimits: Vec::new(),
            shm_size_bytes: None,
            platform: "linux/amd64".parse().unwrap(),
        }
    }
}
