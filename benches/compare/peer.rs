//! The builders that are compared: how each is found, and how it builds, pushes, pulls and saves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Kiln,
    Buildah,
    Podman,
    Docker,
    Buildctl,
}

/// A builder, and the one command it is started with.
#[derive(Debug)]
pub(crate) struct Tool {
    pub name: &'static str,
    pub kind: Kind,
    pub version: String,
    /// The process that does the work, where that is not the command itself.
    pub daemon: Option<u32>,
    words: Vec<String>,
    /// Where it keeps all it keeps; daemons have a place of their own.
    state: PathBuf,
}

/// What to build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build<'a> {
    pub context: &'a Path,
    pub tag: &'a str,
    pub use_cache: bool,
}

/// Name, environment variable with the command, and environment variable with the pid of a daemon.
const KINDS: &[(Kind, &str, &str, &str)] = &[
    (Kind::Kiln, "kiln", "KILN", ""),
    (Kind::Buildah, "buildah", "BUILDAH", ""),
    (Kind::Podman, "podman", "PODMAN", ""),
    (Kind::Docker, "docker", "DOCKER", "DOCKER_PID"),
    (Kind::Buildctl, "buildctl", "BUILDCTL", "BUILDKIT_PID"),
];

/// Finds every builder that answers, kiln first; with `only`, those of these names. Also returns why others are not used.
pub(crate) fn find(directory: &Path, only: &[String]) -> Result<(Vec<Tool>, Vec<String>)> {
    let (mut tools, mut absent) = (Vec::new(), Vec::new());
    for &(kind, name, variable, pid) in KINDS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let default = if kind == Kind::Kiln { env!("CARGO_BIN_EXE_kiln") } else { name };
        let command = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        let daemon = std::env::var(pid).ok().map(|pid| pid.parse()).transpose()?;
        let words = command.split_whitespace().map(str::to_owned).collect();
        let mut tool = Tool { name, kind, version: String::new(), daemon, words, state: directory.join(name) };
        match tool.ask_version() {
            Ok(version) => {
                tool.version = version;
                tools.push(tool);
            }
            Err(error) => absent.push(format!("{name}: {error}")),
        }
    }
    Ok((tools, absent))
}

impl Tool {
    /// The same program with another place for its state.
    pub(crate) fn with_state(&self, state: PathBuf) -> Tool {
        Tool { version: self.version.clone(), words: self.words.clone(), state, ..*self }
    }

