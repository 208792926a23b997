use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::build::{Built, Job};
use super::contexts::MainContext;
use super::dockerfile::Loaded;
use super::named::Named;
use super::record::Recorder;
use super::{BuildOptions, Error};
use crate::exec::Asker;
use crate::layer::{Entry, Index, Kind};
use crate::oci::ImageConfig;
use crate::solve::Event;

/// The host name that the processes of the second build see.
pub(super) const OTHER_HOSTNAME: &str = "kiln-verify";

/// Layers keep whole seconds: no time of the second build may be one of the first.
const PAUSE: Duration = Duration::from_millis(1100);

/// The first thing that two builds of one image do not have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A file of a layer.
    File {
        /// Where.
        path: String,
        /// In what, in words that complete "differs in …".
        what: String,
        /// The step that wrote it.
        step: String,
    },
    /// The layer of a step, though all files in it are equal.
    Layer {
        /// The step.
        step: String,
    },
    /// The number of layers.
    Layers,
    /// A member of the image config.
    Config {
        /// Its name.
        member: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::File { path, what, step } => write!(f, "{path} differs in {what}; `{step}` wrote it"),
            Difference::Layer { step } => write!(f, "the layer of `{step}` differs, though its files are equal"),
            Difference::Layers => f.write_str("the images have different numbers of layers"),
            Difference::Config { member } => write!(f, "`{member}` of the image config differs"),
        }
    }
}

impl Job<'_> {
    /// Builds once more, without the cache, at another time, on another host, with another number of threads, reading
    /// directories in another order, and compares the image with that of `first`.
    pub(super) fn verify(&self, loaded: &Loaded, context: &MainContext, first: &Built) -> Result<(), Error> {
        let what = "building again to compare".to_owned();
        self.observer().observe(Event::Phase { what: what.clone(), result: None });
        thread::sleep(PAUSE);
        let second = self.again(loaded, context)?;
        if let Some(difference) = self.difference(first, &second)? {
            return Err(Error::NotReproducible(difference));
        }
        let result = format!("reproducible: both builds made {}", first.id());
        self.observer().observe(Event::Phase { what, result: Some(result) });
        Ok(())
    }

    fn again(&self, loaded: &Loaded, context: &MainContext) -> Result<Built, Error> {
        let jobs = if self.jobs() == 1 { 8 } else { 1 };
        let options = BuildOptions { no_cache: true, jobs: Some(jobs), ..self.options.clone() };
        let build = self.engine.store.begin_build("verification")?;
        let recorder = Arc::new(Recorder::new(Arc::new(|_: Event| {})));
        let job = Job {
            engine: self.engine,
            options: &options,
            observer: recorder.clone(),
            cancel: self.cancel,
            build: build.clone(),
            policy: self.policy,
            is_perturbed: true,
        };
        let mut named = Named::prepare(&options.build_contexts, &self.engine.store)?;
        let made = job.make(loaded, context, &mut named);
        let recorded = self.engine.store.finish_build(&build, &job.end(&made, Built::root));
        let made = made?;
        recorded?;
        Ok(made)
    }

    fn difference(&self, first: &Built, second: &Built) -> Result<Option<Difference>, Error> {
        let observer = self.observer();
        let asker = Asker { step: None, observer: &observer, cancel: self.cancel };
        for place in 0..first.images.len() {
            let difference = image_difference((first, second), place, asker)?;
            if difference.is_some() {
                return Ok(difference);
            }
        }
        Ok(None)
    }
}

/// Returns the first difference between two builds' images at one place of their indexes.
fn image_difference(
    (first, second): (&Built, &Built),
    image: usize,
    asker: Asker<'_>,
) -> Result<Option<Difference>, Error> {
    let (ours, theirs) = (first.stacks[image].layers(), second.stacks[image].layers());
    let steps = &first.steps[image];
    if ours.len() != theirs.len() {
        return Ok(Some(Difference::Layers));
    }
    for (place, (one, other)) in ours.iter().zip(theirs).enumerate() {
        if one.diff_id()? == other.diff_id()? {
            continue;
        }
        let step = place.checked_sub(ours.len() - steps.len()).map(|own| steps[own].clone());
        let step = step.unwrap_or_else(|| "FROM".to_owned());
        let (one, other) = (first.library.index(one, asker)?, second.library.index(other, asker)?);
        return Ok(Some(match different_file(&one, &other) {
            Some((path, what)) => Difference::File { path, what, step },
            None => Difference::Layer { step },
        }));
    }
    let (one, other) = (first.images[image].config().value(), second.images[image].config().value());
    Ok(different_member(one, other).map(|member| Difference::Config { member }))
}

