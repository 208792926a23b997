//! The rules of `grammar/reference.abnf`.

use nom::branch::alt;
use nom::bytes::complete::{tag as text, take_while_m_n, take_while1};
use nom::character::complete::{char, digit1, satisfy};
use nom::combinator::{map, not, opt, recognize, verify};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{IResult, Parser};

/// Longest tag (distribution-spec).
const MAX_TAG_BYTES: usize = 128;

/// Returns whether a rule of the grammar accepts the whole of a text.
type Accepts = fn(&str) -> bool;

/// Every rule of `grammar/reference.abnf` with its function.
#[doc(hidden)]
pub const RULES: &[(&str, Accepts)] = &[
    ("reference", |text| whole(reference(text))),
    ("name", |text| whole(name(text))),
    ("host", |text| whole(host(text))),
    ("host-name", |text| whole(host_name(text))),
    ("label", |text| whole(label(text))),
    ("address", |text| whole(address(text))),
    ("port", |text| whole(port(text))),
    ("path", |text| whole(path(text))),
    ("component", |text| whole(component(text))),
    ("plain-component", |text| whole(plain_component(text))),
    ("tag", |text| whole(tag(text))),
    ("digest", |text| whole(digest(text))),
];

fn whole<T>(outcome: IResult<&str, T>) -> bool {
    matches!(outcome, Ok(("", _)))
}

/// A reference as written.
pub(super) struct Written<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
}

pub(super) fn reference(input: &str) -> IResult<&str, Written<'_>> {
    let parts = (name, opt(preceded(char(':'), tag)), opt(preceded(char('@'), digest)));
    map(parts, |((host, path), tag, digest)| Written { host, path, tag, digest }).parse(input)
}

/// Accepts a path, behind the host of its registry or not. What could be either is no host.
fn name(input: &str) -> IResult<&str, (Option<&str>, &str)> {
    let hosted = map((host, char('/'), path), |(host, _, path)| (Some(host), path));
    let hostless = map(recognize((plain_component, char('/'), path)), |path| (None, path));
    let single = map(terminated(component, not(char('/'))), |path| (None, path));
    alt((hosted, hostless, single)).parse(input)
}

/// Accepts a host that nobody could take for the first component of a path.
fn host(input: &str) -> IResult<&str, &str> {
    let bracketed = recognize(delimited(char('['), address, char(']')));
    let whole = recognize(pair(alt((bracketed, host_name)), opt(preceded(char(':'), port))));
    verify(whole, is_host_like).parse(input)
}

pub(super) fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn host_name(input: &str) -> IResult<&str, &str> {
    recognize(pair(label, many0_count(pair(char('.'), label)))).parse(input)
}

fn label(input: &str) -> IResult<&str, &str> {
    let run = take_while1(|c: char| c.is_ascii_alphanumeric() || c == '-');
    verify(run, |run: &str| !run.starts_with('-') && !run.ends_with('-')).parse(input)
}

fn address(input: &str) -> IResult<&str, &str> {
    let digits = take_while1(|c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    verify(digits, |digits: &str| digits.parse::<std::net::Ipv6Addr>().is_ok()).parse(input)
}

fn port(input: &str) -> IResult<&str, &str> {
    verify(digit1, |digits: &str| digits.parse::<u16>().is_ok()).parse(input)
}

fn path(input: &str) -> IResult<&str, &str> {
    recognize(pair(component, many0_count(pair(char('/'), component)))).parse(input)
}

fn component(input: &str) -> IResult<&str, &str> {
    let separator = alt((text("."), text("__"), text("_"), take_while1(|c| c == '-')));
    let run = || take_while1(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    recognize(pair(run(), many0_count(pair(separator, run())))).parse(input)
}

/// Accepts a component without a dot, which is what can begin a path that has no host in front.
fn plain_component(input: &str) -> IResult<&str, &str> {
    verify(component, |component: &str| !is_host_like(component)).parse(input)
}

fn tag(input: &str) -> IResult<&str, &str> {
    let first = satisfy(|c| c.is_ascii_alphanumeric() || c == '_');
    let more = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    recognize(pair(first, take_while_m_n(0, MAX_TAG_BYTES - 1, more))).parse(input)
}

fn digest(input: &str) -> IResult<&str, &str> {
    let hexadecimal = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
    recognize(pair(text("sha256:"), take_while_m_n(64, 64, hexadecimal))).parse(input)
}
