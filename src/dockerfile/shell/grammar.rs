use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char};
use nom::combinator::{map, opt, recognize, value, verify};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use super::{Cause, ExpandError};

/// How deep constructs may stand in each other: unoptimised, each takes 20 KiB of the stack, and threads have 2 MiB.
pub(super) const MOST_NESTED: u32 = 32;

/// Characters that are the name of a variable all alone.
const SPECIAL: [char; 7] = ['@', '*', '#', '?', '-', '$', '!'];

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Plain(&'a str),
    /// What an escape protects; with the escape where those are kept.
    Escaped(String),
    Quoted(Vec<Part<'a>>),
    Variable(Variable<'a>),
}

/// `$name` or `${name…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) modifier: Modifier<'a>,
    pub(super) range: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Modifier<'a> {
    None,
    /// `-`, `+` and `?`: what the word is for, and whether an empty value counts as none.
    Conditional(Condition, Nothing, Vec<Part<'a>>),
    /// `#` and `%`. A pattern that begins with the same sign takes the longest match.
    Remove(End, Pattern<'a>),
    /// `/` and `//`. The text keeps its escapes as the pattern does.
    Replace(Count, Pattern<'a>, Vec<Part<'a>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Default,
    Alternative,
    Required,
}

/// Which variables have no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    Unset,
    UnsetOrEmpty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Start,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    First,
    All,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) range: Range<usize>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) cause: Cause,
    pub(super) range: Range<usize>,
}

impl Flaw {
    pub(super) fn of(self, word: &str) -> ExpandError {
        ExpandError { word: word.to_owned(), cause: self.cause, range: self.range }
    }
}

/// A flaw, or merely a parser that does not apply.
pub(super) type Mismatch = Option<Flaw>;

/// Lets `Mismatch` be the error of nom's parsers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(Mismatch);

impl ParseError<&str> for Refusal {
    fn from_error_kind(_: &str, _: ErrorKind) -> Refusal {
        Refusal(None)
    }

    fn append(_: &str, _: ErrorKind, other: Refusal) -> Refusal {
        other
    }
}

/// What the surroundings make of characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexis<'a> {
    whole: &'a str,
    escape: char,
    quotes: bool,
    /// Patterns, and what takes their place, keep their escapes.
    keeps_escapes: bool,
    /// The character that ends the text.
    stop: Option<char>,
    depth: u32,
}

impl<'a> Lexis<'a> {
    /// A word of an instruction.
    pub(super) fn word(whole: &'a str, escape: char) -> Lexis<'a> {
        Lexis { whole, escape, quotes: true, keeps_escapes: false, stop: None, depth: 0 }
    }

    /// The text of a file.
    pub(super) fn file(whole: &'a str) -> Lexis<'a> {
        Lexis { quotes: false, ..Lexis::word(whole, '\\') }
    }

    pub(super) fn until(self, stop: char) -> Lexis<'a> {
        Lexis { stop: Some(stop), keeps_escapes: false, ..self }
    }

    pub(super) fn pattern_until(self, stop: char) -> Lexis<'a> {
        Lexis { stop: Some(stop), keeps_escapes: true, ..self }
    }

    fn offset(self, rest: &str) -> usize {
        self.whole.len() - rest.len()
    }

    fn range(self, from: &str, to: &str) -> Range<usize> {
        self.offset(from)..self.offset(to)
    }

    /// A flaw in the text between two rests.
    fn flaw<T>(self, cause: Cause, from: &str, to: &str) -> Result<T, nom::Err<Refusal>> {
        Err(nom::Err::Failure(Refusal(Some(Flaw { cause, range: self.range(from, to) }))))
    }

    fn is_plain(self, character: char) -> bool {
        let quote = self.quotes && matches!(character, '\'' | '"');
        !quote && character != '$' && character != self.escape && Some(character) != self.stop
    }
}

/// Reads the whole of a text.
pub(super) fn parse(lexis: Lexis<'_>) -> Result<Vec<Part<'_>>, Flaw> {
    match word(lexis, lexis.whole) {
        Ok((_, parts)) => Ok(parts),
        Err(nom::Err::Failure(Refusal(Some(flaw)))) => Err(flaw),
        Err(_) => unreachable!("without a character to stop at, every character is part of something"),
    }
}

/// Accepts parts up to the character that ends the text.
pub(super) fn word<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Vec<Part<'a>>, Refusal> {
    many0(|input| part(lexis, input)).parse(input)
}

