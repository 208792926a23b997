//! The JSON form: an array of strings, each with its place.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, hex_digit1};
use nom::combinator::{all_consuming, map, map_opt, recognize};
use nom::error::Error;
use nom::multi::{many0, separated_list0};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// What the text of an instruction is, seen as JSON.
pub(super) enum Form<'a> {
    /// An array of strings: each as written, and decoded.
    Strings(Vec<(&'a str, String)>),
    /// An array, but this part of it is no string.
    Other(&'a str),
    /// No JSON array; by the language's rule this is no error.
    Not,
}

/// Decides whether `text` as a whole is a JSON array.
pub(super) fn form(text: &str) -> Form<'_> {
    if !text.starts_with('[') {
        return Form::Not;
    }
    if let Ok((_, strings)) = all_consuming(json_array).parse(text) {
        return Form::Strings(strings);
    }
    match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text) {
        Ok(_) => Form::Other(first_other(text)),
        Err(_) => Form::Not,
    }
}

/// Returns the first word of the element that is no string, in what is known to be a JSON array.
fn first_other(text: &str) -> &str {
    let strings = many0(terminated(padded(json_string), char::<&str, Error<&str>>(',')));
    let (rest, _) = preceded(padded(tag("[")), strings).parse(text).unwrap_or((text, Vec::new()));
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c == ',' || c == ']' || is_json_blank(c)).unwrap_or(rest.len());
    &rest[..end.max(1)]
}

/// Accepts an array of strings.
pub(super) fn json_array(input: &str) -> IResult<&str, Vec<(&str, String)>> {
    let items = separated_list0(char(','), padded(nom::combinator::consumed(json_string)));
    delimited(padded(tag("[")), items, padded(tag("]"))).parse(input)
}

/// Accepts a string and decodes it.
pub(super) fn json_string(input: &str) -> IResult<&str, String> {
    let plain = map(take_while1(|c| c != '"' && c != '\\' && c >= ' '), str::to_owned);
    let part = alt((plain, json_escape));
    map(delimited(char('"'), many0(part), char('"')), |parts| parts.concat()).parse(input)
}

/// Accepts `\n`, `\u00e9` and their like.
pub(super) fn json_escape(input: &str) -> IResult<&str, String> {
    let simple = map_opt(preceded(char('\\'), anychar), |c| {
        Some(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            _ => return None,
        })
    });
    map(alt((simple, json_surrogates, json_lone)), String::from).parse(input)
}

/// Accepts one `\u` escape.
pub(super) fn json_unit(input: &str) -> IResult<&str, u16> {
    let digits = nom::bytes::complete::take(4_usize).and_then(recognize(all_consuming(hex_digit1)));
    map_opt(preceded(tag("\\u"), digits), |digits: &str| u16::from_str_radix(digits, 16).ok()).parse(input)
}

/// Accepts two `\u` escapes that are one character.
pub(super) fn json_surrogates(input: &str) -> IResult<&str, char> {
    map_opt((json_unit, json_unit), |(high, low)| {
        let is_pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
        is_pair.then(|| char::decode_utf16([high, low]).next()?.ok()).flatten()
    })
    .parse(input)
}

// Half a surrogate pair becomes the replacement character, as Go's decoder has it.
pub(super) fn json_lone(input: &str) -> IResult<&str, char> {
    map(json_unit, |unit| char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)).parse(input)
}

fn padded<'a, O>(
    inner: impl Parser<&'a str, Output = O, Error = Error<&'a str>>,
) -> impl Parser<&'a str, Output = O, Error = Error<&'a str>> {
    delimited(take_while(is_json_blank), inner, take_while(is_json_blank))
}

fn is_json_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<String>> {
        match form(text) {
            Form::Strings(strings) => Some(strings.into_iter().map(|(_, decoded)| decoded).collect()),
            Form::Other(_) | Form::Not => None,
        }
    }

    #[test]
    fn arrays_of_strings_are_decoded() {
        for (text, expected) in [
            ("[]", &[][..]),
            ("[ ]", &[]),
            (r#"["a", "b c"]"#, &["a", "b c"]),
            (r#"["\"\\\/\n\u00e9\ud83d\ude00"]"#, &["\"\\/\né😀"]),
            (r#"["\ud800x"]"#, &["\u{fffd}x"]),
        ] {
            assert_eq!(
                decoded(text).as_deref(),
                Some(&expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_json_is_text() {
        for text in ["['a']", r#"["a"] x"#, r#"["a""#, r#"["a",]"#, "[ -f x ]", "x", "[\"\t\"]", r#"["\x"]"#] {
            assert!(matches!(form(text), Form::Not), "{text}");
        }
    }

    #[test]
    fn an_element_that_is_no_string_is_found() {
        for (text, expected) in [("[1]", "1"), (r#"["a", true , 2]"#, "true"), (r#"["a",["b"]]"#, "[\"b\"")] {
            assert!(matches!(form(text), Form::Other(other) if other == expected), "{text}");
        }
    }
}
