//! Upper and lower case: of instructions, of AS, of stages, and names that are used twice.

use std::collections::BTreeMap;

use super::{Rule, words};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Dockerfile, Instruction, Keyword};

/// Names of stages that mean something else to some builders.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut seen = BTreeMap::new();
    for instruction in super::named(&file.instructions, Keyword::From) {
        from_and_as(instruction, found);
        if let Some(name) = stage_name(instruction) {
            stage(name, &mut seen, found);
        }
    }
    // What stands before the first FROM is not counted: so does BuildKit.
    let first = file.instructions.iter().position(|instruction| instruction.keyword == Some(Keyword::From));
    instructions(&file.instructions[first.unwrap_or(file.instructions.len())..], found);
    for instruction in super::named(&file.instructions, Keyword::Maintainer) {
        let message = "Maintainer instruction is deprecated in favor of using label";
        let help = "write `LABEL org.opencontainers.image.authors=\"…\"`";
        found.push(Rule::MaintainerDeprecated.at(instruction.name.span, message).with_help(help));
    }
}

/// Returns the name after AS, as written.
pub(super) fn stage_name(from: &Instruction) -> Option<&Spanned<String>> {
    words(from).get(2)
}

fn stage<'a>(name: &'a Spanned<String>, seen: &mut BTreeMap<String, &'a Spanned<String>>, found: &mut Vec<Diagnostic>) {
    let lower = name.value.to_lowercase();
    if lower != name.value {
        let message = format!("Stage name '{}' should be lowercase", name.value);
        found.push(Rule::StageNameCasing.at(name.span, message).with_help(format!("write `{lower}`")));
    }
    if RESERVED.contains(&lower.as_str()) {
        let message = format!("Stage name should not use the same name as reserved stage \"{lower}\"");
        found.push(Rule::ReservedStageName.at(name.span, message));
    }
    match seen.get(&lower) {
        Some(first) => {
            let message = format!("Duplicate stage name \"{lower}\", stage names should be unique");
            found.push(Rule::DuplicateStageName.at(name.span, message).with_also(first.span, "first used here"));
        }
        None => drop(seen.insert(lower, name)),
    }
}

/// Returns AS as FROM is written; nothing where that is well, or FROM has no case of its own.
pub(super) fn from_and_as_fix(from: &Instruction) -> Option<(&Spanned<String>, String)> {
    let written = words(from).get(1)?;
    let case = Case::of(&from.name.value)?;
    let wanted = case.applied(&written.value);
    (wanted != written.value).then_some((written, wanted))
}

fn from_and_as(from: &Instruction, found: &mut Vec<Diagnostic>) {
    if let Some((written, wanted)) = from_and_as_fix(from) {
        let message = format!("'{}' and '{}' keywords' casing do not match", written.value, from.name.value);
        found.push(Rule::FromAsCasing.at(written.span, message).with_help(format!("write `{wanted}`")));
    }
}

fn instructions(all: &[Instruction], found: &mut Vec<Diagnostic>) {
    let majority = Case::of_majority(all);
    for name in all.iter().map(|instruction| &instruction.name).filter(|name| !majority.has(&name.value)) {
        let message =
            format!("Command '{}' should match the case of the command majority ({})", name.value, majority.as_str());
        let help = format!("write `{}`", majority.applied(&name.value));
        found.push(Rule::ConsistentInstructionCasing.at(name.span, message).with_help(help));
    }
}

/// A consistent case of letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
}

impl Case {
    /// Returns the case of a word that has one.
    fn of(word: &str) -> Option<Case> {
        [Case::Lower, Case::Upper].into_iter().find(|case| case.has(word))
    }

    /// Returns the case that most instructions have.
    pub(super) fn of_majority(all: &[Instruction]) -> Case {
        let count = |case| all.iter().filter(|instruction| Case::of(&instruction.name.value) == Some(case)).count();
        if count(Case::Lower) > count(Case::Upper) { Case::Lower } else { Case::Upper }
    }

    fn has(self, word: &str) -> bool {
        self.applied(word) == word
    }

    pub(super) fn applied(self, word: &str) -> String {
        match self {
            Case::Lower => word.to_lowercase(),
            Case::Upper => word.to_uppercase(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Case::Lower => "lowercase",
            Case::Upper => "uppercase",
        }
    }
}
