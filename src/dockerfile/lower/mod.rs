//! [`ast`] to [`instruction`](super::instruction): what was written becomes what it means.
//!
//! Everything the language has is lowered; whether kiln can already build it is for planning to say.

mod check;
mod copy;
mod flags;
mod health;
mod mount;
mod run;
mod stage;

pub use mount::{decide as decide_mount, size_bytes};

use std::collections::BTreeSet;

use super::ast::{self, Arguments, DirectiveKey, Keyword};
use super::instruction::{Arg, ArgDeclaration, Command, Dockerfile, Instruction, Pair, Stage, Step, Word};
use super::parse::{MOST_FINDINGS, Parsed, parse};
use crate::diagnostic::{Diagnostic, Severity, Source, Span, Spanned};
use flags::Flags;

/// Where findings go.
type Problems = Vec<Diagnostic>;

/// Says what `ast`, read from `source`, means.
///
/// # Errors
/// Every finding that forbids a build, in the order of their places. What [`parse`] has reported is not repeated.
pub fn lower(ast: &ast::Dockerfile, source: &Source) -> Result<Dockerfile, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(ast);
    for instruction in &ast.instructions {
        lowering.take(instruction);
    }
    lowering.finish(source)
}

/// Reads and lowers in one go. Returns the file with its warnings.
///
/// # Errors
/// Everything found, warnings included, in the order of their places, where any finding forbids a build.
pub fn read(source: &Source) -> Result<(Dockerfile, Vec<Diagnostic>), Vec<Diagnostic>> {
    read_parsed(&parse(source), source)
}

/// Lowers what was read from `source`, as [`read`] does.
///
/// # Errors
/// Those of [`read`].
pub fn read_parsed(parsed: &Parsed, source: &Source) -> Result<(Dockerfile, Vec<Diagnostic>), Vec<Diagnostic>> {
    let broken = parsed.is_broken();
    let mut found = parsed.diagnostics.clone();
    // A file with no instructions has been reported as that.
    let lowered =
        if broken && parsed.ast.instructions.is_empty() { Err(Vec::new()) } else { lower(&parsed.ast, source) };
    match lowered {
        Ok(file) if !broken => Ok((file, found)),
        lowered => {
            found.extend(lowered.err().unwrap_or_default());
            Err(in_order(found))
        }
    }
}

/// Reads the text of an ONBUILD trigger, which an image keeps, as one step. Spans point into `source`.
///
/// # Errors
/// Everything found, also when the text is no single instruction, or one that cannot be a trigger.
pub fn parse_trigger(source: &Source) -> Result<Step, Vec<Diagnostic>> {
    let parsed = parse(source);
    let mut problems: Problems =
        parsed.diagnostics.into_iter().filter(|found| found.severity == Severity::Error).collect();
    let step = match &parsed.ast.instructions[..] {
        [only] if is_trigger(only) => step(only, &mut problems),
        [only] => {
            problems.push(
                Diagnostic::error("onbuild-forbidden", "not allowed as an ONBUILD trigger", only.name.span)
                    .with_label("cannot be a trigger"),
            );
            None
        }
        [_, second, ..] => {
            let message = "an ONBUILD trigger must be a single instruction";
            problems
                .push(Diagnostic::error("onbuild-not-single", message, second.name.span).with_label("a second one"));
            None
        }
        [] => None,
    };
    step.filter(|_| problems.is_empty()).ok_or(problems)
}

fn is_trigger(instruction: &ast::Instruction) -> bool {
    !matches!(instruction.keyword, Some(Keyword::From | Keyword::Onbuild | Keyword::Maintainer))
}

struct Lowering {
    file: Dockerfile,
    problems: Problems,
    /// Something could not be read, so what seems to be missing may well be there.
    uncertain: bool,
}

impl Lowering {
    fn new(ast: &ast::Dockerfile) -> Lowering {
        let mut problems = Problems::new();
        let check = ast.directive(DirectiveKey::Check).cloned();
        if let Some(options) = &check {
            check::validate(options, &mut problems);
        }
        let file = Dockerfile {
            escape: ast.escape,
            syntax: ast.directive(DirectiveKey::Syntax).cloned(),
            check,
            global_args: Vec::new(),
            stages: Vec::new(),
        };
        Lowering { file, problems, uncertain: false }
    }

    fn take(&mut self, instruction: &ast::Instruction) {
        // What is found later stands later, and nobody will hear of it.
        if self.problems.len() >= MOST_FINDINGS {
            return;
        }
        match instruction.keyword {
            Some(Keyword::From) => {
                let stage = stage::lower(instruction, &mut self.problems);
                self.file.stages.push(stage);
            }
            _ if !self.file.stages.is_empty() => {
                let step = step(instruction, &mut self.problems);
                self.current().steps.extend(step);
            }
            Some(Keyword::Arg) => {
                let span = instruction.span;
                let argument = declarations(&instruction.arguments).map(|argument| Spanned::new(argument, span));
                self.file.global_args.extend(argument);
            }
            _ => self.outside(instruction),
        }
    }

    fn current(&mut self) -> &mut Stage {
        self.file.stages.last_mut().expect("asked for only where a stage has begun")
    }

    /// Takes an instruction that no stage holds.
    fn outside(&mut self, instruction: &ast::Instruction) {
        let Some(keyword) = instruction.keyword else {
            self.uncertain = true;
            return;
        };
        // Reported once: the one cause has as many effects as there are instructions.
        if !self.uncertain {
            let message = format!("{} stands before the first FROM", keyword.as_str());
            self.problems.push(
                Diagnostic::error("no-build-stage", message, instruction.name.span)
                    .with_label("no build stage to belong to")
                    .with_help("begin the stage with `FROM image`; only ARG can stand before it"),
            );
        }
        self.uncertain = true;
        // Its own findings count all the same.
        step(instruction, &mut self.problems);
    }

