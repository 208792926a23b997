use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use super::subject::{CHECKSUMS, Subject};
use crate::oci::Digest;

/// One rule of a policy: what becomes of the sources it is about.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RuleText")]
pub(super) struct Rule {
    pub(super) action: Action,
    pub(super) selector: Selector,
}

/// What a rule does.
#[derive(Debug)]
pub(super) enum Action {
    Allow,
    Deny,
    /// Makes another source of it.
    Convert(Updates),
}

/// What another source has otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "UpdatesText")]
pub(super) struct Updates {
    /// None is the one that there is. What a selector found stands for `$1` and so on.
    identifier: Option<String>,
    attributes: BTreeMap<String, String>,
}

/// Which sources a rule is about.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SelectorText")]
pub(super) struct Selector {
    pub(super) identifier: String,
    pattern: Pattern,
    constraints: Vec<Constraint>,
}

#[derive(Debug)]
enum Pattern {
    Exact,
    /// The whole of an identifier.
    Wildcard(Regex),
    /// Any part of an identifier.
    Regex(Regex),
}

/// What an attribute of a source must be; one that is not there is empty.
#[derive(Debug, Deserialize)]
#[serde(try_from = "ConstraintText")]
struct Constraint {
    key: String,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default)]
    action: ActionText,
    selector: Selector,
    updates: Option<Updates>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ActionText {
    #[default]
    Allow,
    Deny,
    Convert,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatesText {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorText {
    identifier: String,
    // Go's JSON has the name of the field, that of protobuf has the other one.
    #[serde(default, rename = "matchType", alias = "match_type")]
    match_type: MatchText,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MatchText {
    #[default]
    Wildcard,
    Exact,
    Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConstraintText {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: ConditionText,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ConditionText {
    #[default]
    Equal,
    NotEqual,
    Matches,
}

impl TryFrom<RuleText> for Rule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Rule, String> {
        let action = match (text.action, text.updates) {
            (ActionText::Allow, _) => Action::Allow,
            (ActionText::Deny, _) => Action::Deny,
            (ActionText::Convert, Some(updates)) => Action::Convert(updates),
            (ActionText::Convert, None) => return Err("a rule that is a CONVERT needs `updates`".to_owned()),
        };
        Ok(Rule { action, selector: text.selector })
    }
}

impl TryFrom<UpdatesText> for Updates {
    type Error = String;

    fn try_from(text: UpdatesText) -> Result<Updates, String> {
        for (name, value) in &text.attrs {
            if !CHECKSUMS.contains(&name.as_str()) {
                return Err(format!("`{name}` cannot be set; what can is {}", CHECKSUMS.join(" and ")));
            }
            if name == CHECKSUMS[0] {
                value.parse::<Digest>().map_err(|error| format!("invalid checksum `{value}`: {error}"))?;
            }
        }
        let identifier = Some(text.identifier).filter(|identifier| !identifier.is_empty());
        Ok(Updates { identifier, attributes: text.attrs })
    }
}

impl TryFrom<SelectorText> for Selector {
    type Error = String;

    fn try_from(text: SelectorText) -> Result<Selector, String> {
        let pattern = match text.match_type {
            MatchText::Exact => Pattern::Exact,
            MatchText::Regex => Pattern::Regex(regex(&text.identifier)?),
            MatchText::Wildcard if text.identifier.contains("**") => {
                return Err(format!("invalid wildcard `{}`: one `*` is as much as two", text.identifier));
            }
            MatchText::Wildcard => {
                let parts: Vec<String> = text.identifier.split('*').map(regex::escape).collect();
                Pattern::Wildcard(regex(&format!("^{}$", parts.join("(.*)")))?)
            }
        };
        Ok(Selector { identifier: text.identifier, pattern, constraints: text.constraints })
    }
}

impl TryFrom<ConstraintText> for Constraint {
    type Error = String;

    fn try_from(text: ConstraintText) -> Result<Constraint, String> {
        let condition = match text.condition {
            ConditionText::Equal => Condition::Equal(text.value),
            ConditionText::NotEqual => Condition::NotEqual(text.value),
            ConditionText::Matches => Condition::Matches(regex(&text.value)?),
        };
        Ok(Constraint { key: text.key, condition })
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        // Its own message draws the place, over several lines.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        format!("invalid regular expression `{text}`: {why}")
    })
}

impl Selector {
    /// Returns the form of a source's identifier that the rule is about; nothing where it is about others.
    pub(super) fn select<'s>(&self, subject: &'s Subject) -> Option<&'s str> {
        let is_met = |constraint: &Constraint| constraint.is_met(subject);
        self.constraints.iter().all(is_met).then(|| subject.forms().find(|form| self.is_about(form)))?
    }

    fn is_about(&self, identifier: &str) -> bool {
        identifier == self.identifier
            || match &self.pattern {
                Pattern::Exact => false,
                Pattern::Wildcard(regex) | Pattern::Regex(regex) => regex.is_match(identifier),
            }
    }

    fn format(&self, identifier: &str, to: &str) -> String {
        match &self.pattern {
            Pattern::Exact => to.to_owned(),
            Pattern::Regex(regex) => regex.replace_all(identifier, to).into_owned(),
            Pattern::Wildcard(regex) => {
                let mut formatted = String::new();
                match regex.captures(identifier) {
                    Some(captures) => captures.expand(to, &mut formatted),
                    None => to.clone_into(&mut formatted),
                }
                formatted
            }
        }
    }
}

impl Constraint {
    fn is_met(&self, subject: &Subject) -> bool {
        let value = subject.attributes.get(&self.key).map_or("", String::as_str);
        match &self.condition {
            Condition::Equal(expected) => value == expected,
            Condition::NotEqual(other) => value != other,
            Condition::Matches(regex) => regex.is_match(value),
        }
    }
}

impl Updates {
    /// Returns what a source becomes, of which the selector found `form`; nothing where it stays the same.
    pub(super) fn apply(&self, subject: &Subject, selector: &Selector, form: &str) -> Option<Subject> {
        let mut updated = subject.clone();
        if let Some(identifier) = &self.identifier {
            updated.identifier = selector.format(form, identifier);
        }
        updated.attributes.extend(self.attributes.clone());
        (updated != *subject).then_some(updated)
    }
}
