use std::collections::{BTreeMap, HashMap, HashSet};

use super::PlanOptions;
use crate::oci::Platform;

/// Variables with their values, in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    pairs: Vec<(String, String)>,
    /// Where each name stands among the pairs. A file can set more variables than could be searched for each word.
    places: HashMap<String, usize>,
}

/// Names in the order in which they were first given.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    ordered: Vec<String>,
    known: HashSet<String>,
}

impl Names {
    pub(super) fn insert(&mut self, name: &str) {
        if self.known.insert(name.to_owned()) {
            self.ordered.push(name.to_owned());
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    pub(super) fn ordered(&self) -> &[String] {
        &self.ordered
    }
}

/// What BuildKit sets where an image says nothing (semantics reference, section 6.3).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Environment {
    /// Reads `KEY=value` items, as a config has them; one without `=` is an empty variable.
    pub(super) fn of_config(items: &[String]) -> Environment {
        let mut environment = Environment::default();
        for item in items {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            environment.set(name, value);
        }
        environment
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.pairs[place].1.as_str())
    }

    /// Sets a variable, where it stands if it is there already.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name) {
            Some(&place) => value.clone_into(&mut self.pairs[place].1),
            None => {
                self.places.insert(name.to_owned(), self.pairs.len());
                self.pairs.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(removed) = self.places.remove(name) else { return };
        self.pairs.remove(removed);
        self.places.values_mut().filter(|place| **place > removed).for_each(|place| *place -= 1);
    }

    /// Gives PATH its usual value where it has none.
    pub(super) fn with_path(mut self) -> Environment {
        if self.get("PATH").is_none() {
            self.set("PATH", DEFAULT_PATH);
        }
        self
    }

    /// Returns `KEY=value` items.
    pub(super) fn to_config(&self) -> Vec<String> {
        self.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

/// Returns about how much memory variables take: of small ones, most goes to what holds their texts.
pub(super) fn bytes(pairs: &[(String, String)]) -> usize {
    const HOLDING: usize = 100;
    pairs.iter().map(|(name, value)| name.len() + value.len() + HOLDING).sum()
}

/// Returns the arguments that every build has (section 6.2), as given on the command line where they are.
pub(super) fn automatic(options: &PlanOptions, target: &Platform, target_stage: &str) -> Environment {
    let mut arguments = Environment::default();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &options.build_platform)] {
        for (suffix, value) in parts(platform) {
            arguments.set(&format!("{prefix}{suffix}"), &value);
        }
    }
    arguments.set("TARGETSTAGE", target_stage);
    for (name, value) in &mut arguments.pairs {
        if let Some(given) = options.build_args.get(name) {
            value.clone_from(given);
        }
    }
    arguments
}

fn parts(platform: &Platform) -> [(&'static str, String); 5] {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", text(&platform.os_version)),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", text(&platform.variant)),
    ]
}

/// Arguments that reach every process without a declaration (section 6.8), in any case of letters.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that mean something to the builder itself.
const SPECIAL: [&str; 1] = ["SOURCE_DATE_EPOCH"];

/// Tells whether an argument means something without being declared.
pub(super) fn is_predefined(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let automatic = || {
        let rest = name.strip_prefix("TARGET").or_else(|| name.strip_prefix("BUILD"));
        rest.is_some_and(|rest| ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"].contains(&rest))
    };
    PROXIES.contains(&upper.as_str()) || SPECIAL.contains(&name) || name.starts_with("BUILDKIT_") || automatic()
}

/// Returns the proxy variables among the build arguments, each in both cases of letters.
pub(super) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let given = build_args.iter().filter(|(name, _)| PROXIES.contains(&name.to_ascii_uppercase().as_str()));
    let both = |(name, value): (&String, &String)| {
        [(name.to_ascii_uppercase(), value.clone()), (name.to_ascii_lowercase(), value.clone())]
    };
    let set: BTreeMap<String, String> = given.flat_map(both).collect();
    set.into_iter().collect()
}
