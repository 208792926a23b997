//! The walk down the file.

use nom::Parser;
use nom::combinator::opt;

use super::directive::{as_escape, directive, interpreter};
use super::heredoc::{self, Marker, heredoc_body, near_end};
use super::line::{LONGEST_LINE_BYTES, blank_line, byte_order_mark, comment_line, logical_line, physical_line};
use super::{Parsed, instruction};
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::ast::{Arguments, Directive, DirectiveKey, Dockerfile, Heredoc, Instruction, Keyword, Text};
use crate::dockerfile::lint::Rule;

/// More findings than this help nobody; the file is likely something else.
pub(in crate::dockerfile) const MOST_FINDINGS: usize = 100;

/// A heredoc without its end is searched for to the end of the file. This bounds how often, so that reading stays linear.
const MOST_SEARCHES: usize = 8;

/// Reads a whole file.
pub(super) fn dockerfile(source: &str) -> Parsed {
    Reader::new(source).read()
}

/// Reads one file from top to bottom.
struct Reader<'s> {
    source: &'s str,
    rest: &'s str,
    ast: Dockerfile,
    comments: Vec<Spanned<String>>,
    diagnostics: Vec<Diagnostic>,
    searches: usize,
}

impl<'s> Reader<'s> {
    fn new(source: &'s str) -> Reader<'s> {
        let (rest, _) = opt(byte_order_mark).parse(source).unwrap_or((source, None));
        let ast = Dockerfile { escape: '\\', directives: Vec::new(), instructions: Vec::new() };
        Reader { source, rest, ast, comments: Vec::new(), diagnostics: Vec::new(), searches: 0 }
    }

    fn read(mut self) -> Parsed {
        self.measure_lines();
        self.read_directives();
        while !self.rest.is_empty() && self.diagnostics.len() < MOST_FINDINGS {
            self.read_item();
        }
        if let Some(missing) = self.no_instructions() {
            self.diagnostics.push(missing);
        }
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.labels[0].0.start);
        Parsed { ast: self.ast, diagnostics: self.diagnostics }
    }

    fn offset(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.source.as_ptr() as usize
    }

    fn span(&self, part: &str) -> Span {
        let start = self.offset(part);
        Span::new(start, start + part.len())
    }

    /// Finds lines that no buffer of other builders holds. A carriage return counts, a line feed does not.
    fn measure_lines(&mut self) {
        let mut rest = self.rest;
        while let Ok((after, line)) = physical_line(rest) {
            let read = rest[..rest.len() - after.len()].trim_end_matches('\n');
            if read.len() > LONGEST_LINE_BYTES && self.diagnostics.len() < MOST_FINDINGS {
                let start = self.offset(line);
                let message = format!("line is longer than {LONGEST_LINE_BYTES} bytes");
                self.diagnostics.push(
                    Diagnostic::error("line-too-long", message, Span::new(start, start))
                        .with_label(format!("has {} bytes", read.len()))
                        .with_help("break it with continuations, or move the data into a file"),
                );
            }
            rest = after;
        }
    }

    /// Reads directives up to the first line that is none.
    fn read_directives(&mut self) {
        let interpreted = interpreter(self.rest).map(|(after, _)| self.rest = after).is_ok();
        while let Ok((after, line)) = physical_line(self.rest) {
            let Ok((_, (key, value))) = directive(line) else { return };
            let Some(known) = DirectiveKey::named(key) else { return };
            // Behind an interpreter line only the frontend is looked for; to the language it is a comment, which ends directives.
            if interpreted && known != DirectiveKey::Syntax {
                return;
            }
            self.take_directive(Spanned::new(known, self.span(key)), Spanned::new(value.to_owned(), self.span(value)));
            self.rest = after;
        }
    }

    fn take_directive(&mut self, key: Spanned<DirectiveKey>, value: Spanned<String>) {
        let name = key.value.as_str();
        if let Some(first) = self.ast.directives.iter().find(|directive| directive.key.value == key.value) {
            let message = format!("only one `{name}` parser directive can be used");
            let again = Diagnostic::error("duplicate-directive", message, key.span).with_label("given again");
            self.diagnostics.push(again.with_also(first.key.span, "first given here"));
            return;
        }
        if key.value == DirectiveKey::Escape {
            match as_escape(&value.value) {
                Some(escape) => self.ast.escape = escape,
                None => self.diagnostics.push(invalid_escape(&value)),
            }
        }
        self.ast.directives.push(Directive { key, value });
    }

    fn read_item(&mut self) {
        if let Ok((after, _)) = blank_line(self.rest) {
            self.rest = after;
        } else if let Ok((after, comment)) = comment_line(self.rest) {
            self.rest = after;
            self.take_comment(comment);
        } else {
            self.read_instruction();
        }
    }

    /// Collects a comment for the instruction below; an empty one starts anew.
    fn take_comment(&mut self, comment: &str) {
        let comment = comment.trim();
        match comment {
            "" => self.comments.clear(),
            _ => self.comments.push(Spanned::new(comment.to_owned(), self.span(comment))),
        }
    }

    fn read_instruction(&mut self) {
        let offset = self.offset(self.rest);
        let Ok((after, logical)) = logical_line(self.ast.escape, offset)(self.rest) else { return };
        self.rest = after;
        let text = trimmed(&logical.text);
        if text.as_str().is_empty() {
            return;
        }
        if let Some(at) = text.as_str().find('\0') {
            self.diagnostics.push(nul_byte(text.span_of(at..at + 1)));
            self.rest = "";
            return;
        }
        let mut instruction = instruction::instruction(&text, self.ast.escape, &mut self.diagnostics);
        if let Some(&blank) = logical.blank_lines.first() {
            self.diagnostics.push(empty_continuation(blank, &instruction));
        }
        instruction.comments = std::mem::take(&mut self.comments);
        self.read_heredocs(&mut instruction);
        self.ast.instructions.push(instruction);
    }

