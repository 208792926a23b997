use std::collections::BTreeMap;

use super::PlanOptions;
use crate::oci::Platform;

/// Variables with their values, in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, String)>);

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
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable, where it stands if it is there already.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
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
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
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
    for (name, value) in &mut arguments.0 {
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
