use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::oci::{ContainerConfig, ImageConfig};

/// One setting of an image that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigChange {
    /// The member of the config, as docker calls it.
    pub member: String,
    /// Which of several: a variable of `Env`, a label, a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it was; none where it was not there.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// Compares how two images run and what they say of themselves: all of a config but its layers, its history and when it
/// was made. In the order of members, and of keys within them.
pub fn configs(before: &ImageConfig, after: &ImageConfig) -> Vec<ConfigChange> {
    let (before, after) = (settings(before), settings(after));
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.into_iter()
        .filter(|key| before.get(key) != after.get(key))
        .map(|key| ConfigChange {
            before: before.get(&key).cloned(),
            after: after.get(&key).cloned(),
            member: key.0.to_owned(),
            key: key.1,
        })
        .collect()
}

/// A member, and which of several.
type Key = (String, Option<String>);

fn settings(config: &ImageConfig) -> BTreeMap<Key, Value> {
    let mut found = Settings::default();
    found.text("Platform", &config.platform().to_string());
    found.text("Author", config.author.as_deref().unwrap_or_default());
    found.others(&config.other, &HISTORICAL);
    let ContainerConfig {
        user,
        exposed_ports,
        env,
        entrypoint,
        cmd,
        args_escaped,
        healthcheck,
        volumes,
        working_dir,
        on_build,
        labels,
        stop_signal,
        shell,
        other,
    } = &config.config;
    found.text("User", user);
    found.text("WorkingDir", working_dir);
    found.text("StopSignal", stop_signal.as_deref().unwrap_or_default());
    found.words("Entrypoint", entrypoint.as_deref());
    found.words("Cmd", cmd.as_deref());
    found.words("Shell", shell.as_deref());
    found.words("OnBuild", Some(on_build));
    found.put("ArgsEscaped", None, args_escaped.then(|| Value::Bool(true)));
    found.put("Healthcheck", None, healthcheck.as_ref().map(|check| json!(check)));
    for port in exposed_ports.keys() {
        found.put("ExposedPorts", Some(port), Some(json!({})));
    }
    for volume in volumes.keys() {
        found.put("Volumes", Some(volume), Some(json!({})));
    }
    for (label, value) in labels {
        found.put("Labels", Some(label), Some(json!(value)));
    }
    for pair in env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.put("Env", Some(name), Some(json!(value)));
    }
    found.others(other, &[]);
    found.0
}

/// Members of old configs that tell how the image was made, and no container sees.
const HISTORICAL: [&str; 4] = ["container", "container_config", "docker_version", "id"];

#[derive(Default)]
struct Settings(BTreeMap<Key, Value>);

impl Settings {
    fn put(&mut self, member: &str, key: Option<&str>, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert((member.to_owned(), key.map(str::to_owned)), value);
        }
    }

    fn text(&mut self, member: &str, value: &str) {
        self.put(member, None, (!value.is_empty()).then(|| json!(value)));
    }

    fn words(&mut self, member: &str, words: Option<&[String]>) {
        self.put(member, None, words.filter(|words| !words.is_empty()).map(|words| json!(words)));
    }

    fn others(&mut self, members: &Map<String, Value>, without: &[&str]) {
        for (member, value) in members.iter().filter(|(member, _)| !without.contains(&member.as_str())) {
            self.put(member, None, Some(value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ImageConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_setting_is_compared_by_its_key() {
        let before = config(
            r#"{"os":"linux","architecture":"amd64","created":"2020-01-01T00:00:00Z","docker_version":"1","config":{
            "Env":["A=1","B=2","A=3"],"Cmd":["x"],"Labels":{"l":"1"},"ExposedPorts":{"80/tcp":{}},"MacAddress":"m"}}"#,
        );
        let after = config(
            r#"{"os":"linux","architecture":"amd64","created":"2021-01-01T00:00:00Z","config":{
            "Env":["B=2","A=4","C"],"Cmd":["x"],"User":"u","Labels":{"l":"1"},"ExposedPorts":{"81/tcp":{}}}}"#,
        );
        let told: Vec<String> = configs(&before, &after)
            .iter()
            .map(|change| {
                let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
                let key = change.key.as_deref().unwrap_or_default();
                format!("{} {key} {} {}", change.member, value(&change.before), value(&change.after))
            })
            .collect();
        let expected = [
            r#"Env A "3" "4""#,
            r#"Env C - """#,
            "ExposedPorts 80/tcp {} -",
            "ExposedPorts 81/tcp - {}",
            r#"MacAddress  "m" -"#,
            r#"User  - "u""#,
        ];
        assert_eq!(told, expected);
        assert_eq!(configs(&before, &before), []);
    }
}
