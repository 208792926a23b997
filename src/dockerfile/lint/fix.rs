//! Findings with a mechanical fix that changes nothing about the image (but for MAINTAINER, which becomes a label).

use std::collections::BTreeSet;

use super::Rule;
use super::casing::{Case, from_and_as_fix, stage_name};
use crate::diagnostic::{Diagnostic, Source, Span, Spanned};
use crate::dockerfile::ast::{Arguments, Dockerfile, Instruction, Keyword, Pair};

/// Text to put in the place of other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What goes.
    pub span: Span,
    /// What comes.
    pub text: String,
}

/// Returns the edits that mend what `found` names, in the order of their places; none touches another.
///
/// What two fixes would change is left to the next round, and what a continued line tears apart is left alone.
pub fn fixes(file: &Dockerfile, source: &Source, found: &[Diagnostic]) -> Vec<Edit> {
    let wanted: BTreeSet<(&str, Span)> =
        found.iter().filter_map(|finding| Some((finding.code, finding.labels.first()?.0))).collect();
    let first = file.instructions.iter().position(|instruction| instruction.keyword == Some(Keyword::From));
    let majority = Case::of_majority(&file.instructions[first.unwrap_or(file.instructions.len())..]);
    let fixer = Fixer { file, source, wanted, majority };
    let mut edits: Vec<Vec<Edit>> =
        file.instructions.iter().flat_map(|instruction| fixer.instruction(instruction)).collect();
    edits.sort_by_key(|fix| fix.first().map(|edit| edit.span));
    let mut end = 0;
    edits.retain(|fix| {
        let is_apart = fix.first().is_some_and(|first| first.span.start >= end);
        if is_apart {
            end = fix.last().map_or(end, |last| last.span.end);
        }
        is_apart
    });
    edits.into_iter().flatten().collect()
}

/// Returns `text` with the edits made.
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut start = 0;
    for edit in edits {
        result += &text[start..edit.span.start];
        result += &edit.text;
        start = edit.span.end;
    }
    result + &text[start..]
}

struct Fixer<'a> {
    file: &'a Dockerfile,
    source: &'a Source,
    wanted: BTreeSet<(&'a str, Span)>,
    majority: Case,
}

