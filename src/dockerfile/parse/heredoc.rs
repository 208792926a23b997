//! Here-documents: finding their markers in a line, and their bodies below it.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{anychar, char, digit0};
use nom::combinator::{map, not, opt, recognize, verify};
use nom::error::{Error, ErrorKind};
use nom::multi::{many0, many0_count, many1, many1_count};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::line::{is_blank, physical_line};
use super::word::escaped;
use crate::dockerfile::shell;

/// What a marker such as `3<<-"EOF"` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker<'a> {
    /// The whole marker.
    pub(super) text: &'a str,
    pub(super) descriptor: u32,
    pub(super) chomp: bool,
    /// The delimiter without quotes.
    pub(super) name: String,
    pub(super) quoted: bool,
}

/// Accepts a marker.
pub(super) fn heredoc_marker(input: &str) -> IResult<&str, Marker<'_>> {
    let head = (digit0, tag("<<"), opt(char('-')), take_while(is_blank));
    let (rest, (text, ((descriptor, _, chomp, _), parts))) =
        nom::combinator::consumed((head, heredoc_delimiter)).parse(input)?;
    let quoted = parts.iter().any(|part| part.quoted);
    let name = parts.into_iter().map(|part| part.text).collect();
    // The number is for shells to read; one too large for any of them is as good as none.
    let descriptor = descriptor.parse().unwrap_or(0);
    Ok((rest, Marker { text, descriptor, chomp: chomp.is_some(), name, quoted }))
}

/// A part of a delimiter word without its quotes.
pub(super) struct Part {
    text: String,
    quoted: bool,
}

/// Accepts the word that names a heredoc. Neither quotes nor escapes let it hold `<`.
pub(super) fn heredoc_delimiter(input: &str) -> IResult<&str, Vec<Part>> {
    // An escaped character does not keep variables of the body from being expanded, other than in a shell.
    let unquoted = |text: String| Part { text, quoted: false };
    let quoted = |text: String| Part { text, quoted: true };
    let single = map(closed_single, |word: &str| word[1..word.len() - 1].to_owned());
    let double = map(closed_double, |word: &str| without_escapes(&word[1..word.len() - 1]));
    let escape = map(escaped('\\'), |pair: &str| pair[1..].to_owned());
    let plain = map(take_while1(is_plain), str::to_owned);
    let part = alt((map(alt((single, double)), quoted), map(alt((escape, plain)), unquoted)));
    let word = verify(nom::combinator::consumed(many1(part)), |(text, _): &(&str, Vec<Part>)| !text.contains('<'));
    map(word, |(_, parts)| parts).parse(input)
}

/// Returns the markers of a line: its words, split as a shell does, that are nothing but a marker.
///
/// A line that no shell could split, for want of a closing quote, has none.
pub(super) fn markers(line: &str) -> Vec<Marker<'_>> {
    let words = many0(preceded(take_while(is_blank), shell_word)).parse(line);
    let Ok((rest, words)) = words else { return Vec::new() };
    if !rest.trim().is_empty() && rest != "\\" {
        return Vec::new();
    }
    words.into_iter().filter_map(whole_marker).collect()
}

/// Returns the marker that `word` is. One whose name is empty opens nothing.
pub(super) fn whole_marker(word: &str) -> Option<Marker<'_>> {
    let (rest, marker) = heredoc_marker(word).ok()?;
    (rest.is_empty() && !marker.name.is_empty()).then_some(marker)
}

/// Accepts a word as a shell splits a line; blanks after `<<` belong to it.
pub(super) fn shell_word(input: &str) -> IResult<&str, &str> {
    let arrows = recognize((tag("<<"), opt(char('-')), take_while(is_blank)));
    // One that is malformed leaves the line unsplit.
    let plain = recognize((not(tag("${")), verify(anychar, |&c| is_plain(c) || c == '<')));
    // Most of a line, in one piece: nothing else begins like this.
    let bare = take_while1(|c| is_plain(c) && c != '$');
    let part = alt((bare, arrows, substitution, closed_single, closed_double, escaped('\\'), plain));
    recognize(many1_count(part)).parse(input)
}

