//! The typed instructions: what a Dockerfile means before any variable is expanded.
//!
//! Flags, mounts, heredocs and forms are decided here, once. Words that the language expands stay [`Word`]s, unexpanded,
//! each with its place; planning expands them against the environment of its moment.

use serde::Serialize;

use crate::diagnostic::{Span, Spanned};

/// A piece of text that is expanded when planned (semantics reference, section 5.1): still has its quotes and escapes.
pub type Word = Spanned<String>;

/// A whole Dockerfile, lowered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Dockerfile {
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// The `# syntax=` value, where one was given.
    pub syntax: Option<Spanned<String>>,
    /// The `# check=` value, where one was given.
    pub check: Option<Spanned<String>>,
    /// ARG instructions before the first FROM, in order.
    pub global_args: Vec<Spanned<Arg>>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// One FROM and the instructions up to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Stage {
    /// The image or stage to start from.
    pub base: Word,
    /// The lower-cased name after AS.
    pub name: Option<Spanned<String>>,
    /// The value of `--platform`.
    pub platform: Option<Word>,
    /// The whole FROM instruction.
    pub span: Span,
    /// In order.
    pub steps: Vec<Step>,
}

/// One instruction of a stage with its place and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Step {
    /// What it does.
    pub instruction: Instruction,
    /// The whole instruction, continuation lines and heredoc bodies included.
    pub span: Span,
    /// The logical line as written, continuations joined: for titles.
    pub text: String,
}

/// What one instruction does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Declares build arguments.
    Arg(Arg),
    /// Sets environment variables.
    Env(Vec<Pair>),
    /// Sets labels.
    Label(Vec<Pair>),
    /// Runs a command.
    Run(Run),
    /// Copies files.
    Copy(Copy),
    /// Copies files, fetches them, or unpacks archives.
    Add(Add),
    /// Changes and makes the working directory.
    Workdir(Word),
    /// Changes the user.
    User(Word),
    /// Sets the default command.
    Cmd(Command),
    /// Sets the entry point.
    Entrypoint(Command),
    /// Declares ports.
    Expose(Vec<Word>),
    /// Declares volumes.
    Volume(Vec<Word>),
    /// Sets the stop signal.
    StopSignal(Word),
    /// Sets or clears the health check.
    Healthcheck(Healthcheck),
    /// Sets the shell of shell forms; never empty.
    Shell(Vec<String>),
    /// Stores a trigger for later builds: its text without the ONBUILD word, heredoc bodies included.
    Onbuild(Spanned<String>),
    /// Sets the author (deprecated).
    Maintainer(Spanned<String>),
}

/// `ARG NAME[=default] …`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Arg {
    /// In order; each default sees the ones before.
    pub declarations: Vec<ArgDeclaration>,
}

/// One name of an ARG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct ArgDeclaration {
    /// Never expanded.
    pub name: Spanned<String>,
    /// Text after `=`.
    pub default: Option<Word>,
}

/// `key=value` of ENV and LABEL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Pair {
    /// Before the first `=`.
    pub key: Word,
    /// After it.
    pub value: Word,
    /// Whether it was written `key value`, the legacy form.
    pub legacy: bool,
}

/// The command of RUN, CMD and ENTRYPOINT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Text for the shell.
    Shell(Spanned<String>),
    /// JSON form: the arguments themselves; may be empty.
    Exec(Spanned<Vec<String>>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Run {
    /// What to run. With heredocs the text is already what the shell gets (section 4.6), unless `script` is set.
    pub command: Command,
    /// A heredoc that starts with `#!`: mounted executable at `/dev/pipes/NAME`, which `command` already names.
    pub script: Option<InlineFile>,
    /// `--mount`, in order.
    pub mounts: Vec<Spanned<Mount>>,
    /// `--network`.
    pub network: Option<Spanned<RunNetwork>>,
    /// `--security`.
    pub security: Option<Spanned<RunSecurity>>,
    /// `--device`, in order.
    pub devices: Vec<Spanned<String>>,
}

/// A file whose bytes stand in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct InlineFile {
    /// The delimiter without quotes: the file's name.
    pub name: String,
    /// The body, tabs already removed where `<<-` asked for it.
    pub body: Spanned<String>,
    /// Whether variables in the body are expanded (the delimiter was not quoted).
    pub expand: bool,
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunNetwork {
    /// As the build says.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunSecurity {
    /// The usual confinement.
    Sandbox,
    /// None of it.
    Insecure,
}

/// `RUN --mount` (section 10.5). Words are expanded when planned; absent options keep their kind's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `target`, `dst`, `destination`.
    pub target: Option<Word>,
    /// `source`, `src`.
    pub source: Option<Word>,
    /// `from`; never expanded.
    pub from: Option<Spanned<String>>,
    /// `id`.
    pub id: Option<Word>,
    /// `readonly`/`ro` or the negation of `readwrite`/`rw`.
    pub read_only: Option<bool>,
    /// `sharing`.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub required: Option<bool>,
    /// `size`, in bytes when it has no variable.
    pub size: Option<Word>,
    /// `mode`, octal.
    pub mode: Option<Word>,
    /// `uid`.
    pub uid: Option<Word>,
    /// `gid`.
    pub gid: Option<Word>,
    /// `env`.
    pub env: Option<Word>,
    /// Every field, where `type`, `sharing` or a flag holds a variable: what the mount is shows once that is expanded, and
    /// until then nothing else is set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<MountField>,
}

/// One `key=value`, or `key`, of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct MountField {
    /// In lower case.
    pub key: Spanned<String>,
    /// What follows the `=`.
    pub value: Option<Word>,
    /// The whole field.
    pub span: Span,
}

/// `type=` of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory kept between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret file or variable.
    Secret,
    /// An agent socket.
    Ssh,
}

/// `sharing=` of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Several at once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Copy {
    /// `--from`; never expanded.
    pub from: Option<Spanned<String>>,
    /// What to copy, in order.
    pub sources: Vec<Word>,
    /// Heredocs, in order, after the sources.
    pub inline: Vec<InlineFile>,
    /// Where to.
    pub destination: Word,
    /// Flags that ADD has too.
    pub flags: CopyFlags,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Add {
    /// What to add, in order: paths, URLs and git references.
    pub sources: Vec<Word>,
    /// Heredocs, in order, after the sources.
    pub inline: Vec<InlineFile>,
    /// Where to.
    pub destination: Word,
    /// Flags that COPY has too.
    pub flags: CopyFlags,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--unpack`; absent means local archives only.
    pub unpack: Option<bool>,
}

/// Flags of both COPY and ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct CopyFlags {
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order; never expanded.
    pub exclude: Vec<Spanned<String>>,
}

/// `HEALTHCHECK`. Durations are nanoseconds; zero means unset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK CMD`.
    Command {
        /// What to run.
        command: Command,
        /// `--interval`.
        interval: u64,
        /// `--timeout`.
        timeout: u64,
        /// `--start-period`.
        start_period: u64,
        /// `--start-interval`.
        start_interval: u64,
        /// `--retries`.
        retries: u64,
    },
}
