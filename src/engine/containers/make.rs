use std::collections::BTreeMap;
use std::sync::Arc;

use super::Container;
use crate::container::{self, Settings, SettingsMount};
use crate::engine::images::choose;
use crate::engine::{Engine, Error, TransferOptions};
use crate::exec::{Asker, Layer, Stack};
use crate::graph::{Host, Network, Ulimit};
use crate::image::Image;
use crate::oci::{ContainerConfig, Digest, Platform, Reference};
use crate::runtime::{self, Limit};
use crate::solve::Observe;
use crate::sys::Cancel;

/// What to run and how.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The image, by name or id.
    pub image: String,
    /// When registries are asked for it.
    pub pull: Pull,
    /// Which image of an index; none is this machine's.
    pub platform: Option<Platform>,
    /// Registries that may be asked without TLS.
    pub insecure_registries: Vec<String>,
    /// The container's name; none is one that nobody has.
    pub name: Option<String>,
    /// Whether it is removed when its process ends.
    pub is_temporary: bool,
    /// In place of the image's command.
    pub command: Vec<String>,
    /// In place of the image's entry point, and then its command too; empty is none.
    pub entrypoint: Option<Vec<String>>,
    /// Variables besides those of the image, over them; a value of none removes one.
    pub env: Vec<(String, Option<String>)>,
    /// In place of the image's working directory.
    pub cwd: Option<String>,
    /// In place of the image's user.
    pub user: Option<String>,
    /// Labels besides those of the image.
    pub labels: BTreeMap<String, String>,
    /// Host name; none is the beginning of the container's id.
    pub hostname: Option<String>,
    /// Whether the process has a terminal.
    pub has_terminal: bool,
    /// Whether the process reads what kiln reads.
    pub has_input: bool,
    /// What the process can reach; none is what this machine can.
    pub network: Option<Network>,
    /// Names that the process can look up.
    pub hosts: Vec<Host>,
    /// What is mounted.
    pub mounts: Vec<SettingsMount>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size_bytes: Option<u64>,
    /// Whether the root cannot be changed.
    pub is_read_only: bool,
    /// In place of the image's signal to end.
    pub stop_signal: Option<String>,
}