    fn finish(mut self, source: &Source) -> Result<Dockerfile, Vec<Diagnostic>> {
        if self.file.stages.is_empty() && !self.uncertain {
            let end = source.text().trim_end().len();
            let last = self.file.global_args.last().map_or(Span::new(end, end), |last| last.span);
            self.problems.push(
                Diagnostic::error("no-stages", "the Dockerfile holds no stages to build", last)
                    .with_label("no FROM follows")
                    .with_help("add `FROM image`"),
            );
        }
        if self.problems.is_empty() && !self.file.stages.is_empty() {
            return Ok(self.file);
        }
        Err(in_order(self.problems))
    }
}

/// Returns the first findings by place.
fn in_order(mut found: Problems) -> Problems {
    found.sort_by_key(|finding| finding.labels[0].0.start);
    found.truncate(MOST_FINDINGS);
    found
}

/// Returns what `instruction` does; nothing where that has been reported as broken.
fn step(instruction: &ast::Instruction, problems: &mut Problems) -> Option<Step> {
    Some(Step {
        instruction: meaning(instruction, problems)?,
        span: instruction.span,
        text: instruction.text.as_str().to_owned(),
    })
}

fn meaning(instruction: &ast::Instruction, problems: &mut Problems) -> Option<Instruction> {
    let keyword = instruction.keyword?;
    let flags = Flags::of(instruction, keyword, problems);
    let arguments = &instruction.arguments;
    if *arguments == Arguments::Broken {
        return None;
    }
    Some(match keyword {
        Keyword::Add => Instruction::Add(copy::add(instruction, &flags, problems)?),
        Keyword::Arg => Instruction::Arg(declarations(arguments)?),
        Keyword::Cmd => Instruction::Cmd(command(arguments)?),
        Keyword::Copy => Instruction::Copy(copy::copy(instruction, &flags, problems)?),
        Keyword::Entrypoint => Instruction::Entrypoint(command(arguments)?),
        Keyword::Env => Instruction::Env(pairs(arguments)?),
        Keyword::Expose => Instruction::Expose(words(arguments)?),
        Keyword::Healthcheck => Instruction::Healthcheck(health::lower(arguments, &flags, problems)?),
        Keyword::Label => Instruction::Label(pairs(arguments)?),
        Keyword::Maintainer => Instruction::Maintainer(text(arguments)?),
        Keyword::Onbuild => Instruction::Onbuild(trigger(instruction)?),
        Keyword::Run => Instruction::Run(run::lower(instruction, &flags, problems)?),
        Keyword::Shell => Instruction::Shell(words(arguments)?.into_iter().map(|word| word.value).collect()),
        Keyword::StopSignal => Instruction::StopSignal(text(arguments)?),
        Keyword::User => Instruction::User(text(arguments)?),
        Keyword::Volume => Instruction::Volume(words(arguments)?),
        Keyword::Workdir => Instruction::Workdir(text(arguments)?),
        // A FROM begins a stage and is no step; inside a trigger the parser refuses it.
        Keyword::From => return None,
    })
}

fn declarations(arguments: &Arguments) -> Option<Arg> {
    let Arguments::Declarations(declarations) = arguments else { return None };
    let declare =
        |declared: &ast::Declaration| ArgDeclaration { name: declared.name.clone(), default: declared.value.clone() };
    Some(Arg { declarations: declarations.iter().map(declare).collect() })
}

fn pairs(arguments: &Arguments) -> Option<Vec<Pair>> {
    let (pairs, legacy) = match arguments {
        Arguments::Pairs(pairs) => (&pairs[..], false),
        Arguments::LegacyPair(pair) => (std::slice::from_ref(pair), true),
        _ => return None,
    };
    let lower = |pair: &ast::Pair| Pair { key: pair.key.clone(), value: pair.value.clone(), legacy };
    Some(pairs.iter().map(lower).collect())
}

fn words(arguments: &Arguments) -> Option<Vec<Word>> {
    match arguments {
        Arguments::Words(words) => Some(words.clone()),
        Arguments::Json(words) => Some(words.value.clone()),
        _ => None,
    }
}

fn text(arguments: &Arguments) -> Option<Spanned<String>> {
    match arguments {
        Arguments::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn command(arguments: &Arguments) -> Option<Command> {
    match arguments {
        Arguments::Text(text) => Some(Command::Shell(text.clone())),
        Arguments::Json(words) => {
            let strings = words.value.iter().map(|word| word.value.clone()).collect();
            Some(Command::Exec(Spanned::new(strings, words.span)))
        }
        _ => None,
    }
}

/// Returns the text of a trigger: its line, then for each heredoc its body and its end. Whether it means something is for
/// the build that fires it to find out.
pub(super) fn trigger(instruction: &ast::Instruction) -> Option<Spanned<String>> {
    let Arguments::Trigger(nested) = &instruction.arguments else { return None };
    let text = run::with_bodies(nested.text.as_str(), &instruction.heredocs);
    Some(Spanned::new(text, nested.text.span()))
}

/// Returns whether `places` has seen the name before, and remembers it.
fn seen_before<'a>(places: &mut BTreeSet<&'a str>, name: &'a str) -> bool {
    !places.insert(name)
}
