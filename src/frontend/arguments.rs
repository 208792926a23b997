use std::collections::BTreeSet;

use super::environment::{automatic, is_predefined};
use super::expand::{Expander, Undefined};
use super::stages::{Planner, name, without_place};
use super::{PlanOptions, Problems};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::instruction::{Instruction, Word};
use crate::dockerfile::nearest;

/// What the command line and its build arguments say to the plan as a whole.
impl Planner<'_> {
    /// Refuses languages that are not this one (semantics reference, section 2.5).
    pub(super) fn check_syntax(&mut self) {
        let given = self.options.build_args.get("BUILDKIT_SYNTAX");
        let span = self.file.syntax.as_ref().map_or(Span::new(0, 0), |syntax| syntax.span);
        let Some(syntax) = given.or(self.file.syntax.as_ref().map(|syntax| &syntax.value)) else { return };
        let first = syntax.split(' ').next().unwrap_or_default();
        let name = first.strip_prefix("docker.io/").unwrap_or(first);
        let name = name.split(['@', ':']).next().unwrap_or_default();
        if !matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0") {
            let message = format!("the syntax `{first}` is not supported");
            let problem = Diagnostic::error("unsupported-syntax", message, span);
            self.problems.push(problem.with_help("kiln reads the language of `docker/dockerfile`, and no other"));
        }
    }

    /// Returns the stage that is asked for.
    pub(super) fn target(&mut self) -> Option<usize> {
        let last = self.file.stages.len() - 1;
        let Some(wanted) = &self.options.target else { return Some(last) };
        let lowered = wanted.to_lowercase();
        let found = self.file.stages.iter().rposition(|stage| name(stage) == Some(&lowered));
        if found.is_none() {
            let names: Vec<&str> = self.file.stages.iter().filter_map(name).collect();
            let near = nearest(wanted, names.iter().copied());
            let stage = self.file.stages.iter().find(|stage| near.is_some() && name(stage) == near);
            let span = stage.unwrap_or(&self.file.stages[last]).span;
            let message = format!("target stage \"{wanted}\" could not be found");
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "name a stage with `FROM … AS name`".to_owned(),
                None => format!("the stages are: {}", names.join(", ")),
            };
            self.problems.push(Diagnostic::error("unknown-target", message, span).with_help(help));
        }
        found
    }

    pub(super) fn set_global_arguments(&mut self, target: usize) {
        let stages = &self.file.stages;
        let target_name = match (&self.options.target, name(&stages[target])) {
            (Some(asked), _) => asked.as_str(),
            (None, name) => name.unwrap_or("default"),
        };
        self.global = automatic(self.options, self.platform(None), target_name);
        for declaration in self.file.global_args.iter().flat_map(|arg| &arg.value.declarations) {
            let name = &declaration.name.value;
            let value = match (self.options.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => self.expand_global(default),
                (None, None) => None,
            };
            if let Some(value) = value {
                self.global.set(name, &value);
            }
        }
    }

    fn expand_global(&mut self, word: &Word) -> Option<String> {
        let undefined = Undefined::default();
        let expander = Expander { escape: self.file.escape, environment: &self.global, undefined: &undefined };
        let expanded = expander.word(word);
        self.report(expanded)
    }

    /// Warns of build arguments that no ARG of the file declares; most are typing mistakes.
    pub(super) fn warn_of_unread_arguments(&mut self) {
        let of_stages = self.file.stages.iter().flat_map(|stage| &stage.steps).filter_map(|step| {
            let Instruction::Arg(arg) = &step.instruction else { return None };
            Some(arg)
        });
        let all = self.file.global_args.iter().map(|arg| &arg.value).chain(of_stages);
        let declared: BTreeSet<&str> =
            all.flat_map(|arg| &arg.declarations).map(|declaration| declaration.name.value.as_str()).collect();
        for name in self.options.build_args.keys() {
            if declared.contains(name.as_str()) || is_predefined(name) {
                continue;
            }
            let message = format!("no ARG reads the build argument `{name}`");
            let help = nearest(name, declared.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let warning = Diagnostic::warning("unread-build-arg", message, Span::default());
            // There is no place in the text for what is not in it.
            self.warnings.push(Diagnostic { labels: Vec::new(), help, ..warning });
        }
    }
}

/// Tells whether an index is to be made: for several platforms, or because a build argument asks for one (section 6.9).
pub(super) fn multi_platform(options: &PlanOptions) -> Result<bool, Problems> {
    const NAME: &str = "BUILDKIT_MULTI_PLATFORM";
    let is_several = options.platforms.len() > 1;
    // As Go reads them, whose words people write here.
    match options.build_args.get(NAME).map_or("", String::as_str) {
        "" => Ok(is_several),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" if !is_several => Ok(false),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => {
            let message = format!("`{NAME}` forbids the index that a build for several platforms makes");
            Err(without_place("conflicting-platforms", message).into())
        }
        other => {
            let message = format!("invalid boolean value for multi-platform: {other}");
            Err(without_place("invalid-build-arg", message).into())
        }
    }
}
