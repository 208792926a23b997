//! One logical line: name, flags, arguments.

use nom::combinator::opt;
use nom::{IResult, Parser};

use super::flag::{assemble, flags};
use super::word::{bare_word, word_blanks};
use super::{Line, shape};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::ast::{Arguments, Flag, Instruction, Keyword, Text};
use crate::dockerfile::suggest::{did_you_mean, nearest};

/// Accepts the first word of a line, whatever it is.
pub(super) fn instruction_name(input: &str) -> IResult<&str, &str> {
    bare_word(input)
}

/// Returns the name that `text` begins with.
pub(super) fn name_of(text: &str) -> &str {
    instruction_name(text).map_or("", |(_, name)| name)
}

/// Reads the instruction that `text` is.
///
/// # Errors
/// The finding, where its name is unknown or its arguments have another shape.
pub(super) fn read(text: &Text, escape: char) -> Result<Instruction, Diagnostic> {
    let line = Line { text, escape };
    let name = line.name();
    let Some(keyword) = Keyword::named(name) else { return Err(unknown(line, name)) };
    let (flags, rest) = head(line, keyword);
    let arguments = shape::arguments(line, keyword, rest)?;
    Ok(Instruction { keyword: Some(keyword), flags, arguments, ..broken(text) })
}

/// Returns what is known of an instruction that could not be read.
pub(super) fn broken(text: &Text) -> Instruction {
    let name = name_of(text.as_str());
    Instruction {
        name: text.spanned(0..name.len()),
        keyword: Keyword::named(name),
        flags: Vec::new(),
        arguments: Arguments::Broken,
        heredocs: Vec::new(),
        comments: Vec::new(),
        text: text.clone(),
        span: text.span(),
    }
}

/// Returns the flags, and the arguments without blanks around.
fn head<'a>(line: Line<'a>, keyword: Keyword) -> (Vec<Flag>, &'a str) {
    let after = &line.text.as_str()[line.name().len()..];
    let (rest, _) = opt(word_blanks).parse(after).unwrap_or((after, None));
    // The flags behind ONBUILD belong to the trigger.
    let (rest, given) = match keyword {
        Keyword::Onbuild => (rest, Vec::new()),
        _ => flags(line.escape)(rest).unwrap_or((rest, Vec::new())),
    };
    (given.iter().map(|(word, pieces)| assemble(line, word, pieces)).collect(), rest.trim())
}

fn unknown(line: Line<'_>, name: &str) -> Diagnostic {
    let near = nearest(name, Keyword::ALL.iter().map(|keyword| keyword.as_str()));
    let finding =
        Diagnostic::error("unknown-instruction", format!("unknown instruction `{}`", shown(name)), line.span(name))
            .with_label("not a Dockerfile instruction");
    match did_you_mean(near, "") {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}

/// Returns at most a screen's width of a word for a message.
fn shown(word: &str) -> String {
    match word.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}
