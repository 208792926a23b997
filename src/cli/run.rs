use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::attach::{Wish, attend};
use super::build::{grants, labels};
use super::progress::{self, Mode};
use super::session::Session;
use super::{Error, report};
use crate::dockerfile::size_bytes;
use crate::engine::{self, Container, Pull, RunOptions, SettingsMount};
use crate::graph::Network;
use crate::oci::Platform;
use crate::runtime::Access;

/// Run a command in a new container
#[derive(Debug, clap::Args)]
#[command(override_usage = "kiln run [OPTIONS] IMAGE [COMMAND] [ARG]...", disable_help_flag = true)]
pub(super) struct Args {
    /// Call the container so
    #[arg(long)]
    name: Option<String>,
    /// Let the command read what kiln reads
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Remove the container when the command has ended
    #[arg(long)]
    rm: bool,
    /// Leave the container running and return (not yet)
    #[arg(short, long, hide = true)]
    detach: bool,
    #[command(flatten)]
    environment: Environment,
    /// In this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// As this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// In place of the image's entry point; empty for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// What the machine is called inside
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// What the command reaches: host or none
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Option<String>,
    /// A name that can be looked up, as NAME:ADDRESS (repeatable)
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Mount a file or directory of this machine, as SOURCE:TARGET, `:ro` to leave it unchanged (repeatable)
    #[arg(short, long, value_name = "MOUNT")]
    volume: Vec<String>,
    /// Mount an empty directory in memory, as TARGET or TARGET:size=64m (repeatable)
    #[arg(long, value_name = "MOUNT")]
    tmpfs: Vec<String>,
    /// Let nothing be changed but what is mounted
    #[arg(long)]
    read_only: bool,
    /// A label of the container (repeatable)
    #[arg(short, long)]
    label: Vec<String>,
    /// A resource limit, as NAME=SOFT or NAME=SOFT:HARD (repeatable)
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Size of /dev/shm, such as 256m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// The signal by which `kiln stop` asks the command to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value_t = When::Missing)]
    pull: When,
    /// Which image of a multi-platform one, such as linux/arm64
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<Platform>,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    /// Say nothing while the image is fetched
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    progress: progress::Args,
    /// Refused: kiln gives no container the machine
    #[arg(long, hide = true)]
    privileged: bool,
    /// The image, by name or id, and what to run in place of its command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE")]
    words: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Variables of a program.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Environment {
    /// A variable, as NAME=VALUE, or as NAME to hand on kiln's own (repeatable)
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Variables, one a line, `#` before what is none (repeatable)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// When it is not here
    Missing,
    /// Always
    Always,
    /// Never
    Never,
}

impl Environment {
    /// Returns all variables, those of files first; the value of none takes one away.
    pub(super) fn variables(&self) -> Result<Vec<(String, Option<String>)>, Error> {
        let mut variables = Vec::new();
        for path in &self.env_file {
            let text = std::fs::read_to_string(path).map_err(|source| Error::File {
                action: "read",
                path: path.clone(),
                source,
            })?;
            let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                // A file says what is, and so takes nothing away.
                variables.extend(Some(variable(line, "--env-file")?).filter(|(_, value)| value.is_some()));
            }
        }
        for text in &self.env {
            variables.push(variable(text, "--env")?);
        }
        Ok(variables)
    }
}

fn variable(text: &str, flag: &str) -> Result<(String, Option<String>), Error> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Error::Usage(format!("`{flag}`: `{text}` is not NAME=VALUE")));
    }
    Ok((name.to_owned(), value))
}

pub(super) fn run(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    with_dockers_codes(started(args, session), session)
}

fn started(args: &Args, session: &Session) -> Result<ExitCode, Error> {
    let options = args.options()?;
    let wish = Wish { terminal: args.tty, input: args.interactive };
    let stdio = wish.stdio()?;
    let cidfile = args.cidfile.as_ref().map(|path| Ok::<_, Error>((path, create(path)?))).transpose()?;
    let engine = session.engine()?;
    // What is here is soon unpacked, and the terminal is the command's.
    let forced = if engine.has_image_to_run(&options)? { Some(Mode::None) } else { args.quiet.then_some(Mode::Quiet) };
    let display = args.progress.display(forced, session);
    let container = display.watch(|observer| engine.make_container(&options, observer, &session.cancel))?;
    if let Some((path, mut file)) = cidfile {
        write!(file, "{}", container.record().id).map_err(|source| Error::File {
            action: "write",
            path: path.clone(),
            source,
        })?;
    }
    foreground(&container, wish, stdio, session)
}

