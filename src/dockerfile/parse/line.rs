//! Physical lines, and the logical lines they join to.

use nom::bytes::complete::{tag, take_till};
use nom::character::complete::char;
use nom::combinator::{eof, map_opt, not, opt, peek, verify};
use nom::multi::many0;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::diagnostic::Span;
use crate::dockerfile::ast::Text;

/// A line longer than this is an error, as in other builders: they read lines into a buffer of this many bytes.
pub(super) const LONGEST_LINE_BYTES: usize = 65_535;

/// Accepts the byte-order mark some editors write first.
pub(super) fn byte_order_mark(input: &str) -> IResult<&str, &str> {
    tag("\u{feff}")(input)
}

/// Accepts one character of white space, of any script.
pub(super) fn is_blank(character: char) -> bool {
    character.is_whitespace()
}

/// Accepts one line with its end, and returns it without.
pub(super) fn physical_line(input: &str) -> IResult<&str, &str> {
    let (rest, line) = preceded(peek(not(eof)), terminated(take_till(|c| c == '\n'), opt(char('\n')))).parse(input)?;
    Ok((rest, line.trim_end_matches('\r')))
}

/// Accepts a line whose first character is `#`, and returns what follows it.
pub(super) fn comment_line(input: &str) -> IResult<&str, &str> {
    map_opt(physical_line, |line| line.trim_start().strip_prefix('#')).parse(input)
}

/// Accepts a line of white space alone.
pub(super) fn blank_line(input: &str) -> IResult<&str, &str> {
    verify(physical_line, |line: &str| line.trim_start().is_empty()).parse(input)
}

/// Accepts a line that the next one continues, and returns it without its escape character.
pub(super) fn continued_line(escape: char) -> impl Fn(&str) -> IResult<&str, &str> {
    move |input| {
        map_opt(physical_line, |line| {
            let head = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
            // Two escape characters are an escaped one. Only the last two are looked at, so three do not continue either.
            (!head.ends_with(escape)).then_some(head)
        })
        .parse(input)
    }
}

/// A line put together from its continuations.
pub(super) struct Logical {
    pub(super) text: Text,
    /// Blank lines inside, which continue all the same.
    pub(super) blank_lines: Vec<Span>,
}

/// Accepts a line with all its continuations. `offset` is the place of `input` in the source.
pub(super) fn logical_line(escape: char, offset: usize) -> impl Fn(&str) -> IResult<&str, Logical> {
    move |input| {
        let place = |part: &str| offset + (part.as_ptr() as usize - input.as_ptr() as usize);
        let mut text = Text::at(offset);
        let mut blank_lines = Vec::new();
        let mut rest = input;
        while let Ok((after, head)) = continued_line(escape)(rest) {
            text.push(head, place(head));
            let (after, skipped) = many0(skipped_line).parse(after)?;
            let blank = skipped.into_iter().filter(|line| line.trim_start().is_empty());
            blank_lines.extend(blank.map(|line| Span::new(place(line), place(line) + line.len())));
            rest = after;
        }
        if let Ok((after, last)) = physical_line(rest) {
            text.push(last, place(last));
            rest = after;
        }
        Ok((rest, Logical { text, blank_lines }))
    }
}

/// Accepts a line that leaves no trace inside a continuation.
pub(super) fn skipped_line(input: &str) -> IResult<&str, &str> {
    verify(physical_line, |line: &str| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with('#')
    })
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_escape_at_the_end_continues() {
        for (line, expected) in [
            ("a \\", Some("a ")),
            ("a\\ \t", Some("a")),
            ("\\", Some("")),
            ("\\  ", Some("")),
            ("  \\", Some("  ")),
            ("a\\\\", None),
            ("a\\\\\\", None),
            ("\\\\", None),
            ("a\\\r\n", Some("a")),
            ("a", None),
        ] {
            assert_eq!(continued_line('\\')(line).ok().map(|(_, head)| head), expected, "{line:?}");
        }
    }

    #[test]
    fn comments_and_blank_lines_vanish_from_a_continuation() {
        let input = "RUN a \\\n  # why\n\n  b \\\n\t\\\n c\nnext";
        let (rest, logical) = logical_line('\\', 0)(input).unwrap();
        assert_eq!((rest, logical.text.as_str()), ("next", "RUN a   b \t c"));
        assert_eq!(logical.blank_lines, [Span::new(16, 16)]);
    }

    #[test]
    fn the_end_of_the_file_ends_a_continuation() {
        let (rest, logical) = logical_line('\\', 0)("RUN a \\\n").unwrap();
        assert_eq!((rest, logical.text.as_str()), ("", "RUN a "));
    }
}
