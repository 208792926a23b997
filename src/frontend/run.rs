use std::collections::HashSet;

use super::copy::not_yet;
use super::environment::{Environment, proxies};
use super::mounts::Mounts;
use super::{PlanOptions, Problems};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::instruction::{self, Command, InlineFile, RunNetwork, RunSecurity};
use crate::graph::{self, Input, Mount, MountKind, Network, Security};
use crate::oci::{ContainerConfig, Platform};

/// What shell forms are prefixed with where nothing else was said.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Directory of the scripts that stand in heredocs (semantics reference, section 4.6).
const SCRIPTS: &str = "/dev/pipes";

/// Returns the arguments of a command; those of a shell form begin with the shell.
pub(super) fn argv(command: &Command, shell: Option<&[String]>) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.value.clone(),
        Command::Shell(text) => {
            let mut argv = shell.map_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec(), <[String]>::to_vec);
            argv.push(text.value.clone());
            argv
        }
    }
}

/// What a RUN finds where it stands.
pub(super) struct Around<'a> {
    pub(super) config: &'a ContainerConfig,
    pub(super) environment: &'a Environment,
    /// Names of all arguments that were declared.
    pub(super) arguments: &'a [String],
    pub(super) platform: &'a Platform,
    pub(super) options: &'a PlanOptions,
    pub(super) has_root: bool,
}

/// The variable in which programs look for an ssh agent.
const AGENT: &str = "SSH_AUTH_SOCK";

/// Returns the op of a RUN, whose first input is its root where it has one.
pub(super) fn run(run: &instruction::Run, mounts: Mounts, around: &Around<'_>) -> Result<graph::Run, Problems> {
    refuse_devices(run)?;
    let argv = argv(&run.command, around.config.shell.as_deref());
    let argv = if argv.is_empty() {
        let Command::Exec(empty) = &run.command else { unreachable!("a shell form has at least its text") };
        return Err(Diagnostic::error("nothing-to-run", "RUN has no program to run", empty.span).into());
    } else {
        argv
    };
    let mut env = around.environment.pairs().to_vec();
    if let Some(socket) = mounts.agent.filter(|_| around.environment.get(AGENT).is_none()) {
        env.push((AGENT.to_owned(), socket));
    }
    let undeclared = |(name, _): &(String, String)| around.environment.get(name).is_none();
    Ok(graph::Run {
        root: around.has_root.then_some(Input(0)),
        argv,
        env,
        proxy_env: proxies(&around.options.build_args).into_iter().filter(undeclared).collect(),
        arguments: arguments(around),
        cwd: working_directory(around.config),
        user: around.config.user.clone(),
        network: network(run, around.options)?,
        security: security(run, around.options)?,
        mounts: run.script.iter().map(script).chain(mounts.mounts).collect(),
        secret_env: mounts.secret_env,
        hosts: around.options.hosts.clone(),
        hostname: around.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned(),
        ulimits: around.options.ulimits.clone(),
        shm_size_bytes: around.options.shm_size_bytes,
        platform: around.platform.clone(),
    })
}

/// Returns the names of variables whose values are those of arguments: an ENV of the same name wins.
fn arguments(around: &Around<'_>) -> Vec<String> {
    if around.arguments.is_empty() {
        return Vec::new();
    }
    let name = |item: &'_ String| item.split_once('=').map_or(item.clone(), |(name, _)| name.to_owned());
    let fixed: HashSet<String> = around.config.env.iter().map(name).collect();
    around.arguments.iter().filter(|name| !fixed.contains(*name)).cloned().collect()
}

/// Returns where relative paths begin.
pub(super) fn working_directory(config: &ContainerConfig) -> String {
    if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() }
}

fn refuse_devices(run: &instruction::Run) -> Result<(), Problems> {
    let refused: Vec<Diagnostic> = run.devices.iter().map(|device| not_yet("`RUN --device`", device.span)).collect();
    if refused.is_empty() { Ok(()) } else { Err(Problems(refused)) }
}

fn network(run: &instruction::Run, options: &PlanOptions) -> Result<Network, Problems> {
    let given = options.network.unwrap_or(Network::Host);
    let Some(asked) = &run.network else { return Ok(given) };
    match asked.value {
        RunNetwork::None => Ok(Network::None),
        RunNetwork::Default => Ok(given),
        // A file must not get more than who builds it wants to give.
        RunNetwork::Host if options.network == Some(Network::Host) || options.allow.network_host => Ok(Network::Host),
        RunNetwork::Host => {
            let problem = Diagnostic::error("network-not-allowed", "network.host is not allowed", asked.span);
            Err(problem.with_help("allow it with `--allow network.host`").into())
        }
    }
}

fn security(run: &instruction::Run, options: &PlanOptions) -> Result<Security, Problems> {
    match &run.security {
        Some(asked) if asked.value == RunSecurity::Insecure && !options.allow.security_insecure => {
            let problem = Diagnostic::error("security-not-allowed", "security.insecure is not allowed", asked.span);
            Err(problem.with_help("allow it with `--allow security.insecure`").into())
        }
        Some(asked) if asked.value == RunSecurity::Insecure => Ok(Security::Insecure),
        _ => Ok(Security::Sandbox),
    }
}

fn script(file: &InlineFile) -> Mount {
    let kind = MountKind::File { mode: 0o755, data: file.body.value.clone() };
    Mount { target: format!("{SCRIPTS}/{}", file.name), kind }
}