pub(super) fn part<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Part<'a>, Refusal> {
    alt((
        map(|input| plain(lexis, input), Part::Plain),
        map(|input| dollar(lexis, input), Part::Variable),
        // A `$` that nothing follows.
        map(recognize(char('$')), Part::Plain),
        |input| escaped(lexis, input),
        map(|input| single_quoted(lexis, input), |text| Part::Quoted(vec![Part::Plain(text)])),
        map(|input| double_quoted(lexis, input), Part::Quoted),
    ))
    .parse(input)
}

/// Accepts characters that mean themselves.
pub(super) fn plain<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, &'a str, Refusal> {
    take_while1(|c| lexis.is_plain(c)).parse(input)
}

/// Accepts an escape and what it protects; at the end of the text it protects nothing and vanishes.
pub(super) fn escaped<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Part<'a>, Refusal> {
    let protected = preceded(char(lexis.escape), opt(anychar));
    let keep = |character: char| match lexis.keeps_escapes {
        true => [lexis.escape, character].iter().collect(),
        false => character.to_string(),
    };
    map(protected, |character| Part::Escaped(character.map_or_else(String::new, keep))).parse(input)
}

/// Accepts `'…'`, in which nothing has a meaning.
pub(super) fn single_quoted<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, &'a str, Refusal> {
    let (rest, text) = preceded(quote(lexis, '\''), take_while(|c| c != '\'')).parse(input)?;
    match rest.strip_prefix('\'') {
        Some(rest) => Ok((rest, text)),
        None => lexis.flaw(Cause::SingleQuote, input, rest),
    }
}

/// Accepts `"…"`, in which `$` has its meaning.
pub(super) fn double_quoted<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Vec<Part<'a>>, Refusal> {
    let inside = alt((
        map(take_while1(|c| c != '"' && c != '$' && c != lexis.escape), Part::Plain),
        map(|input| dollar(lexis, input), Part::Variable),
        map(recognize(char('$')), Part::Plain),
        |input| quoted_escape(lexis, input),
    ));
    let (rest, parts) = preceded(quote(lexis, '"'), many0(inside)).parse(input)?;
    match rest.strip_prefix('"') {
        Some(rest) => Ok((rest, parts)),
        None => lexis.flaw(Cause::DoubleQuote, input, rest),
    }
}

/// Accepts an escape between double quotes and what follows it. It protects few characters; before others both stay.
pub(super) fn quoted_escape<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Part<'a>, Refusal> {
    let (rest, follower) = preceded(char(lexis.escape), opt(anychar)).parse(input)?;
    let kept = lexis.keeps_escapes.then_some(lexis.escape);
    let protected = follower.is_some_and(|follower| matches!(follower, '"' | '$') || follower == lexis.escape);
    let literal = (!protected && follower.is_some()).then_some(lexis.escape);
    // Where escapes are kept, one that protects nothing is there twice, so that a pattern reads it as itself.
    Ok((rest, Part::Escaped(kept.into_iter().chain(literal).chain(follower).collect())))
}

/// Accepts the quote that begins something, where quotes do.
fn quote<'a>(lexis: Lexis<'a>, quote: char) -> impl Parser<&'a str, Output = char, Error = Refusal> {
    verify(char(quote), move |_| lexis.quotes)
}

/// Accepts `$name` and `${…}`.
pub(super) fn dollar<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Variable<'a>, Refusal> {
    let (after, _) = char('$').parse(input)?;
    if after.starts_with('{') {
        return substitution(lexis, input);
    }
    let (rest, name) = name(after)?;
    Ok((rest, Variable { name, modifier: Modifier::None, range: lexis.range(input, rest) }))
}

/// Accepts the name of a variable: a word, a number, or one special character.
pub(super) fn name(input: &str) -> IResult<&str, &str, Refusal> {
    let first = verify(anychar, |&c| c.is_alphabetic() || c == '_');
    let word = recognize(pair(first, take_while(|c: char| c.is_alphanumeric() || c == '_')));
    let number = take_while1(|c: char| c.is_ascii_digit());
    let special = recognize(verify(anychar, |c| SPECIAL.contains(c)));
    alt((word, number, special)).parse(input)
}