/// When registries are asked for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// When it is not here.
    #[default]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Engine {
    /// Makes a container, which this process keeps and is to start.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoCommand`], those of the registry and of the store, such as for a name that is
    /// taken.
    pub fn make_container(
        &self,
        options: &RunOptions,
        observer: Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Container, Error> {
        let (image, reference) = self.image_to_run(options, &observer, cancel)?;
        let config = image.config().value();
        let mut settings = settings(&config.config, options);
        if settings.argv().is_empty() {
            return Err(Error::NoCommand { image: options.image.clone() });
        }
        let id = crate::store::ContainerId::random();
        settings.hostname = options.hostname.clone().unwrap_or_else(|| id.short());
        let diff_ids = &config.rootfs.diff_ids;
        let layers = match &reference {
            // What is missing can be fetched again.
            Some(reference) => Layer::of_image(reference, diff_ids, image.manifest().value()),
            None => diff_ids.iter().copied().map(Layer::stored).collect(),
        };
        let made_of = container::Image {
            name: options.image.clone(),
            manifest: image.manifest().digest(),
            config: image.manifest().value().config.digest,
        };
        let containers = self.keeper(&options.insecure_registries);
        let asker = Asker { step: None, observer: &observer, cancel };
        let (name, is_temporary) = (options.name.clone(), options.is_temporary);
        let wanted = container::Wanted { id, image: made_of, name, is_temporary, settings };
        let record = containers.create(wanted, &Stack::new(layers), asker)?;
        Ok(Container { containers, record, observer })
    }

    /// Tells whether a container can be made without asking a registry.
    ///
    /// # Errors
    /// Those of the store.
    pub fn has_image_to_run(&self, options: &RunOptions) -> Result<bool, Error> {
        let Some(manifest) = self.image_here(options)?.filter(|_| options.pull != Pull::Always) else {
            return Ok(false);
        };
        for layer in Image::open(&self.store, manifest)?.layers() {
            let is_here = |digest| Ok::<_, Error>(self.store.has_blob(digest)?.is_some());
            if !(is_here(layer.blob.digest)? || is_here(layer.diff_id.digest())?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn image_here(&self, options: &RunOptions) -> Result<Option<Digest>, Error> {
        match self.find(&options.image) {
            Ok(entry) => Ok(choose(&entry, &options.image, options.platform.as_ref()).ok().map(|found| found.manifest)),
            Err(Error::NoSuchImage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the image, and what it can be fetched by.
    fn image_to_run(
        &self,
        options: &RunOptions,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<(Image, Option<Reference>), Error> {
        let reference = options.image.parse::<Reference>().ok();
        let found = self.image_here(options)?;
        let wanted = match options.pull {
            Pull::Always => true,
            Pull::Missing => found.is_none(),
            Pull::Never => false,
        };
        let pulled = match &reference {
            Some(reference) if wanted => {
                let transfer = TransferOptions {
                    platform: options.platform.clone(),
                    insecure_registries: options.insecure_registries.clone(),
                    packing: None,
                };
                Some(self.pull(reference, &transfer, observer.clone(), cancel)?.manifest)
            }
            _ => None,
        };
        let manifest = match pulled {
            // An index was left as it is here.
            Some(digest) => {
                choose(&self.find(&digest.to_string())?, &options.image, options.platform.as_ref())?.manifest
            }
            None => found.ok_or_else(|| Error::NoSuchImage(options.image.clone()))?,
        };
        Ok((Image::open(&self.store, manifest)?, reference))
    }
}

fn settings(image: &ContainerConfig, options: &RunOptions) -> Settings {
    let mut config = image.clone();
    if let Some(entrypoint) = &options.entrypoint {
        config.entrypoint = Some(entrypoint.clone()).filter(|words| !words.is_empty());
        config.cmd = None;
    }
    if !options.command.is_empty() {
        config.cmd = Some(options.command.clone());
    }
    for (name, value) in &options.env {
        let is_it = |item: &String| item.split_once('=').map_or(item.as_str(), |(known, _)| known) == name;
        let place = config.env.iter().position(is_it);
        match (place, value) {
            (Some(place), Some(value)) => config.env[place] = format!("{name}={value}"),
            (None, Some(value)) => config.env.push(format!("{name}={value}")),
            (Some(place), None) => drop(config.env.remove(place)),
            (None, None) => {}
        }
    }
    options.cwd.iter().for_each(|cwd| config.working_dir.clone_from(cwd));
    options.user.iter().for_each(|user| config.user.clone_from(user));
    config.labels.extend(options.labels.clone());
    config.stop_signal = options.stop_signal.clone().or(config.stop_signal);
    let limit = |value: i64| u64::try_from(value).ok();
    let limits = options.ulimits.iter().map(|ulimit| Limit {
        name: ulimit.name.clone(),
        soft: limit(ulimit.soft),
        hard: limit(ulimit.hard),
    });
    Settings {
        config,
        hostname: String::new(),
        has_terminal: options.has_terminal,
        has_input: options.has_input,
        network: match options.network {
            Some(Network::None) => runtime::Network::None,
            Some(Network::Host) | None => runtime::Network::Host,
        },
        hosts: options.hosts.iter().map(|host| (host.name.clone(), host.address.clone())).collect(),
        mounts: options.mounts.clone(),
        limits: limits.collect(),
        shm_size_bytes: options.shm_size_bytes,
        is_read_only: options.is_read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ContainerConfig {
        ContainerConfig {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["a".into(), "b".into()]),
            env: vec!["A=1".into(), "B=2".into()],
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn a_command_line_takes_the_place_of_what_docker_lets_it_take() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let cases: [(&[_], Option<&[_]>, &[_]); 5] = [
            (&[], None, &["/entry", "a", "b"]),
            (&["c"], None, &["/entry", "c"]),
            (&[], Some(&["/other"]), &["/other"]),
            (&["c"], Some(&["/other"]), &["/other", "c"]),
            (&["c"], Some(&[]), &["c"]),
        ];
        for (command, entrypoint, expected) in cases {
            let options =
                RunOptions { command: words(command), entrypoint: entrypoint.map(words), ..RunOptions::default() };
            assert_eq!(settings(&image(), &options).argv(), expected, "{command:?} {entrypoint:?}");
        }
    }

    #[test]
    fn variables_are_set_replaced_and_removed() {
        let env = vec![("A".into(), Some("x=y".into())), ("B".into(), None), ("C".into(), Some("3".into()))];
        let options = RunOptions { env, ..RunOptions::default() };
        assert_eq!(settings(&image(), &options).config.env, ["A=x=y", "C=3"]);
    }
}