/// Returns the first entry that two layers do not share, and in what it differs.
fn different_file(one: &Index, other: &Index) -> Option<(String, String)> {
    let shown = |entry: &Entry| format!("/{}", String::from_utf8_lossy(&entry.path));
    let theirs: BTreeMap<Vec<u8>, Entry> = other.entries().map(|entry| (entry.path.clone(), entry)).collect();
    for entry in one.entries() {
        let what = match theirs.get(&entry.path[..]) {
            None => Some("being there".to_owned()),
            Some(theirs) => different_in(&entry, theirs),
        };
        if let Some(what) = what {
            return Some((shown(&entry), what));
        }
    }
    let ours: BTreeSet<Vec<u8>> = one.entries().map(|entry| entry.path).collect();
    let new = other.entries().find(|entry| !ours.contains(&entry.path))?;
    Some((shown(&new), "being there".to_owned()))
}

fn different_in(one: &Entry, other: &Entry) -> Option<String> {
    let (before, after) = (&one.metadata, &other.metadata);
    let content = match (&one.kind, &other.kind) {
        (Kind::File { digest: one, .. }, Kind::File { digest: other, .. }) => one != other,
        (one, other) => one != other,
    };
    let differences = [
        ("content", content),
        ("mode", before.mode != after.mode),
        ("owner", (before.uid, before.gid) != (after.uid, after.gid)),
        ("modification time", before.mtime.seconds != after.mtime.seconds),
    ];
    let names: Vec<&str> = differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Returns the name of the first member of two configs with different values.
fn different_member(one: &ImageConfig, other: &ImageConfig) -> Option<String> {
    let members = |config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (one, other) = (members(one), members(other));
    one.keys().chain(other.keys()).find(|name| one.get(*name) != other.get(*name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Metadata, Mtime};
    use crate::oci::Digest;

    fn file(path: &str, text: &str, offset: u64) -> Entry {
        let kind = Kind::File { size: text.len() as u64, digest: Digest::of(text.as_bytes()), offset };
        Entry { path: path.into(), kind, metadata: Metadata { mode: 0o644, ..Metadata::default() } }
    }

    fn with(metadata: Metadata) -> Entry {
        Entry { metadata, ..file("b", "x", 512) }
    }

    #[test]
    fn the_first_difference_is_named() {
        let first = || vec![file("a", "1", 512), file("b", "x", 1536)];
        let mtime = Mtime { seconds: 1, nanoseconds: 0 };
        for (second, expected) in [
            (vec![file("a", "1", 512), file("b", "x", 0)], None),
            (vec![file("a", "2", 512), file("b", "y", 1536)], Some(("/a", "content"))),
            (vec![file("a", "1", 512)], Some(("/b", "being there"))),
            (vec![file("a", "1", 512), file("b", "x", 1536), file("c", "", 0)], Some(("/c", "being there"))),
            (
                vec![file("a", "1", 512), with(Metadata { mode: 0o600, mtime, ..Metadata::default() })],
                Some(("/b", "mode and modification time")),
            ),
            (
                vec![file("a", "1", 512), with(Metadata { mode: 0o644, gid: 1, ..Metadata::default() })],
                Some(("/b", "owner")),
            ),
        ] {
            let found = different_file(&first().into_iter().collect(), &second.into_iter().collect());
            let expected = expected.map(|(path, what)| (path.to_owned(), what.to_owned()));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_config_differs_in_a_member() {
        let one = ImageConfig::default();
        let other = ImageConfig { author: Some("me".to_owned()), ..ImageConfig::default() };
        assert_eq!(different_member(&one, &other).as_deref(), Some("author"));
        assert_eq!(different_member(&one, &one.clone()), None);
    }
}
