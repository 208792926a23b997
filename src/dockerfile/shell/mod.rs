//! Words as the Dockerfile language expands them: quotes, escapes and `$` constructs, much like a POSIX shell.
//!
//! Pure: variables come from a function. The rules are those of `grammar/shell-word.abnf`; a word is read whole, then
//! evaluated, so that what is malformed is reported also in a branch that is not taken.

mod evaluate;
mod glob;
mod grammar;
mod rules;

use std::ops::Range;

#[doc(hidden)]
pub use rules::{RULES, accepts};

use evaluate::Evaluation;
use grammar::Lexis;

/// What a word became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// The text, without quotes and escapes.
    pub text: String,
    /// The variables asked for, in the order of evaluation.
    pub uses: Vec<Use>,
}

/// A variable in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub name: String,
    /// Whether it had a value.
    pub defined: bool,
    /// Whether the form says what happens without a value, as `${name:-default}` does.
    pub guarded: bool,
    /// The whole construct, in bytes of the word.
    pub range: Range<usize>,
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process \"{word}\": {cause}")]
pub struct ExpandError {
    /// The word, or the construct where the text is a whole file.
    pub word: String,
    /// What is wrong.
    pub cause: Cause,
    /// Where, in bytes of the word.
    pub range: Range<usize>,
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A `'` without its end.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// A `"` without its end.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${` without its end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${}` and the like.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${name/pattern}` without its second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// No modifier begins like this.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// The pattern escapes something that needs no escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The whole pattern.
        pattern: String,
        /// The escaped character; empty at the pattern's end.
        escaped: String,
    },
    /// `${name:?message}` of a variable without a value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The word's text, or the usual one.
        message: String,
    },
    /// Constructs inside constructs inside constructs.
    #[error("substitutions are nested more than {} deep", grammar::MOST_NESTED)]
    Nested,
    /// The text is longer than anything can use.
    #[error("expands to more than {} MiB", evaluate::MOST_BYTES >> 20)]
    TooLong,
}

