//! Who is heard: the `check` directive, the comments above instructions, and the levels of the rules.

use std::collections::BTreeSet;

use super::rules::{Group, Level, Rule};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::ast::{DirectiveKey, Dockerfile};

/// What the findings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// An image is built.
    Build,
    /// Somebody wants to know what could be better.
    Check,
}

/// Which findings of a file are wanted, and whether any of them forbids a build.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    whole: Options,
    /// What comments above an instruction say about it, in the order of the file.
    local: Vec<(Span, Options)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    skip: Rules,
    experimental: Rules,
    error: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rules {
    all: bool,
    names: BTreeSet<String>,
}

impl Rules {
    fn read(text: &str) -> Rules {
        let text = text.trim();
        if text == "all" {
            return Rules { all: true, names: BTreeSet::new() };
        }
        let names = text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Rules { all: false, names: names.collect() }
    }

    fn name(&self, rule: Rule) -> bool {
        self.names.contains(rule.name())
    }
}

impl Options {
    /// Reads `skip=…;experimental=…;error=…`, or says which option is none.
    fn read(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for option in text.splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let (key, value) = option.split_once('=').ok_or_else(|| option.to_owned())?;
            match key.trim() {
                "skip" => options.skip = Rules::read(value),
                "experimental" => options.experimental = Rules::read(value),
                "error" => options.error = boolean(value.trim()).ok_or_else(|| option.to_owned())?,
                other => return Err(other.to_owned()),
            }
        }
        Ok(options)
    }

    fn merge(&mut self, other: Options) {
        self.skip.all |= other.skip.all;
        self.skip.names.extend(other.skip.names);
        self.experimental.all |= other.experimental.all;
        self.experimental.names.extend(other.experimental.names);
    }

    fn skips(&self, rule: Rule) -> bool {
        self.skip.all || self.skip.name(rule)
    }

    fn asks_for(&self, rule: Rule, occasion: Occasion) -> bool {
        // `all` means BuildKit's in a build, so that a file with `error=true` builds here where it builds there.
        let every = self.experimental.all && (occasion == Occasion::Check || rule.group() == Group::BuildKit);
        every || self.experimental.name(rule)
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `BUILDKIT_DOCKERFILE_CHECK` holds no check options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse check options: invalid check option \"{0}\"")]
pub struct InvalidOption(String);

impl Controls {
    /// Returns what a file says, or `given` instead of its directive.
    ///
    /// # Errors
    /// [`InvalidOption`] of `given`; what is wrong in the file is found when it is lowered.
    pub fn of(file: &Dockerfile, given: Option<&str>) -> Result<Controls, InvalidOption> {
        let whole = match given {
            Some(given) => Options::read(given).map_err(InvalidOption)?,
            None => file
                .directive(DirectiveKey::Check)
                .and_then(|options| Options::read(&options.value).ok())
                .unwrap_or_default(),
        };
        let local = file.instructions.iter().filter_map(|instruction| {
            let mut options = Options::default();
            instruction
                .comments
                .iter()
                .filter_map(|comment| local(&comment.value))
                .for_each(|more| options.merge(more));
            (options != Options::default()).then_some((instruction.span, options))
        });
        Ok(Controls { whole, local: local.collect() })
    }

    /// Tells whether a finding forbids a build.
    pub fn forbids(&self) -> bool {
        self.whole.error
    }

    /// Returns the findings that are wanted, each once, in the order of their places. What is no rule's is kept.
    pub fn select(&self, found: impl IntoIterator<Item = Diagnostic>, occasion: Occasion) -> Vec<Diagnostic> {
        let mut seen = BTreeSet::new();
        let mut wanted: Vec<Diagnostic> = found
            .into_iter()
            .filter(|finding| Rule::named(finding.code).is_none_or(|rule| self.admits(rule, place(finding), occasion)))
            .filter(|finding| seen.insert((finding.code, place(finding), finding.message.clone())))
            .collect();
        wanted.sort_by_key(place);
        wanted
    }

    fn admits(&self, rule: Rule, place: Option<Span>, occasion: Occasion) -> bool {
        let local = place.and_then(|place| self.around(place));
        if self.whole.skips(rule) || local.is_some_and(|local| local.skips(rule)) {
            return false;
        }
        let asked = self.whole.asks_for(rule, occasion) || local.is_some_and(|local| local.asks_for(rule, occasion));
        match rule.level() {
            Level::Always => true,
            Level::Check => occasion == Occasion::Check || asked,
            Level::Asked => asked,
        }
    }