/// Runs a container to its end, and returns what its program did.
pub(super) fn foreground(
    container: &Container,
    wish: Wish,
    stdio: crate::runtime::Stdio,
    session: &Session,
) -> Result<ExitCode, Error> {
    let mut running = container.start(stdio, &session.cancel)?;
    session.release_signals();
    let attended = attend(&mut running, wish);
    let code = container.wait(running)?;
    attended?;
    Ok(exit_code(code))
}

/// Returns a program's code as this process's.
pub(super) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// Gives what went wrong before there was a program the codes that docker has for it.
pub(super) fn with_dockers_codes(result: Result<ExitCode, Error>, session: &Session) -> Result<ExitCode, Error> {
    const FAILED: i32 = 125;
    match result {
        Err(_) if session.cancel.is_cancelled() => Ok(report::interrupted()),
        Err(error) => {
            report::failure(&error);
            Ok(exit_code(match &error {
                Error::Engine(engine::Error::Container(error)) => error.exit_code(),
                _ => FAILED,
            }))
        }
        done => done,
    }
}

/// Makes a file that must not exist, as docker wants it: it may be that of another container.
fn create(path: &PathBuf) -> Result<File, Error> {
    File::create_new(path).map_err(|source| Error::File { action: "create", path: path.clone(), source })
}

impl Args {
    fn options(&self) -> Result<RunOptions, Error> {
        if self.detach {
            let message = "`--detach`: kiln runs containers in the foreground; those in the background come later";
            return Err(Error::Usage(message.to_owned()));
        }
        if self.privileged {
            return Err(Error::Usage("`--privileged`: kiln gives no container the whole machine".to_owned()));
        }
        let (image, command) = self.words.split_first().expect("the command line needs one");
        if image.starts_with('-') {
            return Err(Error::Usage(format!("there is no flag `{image}`; `kiln run --help` lists those there are")));
        }
        if let Some(name) = self.name.as_ref().filter(|name| !engine::is_name(name)) {
            let allowed = "two characters at least, letters and digits, and after the first of them `_`, `.` and `-`";
            return Err(Error::Usage(format!("`{name}` is no name for a container: {allowed}")));
        }
        if let Some(workdir) = self.workdir.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(Error::Usage(format!("`--workdir {workdir}` is not an absolute path")));
        }
        let stop_signal = self.stop_signal.as_deref().map(signal).transpose()?.and(self.stop_signal.clone());
        let binds = self.volume.iter().map(|text| bind(text));
        let mounts = binds.chain(self.tmpfs.iter().map(|text| tmpfs(text))).collect::<Result<_, _>>()?;
        Ok(RunOptions {
            image: image.clone(),
            pull: match self.pull {
                When::Missing => Pull::Missing,
                When::Always => Pull::Always,
                When::Never => Pull::Never,
            },
            platform: self.platform.clone(),
            insecure_registries: self.insecure_registry.clone(),
            name: self.name.clone(),
            is_temporary: self.rm,
            command: command.to_vec(),
            entrypoint: self
                .entrypoint
                .as_ref()
                .map(|program| Vec::from_iter(Some(program.clone()).filter(|p| !p.is_empty()))),
            env: self.environment.variables()?,
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            labels: labels(&self.label)?,
            hostname: self.hostname.clone(),
            has_terminal: self.tty,
            has_input: self.interactive,
            network: self.network.as_deref().map(network).transpose()?,
            hosts: self.add_host.iter().map(|text| grants::host(text)).collect::<Result<_, _>>()?,
            mounts,
            ulimits: self.ulimit.iter().map(|text| grants::ulimit(text)).collect::<Result<_, _>>()?,
            shm_size_bytes: self.shm_size.as_deref().map(grants::shm_size).transpose()?,
            is_read_only: self.read_only,
            stop_signal,
        })
    }
}

