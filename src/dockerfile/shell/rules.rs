//! The rules of the grammar by name, for the test that holds grammar and functions to each other.

use nom::IResult;

use super::grammar::{self, Lexis, Refusal};

/// Whether a rule accepts the whole of a text.
type Accepts = fn(&str) -> bool;

/// Every rule of `grammar/shell-word.abnf` with its function. The escape character is the backslash.
pub const RULES: &[(&str, Accepts)] = &[
    ("word", |text| whole(grammar::word(lexis(text), text))),
    ("part", |text| whole(grammar::part(lexis(text), text))),
    ("plain", |text| whole(grammar::plain(lexis(text), text))),
    ("escaped", |text| whole(grammar::escaped(lexis(text), text))),
    ("single-quoted", |text| whole(grammar::single_quoted(lexis(text), text))),
    ("double-quoted", |text| whole(grammar::double_quoted(lexis(text), text))),
    ("quoted-escape", |text| whole(grammar::quoted_escape(lexis(text), text))),
    ("dollar", |text| whole(grammar::dollar(lexis(text), text))),
    ("name", |text| whole(grammar::name(text))),
    ("substitution", |text| text.starts_with("${") && whole(grammar::substitution(lexis(text), text))),
    ("modifier", |text| whole(grammar::modifier(lexis(text), text))),
    ("conditional", |text| whole(grammar::conditional(lexis(text), text))),
    ("removal", |text| whole(grammar::removal(lexis(text), text))),
    ("replacement", |text| whole(grammar::replacement(lexis(text), text))),
    ("pattern", |text| whole(grammar::pattern(lexis(text).pattern_until('}'), text))),
];

/// Returns whether `rule` accepts the whole of `text`; nothing where there is no such rule.
pub fn accepts(rule: &str, text: &str) -> Option<bool> {
    RULES.iter().find(|(name, _)| *name == rule).map(|(_, accepts)| accepts(text))
}

fn lexis(text: &str) -> Lexis<'_> {
    Lexis::word(text, '\\')
}

fn whole<T>(outcome: IResult<&str, T, Refusal>) -> bool {
    matches!(outcome, Ok(("", _)))
}