/// Accepts `${…}` as word expansion reads it.
pub(super) fn substitution(input: &str) -> IResult<&str, &str> {
    let (_, _) = tag("${").parse(input)?;
    match shell::behind_substitution(input) {
        Some(rest) => Ok((rest, &input[..input.len() - rest.len()])),
        None => Err(nom::Err::Error(Error::new(input, ErrorKind::Verify))),
    }
}

/// Accepts `'…'` with its end.
pub(super) fn closed_single(input: &str) -> IResult<&str, &str> {
    recognize((char('\''), take_till(|c| c == '\''), char('\''))).parse(input)
}

/// Accepts `"…"` with its end.
pub(super) fn closed_double(input: &str) -> IResult<&str, &str> {
    let dollar = recognize((not(tag("${")), char('$')));
    let inside = alt((escaped('\\'), substitution, dollar, take_while1(|c| !matches!(c, '"' | '\\' | '$'))));
    recognize(delimited(char('"'), many0_count(inside), char('"'))).parse(input)
}

fn is_plain(character: char) -> bool {
    !is_blank(character) && !matches!(character, '\'' | '"' | '\\' | '<')
}

/// Removes the escapes that mean something between double quotes.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let protects = character == '\\' && matches!(rest.peek(), Some('"' | '$' | '\\'));
        plain.extend(if protects { rest.next() } else { Some(character) });
    }
    plain
}

/// Accepts the lines up to the one that is `name`, and that line; returns the lines.
pub(super) fn heredoc_body<'a>(name: &str, chomp: bool) -> impl Fn(&'a str) -> IResult<&'a str, &'a str> {
    move |input| {
        let mut rest = input;
        loop {
            let (after, line) = physical_line(rest)?;
            let line = if chomp { line.trim_start_matches('\t') } else { line };
            if line == name {
                return Ok((after, &input[..input.len() - rest.len()]));
            }
            rest = after;
        }
    }
}

/// Returns the lines below and the line that was likely meant to end the heredoc, but has blanks around.
pub(super) fn near_end<'a>(input: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut rest = input;
    while let Ok((after, line)) = physical_line(rest) {
        if line.trim() == name {
            return Some((after, line));
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<(String, bool, bool)> {
        markers(line).into_iter().map(|marker| (marker.name, marker.chomp, marker.quoted)).collect()
    }

    #[test]
    fn words_that_are_markers_open_heredocs() {
        for (line, expected) in [
            ("RUN <<EOF", &[("EOF", false, false)][..]),
            ("RUN cat <<-'A B' 3<< \"C\" > x", &[("A B", true, true), ("C", false, true)]),
            ("COPY <<a.txt <<b.txt /", &[("a.txt", false, false), ("b.txt", false, false)]),
            ("RUN <<E\\F", &[("EF", false, false)]),
            ("RUN <<\"\"", &[]),
            ("RUN echo ${f%.x} \"${g:-\"}\"}\" <<EOF", &[("EOF", false, false)]),
            ("RUN echo ${a:-${b} c} <<EOF", &[("EOF", false, false)]),
            ("RUN echo ${#a} <<EOF", &[]),
            ("RUN echo \"${a[0]}\" <<EOF", &[]),
            ("RUN echo \"<<X\" '<<Y' cat<<Z <<<W $((1<<2)) ${a:-<<V b}", &[]),
            ("RUN echo don't <<EOF", &[]),
            ("RUN echo ${a <<EOF", &[]),
            ("RUN <<", &[]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|&(name, chomp, quoted)| (name.to_owned(), chomp, quoted)).collect();
            assert_eq!(names(line), expected, "{line}");
        }
    }

    #[test]
    fn a_body_ends_at_its_name_alone() {
        for (chomp, input, expected) in [
            (false, "a\n EOF\nEOF\nrest", Some(("rest", "a\n EOF\n"))),
            (true, "\ta\n\tEOF\nrest", Some(("rest", "\ta\n"))),
            (false, "\tEOF\n", None),
            (false, "a\r\nEOF\r\n", Some(("", "a\r\n"))),
            (false, "EOF", Some(("", ""))),
            (false, "", None),
        ] {
            assert_eq!(heredoc_body("EOF", chomp)(input).ok(), expected, "{input:?}");
        }
    }
}
