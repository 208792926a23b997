use super::copy::not_yet;
use super::environment::{Environment, proxies};
use super::{PlanOptions, Problems};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::instruction::{self, Command, InlineFile, RunNetwork, RunSecurity};
use crate::graph::{self, Input, Mount, MountKind, Network};
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
    pub(super) platform: &'a Platform,
    pub(super) options: &'a PlanOptions,
    pub(super) has_root: bool,
}

/// Returns the op of a RUN, whose first input is its root where it has one.
pub(super) fn run(run: &instruction::Run, around: &Around<'_>) -> Result<graph::Run, Problems> {
    refuse(run)?;
    let argv = argv(&run.command, around.config.shell.as_deref());
    let argv = if argv.is_empty() {
        let Command::Exec(empty) = &run.command else { unreachable!("a shell form has at least its text") };
        return Err(Diagnostic::error("nothing-to-run", "RUN has no program to run", empty.span).into());
    } else {
        argv
    };
    let env = around.environment.pairs().to_vec();
    let undeclared = |(name, _): &(String, String)| around.environment.get(name).is_none();
    Ok(graph::Run {
        root: around.has_root.then_some(Input(0)),
        argv,
        env,
        proxy_env: proxies(&around.options.build_args).into_iter().filter(undeclared).collect(),
        cwd: working_directory(around.config),
        user: around.config.user.clone(),
        network: network(run, around.options.network)?,
        mounts: run.script.iter().map(script).collect(),
        platform: around.platform.clone(),
    })
}

/// Returns where relative paths begin.
pub(super) fn working_directory(config: &ContainerConfig) -> String {
    if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() }
}

fn refuse(run: &instruction::Run) -> Result<(), Problems> {
    let mounts = run.mounts.iter().map(|mount| not_yet("`RUN --mount`", mount.span));
    let devices = run.devices.iter().map(|device| not_yet("`RUN --device`", device.span));
    let security = run.security.iter().filter(|security| security.value == RunSecurity::Insecure);
    let security = security.map(|security| not_yet("`RUN --security=insecure`", security.span));
    let refused: Vec<Diagnostic> = mounts.chain(devices).chain(security).collect();
    if refused.is_empty() { Ok(()) } else { Err(Problems(refused)) }
}

fn network(run: &instruction::Run, given: Option<Network>) -> Result<Network, Problems> {
    let Some(asked) = &run.network else { return Ok(given.unwrap_or(Network::Host)) };
    match (asked.value, given) {
        (RunNetwork::None, _) => Ok(Network::None),
        (RunNetwork::Default, given) => Ok(given.unwrap_or(Network::Host)),
        // A file must not get more than who builds it wants to give.
        (RunNetwork::Host, Some(Network::None)) => {
            let problem = Diagnostic::error("network-not-allowed", "network.host is not allowed", asked.span);
            Err(problem.with_help("this build was started with `--network=none`").into())
        }
        (RunNetwork::Host, _) => Ok(Network::Host),
    }
}

fn script(file: &InlineFile) -> Mount {
    let kind = MountKind::File { mode: 0o755, data: file.body.value.clone() };
    Mount { target: format!("{SCRIPTS}/{}", file.name), kind }
}
