use jiff::Timestamp;

use super::environment::Environment;
use super::expand::{Expander, Undefined};
use super::named::NamedContext;
use super::remote::{Flags, Remote};
use super::stages::{Planner, name};
use super::{Problems, ResolveImage, ResolvedImage, Unresolved};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::instruction::{self, Instruction};
use crate::graph;
use crate::oci::{Platform, Reference};

/// Name of the argument that says what time it is.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What `SOURCE_DATE_EPOCH` says (semantics reference, section 15.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Epoch {
    /// Nothing.
    #[default]
    Unset,
    /// This time.
    At(Timestamp),
    /// The time of the build context.
    Context,
    /// The time of what is elsewhere: the source of a named context, or of a stage that is nothing but that.
    Source(graph::Source),
    /// The time of a named context that has none: a directory, an image.
    Timeless,
}

impl Planner<'_> {
    /// Returns what the build argument says, or the default of an ARG before the first FROM.
    pub(super) fn epoch(&self) -> Result<Epoch, Problems> {
        let given = self.options.build_args.get(EPOCH).map(String::as_str);
        let Some(text) = given.or_else(|| self.global.get(EPOCH)).filter(|text| !text.is_empty()) else {
            return Ok(Epoch::Unset);
        };
        if let Some(time) = text.parse().ok().and_then(|second| Timestamp::from_second(second).ok()) {
            return Ok(Epoch::At(time));
        }
        if text == "context" {
            return Ok(Epoch::Context);
        }
        match self.options.contexts.find_name(text, self.platform(None)) {
            Some(NamedContext::Files(source @ (graph::Source::Http(_) | graph::Source::Git(_)))) => {
                return Ok(Epoch::Source(source.clone()));
            }
            Some(_) => return Ok(Epoch::Timeless),
            None => {}
        }
        let lowered = text.to_lowercase();
        match self.file.stages.iter().find(|stage| name(stage) == Some(&lowered)) {
            Some(stage) => self.source_of(text, stage).map(Epoch::Source),
            None => Err(self.invalid(text).into()),
        }
    }

    fn invalid(&self, text: &str) -> Diagnostic {
        let message = format!("invalid SOURCE_DATE_EPOCH: {text}");
        let declarations = self.file.global_args.iter().flat_map(|arg| &arg.value.declarations);
        let place = declarations.filter(|each| each.name.value == EPOCH).map(|each| each.name.span).next();
        let problem = Diagnostic::error("invalid-epoch", message, place.unwrap_or_default());
        let labels = if place.is_some() { problem.labels.clone() } else { Vec::new() };
        let problem = problem.with_help("give the seconds since 1970, such as `git log -1 --format=%ct` prints");
        Diagnostic { labels, ..problem }
    }

    /// Returns the only thing that a stage has.
    fn source_of(&self, text: &str, stage: &instruction::Stage) -> Result<graph::Source, Problems> {
        let wrong = |span: Span, why: &str| {
            let problem = Diagnostic::error("invalid-epoch", format!("invalid SOURCE_DATE_EPOCH: {text}"), span);
            let problem = problem.with_label(why);
            let help = "a stage that has a time is `FROM scratch`, any ARGs, and one ADD of a URL or a git repository";
            Problems::from(problem.with_help(help))
        };
        let undefined = Undefined::default();
        let mut environment = self.global.clone();
        environment.remove(EPOCH);
        if self.expander(&environment, &undefined).word(&stage.base)? != "scratch" {
            return Err(wrong(stage.base.span, "this stage has more than a source"));
        }
        let mut found = None;
        for step in &stage.steps {
            match &step.instruction {
                Instruction::Arg(arg) => self.declare(arg, &mut environment, &undefined)?,
                Instruction::Add(add) if found.is_none() => {
                    let source = remote_of(add, self.expander(&environment, &undefined))?;
                    found = Some(source.ok_or_else(|| wrong(step.span, "this is not one URL or git repository"))?);
                }
                _ => return Err(wrong(step.span, "this stage has more than a source")),
            }
        }
        found.ok_or_else(|| wrong(stage.span, "this stage has no source"))
    }

    fn expander<'e>(&self, environment: &'e Environment, undefined: &'e Undefined) -> Expander<'e> {
        Expander { escape: self.file.escape, environment, undefined }
    }

    /// Sets what a stage's ARG declares; what stands before the first FROM is seen without, as in BuildKit.
    fn declare(
        &self,
        arg: &instruction::Arg,
        environment: &mut Environment,
        undefined: &Undefined,
    ) -> Result<(), Problems> {
        for declaration in &arg.declarations {
            let name = &declaration.name.value;
            let value = match (self.options.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expander(environment, undefined).word(default)?),
                (None, None) => None,
            };
            if let Some(value) = value {
                environment.set(name, &value);
            }
        }
        Ok(())
    }
}

/// Returns what an ADD fetches if that is all it does.
fn remote_of(add: &instruction::Add, expander: Expander<'_>) -> Result<Option<graph::Source>, Problems> {
    let ([word], []) = (&add.sources[..], &add.inline[..]) else { return Ok(None) };
    let checksum = add.checksum.as_ref().map(|checksum| expander.word(checksum)).transpose()?;
    let remote = Remote::of_add(&expander.word(word)?, word.span, &Flags::of(add, checksum.as_deref()))?;
    Ok(remote.map(|remote| remote.source()))
}

/// Stands where no image is asked for.
pub(super) struct NoImages;

impl ResolveImage for NoImages {
    fn resolve(&self, _: &Reference, _: &Platform) -> Result<ResolvedImage, Unresolved> {
        Err(Unresolved::not_found("nobody is asked".to_owned()))
    }
}
