//! `--name=value` words between an instruction's name and its arguments.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char};
use nom::combinator::{eof, map, opt, peek, recognize, verify};
use nom::multi::{many0, many1};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::Line;
use super::line::is_blank;
use crate::dockerfile::ast::{Flag, Text};

/// The pieces of a flag word that are left when quotes and escapes are gone.
type Pieces<'a> = Vec<&'a str>;

/// Accepts a word that begins with `--`.
pub(super) fn flag(escape: char) -> impl Fn(&str) -> IResult<&str, Pieces<'_>> {
    move |input| {
        let quoted = alt((flag_quoted('\'', escape), flag_quoted('"', escape)));
        let part =
            alt((quoted, map(flag_escaped(escape), |piece| vec![piece]), map(flag_plain(escape), |piece| vec![piece])));
        let parts = preceded(peek(tag("--")), many1(part));
        verify(map(parts, |parts| parts.concat()), |pieces: &Pieces<'_>| pieces.concat() != "--").parse(input)
    }
}

/// Accepts a bare `--`, which ends the flags.
pub(super) fn end_of_flags(input: &str) -> IResult<&str, &str> {
    let ended = peek(alt((recognize(verify(anychar, |&c| is_blank(c))), eof)));
    recognize((tag("--"), ended)).parse(input)
}

/// Accepts the flags of an instruction, with the blanks around.
pub(super) fn flags(escape: char) -> impl Fn(&str) -> IResult<&str, Vec<(&str, Pieces<'_>)>> {
    move |input| {
        let one = preceded(take_while(is_blank), nom::combinator::consumed(flag(escape)));
        let (rest, flags) = many0(one).parse(input)?;
        let (rest, _) = opt(preceded(take_while(is_blank), end_of_flags)).parse(rest)?;
        Ok((rest, flags))
    }
}

/// Accepts a quoted part of a flag; in either kind of quotes the escape character protects.
pub(super) fn flag_quoted(quote: char, escape: char) -> impl Fn(&str) -> IResult<&str, Pieces<'_>> {
    move |input| {
        let inside = alt((flag_escaped(escape), take_while1(|c| c != quote && c != escape)));
        delimited(char(quote), many0(inside), opt(char(quote))).parse(input)
    }
}

/// Accepts the escape character and what it protects, and returns the latter. At the end it protects nothing.
pub(super) fn flag_escaped(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| preceded(char(escape), alt((recognize(anychar), eof))).parse(input)
}

/// Accepts characters that mean themselves.
pub(super) fn flag_plain(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| take_while1(|c| !is_blank(c) && c != '\'' && c != '"' && c != escape)(input)
}

/// Returns the flag that `word` writes, with the places of what is left of it.
pub(super) fn assemble(line: Line<'_>, word: &str, pieces: &[&str]) -> Flag {
    let mut text = Text::at(line.span(word).start);
    for piece in pieces {
        text.append(line.text, line.range(piece));
    }
    let whole = text.as_str();
    let equals = whole.find('=');
    let name = text.spanned(2..equals.unwrap_or(whole.len()));
    let value = equals.map(|equals| text.slice(equals + 1..whole.len()));
    Flag { name, value, span: line.span(word) }
}
