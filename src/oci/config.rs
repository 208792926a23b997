use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{ChainId, DiffId, Platform};

/// An image config (image-spec, "Image Configuration", with Docker's extensions).
///
/// Fields kiln does not know are kept in `other` and written back, at both levels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// Who made the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How containers of the image run.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// When the last layer was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// One item per instruction, oldest first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Operating system, in Go's words.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Members kiln does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The `config` member: defaults of a container made from the image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`; empty is root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol` keys.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `KEY=value`, in order; of duplicates the later wins.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Command prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Command, or arguments of the entry point. An empty one is not written, as Go writes none.
    #[serde(default, skip_serializing_if = "is_none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// Whether `cmd` is already a shell line (Windows; BuildKit sets it always).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How health is probed (Docker extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Mount points of volumes.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Directory the command starts in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Triggers for builds on top of the image (Docker extension).
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Free-form facts.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the container to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Shell of shell forms (Docker extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Members kiln does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The value `{}` of a set member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Docker's health check; durations are nanoseconds and zero means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between probes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// For one probe.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between probes during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
}

/// The `rootfs` member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Layers, base first. BuildKit writes `null` for none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One item of `history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Which tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the instruction made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Returns the platform the image says it is for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
    }

    /// Returns the identity of all the layers; `None` when there are none.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(self.rootfs.diff_ids.iter().copied())
    }

    /// Returns the last value of environment variable `name`.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_none_or_empty(words: &Option<Vec<String>>) -> bool {
    words.as_ref().is_none_or(Vec::is_empty)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_command_is_not_written() {
        let config = ContainerConfig { cmd: Some(Vec::new()), ..ContainerConfig::default() };
        assert_eq!(serde_json::to_string(&config).unwrap(), "{}");
    }

    #[test]
    fn unknown_members_survive_a_round_trip() {
        let text = r#"{"architecture":"amd64","config":{"Env":["A=1","A=2"],"MacAddress":"x"},"os":"linux","rootfs":{"type":"layers","diff_ids":null},"docker_version":"1"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.env("A"), Some("2"));
        assert_eq!(config.other["docker_version"], "1");
        assert_eq!(config.config.other["MacAddress"], "x");
        assert!(serde_json::to_string(&config).unwrap().contains(r#""diff_ids":[]"#));
    }
}