impl Fixer<'_> {
    fn wants(&self, rule: Rule, span: Span) -> bool {
        self.wanted.contains(&(rule.name(), span))
    }

    /// Returns the fixes of one instruction, each the edits that belong together.
    fn instruction(&self, instruction: &Instruction) -> Vec<Vec<Edit>> {
        let mut fixes = vec![self.blank_lines(instruction)];
        match instruction.keyword {
            Some(Keyword::Maintainer) => fixes.push(self.maintainer(instruction)),
            Some(Keyword::From) => fixes.extend(self.from(instruction)),
            Some(Keyword::Expose) => fixes.extend(self.ports(instruction)),
            Some(Keyword::Env | Keyword::Label) => fixes.push(self.legacy_pair(instruction)),
            _ => {}
        }
        let name = &instruction.name;
        if self.wants(Rule::ConsistentInstructionCasing, name.span) {
            let cased = self.majority.applied(&name.value);
            fixes.push(self.replace(name, cased));
        }
        fixes.retain(|edits| !edits.is_empty());
        fixes
    }

    /// Replaces a word, unless a continuation stands inside it.
    fn replace(&self, word: &Spanned<String>, text: String) -> Vec<Edit> {
        if self.is_whole(word) { vec![Edit { span: word.span, text }] } else { Vec::new() }
    }

    fn is_whole(&self, word: &Spanned<String>) -> bool {
        self.source.slice(word.span) == word.value
    }

    /// Removes the blank lines inside a continued instruction.
    fn blank_lines(&self, instruction: &Instruction) -> Vec<Edit> {
        let whole = instruction.text.span();
        let rule = Rule::NoEmptyContinuation.name();
        let next = self.wanted.range((rule, Span::new(whole.start, whole.start))..).next();
        if !next.is_some_and(|(code, span)| *code == rule && span.end <= whole.end) {
            return Vec::new();
        }
        let mut edits = Vec::new();
        let mut start = whole.start;
        for line in self.source.slice(whole).split_inclusive('\n') {
            let span = Span::new(start, start + line.len());
            start = span.end;
            if line.trim().is_empty() && line.ends_with('\n') {
                edits.push(Edit { span, text: String::new() });
            }
        }
        edits
    }

    fn maintainer(&self, instruction: &Instruction) -> Vec<Edit> {
        let Arguments::Text(author) = &instruction.arguments else { return Vec::new() };
        if !self.wants(Rule::MaintainerDeprecated, instruction.name.span) || !self.is_whole(author) {
            return Vec::new();
        }
        let is_lower = instruction.name.value.chars().all(char::is_lowercase);
        let label = if is_lower { "label" } else { "LABEL" };
        let escape = self.file.escape;
        let mut quoted = String::new();
        for character in without_quotes(&author.value).chars() {
            if matches!(character, '"' | '$') || character == escape {
                quoted.push(escape);
            }
            quoted.push(character);
        }
        let text = format!("{label} org.opencontainers.image.authors=\"{quoted}\"");
        vec![Edit { span: instruction.name.span.to(author.span), text }]
    }

    fn from(&self, from: &Instruction) -> Vec<Vec<Edit>> {
        let mut fixes = Vec::new();
        if let Some(name) = stage_name(from).filter(|name| self.wants(Rule::StageNameCasing, name.span)) {
            fixes.push(self.replace(name, name.value.to_lowercase()));
        }
        if let Some((written, wanted)) = from_and_as_fix(from)
            && self.wants(Rule::FromAsCasing, written.span)
        {
            fixes.push(self.replace(written, wanted));
        }
        for flag in &from.flags {
            let value = flag.value.as_ref().map(|value| value.span());
            if value.is_some_and(|span| self.wants(Rule::RedundantTargetPlatform, span)) {
                let rest = &self.source.text()[flag.span.end..];
                let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
                let span = Span::new(flag.span.start, flag.span.end + blanks);
                fixes.push(vec![Edit { span, text: String::new() }]);
            }
        }
        fixes
    }

    fn ports(&self, expose: &Instruction) -> Vec<Vec<Edit>> {
        let words = super::words(expose).iter();
        let fix = |word: &Spanned<String>| {
            let (ports, protocol) = word.value.split_once('/')?;
            let is_plain = !word.value.contains('$') && self.wants(Rule::ExposeProtoCasing, word.span);
            is_plain.then(|| self.replace(word, format!("{ports}/{}", protocol.to_lowercase())))
        };
        words.filter_map(fix).collect()
    }

    fn legacy_pair(&self, instruction: &Instruction) -> Vec<Edit> {
        let Arguments::LegacyPair(pair) = &instruction.arguments else { return Vec::new() };
        if !self.wants(Rule::LegacyKeyValueFormat, pair.key.span.to(pair.value.span)) || !self.is_whole(&pair.key) {
            return Vec::new();
        }
        self.value(pair).unwrap_or_default()
    }

    /// Turns `key the rest` into `key="the rest"`.
    fn value(&self, pair: &Pair) -> Option<Vec<Edit>> {
        let escape = self.file.escape;
        let value = &pair.value.value;
        let gap = Span::new(pair.key.span.end, pair.value.span.start);
        let edit = |span, text: &str| Edit { span, text: text.to_owned() };
        if !value.contains(['"', '\'', escape]) {
            let quote = if value.contains(char::is_whitespace) { "\"" } else { "" };
            let end = Span::new(pair.value.span.end, pair.value.span.end);
            let mut edits = vec![edit(gap, &format!("={quote}"))];
            edits.extend((!quote.is_empty()).then(|| edit(end, quote)));
            return Some(edits);
        }
        if !self.is_whole(&pair.value) {
            return None;
        }
        let protected = protect_blanks(value, escape)?;
        Some(vec![edit(gap, "="), edit(pair.value.span, &protected)])
    }
}

