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

/// Reads the instruction that `text` is. What is wrong with it goes to `problems`, and what is right is returned.
pub(super) fn instruction(text: &Text, escape: char, problems: &mut Vec<Diagnostic>) -> Instruction {
    let line = Line { text, escape };
    let name = line.name();
    let keyword = Keyword::named(name);
    let (flags, arguments) = match keyword {
        Some(keyword) => {
            let (flags, rest) = head(line, keyword);
            (flags, shape::arguments(line, keyword, rest, problems))
        }
        None => (Vec::new(), Err(unknown(line, name))),
    };
    Instruction {
        name: line.spanned(name),
        keyword,
        flags,
        arguments: arguments.unwrap_or_else(|finding| {
            problems.push(finding);
            Arguments::Broken
        }),
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
        // It looks like a blank in an editor, and comes from web pages.
        None if name.contains(char::is_whitespace) => {
            finding.with_help("it holds a blank of another kind; type a plain one")
        }
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
