//! Looking into a step: its files and its process as they were, for a shell or another program.

mod past;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::containers::Held;
use super::diff::{DiffOptions, Found};
use super::failure::{Bundled, LABEL};
use super::{Engine, Error};
use crate::cache::Cache;
use crate::container::{Containers, Visit, Visitor};
use crate::exec::{Again, AgentSource, Agents, Asker, Keyring, SecretSource, Secrets, Stack};
use crate::graph::{self, MountKind};
use crate::image::Image;
use crate::oci::{ChainId, ContainerConfig, DiffId, Platform};
use crate::runtime::Stdio;
use crate::solve::Observe;
use crate::store::ContainerRecord;
use crate::sys::Cancel;

/// What to look into, and with what.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// Which step.
    pub of: ShellOf,
    /// Its files before or after it.
    pub moment: Moment,
    /// Program and arguments; none is a shell.
    pub command: Vec<String>,
    /// Variables where the step has none of the name.
    pub env: Vec<(String, String)>,
    /// Secrets by their ids. Of a failed step, only ids are kept.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Agents by their ids.
    pub agents: BTreeMap<String, AgentSource>,
    /// Which image of an index; none is this machine's.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
}

/// What is looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellOf {
    /// The last step that failed in a build in this directory, of it, or of what it is in; or else anywhere.
    Last(PathBuf),
    /// An image, perhaps after one of its steps, an archive, a container.
    Named(String),
}

/// Which files of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Moment {
    /// Those it began with.
    Before,
    /// Those it has left.
    #[default]
    After,
}

/// A program that looks into a step. What it changes is gone with it.
pub struct Shell<'a> {
    /// Its process.
    pub visit: Visit,
    /// What it looks into.
    pub about: ShellAbout,
    _held: Option<Held<'a>>,
}

/// What is looked into, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShellAbout {
    /// The step or image.
    pub title: String,
    /// How the step failed, as shells count.
    pub exit_code: Option<i32>,
    /// What its process runs.
    pub argv: Vec<String>,
    /// Ids of secrets that it had, and that nobody has given now.
    pub missing_secrets: Vec<String>,
    /// Where it had something mounted that is not here.
    pub missing_mounts: Vec<String>,
}

/// A step that was found.
struct Scene<'a> {
    files: Stack,
    run: graph::Run,
    trees: Vec<Stack>,
    about: ShellAbout,
    held: Option<Held<'a>>,
}

/// What docker sets where an image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Engine {
    /// Starts a program in a step: over its files, with its environment, user, directory and mounts.
    ///
    /// # Errors
    /// [`Error::NothingFailed`], [`Error::NoSuchImage`], [`Error::NoSuchStep`], those of the store and of the runtime.
    pub fn shell(
        &self,
        options: &ShellOptions,
        stdio: Stdio,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Shell<'_>, Error> {
        let containers = self.keeper(&options.insecure_registries);
        let asker = Asker { step: None, observer: &observer, cancel };
        let search = Search { engine: self, containers: &containers, options, asker };
        let Scene { files, run, trees, mut about, held } = search.scene()?;
        let secrets = Secrets::new(options.secrets.clone());
        let agents = Agents::new(options.agents.clone());
        let keyring = Keyring { secrets: &secrets, agents: &agents };
        let again = Again { library: containers.library(), keyring, run: &run, trees: &trees, asker };
        about.missing_secrets = again.missing_secrets()?;
        let visitor = Visitor { programs: programs(&options.command, &run), env: options.env.clone() };
        let visit = containers.visit(&files, &again, &visitor, stdio)?;
        Ok(Shell { visit, about, _held: held })
    }
}

/// Returns what is run: of shells, the first that is there.
fn programs(command: &[String], run: &graph::Run) -> Vec<Vec<String>> {
    if !command.is_empty() {
        return vec![command.to_vec()];
    }
    let of_step = run.env.iter().find(|(name, value)| name == "SHELL" && value.starts_with('/'));
    let shells = of_step.map(|(_, shell)| shell.as_str()).into_iter().chain(["bash", "sh", "/bin/sh", "/busybox/sh"]);
    shells.map(|shell| vec![shell.to_owned()]).collect()
}

struct Search<'a, 's> {
    engine: &'a Engine,
    containers: &'s Containers,
    options: &'s ShellOptions,
    asker: Asker<'s>,
}

