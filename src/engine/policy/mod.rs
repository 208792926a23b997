//! Source policies: what a build may use, and what it uses instead (semantics reference, section 15.4).
//!
//! Every source is judged by its name before anybody looks for it. The last rule that is about it decides between ALLOW and
//! DENY; a CONVERT makes another source of it, which is judged from the first rule on.

mod rule;
mod subject;

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, file_error};
use crate::diagnostic::{self, Diagnostic, Span};
use crate::graph::{Git, Http, Source};
use crate::oci::Reference;

use rule::{Action, Rule};
use subject::Subject;

/// So many conversions of one source are a circle, to BuildKit, too.
const MOST_CONVERSIONS: usize = 20;

/// The rules of a build; without any, everything may be used.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// The file's name.
    name: String,
    rules: Vec<Rule>,
}

/// Why a source may not be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A rule denies it.
    #[error("source {identifier:?} denied by policy: rule {rule} of {file} is DENY {selector}")]
    Denied {
        /// What was to be used.
        identifier: String,
        /// From 1.
        rule: usize,
        /// The policy.
        file: String,
        /// What the rule is about.
        selector: String,
    },
    /// Rules make one source of another, and on.
    #[error("source {identifier:?}: the CONVERT rules of {file} have no end")]
    Endless {
        /// What was to be used.
        identifier: String,
        /// The policy.
        file: String,
    },
    /// A rule makes something of a source that it cannot be.
    #[error("a policy makes {to:?} of the source {from:?}, which is of another kind")]
    Conversion {
        /// What was to be used.
        from: String,
        /// What it was to be.
        to: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText<'a> {
    #[serde(default, rename = "version")]
    _version: i64,
    #[serde(default, borrow)]
    rules: Vec<&'a RawValue>,
}

impl Policy {
    /// Reads a policy; no file has no rules.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Diagnostics`] for what is wrong in it.
    pub(super) fn load(path: Option<&Path>) -> Result<Policy, Error> {
        let Some(path) = path else { return Ok(Policy::default()) };
        let text = fs::read_to_string(path).map_err(file_error("read", path))?;
        Policy::parse(&path.display().to_string(), &text)
    }

    fn parse(name: &str, text: &str) -> Result<Policy, Error> {
        let wrong = |found| Error::Diagnostics { file: diagnostic::Source::new(name, text), found };
        let parsed: PolicyText<'_> = serde_json::from_str(text).map_err(|error| {
            let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let end = (before + error.column()).min(text.len());
            let end = (end..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
            // The line as far as it makes sense.
            wrong(vec![problem(&error, Span::new(before.min(end), end))])
        })?;
        let (mut rules, mut found) = (Vec::new(), Vec::new());
        for raw in parsed.rules {
            match serde_json::from_str(raw.get()) {
                Ok(rule) => rules.push(rule),
                Err(error) => {
                    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
                    found.push(problem(&error, Span::new(start, start + raw.get().len())));
                }
            }
        }
        if found.is_empty() { Ok(Policy { name: name.to_owned(), rules }) } else { Err(wrong(found)) }
    }

    /// Returns the image that is used for `reference`.
    pub(super) fn image(&self, reference: &Reference, pull: bool) -> Result<Reference, PolicyError> {
        let subject = Subject::of_image(reference, pull);
        let judged = self.judge(&subject)?;
        if judged == subject {
            return Ok(reference.clone());
        }
        judged.image().ok_or_else(|| judged.unconvertible(&subject))
    }

    /// Tells whether an image in a layout on this machine may be used.
    pub(super) fn layout(&self, reference: &Reference) -> Result<(), PolicyError> {
        self.unchanged(&Subject::of_layout(reference))
    }

    /// Tells whether a directory of this machine may be used.
    pub(super) fn local(&self, name: &str) -> Result<(), PolicyError> {
        self.unchanged(&Subject::of_local(name))
    }

    /// Returns the source that is used for `source`.
    pub(super) fn source(&self, source: &Source) -> Result<Source, PolicyError> {
        let Some(subject) = Subject::of_source(source).filter(|_| !self.rules.is_empty()) else {
            return Ok(source.clone());
        };
        let judged = self.judge(&subject)?;
        if judged == subject {
            return Ok(source.clone());
        }
        judged.source(source).ok_or_else(|| judged.unconvertible(&subject))
    }

    /// Returns the file that is used for `http`.
    pub(super) fn http(&self, http: &Http) -> Result<Http, PolicyError> {
        match self.source(&Source::Http(http.clone()))? {
            Source::Http(http) => Ok(http),
            _ => unreachable!("a source keeps its kind"),
        }
    }

    /// Returns the repository that is used for `git`.
    pub(super) fn git(&self, git: &Git) -> Result<Git, PolicyError> {
        match self.source(&Source::Git(git.clone()))? {
            Source::Git(git) => Ok(git),
            _ => unreachable!("a source keeps its kind"),
        }
    }

    fn unchanged(&self, subject: &Subject) -> Result<(), PolicyError> {
        let judged = self.judge(subject)?;
        if judged == *subject { Ok(()) } else { Err(judged.unconvertible(subject)) }
    }

    fn judge(&self, subject: &Subject) -> Result<Subject, PolicyError> {
        let mut judged = subject.clone();
        for _ in 0..=MOST_CONVERSIONS {
            match self.pass(&judged)? {
                Some(converted) => judged = converted,
                None => return Ok(judged),
            }
        }
        Err(PolicyError::Endless { identifier: subject.shown(), file: self.name.clone() })
    }

    /// Returns what the first conversion that changes anything makes of a source; nothing where there is none.
    fn pass(&self, subject: &Subject) -> Result<Option<Subject>, PolicyError> {
        let mut denied = None;
        for (number, rule) in (1..).zip(&self.rules) {
            let Some(form) = rule.selector.select(subject) else { continue };
            match &rule.action {
                Action::Allow => denied = None,
                Action::Deny => denied = Some((number, rule)),
                Action::Convert(updates) => {
                    if let Some(converted) = updates.apply(subject, &rule.selector, form) {
                        return Ok(Some(converted));
                    }
                }
            }
        }
        let Some((rule, denying)) = denied else { return Ok(None) };
        let selector = denying.selector.identifier.clone();
        Err(PolicyError::Denied { identifier: subject.shown(), rule, file: self.name.clone(), selector })
    }
}

fn problem(error: &serde_json::Error, span: Span) -> Diagnostic {
    let message = error.to_string();
    // The place is told otherwise.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Diagnostic::error("invalid-policy", message, span)
}

#[cfg(test)]
mod tests;