/// Expands a word. `escape` is the file's escape character.
///
/// # Errors
/// [`ExpandError`] with the place of the construct that is wrong.
pub fn expand(word: &str, escape: char, variables: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, ExpandError> {
    let parts = grammar::parse(Lexis::word(word, escape)).map_err(|flaw| flaw.of(word))?;
    let mut evaluation = Evaluation::new(variables);
    let text = evaluation.text(&parts).map_err(|flaw| flaw.of(word))?;
    Ok(Expansion { text, uses: evaluation.uses })
}

/// Expands the text of a file: `$` constructs and backslashes mean something, quotes do not.
///
/// # Errors
/// [`ExpandError`] with the place of the construct that is wrong.
pub fn expand_file(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, ExpandError> {
    let construct = |flaw: grammar::Flaw| {
        let word = text.get(flaw.range.clone()).unwrap_or_default().to_owned();
        ExpandError { word, ..flaw.of("") }
    };
    let parts = grammar::parse(Lexis::file(text)).map_err(construct)?;
    let mut evaluation = Evaluation::new(variables);
    let text = evaluation.text(&parts).map_err(construct)?;
    Ok(Expansion { text, uses: evaluation.uses })
}

/// Expands a word into any number of words: blanks that are neither quoted nor escaped separate, also those that a
/// variable brings along. Empty words vanish.
///
/// # Errors
/// [`ExpandError`] with the place of the construct that is wrong.
pub fn expand_to_words(
    word: &str,
    escape: char,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<(Vec<String>, Vec<Use>), ExpandError> {
    let parts = grammar::parse(Lexis::word(word, escape)).map_err(|flaw| flaw.of(word))?;
    let mut evaluation = Evaluation::new(variables);
    let words = evaluation.words(&parts).map_err(|flaw| flaw.of(word))?;
    Ok((words, evaluation.uses))
}

/// Returns what follows the `${…}` that `text` begins with; nothing where that is malformed. Escapes are backslashes.
pub(super) fn behind_substitution(text: &str) -> Option<&str> {
    grammar::substitution(Lexis::word(text, '\\'), text).ok().map(|(rest, _)| rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "x" => "value",
            "empty" => "",
            "path" => "/usr/local/lib/liba.so.1",
            "ports" => "80 443/udp  ",
            "star" => "a*b",
            "dots" => "x.y.z",
            "pattern" => "*.",
            "1" => "one",
            "@" => "at",
            "été" => "summer",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn text(word: &str) -> String {
        match expand(word, '\\', &variables) {
            Ok(expansion) => expansion.text,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn quotes_and_escapes_are_removed() {
        for (word, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a\\nb", "anb"),
            ("\\$x", "$x"),
            ("'$x\\'", "$x\\"),
            ("\"a\\nb\"", "a\\nb"),
            ("\"\\\"\\$x\\\\\"", "\"$x\\"),
            ("\"it's\"'\"'", "it's\""),
            ("end\\", "end"),
            ("a\"\"''b", "ab"),
            ("é\\é", "éé"),
        ] {
            assert_eq!(text(word), expected, "{word}");
        }
    }

    #[test]
    fn patterns_know_the_backslash_alone() {
        // Under another escape character the pattern holds that character, and the star keeps its meaning.
        assert_eq!(expand("${star#a`*}", '`', &variables).unwrap().text, "a*b");
        assert_eq!(expand("${path/`/l/-}", '`', &variables).unwrap().text, "/usr/local/lib/liba.so.1");
        assert_eq!(expand("${path#/\\u}", '`', &variables).unwrap_err().range, 7..10);
    }

    #[test]
    fn the_escape_character_can_be_chosen() {
        assert_eq!(expand("c:\\a`$x`", '`', &variables).unwrap().text, "c:\\a$x");
        assert_eq!(expand("\"`\"\\$x\"", '`', &variables).unwrap().text, "\"\\value");
    }

    #[test]
    fn variables_have_many_forms() {
        for (word, expected) in [
            ("$x", "value"),
            ("${x}", "value"),
            ("$x.$unset.", "value.."),
            ("\"$x\"", "value"),
            ("$", "$"),
            ("$.$ $", "$.$ $"),
            ("$\"x\"", "$x"),
            ("$1x", "onex"),
            ("$@x", "atx"),
            ("$été", "summer"),
            ("${x:-d}", "value"),
            ("${empty:-d}", "d"),
            ("${empty-d}", ""),
            ("${unset-d}", "d"),
            ("${x:+d}", "d"),
            ("${empty:+d}", ""),
            ("${empty+d}", "d"),
            ("${unset+d}", ""),
            ("${x:?no}", "value"),
            ("${empty?no}", ""),
            ("${unset:-${empty:-$x}}", "value"),
            ("${unset:-\"a}b\"c\\}d}", "a}bc}d"),
            ("\"${unset:-\"a b\"}\"", "a b"),
        ] {
            assert_eq!(text(word), expected, "{word}");
        }
    }

    #[test]
    fn patterns_remove_and_replace() {
        for (word, expected) in [
            ("${path#*/}", "usr/local/lib/liba.so.1"),
            ("${path##*/}", "liba.so.1"),
            ("${path%.*}", "/usr/local/lib/liba.so"),
            ("${path%%.*}", "/usr/local/lib/liba"),
            ("${path%nothing}", "/usr/local/lib/liba.so.1"),
            ("${path#/???}", "/local/lib/liba.so.1"),
            ("${path/lib/LIB}", "/usr/local/LIB/liba.so.1"),
            ("${path//lib/LIB}", "/usr/local/LIB/LIBa.so.1"),
            ("${path//\\//:}", ":usr:local:lib:liba.so.1"),
            ("${path/l*l/-}", "/usr/-iba.so.1"),
            ("${path//?/.}", "........................"),
            ("${star/\\*/+}", "a+b"),
            ("${star#a\\*}", "b"),
            ("${dots#$pattern}", "y.z"),
            ("${dots##$pattern}", "z"),
            ("${dots//./\\}}", "x\\}y\\}z"),
            ("${dots//./\\-}", "x\\-y\\-z"),
            ("${path#\"#*/\"}", "liba.so.1"),
            ("${path#\"#\"*l}", "iba.so.1"),
            ("${path%%%x}", "/usr/local/lib/liba.so.1"),
            ("${x/\"\\v\"/}", "value"),
            ("${-x}", "!minus has no modifier x"),
            ("${+x}", ""),
            ("${/a/b}", ""),
            ("${dots//./$x}", "xvalueyvaluez"),
            ("${dots//.}", "!missing"),
            ("${empty//*/x}", "x"),
            ("${x//*/y}", "y"),
            ("${unset#a}", ""),
            ("${x//[a-z]/y}", "value"),
            ("${x/#v/y}", "value"),
        ] {
            match expected.strip_prefix('!') {
                Some(_) => assert!(expand(word, '\\', &variables).is_err(), "{word}"),
                None => assert_eq!(text(word), expected, "{word}"),
            }
        }
    }

    #[test]
    fn errors_have_buildkits_texts_and_point_at_the_construct() {
        for (word, expected, range) in [
            ("a'b", "unexpected end of statement while looking for matching single-quote", 1..3),
            ("a\"b$x", "unexpected end of statement while looking for matching double-quote", 1..5),
            ("a${x", "syntax error: missing '}'", 1..4),
            ("a${x:-b", "syntax error: missing '}'", 1..7),
            ("a${", "syntax error: missing '}'", 1..3),
            ("a${}b", "syntax error: bad substitution", 1..4),
            ("a${:-x}", "syntax error: bad substitution", 1..4),
            ("a${{x}}", "syntax error: bad substitution", 1..4),
            ("a${x:z}", "unsupported modifier (:z) in substitution", 4..6),
            ("a${x:#v}", "unsupported modifier (:#) in substitution", 4..6),
            ("a${x!v}", "unsupported modifier (!) in substitution", 4..5),
            ("a${.x}", "unsupported modifier (.) in substitution", 3..4),
            ("a${x:zb", "syntax error: missing '}'", 1..7),
            ("a${x:z'b}", "unexpected end of statement while looking for matching single-quote", 6..9),
            ("a${x#\"\\\"\"}", "invalid pattern (\\\") in substitution: invalid escape '\\\"'", 5..9),
            ("a${x/v}", "syntax error: missing '/' in ${}", 4..7),
            ("a${x#\\v}", "invalid pattern (\\v) in substitution: invalid escape '\\v'", 5..7),
            ("a${unset:?no $x}b", "unset: no value", 1..16),
            ("${unset?}", "unset: is not allowed to be unset", 0..9),
            ("${empty:?}", "empty: is not allowed to be empty", 0..10),
            ("${x:+${unset:?no}}", "unset: no", 5..17),
        ] {
            let error = expand(word, '\\', &variables).unwrap_err();
            assert_eq!(error.to_string(), format!("failed to process \"{word}\": {expected}"));
            assert_eq!(error.range, range, "{word}");
        }
    }

    #[test]
    fn files_keep_their_quotes() {
        for (file, expected) in
            [("it's \"$x\"\n", "it's \"value\"\n"), ("\\$x \\\\ ${unset:-'a'}", "$x \\ 'a'"), ("a\n$unset\n", "a\n\n")]
        {
            assert_eq!(expand_file(file, &variables).unwrap().text, expected, "{file}");
        }
        let error = expand_file("one\ntwo ${x!}\n", &variables).unwrap_err();
        assert_eq!(error.to_string(), "failed to process \"!\": unsupported modifier (!) in substitution");
    }

    #[test]
    fn one_variable_may_become_several_words() {
        for (word, expected) in [
            ("$ports", &["80", "443/udp"][..]),
            ("1$ports", &["180", "443/udp"]),
            ("\"$ports\"", &["80 443/udp  "]),
            ("$empty", &[]),
            ("\"\"", &[]),
            ("a\\ b", &["a b"]),
            ("a${ports}b", &["a80", "443/udp", "b"]),
        ] {
            assert_eq!(expand_to_words(word, '\\', &variables).unwrap().0, expected, "{word}");
        }
    }

    #[test]
    fn uses_are_recorded_with_their_places() {
        let uses = expand("$x-${unset:-$none}", '\\', &variables).unwrap().uses;
        let uses: Vec<_> = uses.iter().map(|it| (it.name.as_str(), it.defined, it.guarded, it.range.clone())).collect();
        assert_eq!(uses, [("x", true, false, 0..2), ("none", false, false, 12..17), ("unset", false, true, 3..18)]);
    }

    #[test]
    fn hostile_words_are_refused_in_good_time() {
        let deep = "${a:-".repeat(50_000);
        assert_eq!(expand(&deep, '\\', &variables).unwrap_err().cause, Cause::Nested);
        let long = |_: &str| Some("a".repeat(1 << 20));
        assert_eq!(expand(&"$a".repeat(20), '\\', &long).unwrap_err().cause, Cause::TooLong);
        let costly = format!("${{a//{}b/x}}", "a*".repeat(30));
        assert_eq!(expand(&costly, '\\', &|_| Some("a".repeat(20_000))).unwrap().text.len(), 20_000);
    }

    proptest! {
        #[test]
        fn expansion_never_panics_and_ranges_are_in_bounds(word in "[ab$\\{\\}:/#%?*+'\"`\\\\é -]{0,24}") {
            for outcome in [
                expand(&word, '\\', &variables),
                expand(&word, '`', &variables),
                expand_file(&word, &variables),
            ] {
                let ranges: Vec<_> = match outcome {
                    Ok(expansion) => expansion.uses.into_iter().map(|found| found.range).collect(),
                    Err(error) => vec![error.range],
                };
                prop_assert!(ranges.into_iter().all(|range| word.get(range).is_some()), "{word}");
            }
        }
    }
}
