//! Dockerfile text to [`ast`]: logical lines, then instructions, then the heredocs below them.
//!
//! The functions that accept text are the rules of `grammar/dockerfile.abnf`, under the same names. They accept nearly
//! everything; what a shape asks for beyond that is checked beside it, where the finding can point at the exact word.

mod directive;
mod flag;
mod heredoc;
mod instruction;
mod json;
mod line;
mod reader;
mod rules;
mod shape;
mod word;

pub(super) use directive::check_option;
pub(super) use reader::MOST_FINDINGS;
pub use rules::{RULES, accepts};
pub(super) use word::stage_name;

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity, Source, Span, Spanned};
use crate::dockerfile::ast::{self, Text};

/// What one run over a text found.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What was written, also where it is wrong.
    pub ast: ast::Dockerfile,
    /// Every finding, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Returns whether any finding forbids a build.
    pub fn is_broken(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads a whole Dockerfile. After an error it goes on with the next instruction, so that one run finds them all.
pub fn parse(source: &Source) -> Parsed {
    reader::dockerfile(source.text())
}

/// A logical line, from whose parts the places in the source are found.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a Text,
    escape: char,
}

impl<'a> Line<'a> {
    /// Returns the word the line begins with.
    fn name(self) -> &'a str {
        instruction::name_of(self.text.as_str())
    }

    /// Returns the place of `part`, a slice of this line, inside it.
    fn range(self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.text.as_str().as_ptr() as usize;
        start..start + part.len()
    }

    fn span(self, part: &str) -> Span {
        self.text.span_of(self.range(part))
    }

    fn spanned(self, part: &str) -> Spanned<String> {
        Spanned::new(part.to_owned(), self.span(part))
    }
}