    /// Returns what is said about the instruction at `place`.
    fn around(&self, place: Span) -> Option<&Options> {
        let after = self.local.partition_point(|(span, _)| span.start <= place.start);
        let (span, options) = self.local.get(after.checked_sub(1)?)?;
        (place.start <= span.end).then_some(options)
    }
}

fn place(finding: &Diagnostic) -> Option<Span> {
    finding.labels.first().map(|(span, _)| *span)
}

/// Reads a comment such as `check=skip=Rule // reason`. A malformed one is an ordinary comment.
fn local(comment: &str) -> Option<Options> {
    let (key, value) = comment.split_once('=')?;
    if !key.trim_end().eq_ignore_ascii_case("check") {
        return None;
    }
    let value = value.split_whitespace().next()?;
    Options::read(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::dockerfile::parse;

    /// Returns the rules that speak when all of them have found something at `word`.
    fn heard(text: &str, given: Option<&str>, word: &str, occasion: Occasion) -> Vec<&'static str> {
        let file = parse(&Source::new("Dockerfile", text)).ast;
        let start = text.rfind(word).unwrap();
        let span = Span::new(start, start + word.len());
        let found =
            [Rule::UndefinedVar, Rule::InvalidDefinitionDescription, Rule::UnpinnedBaseImage, Rule::AptGetRecommends];
        let found = found.map(|rule| rule.at(span, "found"));
        let selected = Controls::of(&file, given).unwrap().select(found, occasion);
        selected.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn controls_choose_the_rules_that_speak() {
        use Occasion::{Build, Check};
        let all = ["UndefinedVar", "InvalidDefinitionDescription", "UnpinnedBaseImage", "AptGetRecommends"];
        for (text, given, occasion, expected) in [
            ("FROM a", None, Build, &["UndefinedVar"][..]),
            ("FROM a", None, Check, &["UndefinedVar", "UnpinnedBaseImage"]),
            ("# check=skip=all\nFROM a", None, Check, &[]),
            ("# check=skip=UndefinedVar, Other\nFROM a", None, Check, &["UnpinnedBaseImage"]),
            ("# check=experimental=all\nFROM a", None, Build, &all[..2]),
            ("# check=experimental=all\nFROM a", None, Check, &all),
            ("# check=experimental=UnpinnedBaseImage;skip=UndefinedVar\nFROM a", None, Build, &["UnpinnedBaseImage"]),
            ("# check=skip=all\nFROM a", Some("skip=Other"), Build, &["UndefinedVar"]),
            ("FROM a\n# check=skip=UndefinedVar // known\nRUN a", None, Build, &[]),
            ("FROM a\n# check=skip=UndefinedVar\nRUN b\nRUN a", None, Build, &["UndefinedVar"]),
            ("FROM a\n# check=skip=UndefinedVar\n#\nRUN a", None, Build, &["UndefinedVar"]),
            ("FROM a\n# check=skip\nRUN a", None, Build, &["UndefinedVar"]),
            (
                "FROM a\n# check=experimental=AptGetRecommends\nRUN a",
                None,
                Build,
                &["UndefinedVar", "AptGetRecommends"],
            ),
        ] {
            assert_eq!(heard(text, given, "a", occasion), expected, "{text} {given:?}");
        }
    }

    #[test]
    fn an_option_that_is_none_is_named() {
        let file = parse(&Source::new("Dockerfile", "# check=error=true\nFROM a")).ast;
        assert!(Controls::of(&file, None).unwrap().forbids());
        assert!(!Controls::of(&file, Some("")).unwrap().forbids());
        let refused = Controls::of(&file, Some("skip=a;bad")).unwrap_err();
        assert_eq!(refused.to_string(), "failed to parse check options: invalid check option \"bad\"");
    }

    #[test]
    fn a_finding_is_told_once() {
        let finding = Rule::UndefinedVar.at(Span::new(0, 1), "x");
        let other = Rule::UndefinedVar.at(Span::new(0, 1), "y");
        let told = Controls::default().select([finding.clone(), finding, other], Occasion::Build);
        assert_eq!(told.len(), 2);
    }
}
