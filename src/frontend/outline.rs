//! What a build can be given: arguments, secrets and agents of the stages it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::environment::Environment;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::instruction::{ArgDeclaration, Instruction, Mount, MountKind, Word};
use crate::dockerfile::{decide_mount, shell};

use super::stages::Planner;

/// What a build can be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage that is built, counted from 0.
    pub target: usize,
    /// Those that something needs, in the order of their places.
    pub arguments: Vec<Argument>,
    /// In the order of their places.
    pub secrets: Vec<Given>,
    /// Agent sockets, in the order of their places.
    pub agents: Vec<Given>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it is where nobody says otherwise, or what was given.
    pub value: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// Where it is mounted first.
    pub span: Span,
}

/// An ARG as a stage followed it.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) stage: usize,
    pub(super) argument: Argument,
    /// Whether it only shows what stands before the first FROM.
    pub(super) is_inherited: bool,
}

impl Planner<'_> {
    /// Returns what the planned stages use.
    pub(super) fn outline(&self, target: usize) -> Outline {
        let mut names = self.used_globally();
        names.extend(self.declared.iter().map(|declared| declared.argument.name.clone()));
        let mut arguments: BTreeMap<&str, Argument> = BTreeMap::new();
        // What the target says about a name comes before what the stages below it say, and a later word before an earlier.
        let own = self.declared.iter().filter(|declared| !declared.is_inherited);
        let mut own: Vec<&Declared> = own.collect();
        own.sort_by_key(|declared| (declared.stage == target, declared.stage, declared.argument.span));
        arguments.extend(own.iter().map(|declared| (declared.argument.name.as_str(), declared.argument.clone())));
        for declaration in self.global_declarations() {
            let name = &declaration.name.value;
            if names.contains(name) && !own.iter().any(|declared| declared.argument.name == *name) {
                let value = self.global.get(name).map(str::to_owned);
                let argument = Argument { name: name.clone(), value, span: declaration.name.span };
                arguments.insert(name, argument);
            }
        }
        let mut arguments: Vec<Argument> = arguments.into_values().collect();
        arguments.sort_by_key(|argument| argument.span);
        Outline { target, arguments, secrets: self.given(MountKind::Secret), agents: self.given(MountKind::Ssh) }
    }

    fn global_declarations(&self) -> impl Iterator<Item = &ArgDeclaration> {
        self.file.global_args.iter().flat_map(|arg| &arg.value.declarations)
    }

    /// Returns the names that the FROMs of planned stages use, and those that their defaults do.
    fn used_globally(&self) -> BTreeSet<String> {
        let planned = self.planned_stages();
        let words = planned.flat_map(|(stage, _)| {
            let stage = &self.file.stages[stage];
            std::iter::once(&stage.base).chain(&stage.platform)
        });
        let mut open: Vec<String> = words.flat_map(|word| self.uses(word)).collect();
        open.extend(self.declared.iter().filter(|it| it.is_inherited).map(|it| it.argument.name.clone()));
        let mut used = BTreeSet::new();
        while let Some(name) = open.pop() {
            let default =
                self.global_declarations().find(|it| it.name.value == name).and_then(|it| it.default.as_ref());
            if used.insert(name) {
                open.extend(default.into_iter().flat_map(|default| self.uses(default)));
            }
        }
        used
    }

    fn uses(&self, word: &Word) -> Vec<String> {
        let expanded = shell::expand(&word.value, self.file.escape, &|name| self.global.get(name).map(str::to_owned));
        expanded.map_or_else(|_| Vec::new(), |it| it.uses.into_iter().map(|used| used.name).collect())
    }

    fn given(&self, kind: MountKind) -> Vec<Given> {
        let mut found: BTreeMap<String, Given> = BTreeMap::new();
        for (stage, environment) in self.planned_stages() {
            let runs = self.file.stages[stage].steps.iter().filter_map(|step| match &step.instruction {
                Instruction::Run(run) => Some(run),
                _ => None,
            });
            for (mount, span) in runs.flat_map(|run| &run.mounts).filter_map(|mount| self.decided(mount, environment)) {
                if mount.kind == kind {
                    let id = self.id(&mount, environment);
                    let required = mount.required.unwrap_or_default();
                    let given = found.entry(id.clone()).or_insert(Given { id, required, span });
                    given.required |= required;
                }
            }
        }
        let mut found: Vec<Given> = found.into_values().collect();
        found.sort_by_key(|given| given.span);
        found
    }

    /// Returns what a mount is with its variables expanded; nothing where that has been reported.
    fn decided(&self, mount: &Spanned<Mount>, environment: &Environment) -> Option<(Mount, Span)> {
        if mount.value.undecided.is_empty() {
            return Some((mount.value.clone(), mount.span));
        }
        let decided = decide_mount(mount, |word| Ok::<_, Vec<Diagnostic>>(self.expanded(word, environment)));
        Some((decided.ok()?, mount.span))
    }

    fn expanded(&self, word: &Word, environment: &Environment) -> String {
        let value = |name: &str| environment.get(name).map(str::to_owned);
        let expanded = shell::expand(&word.value, self.file.escape, &value);
        expanded.map_or_else(|_| word.value.clone(), |it| it.text)
    }

    fn id(&self, mount: &Mount, environment: &Environment) -> String {
        let value = |word: &Option<Word>| Some(self.expanded(word.as_ref()?, environment));
        let by_name = value(&mount.id).or_else(|| value(&mount.source)).filter(|id| !id.is_empty());
        let by_target = || value(&mount.target)?.rsplit('/').next().map(str::to_owned);
        match mount.kind {
            MountKind::Ssh => by_name.unwrap_or_else(|| "default".to_owned()),
            _ => by_name.or_else(by_target).unwrap_or_default(),
        }
    }
}
