//! Parser directives: comments at the top of the file that change how it is read.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, one_of, satisfy};
use nom::combinator::{all_consuming, recognize, verify};
use nom::sequence::{delimited, separated_pair};
use nom::{IResult, Parser};

use super::line::{is_blank, physical_line};

/// Accepts `# key = value`; the value reaches to the end of the line, without blanks around.
pub(super) fn directive(input: &str) -> IResult<&str, (&str, &str)> {
    let equals = delimited(take_while(is_blank), char('='), take_while(is_blank));
    let head = (take_while(is_blank), char('#'), take_while(is_blank));
    (head, separated_pair(directive_key, equals, directive_value)).map(|(_, pair)| pair).parse(input)
}

/// Accepts the name of a directive, known or not.
pub(super) fn directive_key(input: &str) -> IResult<&str, &str> {
    recognize((satisfy(|c| c.is_ascii_alphabetic()), take_while(|c: char| c.is_ascii_alphanumeric()))).parse(input)
}

/// Accepts the rest of a line that is not empty.
pub(super) fn directive_value(input: &str) -> IResult<&str, &str> {
    let (rest, value) = take_while1(|c| c != '\n').parse(input)?;
    let (_, value) = verify(nom::combinator::rest, |value: &str| !value.is_empty()).parse(value.trim())?;
    Ok((rest, value))
}

/// Accepts an escape character that a file may choose.
pub(super) fn escape_character(input: &str) -> IResult<&str, char> {
    one_of("\\`")(input)
}

/// Accepts `skip=…`, `experimental=…` or `error=true|false`.
pub(in crate::dockerfile) fn check_option(input: &str) -> IResult<&str, &str> {
    let rules = (verify(check_key, |key: &str| key != "error"), char('='), take_while(|c| c != ';'));
    let error = (verify(check_key, |key: &str| key == "error"), char('='), check_boolean);
    alt((recognize(rules), recognize(error))).parse(input)
}

/// Accepts the name of a check option, with blanks around.
pub(super) fn check_key(input: &str) -> IResult<&str, &str> {
    let key = alt((tag("skip"), tag("experimental"), tag("error")));
    delimited(take_while(is_blank), key, take_while(is_blank)).parse(input)
}

/// Accepts what Go reads as a boolean, with blanks around.
pub(super) fn check_boolean(input: &str) -> IResult<&str, &str> {
    verify(take_while(|c| c != ';'), |value: &str| {
        matches!(
            value.trim(),
            "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False"
        )
    })
    .parse(input)
}

/// Returns whether the whole of `value` is one escape character.
pub(super) fn as_escape(value: &str) -> Option<char> {
    let mut whole = all_consuming(escape_character);
    whole.parse(value).ok().map(|(_, escape)| escape)
}

/// Accepts an interpreter line, which may precede a `syntax` directive.
pub(super) fn interpreter(input: &str) -> IResult<&str, &str> {
    verify(physical_line, |line: &str| line.starts_with("#!")).parse(input)
}
