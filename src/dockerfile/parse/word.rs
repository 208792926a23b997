//! Words of a logical line. Quotes and escapes stay in them: expansion removes those later.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{anychar, char, none_of};
use nom::combinator::{opt, peek, recognize, verify};
use nom::multi::{many0, many0_count, many1_count};
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use super::line::is_blank;

/// Blanks that separate words in shapes where quotes mean nothing. A no-break space is none of them.
const WORD_BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// Accepts the blanks after an instruction's name and between bare words.
pub(super) fn word_blanks(input: &str) -> IResult<&str, &str> {
    take_while1(|c| WORD_BLANKS.contains(&c))(input)
}

/// Accepts a word that only blanks end.
pub(super) fn bare_word(input: &str) -> IResult<&str, &str> {
    take_while1(|c| !WORD_BLANKS.contains(&c))(input)
}

/// Accepts words between blanks.
pub(super) fn bare_words(input: &str) -> IResult<&str, Vec<&str>> {
    many0(preceded(opt(word_blanks), bare_word)).parse(input)
}

/// Accepts one word in which quotes and escapes protect blanks.
pub(super) fn word(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| {
        let part = alt((single_quoted, double_quoted(escape), escaped(escape), plain(escape)));
        recognize(many1_count(part)).parse(input)
    }
}

/// Accepts words between blanks. An escape character with nothing behind it is dropped.
pub(super) fn words(escape: char) -> impl Fn(&str) -> IResult<&str, Vec<&str>> {
    move |input| {
        let (rest, words) = many0(preceded(take_while(is_blank), word(escape))).parse(input)?;
        let (rest, _) = (take_while(is_blank), opt(char(escape))).parse(rest)?;
        Ok((rest, words))
    }
}

/// Accepts `'…'`, in which nothing escapes; without its end it reaches to the end of the text.
pub(super) fn single_quoted(input: &str) -> IResult<&str, &str> {
    recognize((char('\''), take_till(|c| c == '\''), opt(char('\'')))).parse(input)
}

/// Accepts `"…"`, in which the escape character protects; without its end it reaches to the end of the text.
pub(super) fn double_quoted(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| {
        let inside = alt((escaped(escape), recognize(verify(none_of("\""), |&c| c != escape))));
        recognize((char('"'), many0_count(inside), opt(char('"')))).parse(input)
    }
}

/// Accepts the escape character and what it protects.
pub(super) fn escaped(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| recognize(pair(char(escape), anychar)).parse(input)
}

/// Accepts characters that mean themselves.
pub(super) fn plain(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| take_while1(|c| !is_blank(c) && c != '\'' && c != '"' && c != escape)(input)
}

/// Accepts `name` or `name=value` as two halves, split at the first `=`.
pub(super) fn assignment(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

/// Accepts the name of a stage: it must be able to stand where the name of an image does.
pub(in crate::dockerfile) fn stage_name(input: &str) -> IResult<&str, &str> {
    let first = verify(anychar, char::is_ascii_lowercase);
    let run = take_while1(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let run_again = take_while1(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let separator = alt((tag("."), tag("__"), tag("_"), take_while1(|c| c == '-')));
    recognize((peek(first), run, many0_count(pair(separator, run_again)))).parse(input)
}