impl<'a> Search<'a, '_> {
    fn scene(&self) -> Result<Scene<'a>, Error> {
        let name = match &self.options.of {
            ShellOf::Last(directory) => return self.failure(self.last(directory)?),
            ShellOf::Named(name) => name,
        };
        let plain = name.strip_prefix("container:");
        if plain.is_some() || matches!(self.engine.find(name), Err(Error::NoSuchImage(_))) {
            match self.engine.store.find_container(plain.unwrap_or(name)) {
                Ok(record) if record.project.is_some() => return self.failure(record),
                _ => {}
            }
        }
        self.image(name)
    }

    /// Returns the last failure in or around a directory, or else the last one.
    fn last(&self, directory: &Path) -> Result<ContainerRecord, Error> {
        let mut failures = self.engine.store.failures()?;
        let is_near = |failure: &ContainerRecord| {
            let project = failure.project.as_deref().unwrap_or_default();
            let context = Path::new(project.lines().next().unwrap_or_default());
            context.is_absolute() && (context.starts_with(directory) || directory.starts_with(context))
        };
        match failures.iter().position(is_near) {
            Some(near) => Ok(failures.swap_remove(near)),
            None => failures.into_iter().next().ok_or(Error::NothingFailed),
        }
    }

    fn failure(&self, record: ContainerRecord) -> Result<Scene<'a>, Error> {
        // Two may look at the same time; none is to remove it meanwhile.
        let held = if record.is_kept() { None } else { Some(self.engine.hold_container(record.id)?) };
        let lost = || Error::NoRecipe { container: record.name.clone() };
        let recipe = self.containers.recipe(&record)?.ok_or_else(lost)?;
        let files = match self.options.moment {
            Moment::After => self.containers.whole(&record, self.asker)?,
            Moment::Before => {
                let image = Image::open(&self.engine.store, record.manifest)?;
                Stack::stored(&image.config().value().rootfs.diff_ids)
            }
        };
        let run = recipe.run();
        let about = ShellAbout {
            title: recipe.title.clone(),
            // A copy has no process that could end.
            exit_code: record.exit_code.filter(|_| !run.argv.is_empty()),
            argv: run.argv.clone(),
            ..ShellAbout::default()
        };
        Ok(Scene { files, run, trees: recipe.trees(), about, held })
    }

    fn image(&self, name: &str) -> Result<Scene<'a>, Error> {
        let options = DiffOptions {
            platform: self.options.platform.clone(),
            insecure_registries: self.options.insecure_registries.clone(),
            ..DiffOptions::default()
        };
        let found = self.engine.find_side(name, &options, self.asker)?;
        let bundled = found.config.config.labels.get(LABEL).filter(|_| found.step.is_none());
        if let Some(bundled) = bundled.and_then(|text| serde_json::from_str::<Bundled>(text).ok()) {
            return Ok(self.bundle(&bundled, found));
        }
        let steps = found.steps();
        let step = found.step.unwrap_or(steps);
        if step > steps || (step == 0 && self.options.moment == Moment::Before) {
            return Err(Error::NoSuchStep { name: name.to_owned(), steps });
        }
        let layers = found.layers_at(match self.options.moment {
            Moment::After => step,
            Moment::Before => step - 1,
        });
        let config = past::config_at(&found.config, step);
        let item = step.checked_sub(1).and_then(|place| found.config.history.get(place));
        let said = item.and_then(|item| item.created_by.clone());
        let of_step = found.step.is_some() || self.options.moment == Moment::Before;
        let made = &found.config.rootfs.diff_ids[..found.layers_at(step)];
        let known = match &said {
            Some(said) if of_step && item.is_some_and(|item| !item.empty_layer) => self.known(made, said)?,
            _ => None,
        };
        let mut about = ShellAbout { title: name.to_owned(), ..ShellAbout::default() };
        let run = match known {
            Some(mut run) => {
                about.missing_mounts = drop_trees(&mut run);
                about.argv.clone_from(&run.argv);
                run
            }
            None => process(&config, found.config.platform()),
        };
        if of_step {
            about.title = said.unwrap_or_else(|| name.to_owned());
        }
        Ok(Scene { files: Stack::new(found.layers[..layers].to_vec()), run, trees: Vec::new(), about, held: None })
    }

    fn bundle(&self, bundled: &Bundled, found: Found) -> Scene<'a> {
        // Whoever made the archive may have written anything into it.
        let run = bundled.recipe.portable(&[]).run();
        let layers = match self.options.moment {
            Moment::After => found.layers.len(),
            Moment::Before => bundled.below.min(found.layers.len()),
        };
        let about = ShellAbout {
            title: bundled.recipe.title.clone(),
            exit_code: bundled.exit_code.filter(|_| !run.argv.is_empty()),
            argv: run.argv.clone(),
            missing_mounts: bundled.missing_mounts.clone(),
            ..ShellAbout::default()
        };
        let files = Stack::new(found.layers[..layers].to_vec());
        Scene { files, run, trees: Vec::new(), about, held: None }
    }

    /// Returns the process that made the last of these layers over the others, where kiln ran it and still knows; `said` is
    /// what the history says of it.
    fn known(&self, layers: &[DiffId], said: &str) -> Result<Option<graph::Run>, Error> {
        let Some((layer, below)) = layers.split_last() else { return Ok(None) };
        let base = serde_json::json!(ChainId::of(below.iter().copied()));
        let cache = Cache::new(&self.engine.store);
        for (_, step) in self.engine.store.steps_making(*layer)?.into_iter().rev() {
            let Some(recipe) = step.key.map(|key| cache.recipe(&key.into())).transpose()?.flatten() else { continue };
            let mut recipe = recipe.value();
            let run = serde_json::from_value::<graph::Run>(recipe["op"]["run"].take()).ok();
            // Steps without changes all make the same layer.
            let run = run.filter(|run| recipe["base"] == base && said.contains(&run.argv.join(" ")));
            if run.is_some() {
                return Ok(run);
            }
        }
        Ok(None)
    }
}

/// Takes away what a process has mounted of other trees; returns where.
fn drop_trees(run: &mut graph::Run) -> Vec<String> {
    let mut missing = Vec::new();
    for mount in &mut run.mounts {
        match &mut mount.kind {
            MountKind::Tree { .. } => missing.push(mount.target.clone()),
            MountKind::Cache { seed, .. } => *seed = None,
            _ => {}
        }
    }
    run.mounts.retain(|mount| !matches!(mount.kind, MountKind::Tree { .. }));
    missing
}

/// Returns a process as an image would run it.
pub(super) fn process(config: &ContainerConfig, platform: Platform) -> graph::Run {
    let pair = |item: &String| {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut env: Vec<(String, String)> = config.env.iter().map(pair).collect();
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    graph::Run {
        root: None,
        argv: config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect(),
        env,
        proxy_env: Vec::new(),
        arguments: Vec::new(),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        user: config.user.clone(),
        network: graph::Network::Host,
        security: graph::Security::Sandbox,
        mounts: Vec::new(),
        secret_env: Vec::new(),
        hosts: Vec::new(),
        hostname: None,
        ulimits: Vec::new(),
        shm_size_bytes: None,
        platform,
    }
}