    /// Asks the daemon too, where there is one: without it the client is of no use.
    fn ask_version(&self) -> Result<String> {
        let mut words = self.words.clone();
        words.extend(strings(match self.kind {
            Kind::Docker => &["version", "--format", "{{.Server.Version}}"],
            Kind::Buildctl => &["debug", "workers"],
            Kind::Kiln => &["version"],
            Kind::Buildah | Kind::Podman => &["--version"],
        }));
        run(&words, &self.environment())?;
        if self.kind == Kind::Buildctl {
            words = self.words.clone();
            words.push("--version".into());
        }
        let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default().trim();
        Ok(first.trim_start_matches(self.name).trim_start_matches(" version").trim().to_owned())
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let pairs: &[(&str, &str)] = match self.kind {
            Kind::Kiln => &[("KILN_ROOT", &self.state.to_string_lossy())],
            // Both: an engine of before 23 builds the old way otherwise, and newer ones write attestations.
            Kind::Docker => &[("DOCKER_BUILDKIT", "1"), ("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")],
            _ => &[],
        };
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    pub(crate) fn build(&self, build: &Build) -> Vec<String> {
        let context = build.context.to_string_lossy();
        let mut arguments = match self.kind {
            Kind::Kiln => strings(&["build", "--progress=none", "--network=host", "-t", build.tag]),
            // One stage at a time unless told otherwise; the others run at once what they can.
            Kind::Buildah => {
                strings(&["bud", "-q", "--layers", "--jobs=6", "--network=host", "--tls-verify=false", "-t", build.tag])
            }
            Kind::Podman => strings(&[
                "build",
                "-q",
                "--layers",
                "--jobs=6",
                "--network=host",
                "--tls-verify=false",
                "-t",
                build.tag,
            ]),
            Kind::Docker => strings(&["build", "-q", "--network=host", "-t", build.tag]),
            Kind::Buildctl => {
                return self.buildctl(build, &format!("type=image,name={},registry.insecure=true", build.tag));
            }
        };
        if !build.use_cache {
            arguments.push("--no-cache".into());
        }
        arguments.push(context.into_owned());
        self.command(arguments)
    }

    fn buildctl(&self, build: &Build, output: &str) -> Vec<String> {
        let context = build.context.to_string_lossy();
        let mut arguments = strings(&["build", "--progress=plain", "--frontend=dockerfile.v0"]);
        arguments.extend(strings(&["--opt=network=host", "--allow=network.host"]));
        arguments.extend([format!("--local=context={context}"), format!("--local=dockerfile={context}")]);
        arguments.push(format!("--output={output}"));
        if !build.use_cache {
            arguments.push("--no-cache".into());
        }
        self.command(arguments)
    }

    /// Sends what was built; buildctl can only do so as the end of a build, which by then is cached.
    pub(crate) fn push(&self, build: &Build) -> Vec<String> {
        let arguments = match self.kind {
            Kind::Kiln => strings(&["push", "-q", build.tag]),
            Kind::Buildah | Kind::Podman => strings(&["push", "-q", "--tls-verify=false", build.tag]),
            Kind::Docker => strings(&["push", "-q", build.tag]),
            Kind::Buildctl => {
                let build = Build { use_cache: true, ..*build };
                let output = format!("type=image,name={},push=true,registry.insecure=true", build.tag);
                return self.buildctl(&build, &output);
            }
        };
        let mut arguments = arguments;
        if matches!(self.kind, Kind::Buildah) {
            arguments.push(format!("docker://{}", build.tag));
        }
        self.command(arguments)
    }

    /// `None` where it has no such command.
    pub(crate) fn pull(&self, tag: &str) -> Option<Vec<String>> {
        let arguments = match self.kind {
            Kind::Kiln | Kind::Docker => strings(&["pull", "-q", tag]),
            Kind::Buildah | Kind::Podman => strings(&["pull", "-q", "--tls-verify=false", tag]),
            Kind::Buildctl => return None,
        };
        Some(self.command(arguments))
    }

    /// Writes a `docker save` archive of what was built or, with no tag of its own, pulled.
    pub(crate) fn save(&self, build: &Build, file: &Path) -> Result<()> {
        let path = file.to_string_lossy();
        let words = match self.kind {
            Kind::Kiln | Kind::Docker => self.command(strings(&["save", "-o", &path, build.tag])),
            Kind::Buildah => self.command(strings(&["push", "-q", build.tag, &format!("docker-archive:{path}")])),
            Kind::Podman => self.command(strings(&["save", "-q", "--format=docker-archive", "-o", &path, build.tag])),
            Kind::Buildctl => self.buildctl(&Build { use_cache: true, ..*build }, &format!("type=docker,dest={path}")),
        };
        run(&words, &self.environment())
    }

    /// Forgets all it knows, where that is its own to forget: a daemon's images and cache stay.
    pub(crate) fn reset(&self, tag: &str) -> Result<()> {
        match self.kind {
            Kind::Kiln if self.state.exists() => Ok(fs::remove_dir_all(&self.state)?),
            Kind::Kiln | Kind::Buildctl => Ok(()),
            Kind::Buildah | Kind::Podman => {
                run(&self.command(strings(&["rmi", "--all", "--force"])), &self.environment())
            }
            Kind::Docker => {
                // It may not be there.
                let _ = run(&self.command(strings(&["image", "rm", "-f", tag])), &[]);
                Ok(())
            }
        }
    }

    fn command(&self, arguments: Vec<String>) -> Vec<String> {
        let mut words = self.words.clone();
        if matches!(self.kind, Kind::Buildah | Kind::Podman) {
            let place = |name: &str| self.state.join(name).to_string_lossy().into_owned();
            words.extend(["--root".into(), place("root"), "--runroot".into(), place("run")]);
            words.extend(strings(&["--storage-driver", "overlay"]));
        }
        words.extend(arguments);
        words
    }
}

/// Runs a command that is not measured.
pub(crate) fn run(words: &[String], environment: &[(String, String)]) -> Result<()> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("{}: {last}", words.join(" ")).into())
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
