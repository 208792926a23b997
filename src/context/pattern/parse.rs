use nom::branch::alt;
use nom::bytes::complete::{is_not, tag};
use nom::character::complete::{anychar, char, none_of};
use nom::combinator::{all_consuming, map, opt, verify};
use nom::multi::{many0, many1};
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

use super::{BadPattern, Token};

/// Whether two stars mean more than one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stars {
    /// They do not: paths of sources.
    Single,
    /// They mean any number of directories: ignore files.
    Double,
}

/// Returns whether a rule of the grammar accepts the whole of a text.
type Accepts = fn(&str) -> bool;

/// The rules of `grammar/dockerignore.abnf`, each as the function that parses it.
#[doc(hidden)]
pub const RULES: &[(&str, Accepts)] = &[
    ("pattern", |text| whole(pattern(Stars::Double, text))),
    ("part", |text| whole(part(Stars::Double, text))),
    ("directories", |text| whole(directories(text))),
    ("star", |text| whole(star(text))),
    ("any-one", |text| whole(any_one(text))),
    ("class", |text| whole(class(text))),
    ("class-range", |text| whole(class_range(text))),
    ("class-character", |text| whole(class_character(text))),
    ("escaped", |text| whole(escaped(text))),
    ("literal", |text| whole(literal(text))),
];

fn whole<T>(outcome: IResult<&str, T>) -> bool {
    matches!(outcome, Ok(("", _)))
}

/// Reads a whole pattern; neighbouring literals become one, and equal stars in a row one star.
pub(super) fn tokens(text: &str, stars: Stars) -> Result<Vec<Token>, BadPattern> {
    let (_, parts) = all_consuming(|rest| pattern(stars, rest)).parse(text).map_err(|_| BadPattern)?;
    let mut tokens: Vec<Token> = Vec::new();
    for part in parts {
        match (tokens.last_mut(), part) {
            (Some(Token::Literal(before)), Token::Literal(more)) => before.extend(more),
            (Some(Token::Star), Token::Star) | (Some(Token::Directories), Token::Directories) => {}
            (_, part) => tokens.push(part),
        }
    }
    Ok(tokens)
}

fn pattern(stars: Stars, text: &str) -> IResult<&str, Vec<Token>> {
    many0(|rest| part(stars, rest)).parse(text)
}

fn part(stars: Stars, text: &str) -> IResult<&str, Token> {
    let double = verify(directories, |_| stars == Stars::Double);
    alt((double, star, any_one, class, map(escaped, of_character), literal)).parse(text)
}

/// At the end of a pattern they take everything; elsewhere whole directories, and the slash behind them.
fn directories(text: &str) -> IResult<&str, Token> {
    let (rest, _) = pair(tag("**"), opt(char('/'))).parse(text)?;
    Ok((rest, if rest.is_empty() { Token::Rest } else { Token::Directories }))
}

fn star(text: &str) -> IResult<&str, Token> {
    map(char('*'), |_| Token::Star).parse(text)
}

fn any_one(text: &str) -> IResult<&str, Token> {
    map(char('?'), |_| Token::One).parse(text)
}

fn class(text: &str) -> IResult<&str, Token> {
    let inside = pair(opt(char('^')), many1(class_range));
    map(delimited(char('['), inside, char(']')), |(not, ranges)| Token::Class { negated: not.is_some(), ranges })
        .parse(text)
}

fn class_range(text: &str) -> IResult<&str, (char, char)> {
    let range = pair(class_character, opt(preceded(char('-'), class_character)));
    map(range, |(low, high)| (low, high.unwrap_or(low))).parse(text)
}

fn class_character(text: &str) -> IResult<&str, char> {
    alt((escaped, none_of("-]\\"))).parse(text)
}

fn escaped(text: &str) -> IResult<&str, char> {
    preceded(char('\\'), anychar).parse(text)
}

fn literal(text: &str) -> IResult<&str, Token> {
    map(is_not("*?[\\"), |text: &str| Token::Literal(text.as_bytes().to_vec())).parse(text)
}

fn of_character(character: char) -> Token {
    Token::Literal(character.to_string().into_bytes())
}
