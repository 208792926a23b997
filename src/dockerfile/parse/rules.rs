//! The rules of the grammar by name, for the test that holds grammar and parser to each other.

use nom::combinator::all_consuming;
use nom::error::Error;
use nom::{IResult, Parser};

use super::{directive, flag, heredoc, instruction, json, line, reader, word};
use crate::dockerfile::ast::{Arguments, Instruction, Keyword, Text};

/// Whether a rule accepts the whole of a text.
type Accepts = fn(&str) -> bool;

/// Every rule of `grammar/dockerfile.abnf` with its function. The escape character is the backslash.
pub const RULES: &[(&str, Accepts)] = &[
    ("dockerfile", |text| !reader::dockerfile(text).is_broken()),
    ("byte-order-mark", |text| whole(line::byte_order_mark, text)),
    ("physical-line", |text| whole(line::physical_line, text)),
    ("blank-line", |text| whole(line::blank_line, text)),
    ("comment-line", |text| whole(line::comment_line, text)),
    ("continued-line", |text| whole(line::continued_line(ESCAPE), text)),
    ("skipped-line", |text| whole(line::skipped_line, text)),
    ("logical-line", |text| whole(line::logical_line(ESCAPE, 0), text)),
    ("directive", |text| whole(directive::directive, text)),
    ("directive-key", |text| whole(directive::directive_key, text)),
    ("directive-value", |text| whole(directive::directive_value, text)),
    ("escape-character", |text| whole(directive::escape_character, text)),
    ("check-option", |text| whole(directive::check_option, text)),
    ("check-key", |text| whole(directive::check_key, text)),
    ("check-boolean", |text| whole(directive::check_boolean, text)),
    ("interpreter", |text| whole(directive::interpreter, text)),
    ("instruction", |text| read(text).is_some()),
    ("instruction-name", |text| whole(instruction::instruction_name, text)),
    ("pairs", |text| shape(text, &[Keyword::Env, Keyword::Label], |it| matches!(it, Arguments::Pairs(_)))),
    ("legacy-pair", |text| shape(text, &[Keyword::Env, Keyword::Label], |it| matches!(it, Arguments::LegacyPair(_)))),
    ("declarations", |text| shape(text, &[Keyword::Arg], |_| true)),
    ("from-words", |text| shape(text, &[Keyword::From], |_| true)),
    ("word-list", |text| shape(text, &[Keyword::Expose], |_| true)),
    ("json-or-words", |text| shape(text, &[Keyword::Volume], |_| true)),
    ("json-or-paths", |text| shape(text, &[Keyword::Add, Keyword::Copy], |_| true)),
    ("json-or-text", |text| shape(text, &[Keyword::Run, Keyword::Cmd, Keyword::Entrypoint], |_| true)),
    ("json-only", |text| shape(text, &[Keyword::Shell], |_| true)),
    ("health", |text| shape(text, &[Keyword::Healthcheck], |_| true)),
    ("text", |text| {
        shape(text, &[Keyword::Maintainer, Keyword::StopSignal, Keyword::User, Keyword::Workdir], |_| true)
    }),
    ("trigger", |text| shape(text, &[Keyword::Onbuild], |_| true)),
    ("stage-name", |text| whole(word::stage_name, text)),
    ("flags", |text| whole(flag::flags(ESCAPE), text)),
    ("flag", |text| whole(flag::flag(ESCAPE), text)),
    ("end-of-flags", |text| whole(flag::end_of_flags, text)),
    ("flag-plain", |text| whole(flag::flag_plain(ESCAPE), text)),
    ("flag-escaped", |text| whole(flag::flag_escaped(ESCAPE), text)),
    ("flag-quoted", |text| ['\'', '"'].iter().any(|&quote| whole(flag::flag_quoted(quote, ESCAPE), text))),
    ("words", |text| whole(word::words(ESCAPE), text)),
    ("word", |text| whole(word::word(ESCAPE), text)),
    ("plain", |text| whole(word::plain(ESCAPE), text)),
    ("escaped", |text| whole(word::escaped(ESCAPE), text)),
    ("single-quoted", |text| whole(word::single_quoted, text)),
    ("double-quoted", |text| whole(word::double_quoted(ESCAPE), text)),
    ("bare-words", |text| whole(word::bare_words, text)),
    ("bare-word", |text| whole(word::bare_word, text)),
    ("word-blanks", |text| whole(word::word_blanks, text)),
    ("assignment", |text| matches!(word::assignment(text), (name, Some(_)) if !name.is_empty())),
    ("json-array", |text| whole(json::json_array, text)),
    ("json-string", |text| whole(json::json_string, text)),
    ("json-escape", |text| whole(json::json_escape, text)),
    ("json-unit", |text| whole(json::json_unit, text)),
    ("json-surrogates", |text| whole(json::json_surrogates, text)),
    ("json-lone", |text| whole(json::json_lone, text)),
    ("heredoc-marker", |text| whole(heredoc::heredoc_marker, text)),
    ("heredoc-delimiter", |text| whole(heredoc::heredoc_delimiter, text)),
    ("heredoc-body", |text| whole(heredoc::heredoc_body("EOF", false), text)),
    ("shell-word", |text| whole(heredoc::shell_word, text)),
    ("substitution", |text| whole(heredoc::substitution, text)),
    ("closed-single", |text| whole(heredoc::closed_single, text)),
    ("closed-double", |text| whole(heredoc::closed_double, text)),
];

const ESCAPE: char = '\\';

/// Returns whether `rule` accepts the whole of `text`; nothing where there is no such rule.
pub fn accepts(rule: &str, text: &str) -> Option<bool> {
    RULES.iter().find(|(name, _)| *name == rule).map(|(_, accepts)| accepts(text))
}

fn whole<'a, O>(rule: impl Fn(&'a str) -> IResult<&'a str, O, Error<&'a str>>, text: &'a str) -> bool {
    all_consuming(rule).parse(text).is_ok()
}

fn read(text: &str) -> Option<Instruction> {
    let mut line = Text::at(0);
    line.push(text, 0);
    let mut problems = Vec::new();
    let instruction = instruction::instruction(&line, ESCAPE, &mut problems);
    problems.is_empty().then_some(instruction)
}

fn shape(text: &str, keywords: &[Keyword], fits: fn(&Arguments) -> bool) -> bool {
    read(text)
        .is_some_and(|read| read.keyword.is_some_and(|keyword| keywords.contains(&keyword)) && fits(&read.arguments))
}
