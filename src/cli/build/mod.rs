//! `kiln build`.

mod call;
pub(super) mod context;
mod failure;
mod folding;
pub(super) mod grants;
pub(super) mod keys;
mod metadata;
mod output;
pub(super) mod platform;
mod print;
mod reproducible;
mod resume;
mod unsupported;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::compression;
use super::progress::{self, Mode};
use super::session::{self, Session};
use crate::engine::{BuildOptions, DockerfileSource, OutputKind};
use crate::graph::Network;
use crate::oci::Reference;
use crate::runtime;
use crate::solve::Event;
use resume::Resumed;

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Dockerfile, or `-` for stdin (default: Dockerfile in the context)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name of the image (repeatable)
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<Reference>,
    /// Value of an ARG; without a value, that of the environment variable (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// The stage to build (default: the last)
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// A label of the image (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Run every step, even where the result is known
    #[arg(long)]
    no_cache: bool,
    /// Fail with the reason, instead of running a step whose result is not known
    #[arg(long, conflicts_with = "no_cache")]
    require_cached: bool,
    /// Ask registries even for images that are here
    #[arg(long)]
    pull: bool,
    /// What RUN can reach
    #[arg(long, value_enum, default_value_t = NetworkMode::Default)]
    network: NetworkMode,
    /// What becomes of the result: DIR, `-`, or type=oci|docker|local|tar|image|registry,dest=…; of images also with
    /// compression=…,compression-level=…,force-compression=… (repeatable)
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Push every tag
    #[arg(long)]
    push: bool,
    #[command(flatten)]
    compression: compression::Args,
    #[command(flatten)]
    folding: folding::Args,
    /// Keep the image in the store with all its layers; this is the default but with --push, which leaves those of base
    /// images that no step reads in their registry
    #[arg(long)]
    load: bool,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write facts about the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    #[command(flatten)]
    progress: progress::Args,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    /// Steps that may run at once (default: four for each processor, at least eight)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    platform: platform::Args,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    call: call::Args,
    #[command(flatten)]
    keys: keys::Args,
    #[command(flatten)]
    grants: grants::Args,
    #[command(flatten)]
    reproducible: reproducible::Args,
    #[command(flatten)]
    contexts: context::Args,
    #[command(flatten)]
    failure: failure::Args,
    /// Build again what failed last in this directory, with the same flags and more: the cache has what had been done, also
    /// for `--no-cache`
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    unsupported: unsupported::Args,
    /// The build context: a directory, a tar archive, `-` for a tar archive or a Dockerfile on stdin, or the URL of either
    /// or of a git repository
    #[arg(value_name = "PATH|URL|-", required_unless_present = "resume", conflicts_with = "resume")]
    context: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum NetworkMode {
    /// What kiln itself can reach
    Default,
    /// What kiln itself can reach
    Host,
    /// Its own loopback
    None,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let resumed = args.resume.then(|| Resumed::find(session)).transpose()?;
    let args = resumed.as_ref().map_or(args, |resumed| &resumed.args);
    args.unsupported.check()?;
    let mut options = args.options(session.input())?;
    match &resumed {
        Some(resumed) => resumed.add_to(&mut options),
        None => options.invocation = resume::invocation(),
    }
    if let Some(done) = args.call.run(&options, &args.progress, session) {
        return done;
    }
    let mode = if args.quiet { Some(Mode::Quiet) } else { None };
    let display = args.progress.display(mode, session);
    let engine = session.engine()?;
    if let Some(path) = &args.iidfile {
        // The id of an earlier build must not be taken for this one's if this one fails.
        session::remove(path)?;
    }
    let result = display.watch(|observer| {
        if let Some(notice) = runtime::ids().notice() {
            observer.observe(Event::Warning { message: notice.to_owned() });
        }
        engine.build(&options, observer, &session.cancel)
    })?;
    if let Some(path) = &args.iidfile {
        session::write(path, result.image_id.to_string().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        let details = (!result.is_index).then(|| engine.inspect(&result.image_id.to_string(), None)).transpose()?;
        session::write(path, &metadata::document(&result, details.as_ref()))?;
    }
    display.built(&result);
    if display.mode() == Mode::Quiet {
        writeln!(io::stdout(), "{}", result.image_id)?;
    }
    Ok(())
}

impl Args {
    /// Returns what the flags say, for who does not build.
    pub(super) fn prepared(&self, session: &Session) -> Result<BuildOptions, Error> {
        self.unsupported.check()?;
        if self.resume {
            return Err(Error::Usage("`--resume` builds; leave it away".to_owned()));
        }
        self.options(session.input())
    }

    /// Returns a display of nothing but warnings and errors.
    pub(super) fn silent(&self, session: &Session) -> progress::Display {
        self.progress.display(Some(Mode::Quiet), session)
    }

    fn options(&self, mut stdin: impl Read + Send + 'static) -> Result<BuildOptions, Error> {
        let (here, file) = (Path::new("-"), self.file.as_deref());
        let context = self.context.as_deref().expect("only with --resume there is none");
        if context == here && file == Some(here) {
            return Err(Error::Usage("stdin can be either the context or, with `-f -`, the Dockerfile".to_owned()));
        }
        let mut options = BuildOptions {
            file: file.map(|path| dockerfile(path, &mut stdin)).transpose()?,
            context: context::source(context, stdin),
            build_contexts: self.contexts.named()?,
            tags: self.tag.clone(),
            build_args: build_args(&self.build_arg, |name| std::env::var(name).ok())?,
            target: self.target.clone(),
            labels: labels(&self.label)?,
            no_cache: self.no_cache,
            require_cached: self.require_cached,
            pull: self.pull,
            network: match self.network {
                NetworkMode::Default => None,
                NetworkMode::Host => Some(Network::Host),
                NetworkMode::None => Some(Network::None),
            },
            push: self.push,
            folding: self.folding.folding(),
            jobs: self.jobs.map(usize::from),
            platforms: self.platform.platforms()?,
            insecure_registries: self.insecure_registry.clone(),
            on_failure: self.failure.on_failure.clone().into(),
            source_policy: self.contexts.source_policy(|name| std::env::var_os(name)),
            ..BuildOptions::default()
        };
        self.keys.add_to(&mut options)?;
        self.grants.add_to(&mut options)?;
        self.reproducible.add(|name| std::env::var(name).ok(), &mut options);
        for text in &self.output {
            output::add(text, self.compression.asked(), &mut options)?;
        }
        if self.load {
            output::add("type=image", self.compression.asked(), &mut options)?;
        }
        if options.packing.is_none() {
            options.packing = self.compression.packing()?;
        }
        self.check(&options)?;
        Ok(options)
    }

    /// Refuses what can only end badly before anything is built.
    fn check(&self, options: &BuildOptions) -> Result<(), Error> {
        let usage = |message: &str| Err(Error::Usage(message.to_owned()));
        let streams = options.outputs.iter().filter(|output| output.destination.is_none());
        let streams = streams.filter(|output| output.kind != OutputKind::Image).count();
        if options.push && options.tags.is_empty() {
            return usage("a push needs a name: give the image one with `-t`");
        }
        match streams {
            0 => Ok(()),
            1 if io::stdout().is_terminal() => {
                usage("refusing to write an archive to a terminal; name a file with `dest=`, or redirect stdout")
            }
            1 if self.quiet => usage("stdout can carry either the archive or, with `-q`, the id"),
            1 => Ok(()),
            _ => usage("only one output can be written to stdout"),
        }
    }
}

pub(super) fn dockerfile(path: &Path, mut stdin: impl Read) -> Result<DockerfileSource, Error> {
    if path != Path::new("-") {
        return Ok(DockerfileSource::Path(path.to_owned()));
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(Error::Input)?;
    Ok(DockerfileSource::Text(text))
}

/// Returns what `--build-arg` says. A name without a value takes the environment's, and is nothing without one.
pub(super) fn build_args(
    texts: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut args = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), environment(text)),
        };
        if name.is_empty() {
            return Err(Error::Usage(format!("`--build-arg {text}` has no name")));
        }
        // A later mention without a value takes nothing from an earlier one that has it.
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    }
    Ok(args)
}

pub(super) fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(Error::Usage(format!("`--label {text}` has no name")));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(flags: &[&str]) -> Result<BuildOptions, Error> {
        Line::parse_from([&["build"], flags, &["."]].concat()).args.options(io::empty())
    }

    #[test]
    fn build_arguments_take_missing_values_from_the_environment() {
        let texts = ["A=1", "B", "C", "D=", "A=x=y"].map(str::to_owned);
        let environment = |name: &str| (name == "B").then(|| "from outside".to_owned());
        let args = build_args(&texts, environment).unwrap();
        let args: Vec<_> = args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(args, [("A", "x=y"), ("B", "from outside"), ("D", "")]);
        assert!(build_args(&["=x".to_owned()], |_| None).is_err());
    }

    #[test]
    fn a_push_without_a_name_is_refused_before_the_build() {
        assert!(matches!(options(&["--push"]), Err(Error::Usage(_))));
        assert!(options(&["--push", "-t", "x.io/a"]).unwrap().push);
    }

    #[test]
    fn stdout_carries_one_thing() {
        assert!(matches!(options(&["-o", "-", "-o", "type=oci"]), Err(Error::Usage(_))));
        assert!(matches!(options(&["-q", "-o", "-"]), Err(Error::Usage(_))));
    }
}
