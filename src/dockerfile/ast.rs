//! What was written: directives and instructions with their places, before any meaning.
//!
//! Every span points into the original text, also from a line that continues over several.

use crate::diagnostic::{Span, Spanned};

pub use super::text::Text;

/// A whole Dockerfile as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// Parser directives, in order; no key twice.
    pub directives: Vec<Directive>,
    /// In order. What could not be read is here too, as [`Arguments::Broken`], so that later findings stay true.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Returns the value of a directive.
    pub fn directive(&self, key: DirectiveKey) -> Option<&Spanned<String>> {
        self.directives.iter().find(|directive| directive.key.value == key).map(|directive| &directive.value)
    }
}

/// `# key=value` at the top of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Before the `=`.
    pub key: Spanned<DirectiveKey>,
    /// After it, without blanks around.
    pub value: Spanned<String>,
}

/// The directives that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectiveKey {
    /// The frontend image.
    Syntax,
    /// The escape character.
    Escape,
    /// Which lint rules run.
    Check,
}

impl DirectiveKey {
    /// Returns the directive of this name, in any case.
    pub fn named(name: &str) -> Option<DirectiveKey> {
        [DirectiveKey::Syntax, DirectiveKey::Escape, DirectiveKey::Check]
            .into_iter()
            .find(|key| key.as_str().eq_ignore_ascii_case(name))
    }

    /// Returns the name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            DirectiveKey::Syntax => "syntax",
            DirectiveKey::Escape => "escape",
            DirectiveKey::Check => "check",
        }
    }
}

/// One instruction as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The first word, in its own case.
    pub name: Spanned<String>,
    /// What that word names; absent for an unknown instruction.
    pub keyword: Option<Keyword>,
    /// `--name=value` words between the name and the arguments.
    pub flags: Vec<Flag>,
    /// The rest of the line.
    pub arguments: Arguments,
    /// In the order of their markers.
    pub heredocs: Vec<Heredoc>,
    /// Comments directly above, without `#` and blanks around.
    pub comments: Vec<Spanned<String>>,
    /// The logical line: continuations joined, blanks around removed.
    pub text: Text,
    /// From the name to the end of the last line, heredoc bodies included.
    pub span: Span,
}

/// The 18 instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// `ADD`
    Add,
    /// `ARG`
    Arg,
    /// `CMD`
    Cmd,
    /// `COPY`
    Copy,
    /// `ENTRYPOINT`
    Entrypoint,
    /// `ENV`
    Env,
    /// `EXPOSE`
    Expose,
    /// `FROM`
    From,
    /// `HEALTHCHECK`
    Healthcheck,
    /// `LABEL`
    Label,
    /// `MAINTAINER`
    Maintainer,
    /// `ONBUILD`
    Onbuild,
    /// `RUN`
    Run,
    /// `SHELL`
    Shell,
    /// `STOPSIGNAL`
    StopSignal,
    /// `USER`
    User,
    /// `VOLUME`
    Volume,
    /// `WORKDIR`
    Workdir,
}

impl Keyword {
    /// All of them, by name.
    pub const ALL: [Keyword; 18] = [
        Keyword::Add,
        Keyword::Arg,
        Keyword::Cmd,
        Keyword::Copy,
        Keyword::Entrypoint,
        Keyword::Env,
        Keyword::Expose,
        Keyword::From,
        Keyword::Healthcheck,
        Keyword::Label,
        Keyword::Maintainer,
        Keyword::Onbuild,
        Keyword::Run,
        Keyword::Shell,
        Keyword::StopSignal,
        Keyword::User,
        Keyword::Volume,
        Keyword::Workdir,
    ];

    /// Returns the instruction of this name, in any case.
    pub fn named(name: &str) -> Option<Keyword> {
        Keyword::ALL.into_iter().find(|keyword| keyword.as_str().eq_ignore_ascii_case(name))
    }

    /// Returns the name in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Keyword::Add => "ADD",
            Keyword::Arg => "ARG",
            Keyword::Cmd => "CMD",
            Keyword::Copy => "COPY",
            Keyword::Entrypoint => "ENTRYPOINT",
            Keyword::Env => "ENV",
            Keyword::Expose => "EXPOSE",
            Keyword::From => "FROM",
            Keyword::Healthcheck => "HEALTHCHECK",
            Keyword::Label => "LABEL",
            Keyword::Maintainer => "MAINTAINER",
            Keyword::Onbuild => "ONBUILD",
            Keyword::Run => "RUN",
            Keyword::Shell => "SHELL",
            Keyword::StopSignal => "STOPSIGNAL",
            Keyword::User => "USER",
            Keyword::Volume => "VOLUME",
            Keyword::Workdir => "WORKDIR",
        }
    }
}

/// `--name[=value]`, quotes and escapes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: Spanned<String>,
    /// After the first `=`; absent without one.
    pub value: Option<Text>,
    /// The whole word as written.
    pub span: Span,
}

/// What follows the name and the flags. Each instruction has one shape, or the JSON form of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// `key=value …` of ENV and LABEL.
    Pairs(Vec<Pair>),
    /// `key the rest` of ENV and LABEL.
    LegacyPair(Pair),
    /// `name[=value] …` of ARG.
    Declarations(Vec<Declaration>),
    /// Words between blanks.
    Words(Vec<Spanned<String>>),
    /// A JSON array of strings, decoded.
    Json(Spanned<Vec<Spanned<String>>>),
    /// The rest of the line as it is.
    Text(Spanned<String>),
    /// HEALTHCHECK's type word and what follows it.
    Health(Spanned<String>, Box<Arguments>),
    /// The instruction after ONBUILD.
    Trigger(Box<Instruction>),
    /// Something with an error that has been reported.
    Broken,
}

/// `key=value`, quotes and escapes kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Before the first `=`; never empty.
    pub key: Spanned<String>,
    /// After it.
    pub value: Spanned<String>,
}

/// `name[=value]`, quotes and escapes kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Before the first `=`; never empty.
    pub name: Spanned<String>,
    /// After it; absent without one.
    pub value: Option<Spanned<String>>,
}

/// A here-document: its marker and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The marker, such as `<<-EOF`.
    pub marker: Span,
    /// The number before `<<`, or 0; only shells give it a meaning.
    pub descriptor: u32,
    /// Whether `<<-` asks for leading tabs to be removed.
    pub chomp: bool,
    /// Whether variables in the body are expanded: no part of the delimiter was quoted.
    pub expand: bool,
    /// Every line with its own ending, tabs still there.
    pub body: Spanned<String>,
}