/// Returns the number of a signal.
pub(super) fn signal(text: &str) -> Result<i32, Error> {
    crate::frontend::signal_number(text).ok_or_else(|| Error::Usage(format!("there is no signal `{text}`")))
}

fn network(text: &str) -> Result<Network, Error> {
    match text {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        _ => {
            Err(Error::Usage(format!("`--network {text}`: there are host and none; networks of their own come later")))
        }
    }
}

fn bind(text: &str) -> Result<SettingsMount, Error> {
    let usage = |why: &str| Error::Usage(format!("`--volume {text}`: {why}"));
    let mut parts = text.split(':');
    let (Some(source), Some(target), options, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(usage("is not SOURCE:TARGET[:ro]; volumes without a source come later"));
    };
    if !source.starts_with(['/', '.']) {
        return Err(usage("the source is not a path; named volumes come later"));
    }
    if !target.starts_with('/') {
        return Err(usage("the target is not an absolute path"));
    }
    let mut access = Access::ReadWrite;
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        match option {
            "ro" | "readonly" => access = Access::ReadOnly,
            "rw" | "z" | "Z" | "rprivate" | "private" | "" => {}
            _ => return Err(usage("there are `ro` and `rw`")),
        }
    }
    let source = std::fs::canonicalize(source).map_err(|error| Error::File {
        action: "mount",
        path: source.into(),
        source: error,
    })?;
    Ok(SettingsMount::Bind { source, target: target.to_owned(), access })
}

fn tmpfs(text: &str) -> Result<SettingsMount, Error> {
    let usage = |why: &str| Error::Usage(format!("`--tmpfs {text}`: {why}"));
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(usage("the target is not an absolute path"));
    }
    let mut limit = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) => limit = Some(size_bytes(size).ok_or_else(|| usage("that is not a size"))?),
            // What it is anyway, or allows no more than it is.
            _ if matches!(option, "rw" | "nosuid" | "nodev" | "mode=1777") => {}
            _ => return Err(usage("of the options there is `size`")),
        }
    }
    Ok(SettingsMount::Tmpfs { target: target.to_owned(), size_bytes: limit })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &[&str]) -> Result<RunOptions, Error> {
        Line::parse_from([&["run"], line].concat()).args.options()
    }

    #[test]
    fn what_follows_the_image_is_the_commands() {
        let options = options(&["-it", "--rm", "-e", "A=1", "img", "ls", "-l", "--rm", "-t"]).unwrap();
        assert_eq!(options.image, "img");
        assert_eq!(options.command, ["ls", "-l", "--rm", "-t"]);
        assert!(options.has_terminal && options.has_input && options.is_temporary);
        assert_eq!(super::tests::options(&["img", "-l"]).unwrap().command, ["-l"]);
    }

    #[test]
    fn what_cannot_be_done_yet_is_said() {
        for (line, word) in [
            (&["-d", "img"][..], "come later"),
            (&["--privileged", "img"], "--privileged"),
            (&["--net", "bridge", "img"], "come later"),
            (&["-v", "data:/data", "img"], "named volumes"),
            (&["--frobnicate", "img"], "no flag"),
            (&["--name", "-", "img"], "no name"),
            (&["-w", "x", "img"], "absolute"),
            (&["-e", "=1", "img"], "NAME=VALUE"),
            (&["--stop-signal", "NO", "img"], "no signal"),
        ] {
            let error = options(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line:?}: {error}");
        }
    }

    #[test]
    fn mounts_are_read() {
        let read_only = SettingsMount::Bind { source: "/".into(), target: "/x".into(), access: Access::ReadOnly };
        assert_eq!(bind("/:/x:ro").unwrap(), read_only);
        let memory = SettingsMount::Tmpfs { target: "/x".into(), size_bytes: Some(1 << 20) };
        assert_eq!(tmpfs("/x:size=1m,nosuid").unwrap(), memory);
        assert!(tmpfs("/x:uid=3").is_err() && tmpfs("x").is_err() && bind("/:x").is_err());
    }
}