/// Puts the escape character before the blanks that stand outside quotes; nothing where a quote has no end.
fn protect_blanks(value: &str, escape: char) -> Option<String> {
    let mut text = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match quote {
            None if character.is_whitespace() => text.push(escape),
            None if character == '"' || character == '\'' => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        text.push(character);
        if character == escape && quote != Some('\'') {
            text.extend(characters.next());
        }
    }
    quote.is_none().then_some(text)
}

/// Removes a pair of quotes around the whole text.
fn without_quotes(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|&quote| {
            let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then_some(inner)
        })
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{lint, parse};

    /// Finds what needs no values, and pretends that the rules that need them have spoken wherever they could.
    fn fixed(text: &str) -> String {
        let source = Source::new("Dockerfile", text);
        let parsed = parse(&source);
        let mut found = [parsed.diagnostics, lint::check(&parsed.ast, &source)].concat();
        for instruction in &parsed.ast.instructions {
            if let Arguments::LegacyPair(pair) = &instruction.arguments {
                found.push(Rule::LegacyKeyValueFormat.at(pair.key.span.to(pair.value.span), ""));
            }
            found.extend(lint::words(instruction).iter().map(|word| Rule::ExposeProtoCasing.at(word.span, "")));
            let values = instruction.flags.iter().filter_map(|flag| flag.value.as_ref());
            let target = values.filter(|value| value.as_str() == "$TARGETPLATFORM");
            found.extend(target.map(|value| Rule::RedundantTargetPlatform.at(value.span(), "")));
        }
        apply(text, &fixes(&parsed.ast, &source, &found))
    }

    #[test]
    fn fixes_change_what_they_must_and_no_more() {
        for (text, expected) in [
            ("FROM a as Bc\r\nrun x\r\nRUN y\r\n", "FROM a AS bc\r\nRUN x\r\nRUN y\r\n"),
            ("FROM a\nRUN x \\\n\n  # why\n \t\n  y\n", "FROM a\nRUN x \\\n  # why\n  y\n"),
            (
                "FROM a\nMAINTAINER Me \"x\" <me@$x>\n",
                "FROM a\nLABEL org.opencontainers.image.authors=\"Me \\\"x\\\" <me@\\$x>\"\n",
            ),
            ("from a\nmaintainer \"Me\"\n", "from a\nlabel org.opencontainers.image.authors=\"Me\"\n"),
            ("FROM a\nENV A b\n", "FROM a\nENV A=b\n"),
            ("FROM a\nENV A   b  $c \n", "FROM a\nENV A=\"b  $c\" \n"),
            ("FROM a\nENV A b \\\n  c\n", "FROM a\nENV A=\"b \\\n  c\"\n"),
            ("FROM a\nENV A \"b c\"\n", "FROM a\nENV A=\"b c\"\n"),
            ("FROM a\nENV A b \"c d\" e\\ f\n", "FROM a\nENV A=b\\ \"c d\"\\ e\\ f\n"),
            ("FROM a\nLABEL A it's\n", "FROM a\nLABEL A it's\n"),
            ("FROM a\nEXPOSE 80/UDP $x/UDP\n", "FROM a\nEXPOSE 80/udp $x/UDP\n"),
            ("FROM --platform=$TARGETPLATFORM  a\n", "FROM a\n"),
            ("FROM a\nRUN <<E\nrun\n\nE\n", "FROM a\nRUN <<E\nrun\n\nE\n"),
        ] {
            let once = fixed(text);
            assert_eq!(once, expected, "{text}");
            assert_eq!(fixed(&once), once, "{text}");
        }
    }

    #[test]
    fn what_is_skipped_is_not_fixed() {
        let source = Source::new("Dockerfile", "FROM a as B\n");
        let file = parse(&source).ast;
        let found = lint::check(&file, &source);
        let wanted: Vec<_> = found.into_iter().filter(|finding| finding.code == "StageNameCasing").collect();
        assert_eq!(apply(source.text(), &fixes(&file, &source, &wanted)), "FROM a as b\n");
    }
}
