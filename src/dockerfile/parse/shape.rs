//! The shapes of arguments: each instruction takes one of them.

use nom::Parser;
use nom::bytes::complete::take_till;
use nom::combinator::opt;

use super::heredoc;
use super::json::{self, Form};
use super::line::is_blank;
use super::word::{assignment, bare_word, bare_words, word_blanks, words};
use super::{Line, instruction};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Arguments, Declaration, Keyword, Pair};

type Shaped = Result<Arguments, Diagnostic>;

/// Reads `rest`, what follows the name and the flags, in the shape of `keyword`.
pub(super) fn arguments(line: Line<'_>, keyword: Keyword, rest: &str, problems: &mut Vec<Diagnostic>) -> Shaped {
    match keyword {
        Keyword::Env | Keyword::Label => pairs(line, keyword, rest),
        Keyword::Arg => declarations(line, rest),
        Keyword::From => from_words(line, rest),
        Keyword::Expose => word_list(line, rest),
        Keyword::Add | Keyword::Copy => json_or_paths(line, keyword, rest, problems),
        Keyword::Volume => json_or_words(line, rest),
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint => json_or_text(line, rest),
        Keyword::Shell => json_only(line, rest),
        Keyword::Healthcheck => health(line, rest),
        Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir => text(line, keyword, rest),
        Keyword::Onbuild => trigger(line, rest, problems),
    }
}

/// Reads `key=value …`, or the legacy `key the rest of the line`.
fn pairs(line: Line<'_>, keyword: Keyword, rest: &str) -> Shaped {
    let words = all(words(line.escape), rest);
    let Some(&first) = words.first() else { return Err(missing(line, keyword.as_str())) };
    if !first.contains('=') {
        return legacy_pair(line, keyword, rest);
    }
    let pairs: Result<_, Diagnostic> = words.into_iter().map(|word| pair(line, keyword, word)).collect();
    Ok(Arguments::Pairs(pairs?))
}

fn legacy_pair(line: Line<'_>, keyword: Keyword, rest: &str) -> Shaped {
    let (after, key) = bare_word(rest).unwrap_or(("", rest));
    let (value, _) = opt(word_blanks).parse(after).unwrap_or((after, None));
    if value.is_empty() {
        let message = format!("{} must have two arguments", keyword.as_str());
        return Err(Diagnostic::error("missing-value", message, line.span(key))
            .with_label("has no value")
            .with_help(format!("write `{key}=value`")));
    }
    Ok(Arguments::LegacyPair(Pair { key: line.spanned(key), value: line.spanned(value) }))
}

fn pair(line: Line<'_>, keyword: Keyword, word: &str) -> Result<Pair, Diagnostic> {
    let (key, value) = assignment(word);
    let Some(value) = value else {
        let message = format!("cannot find `=` in `{word}`");
        return Err(Diagnostic::error("missing-equals", message, line.span(word))
            .with_label("must have the form name=value")
            .with_help("put quotes around a value that holds blanks"));
    };
    not_blank(line, keyword, word, key)?;
    Ok(Pair { key: line.spanned(key), value: line.spanned(value) })
}

fn not_blank(line: Line<'_>, keyword: Keyword, word: &str, name: &str) -> Result<(), Diagnostic> {
    if !name.is_empty() {
        return Ok(());
    }
    let message = format!("{} names cannot be blank", keyword.as_str());
    Err(Diagnostic::error("blank-name", message, line.span(word)).with_label("no name before `=`"))
}

/// Reads `name[=value] …`.
fn declarations(line: Line<'_>, rest: &str) -> Shaped {
    let words = all(words(line.escape), rest);
    if words.is_empty() {
        return Err(missing(line, "ARG"));
    }
    let declared = words.into_iter().map(|word| {
        let (name, value) = assignment(word);
        not_blank(line, Keyword::Arg, word, name)?;
        Ok(Declaration { name: line.spanned(name), value: value.map(|value| line.spanned(value)) })
    });
    Ok(Arguments::Declarations(declared.collect::<Result<_, Diagnostic>>()?))
}

