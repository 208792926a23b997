//! Which flags each instruction knows, and what was given.

use std::collections::BTreeSet;

use super::{Problems, seen_before};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Arguments, Flag, Instruction, Keyword, Text};
use crate::dockerfile::parse::MOST_FINDINGS;
use crate::dockerfile::suggest::{did_you_mean, nearest};

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing, `true` or `false`.
    Boolean,
    /// A value.
    Value,
    /// A value, as often as wanted.
    Values,
}

fn known(keyword: Keyword) -> &'static [(&'static str, Takes)] {
    use Takes::{Boolean, Value, Values};
    match keyword {
        Keyword::Add => &[
            ("checksum", Value),
            ("chmod", Value),
            ("chown", Value),
            ("exclude", Values),
            ("keep-git-dir", Boolean),
            ("link", Boolean),
            ("unpack", Boolean),
        ],
        Keyword::Copy => &[
            ("chmod", Value),
            ("chown", Value),
            ("exclude", Values),
            ("from", Value),
            ("link", Boolean),
            ("parents", Boolean),
        ],
        Keyword::From => &[("platform", Value)],
        Keyword::Healthcheck => &[
            ("interval", Value),
            ("retries", Value),
            ("start-interval", Value),
            ("start-period", Value),
            ("timeout", Value),
        ],
        Keyword::Run => &[("device", Values), ("mount", Values), ("network", Value), ("security", Value)],
        _ => &[],
    }
}

/// The flags of one instruction that are known and have the right kind of value.
pub(super) struct Flags<'a> {
    given: Vec<&'a Flag>,
}

impl<'a> Flags<'a> {
    /// Checks the flags of `instruction` and keeps the sound ones.
    pub(super) fn of(instruction: &'a Instruction, keyword: Keyword, problems: &mut Problems) -> Flags<'a> {
        if ignores_flags(instruction, keyword) {
            return Flags { given: Vec::new() };
        }
        let mut seen = BTreeSet::new();
        let mut given = Vec::new();
        for flag in &instruction.flags {
            // Each finding looks for what may have been meant, and nobody reads more of them.
            if problems.len() >= MOST_FINDINGS {
                break;
            }
            match problem(flag, keyword, &mut seen) {
                Some(found) => problems.push(found),
                None => given.push(flag),
            }
        }
        Flags { given }
    }

    /// Returns the value of a flag that takes one.
    pub(super) fn value(&self, name: &str) -> Option<&'a Text> {
        self.values(name).next()
    }

    /// Returns the value of a flag with its place.
    pub(super) fn spanned(&self, name: &str) -> Option<Spanned<String>> {
        self.value(name).map(spanned)
    }

    /// Returns the values of a flag that may be repeated.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a Text> {
        self.given.iter().filter(move |flag| flag.name.value == name).filter_map(|flag| flag.value.as_ref())
    }

    /// Returns whether a flag was given, and not as `=false`.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        let flag = self.given.iter().find(|flag| flag.name.value == name)?;
        Some(flag.value.as_ref().is_none_or(|value| value.as_str().eq_ignore_ascii_case("true")))
    }
}

pub(super) fn spanned(text: &Text) -> Spanned<String> {
    Spanned::new(text.as_str().to_owned(), text.span())
}

/// Other builders never look at the flags of these, so Dockerfiles with stray ones exist.
fn ignores_flags(instruction: &Instruction, keyword: Keyword) -> bool {
    let none = matches!(&instruction.arguments, Arguments::Health(kind, _) if kind.value.eq_ignore_ascii_case("none"));
    none || matches!(keyword, Keyword::Arg | Keyword::StopSignal)
}

fn problem<'a>(flag: &'a Flag, keyword: Keyword, seen: &mut BTreeSet<&'a str>) -> Option<Diagnostic> {
    let name = flag.name.value.as_str();
    let Some(&(_, takes)) = known(keyword).iter().find(|(known, _)| *known == name) else {
        return Some(unknown(flag, keyword));
    };
    if seen_before(seen, name) && takes != Takes::Values {
        let message = format!("duplicate flag `--{name}`");
        return Some(Diagnostic::error("duplicate-flag", message, flag.span).with_label("given again"));
    }
    match (takes, &flag.value) {
        (Takes::Value | Takes::Values, None) => {
            let message = format!("missing a value on flag `--{name}`");
            Some(Diagnostic::error("missing-flag-value", message, flag.span).with_label(format!("write `--{name}=…`")))
        }
        (Takes::Boolean, Some(value)) if !is_boolean(value.as_str()) => {
            let message = format!("expecting a boolean value for flag `--{name}`, not `{}`", value.as_str());
            Some(Diagnostic::error("invalid-flag-value", message, value.span()).with_label("must be `true` or `false`"))
        }
        _ => None,
    }
}

fn is_boolean(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

fn unknown(flag: &Flag, keyword: Keyword) -> Diagnostic {
    let known = known(keyword);
    let name = &flag.name.value;
    let label = match known {
        [] => format!("{} takes no flags", keyword.as_str()),
        _ => format!("not a flag of {}", keyword.as_str()),
    };
    let mut span = flag.name.span;
    // The dashes stand right before the name unless quotes or escapes came in between.
    span.start = flag.span.start;
    let finding = Diagnostic::error("unknown-flag", format!("unknown flag `--{name}`"), span).with_label(label);
    match did_you_mean(nearest(name, known.iter().map(|(known, _)| *known)), "--") {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}