/// Accepts `${…}`.
pub(super) fn substitution<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Variable<'a>, Refusal> {
    let inside = &input["${".len()..];
    if lexis.depth >= MOST_NESTED {
        return lexis.flaw(Cause::Nested, input, inside);
    }
    let lexis = Lexis { depth: lexis.depth + 1, ..lexis };
    match inside.chars().next() {
        None => return lexis.flaw(Cause::MissingBrace, input, inside),
        Some('{' | '}' | ':') => return lexis.flaw(Cause::BadSubstitution, input, &inside[1..]),
        Some(_) => {}
    }
    // Before a modifier no name is as good as one that has no value.
    let (after, name) = name(inside).unwrap_or((inside, ""));
    let (rest, modifier) = opt(|input| modifier(lexis, input)).parse(after)?;
    match (modifier, rest.chars().next()) {
        (modifier, Some('}')) => {
            let rest = &rest[1..];
            let modifier = modifier.unwrap_or(Modifier::None);
            Ok((rest, Variable { name, modifier, range: lexis.range(input, rest) }))
        }
        (None, Some(_)) => unknown_modifier(lexis, input, rest),
        (_, _) => lexis.flaw(Cause::MissingBrace, input, rest),
    }
}

fn unknown_modifier<'a, T>(lexis: Lexis<'a>, construct: &'a str, rest: &'a str) -> Result<T, nom::Err<Refusal>> {
    let mut characters = rest.chars();
    let colon = characters.next() == Some(':');
    let second = if colon { characters.next() } else { None };
    let after = characters.as_str();
    // Behind a colon the text up to the brace is read first, and what is wrong with it counts more.
    if colon && !matches!(second, Some('#' | '%')) && !word(lexis.until('}'), after)?.0.starts_with('}') {
        return lexis.flaw(Cause::MissingBrace, construct, "");
    }
    lexis.flaw(Cause::Modifier(rest[..rest.len() - after.len()].to_owned()), rest, after)
}

/// Accepts what stands behind the name in `${name…}`.
pub(super) fn modifier<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Modifier<'a>, Refusal> {
    alt((|input| conditional(lexis, input), |input| removal(lexis, input), |input| replacement(lexis, input)))
        .parse(input)
}

/// Accepts `-word`, `+word` and `?word`, each also behind a colon.
pub(super) fn conditional<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Modifier<'a>, Refusal> {
    let nothing = map(opt(char(':')), |colon| if colon.is_some() { Nothing::UnsetOrEmpty } else { Nothing::Unset });
    let condition = alt((
        value(Condition::Default, char('-')),
        value(Condition::Alternative, char('+')),
        value(Condition::Required, char('?')),
    ));
    let operand = |input| word(lexis.until('}'), input);
    map((nothing, condition, operand), |(nothing, condition, operand)| {
        Modifier::Conditional(condition, nothing, operand)
    })
    .parse(input)
}

/// Accepts `#pattern` and `%pattern`.
pub(super) fn removal<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Modifier<'a>, Refusal> {
    let end = alt((value(End::Start, char('#')), value(End::End, char('%'))));
    let removed = |input| pattern(lexis.pattern_until('}'), input);
    map((end, removed), |(end, pattern)| Modifier::Remove(end, pattern)).parse(input)
}

/// Accepts `/pattern/word` and `//pattern/word`.
pub(super) fn replacement<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Modifier<'a>, Refusal> {
    let count = alt((value(Count::All, tag("//")), value(Count::First, tag("/"))));
    let sought = |input| pattern(lexis.pattern_until('/'), input);
    let (rest, (count, sought)) = (count, sought).parse(input)?;
    match rest.strip_prefix('/') {
        Some(rest) => {
            let (rest, by) = word(lexis.pattern_until('}'), rest)?;
            Ok((rest, Modifier::Replace(count, sought, by)))
        }
        None => lexis.flaw(Cause::MissingSlash, input, rest),
    }
}

/// Accepts a pattern, up to the character that ends it. Its escapes are kept, for the pattern to read.
pub(super) fn pattern<'a>(lexis: Lexis<'a>, input: &'a str) -> IResult<&'a str, Pattern<'a>, Refusal> {
    let (rest, parts) = word(lexis, input)?;
    Ok((rest, Pattern { parts, range: lexis.range(input, rest) }))
}
