use std::ops::RangeInclusive;
use std::sync::Arc;

use super::check::{Lines, Stored, plan_options};
use super::contexts::MainContext;
use super::dockerfile::{self, Loaded};
use super::policy::Policy;
use super::resolve::Resolver;
use super::targets::description;
use super::{BuildOptions, Engine, Error, build};
use crate::diagnostic::{Source, Span};
use crate::dockerfile::instruction;
use crate::dockerfile::lint::docstring;
use crate::frontend::{self, Plan};
use crate::solve::Observe;
use crate::sys::Cancel;

/// What a build can be given.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The text.
    pub source: Source,
    /// The stage that is built; none where it has no name.
    pub name: Option<String>,
    /// What a comment says about it.
    pub description: Option<String>,
    /// The build arguments that something needs.
    pub arguments: Vec<OutlineArgument>,
    /// The secrets that steps mount.
    pub secrets: Vec<OutlineItem>,
    /// The agents that steps mount.
    pub agents: Vec<OutlineItem>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// What a comment says about it.
    pub description: Option<String>,
    /// What it is where nobody says otherwise, or what was given.
    pub value: Option<String>,
    /// The lines of its ARG.
    pub lines: RangeInclusive<usize>,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineItem {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The lines of the step that mounts it first.
    pub lines: RangeInclusive<usize>,
}

impl Engine {
    /// Returns what a build can be given. Of base images, only what the store knows is looked at.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn outline(
        &self,
        options: &BuildOptions,
        observer: &Arc<dyn Observe>,
        cancel: &Cancel,
    ) -> Result<Outline, Error> {
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let loaded = dockerfile::load(options.file.as_ref(), &context)?;
        let client = self.client(&options.insecure_registries);
        let images = Stored(Resolver { engine: self, registry: &client, pull: false, observer, cancel });
        let outline = frontend::outline(&loaded.source, &loaded.file, &plan_options(&loaded, options), &images);
        let found = outline.map_err(|found| Error::Diagnostics { file: loaded.source.clone(), found })?;
        Ok(described(&loaded, found))
    }

    /// Returns what a build file means, typed and unexpanded, with its text.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn instructions(
        &self,
        options: &BuildOptions,
        cancel: &Cancel,
    ) -> Result<(Source, instruction::Dockerfile), Error> {
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let loaded = dockerfile::load(options.file.as_ref(), &context)?;
        Ok((loaded.source, loaded.file))
    }

    /// Plans a build and returns the plan; images are resolved as a build does it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn plan(&self, options: &BuildOptions, observer: &Arc<dyn Observe>, cancel: &Cancel) -> Result<Plan, Error> {
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let loaded = dockerfile::load(options.file.as_ref(), &context)?;
        let client = self.client(&options.insecure_registries);
        let resolver = Resolver { engine: self, registry: &client, pull: options.pull, observer, cancel };
        let policy = Policy::load(options.source_policy.as_deref())?;
        let images = build::Images { resolver, policy: &policy };
        let options = plan_options(&loaded, options);
        frontend::plan(&loaded.source, &loaded.file, &options, &images)
            .map_err(|found| Error::Diagnostics { file: loaded.source.clone(), found })
    }
}

/// Adds what comments say.
fn described(loaded: &Loaded, found: frontend::Outline) -> Outline {
    let stage = &loaded.file.stages[found.target];
    let lines = Lines::of(&loaded.source);
    let place = |span: Span| lines.range(instruction_at(loaded, span).map_or(span, |instruction| instruction.span));
    let argument = |argument: frontend::Argument| OutlineArgument {
        description: instruction_at(loaded, argument.span)
            .and_then(|instruction| docstring(&instruction.comments, &argument.name))
            .map(str::to_owned),
        lines: place(argument.span),
        name: argument.name,
        value: argument.value,
    };
    let item =
        |given: frontend::Given| OutlineItem { lines: place(given.span), name: given.id, required: given.required };
    Outline {
        source: loaded.source.clone(),
        name: stage.name.as_ref().map(|name| name.value.clone()),
        description: description(&loaded.ast, found.target, stage),
        arguments: found.arguments.into_iter().map(argument).collect(),
        secrets: found.secrets.into_iter().map(item).collect(),
        agents: found.agents.into_iter().map(item).collect(),
    }
}

fn instruction_at(loaded: &Loaded, span: Span) -> Option<&crate::dockerfile::ast::Instruction> {
    let all = &loaded.ast.instructions;
    let after = all.partition_point(|instruction| instruction.span.start <= span.start);
    all.get(after.checked_sub(1)?).filter(|instruction| span.start <= instruction.span.end)
}