/// Reads `image` or `image AS name`.
fn from_words(line: Line<'_>, rest: &str) -> Shaped {
    let words = all(bare_words, rest);
    let problem = match words[..] {
        [_] => None,
        [_, middle, _] if middle.eq_ignore_ascii_case("as") => None,
        [] => Some((line.name(), "needs an image")),
        [_, second] if second.eq_ignore_ascii_case("as") => Some((second, "needs a stage name after it")),
        [_, second, ..] if !second.eq_ignore_ascii_case("as") => Some((second, "only `AS name` can follow the image")),
        [_, _, _, fourth, ..] => Some((fourth, "nothing can follow the stage name")),
        [_, second, ..] => Some((second, "only `AS name` can follow the image")),
    };
    match problem {
        None => Ok(Arguments::Words(words.into_iter().map(|word| line.spanned(word)).collect())),
        Some((word, label)) => {
            let message = "FROM requires either one or three arguments";
            Err(Diagnostic::error("from-arguments", message, line.span(word))
                .with_label(label)
                .with_help("write `FROM image` or `FROM image AS name`"))
        }
    }
}

/// Reads words between blanks, at least one.
fn word_list(line: Line<'_>, rest: &str) -> Shaped {
    let words = all(bare_words, rest);
    if words.is_empty() {
        return Err(missing(line, line.name()));
    }
    Ok(Arguments::Words(words.into_iter().map(|word| line.spanned(word)).collect()))
}

/// Reads a JSON array, or words between blanks, at least one.
fn json_or_words(line: Line<'_>, rest: &str) -> Shaped {
    match json_form(line, rest)? {
        Some(Arguments::Json(strings)) if strings.value.is_empty() => Err(missing(line, line.name())),
        Some(json) => Ok(json),
        None => word_list(line, rest),
    }
}

/// Reads the sources and the destination of COPY and ADD: a JSON array, or words between blanks.
fn json_or_paths(line: Line<'_>, keyword: Keyword, rest: &str, problems: &mut Vec<Diagnostic>) -> Shaped {
    let json = json_form(line, rest)?;
    let (arguments, paths) = match json {
        Some(Arguments::Json(strings)) => {
            let last = strings.value.last().map(|path| path.span);
            (Arguments::Json(strings.clone()), (strings.value.len(), last))
        }
        _ => {
            problems.extend(split_marker(line, rest));
            let words: Vec<_> = all(bare_words, rest).into_iter().map(|word| line.spanned(word)).collect();
            let summary = (words.len(), words.last().map(|word| word.span));
            (Arguments::Words(words), summary)
        }
    };
    let name = keyword.as_str();
    match paths {
        (0, _) | (_, None) => Err(Diagnostic::error(
            "missing-arguments",
            format!("{name} requires at least two arguments"),
            line.span(line.name()),
        )
        .with_label("needs a source and a destination")),
        (1, Some(only)) => {
            let message = format!("{name} requires at least two arguments, but only one was provided");
            Err(Diagnostic::error("missing-arguments", message, only).with_label("the destination is missing"))
        }
        _ => Ok(arguments),
    }
}

/// Returns the warning for a marker that holds blanks. It opens a heredoc, but the words of COPY and ADD end at blanks,
/// so that the file it was meant to be is looked for in the context.
fn split_marker(line: Line<'_>, rest: &str) -> Option<Diagnostic> {
    let start = line.range(rest).start;
    let markers = heredoc::markers(line.text.as_str()).into_iter().map(|marker| marker.text);
    let split = markers.filter(|text| line.range(text).start >= start).find(|text| text.contains(is_blank))?;
    let whole: String = split.split(is_blank).collect();
    Some(
        Diagnostic::warning("heredoc-with-blanks", "a heredoc's marker ends at the blank", line.span(split))
            .with_label("these are several words, each a path")
            .with_help(format!("write `{whole}`")),
    )
}

/// Reads a JSON array, or the text as it is.
fn json_or_text(line: Line<'_>, rest: &str) -> Shaped {
    Ok(json_form(line, rest)?.unwrap_or_else(|| Arguments::Text(line.spanned(rest))))
}

