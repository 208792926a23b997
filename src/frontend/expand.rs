use super::Problems;
use super::environment::Environment;
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::instruction::{InlineFile, Word};
use crate::dockerfile::shell::{self, ExpandError};

/// Expands words of one instruction, all against the environment as it was before it (semantics reference, 5.4).
#[derive(Clone, Copy)]
pub(super) struct Expander<'a> {
    /// The file's escape character.
    pub(super) escape: char,
    /// What variables mean.
    pub(super) environment: &'a Environment,
}

impl Expander<'_> {
    pub(super) fn word(&self, word: &Word) -> Result<String, Problems> {
        let expanded = shell::expand(&word.value, self.escape, &|name| self.value(name));
        expanded.map(|expansion| expansion.text).map_err(|error| problem(&error, word).into())
    }

    /// Expands a word into any number of words.
    pub(super) fn words(&self, word: &Word) -> Result<Vec<String>, Problems> {
        let expanded = shell::expand_to_words(&word.value, self.escape, &|name| self.value(name));
        expanded.map(|(words, _)| words).map_err(|error| problem(&error, word).into())
    }

    /// Expands the body of a heredoc, unless its delimiter is quoted.
    pub(super) fn body(&self, file: &InlineFile) -> Result<String, Problems> {
        if !file.expand {
            return Ok(file.body.value.clone());
        }
        let expanded = shell::expand_file(&file.body.value, &|name| self.value(name));
        expanded.map(|expansion| expansion.text).map_err(|error| problem(&error, &file.body).into())
    }

    fn value(&self, name: &str) -> Option<String> {
        self.environment.get(name).map(str::to_owned)
    }
}

fn problem(error: &ExpandError, word: &Word) -> Diagnostic {
    // Where a line was continued, or tabs were removed, places in the value are not places in the text.
    let span = if word.span.end - word.span.start == word.value.len() {
        Span::new(word.span.start + error.range.start, word.span.start + error.range.end)
    } else {
        word.span
    };
    Diagnostic::error("bad-expansion", error.to_string(), span)
}