    fn read_heredocs(&mut self, instruction: &mut Instruction) {
        let known = instruction.keyword.is_some() || self.searches < MOST_SEARCHES;
        if !known || !takes_heredocs(instruction) || !instruction.text.as_str().contains("<<") {
            return;
        }
        let text = instruction.text.clone();
        for marker in heredoc::markers(text.as_str()) {
            let start = marker.text.as_ptr() as usize - text.as_str().as_ptr() as usize;
            let span = text.span_of(start..start + marker.text.len());
            match heredoc_body(&marker.name, marker.chomp)(self.rest) {
                Ok((after, body)) => {
                    // A file can hold one; the argument of a process cannot.
                    if !is_file(instruction)
                        && let Some(at) = body.find('\0')
                    {
                        self.diagnostics.push(nul_byte(self.span(&body[at..=at])));
                    }
                    let heredoc = heredoc_of(&marker, span, Spanned::new(body.to_owned(), self.span(body)));
                    self.rest = after;
                    instruction.heredocs.push(heredoc);
                    instruction.span.end = self.end_of_last_line();
                }
                Err(_) => {
                    // What follows an unknown instruction may be no heredoc at all.
                    if instruction.keyword.is_some() {
                        self.unterminated(&marker, span);
                    }
                    self.searches += 1;
                    instruction.arguments = Arguments::Broken;
                    return;
                }
            }
        }
    }

    /// Reports a heredoc without its end, and goes on below the line that was likely meant.
    fn unterminated(&mut self, marker: &Marker<'_>, span: Span) {
        let name = &marker.name;
        let finding = Diagnostic::error("unterminated-heredoc", "unterminated heredoc", span)
            .with_label(format!("no line below is `{name}` alone"));
        let near = if self.searches < MOST_SEARCHES { near_end(self.rest, name) } else { None };
        let finding = match near {
            Some((after, line)) => {
                self.rest = after;
                let chomps = !marker.chomp && line.trim_end() == line && line.trim_start_matches('\t') == name;
                let help = if chomps { "write `<<-` to allow tabs before it" } else { "remove the blanks around it" };
                finding.with_also(self.span(line), "not the end: it has blanks around").with_help(help)
            }
            None => {
                self.rest = "";
                finding.with_help(format!("add a line `{name}` where the text ends"))
            }
        };
        self.diagnostics.push(finding);
    }

    /// Returns the end of the line before what is still to be read, without its line ending.
    fn end_of_last_line(&self) -> usize {
        self.source[..self.source.len() - self.rest.len()].trim_end_matches(['\n', '\r']).len()
    }

    fn no_instructions(&self) -> Option<Diagnostic> {
        let (code, message) = match self.ast.instructions.is_empty() {
            true if self.source.is_empty() => ("empty-file", "the Dockerfile is empty"),
            true if self.diagnostics.is_empty() => ("no-instructions", "the Dockerfile holds no instructions"),
            _ => return None,
        };
        Some(Diagnostic::error(code, message, Span::new(0, 0)).with_help("a Dockerfile begins with `FROM image`"))
    }
}

/// Returns whether heredocs may follow: only in the textual form of RUN, COPY and ADD, and of ONBUILD with these. An
/// unknown instruction may be one of them misspelt.
fn takes_heredocs(instruction: &Instruction) -> bool {
    match (&instruction.arguments, instruction.keyword) {
        (Arguments::Trigger(trigger), _) => takes_heredocs(trigger),
        (Arguments::Json(_), _) => false,
        (_, None | Some(Keyword::Run | Keyword::Copy | Keyword::Add)) => true,
        _ => false,
    }
}

fn heredoc_of(marker: &Marker<'_>, span: Span, body: Spanned<String>) -> Heredoc {
    Heredoc {
        name: marker.name.clone(),
        marker: span,
        descriptor: marker.descriptor,
        chomp: marker.chomp,
        expand: !marker.quoted,
        body,
    }
}

/// Returns `text` without blanks around.
fn trimmed(text: &Text) -> Text {
    let whole = text.as_str();
    let start = whole.len() - whole.trim_start().len();
    text.slice(start..whole.trim_end().len().max(start))
}

/// Returns whether heredocs of `instruction` become files.
fn is_file(instruction: &Instruction) -> bool {
    matches!(instruction.keyword, Some(Keyword::Copy | Keyword::Add))
}

fn nul_byte(at: Span) -> Diagnostic {
    Diagnostic::error("nul-byte", "the text holds a NUL byte", at).with_label("is this a Dockerfile?")
}

fn invalid_escape(value: &Spanned<String>) -> Diagnostic {
    let message = format!("invalid escape character `{}`", value.value);
    Diagnostic::error("invalid-escape", message, value.span).with_label("must be a backslash or a backtick")
}

fn empty_continuation(blank: Span, instruction: &Instruction) -> Diagnostic {
    Rule::NoEmptyContinuation
        .at(blank, "Empty continuation line")
        .with_label("continues all the same")
        .with_also(instruction.name.span, "this instruction")
        .with_help("remove the line, or write a comment on it")
}