/// Reads a JSON array with at least one string.
fn json_only(line: Line<'_>, rest: &str) -> Shaped {
    if rest.is_empty() {
        return Err(missing(line, line.name()));
    }
    match json_form(line, rest)? {
        Some(Arguments::Json(strings)) if strings.value.is_empty() => {
            let message = "SHELL requires at least one argument";
            Err(Diagnostic::error("missing-arguments", message, strings.span).with_label("names no program"))
        }
        Some(json) => Ok(json),
        None => {
            Err(Diagnostic::error("shell-not-json", "SHELL requires the arguments to be in JSON form", line.span(rest))
                .with_label("not a JSON array of strings")
                .with_help("write it like `SHELL [\"/bin/bash\", \"-c\"]`"))
        }
    }
}

/// Reads the type word of HEALTHCHECK and its command.
fn health(line: Line<'_>, rest: &str) -> Shaped {
    let (after, kind) = take_till::<_, _, nom::error::Error<&str>>(is_blank).parse(rest).unwrap_or(("", rest));
    if kind.is_empty() {
        return Err(missing(line, line.name()));
    }
    let command = json_or_text(line, after.trim_start())?;
    Ok(Arguments::Health(line.spanned(kind), Box::new(command)))
}

/// Reads the whole rest as one argument.
fn text(line: Line<'_>, keyword: Keyword, rest: &str) -> Shaped {
    if rest.is_empty() {
        let message = format!("{} requires exactly one argument", keyword.as_str());
        return Err(
            Diagnostic::error("missing-arguments", message, line.span(line.name())).with_label("needs an argument")
        );
    }
    Ok(Arguments::Text(line.spanned(rest)))
}

/// Reads the instruction after ONBUILD.
fn trigger(line: Line<'_>, rest: &str, problems: &mut Vec<Diagnostic>) -> Shaped {
    if rest.is_empty() {
        return Err(missing(line, line.name()));
    }
    // Only one level is read, so a long row of ONBUILDs cannot exhaust the stack.
    let nested = instruction::name_of(rest);
    match Keyword::named(nested) {
        Some(Keyword::Onbuild) => {
            Err(Diagnostic::error("onbuild-chain", "ONBUILD cannot hold another ONBUILD", line.span(nested))
                .with_label("remove one of the two"))
        }
        Some(forbidden @ (Keyword::From | Keyword::Maintainer)) => {
            let message = format!("{} is not allowed as an ONBUILD trigger", forbidden.as_str());
            Err(Diagnostic::error("onbuild-forbidden", message, line.span(nested)).with_label("cannot be a trigger"))
        }
        _ if nested.starts_with("--") => {
            let message = format!("unknown flag `{nested}`");
            Err(Diagnostic::error("unknown-flag", message, line.span(nested)).with_label("ONBUILD takes no flags"))
        }
        _ => {
            let text = line.text.slice(line.range(rest));
            let mut found = Vec::new();
            let nested = instruction::instruction(&text, line.escape, &mut found);
            // An image may keep a trigger that nothing can be built with; `Rule::BrokenTrigger` speaks of the others.
            let forbids =
                |finding: &Diagnostic| matches!(finding.code, "missing-value" | "missing-equals" | "json-not-strings");
            problems.extend(found.into_iter().filter(forbids));
            Ok(Arguments::Trigger(Box::new(nested)))
        }
    }
}

fn json_form(line: Line<'_>, rest: &str) -> Result<Option<Arguments>, Diagnostic> {
    match json::form(rest) {
        Form::Not => Ok(None),
        Form::Strings(strings) => {
            let strings =
                strings.into_iter().map(|(written, decoded)| Spanned::new(decoded, line.span(written))).collect();
            Ok(Some(Arguments::Json(Spanned::new(strings, line.span(rest)))))
        }
        Form::Other(element) => Err(Diagnostic::error(
            "json-not-strings",
            "a JSON array of arguments must hold strings only",
            line.span(element),
        )
        .with_label("not a string")
        .with_help("put it between double quotes")),
    }
}

fn missing(line: Line<'_>, name: &str) -> Diagnostic {
    let message = format!("{} requires at least one argument", name.to_ascii_uppercase());
    Diagnostic::error("missing-arguments", message, line.span(line.name())).with_label("needs an argument")
}

/// Applies a parser that accepts any text.
fn all<'a>(mut total: impl Parser<&'a str, Output = Vec<&'a str>>, rest: &'a str) -> Vec<&'a str> {
    total.parse(rest).map_or_else(|_| Vec::new(), |(_, words)| words)
}
