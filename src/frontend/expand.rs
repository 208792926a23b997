use std::cell::RefCell;

use super::Problems;
use super::environment::Environment;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::instruction::{InlineFile, Word};
use crate::dockerfile::shell::{self, ExpandError, Expansion};

/// Expands words of one instruction, all against the environment as it was before it (semantics reference, 5.4).
#[derive(Clone, Copy)]
pub(super) struct Expander<'a> {
    /// The file's escape character.
    pub(super) escape: char,
    /// What variables mean.
    pub(super) environment: &'a Environment,
    /// Where those without a value are noted.
    pub(super) undefined: &'a Undefined,
}

/// Variables that had no value where they were used, by their places.
#[derive(Debug, Default)]
pub(super) struct Undefined(RefCell<Vec<Spanned<String>>>);

impl Undefined {
    pub(super) fn take(&self) -> Vec<Spanned<String>> {
        self.0.take()
    }

    fn note(&self, expansion: &Expansion, word: &Word) {
        let uses = expansion.uses.iter().filter(|used| !used.defined);
        self.0.borrow_mut().extend(uses.map(|used| Spanned::new(used.name.clone(), place(&used.range, word))));
    }
}

impl Expander<'_> {
    pub(super) fn word(&self, word: &Word) -> Result<String, Problems> {
        let expanded = shell::expand(&word.value, self.escape, &|name| self.value(name));
        let expansion = expanded.map_err(|error| problem(&error, word))?;
        self.undefined.note(&expansion, word);
        Ok(expansion.text)
    }

    /// Expands a word into any number of words. Variables without a value are not noted, nor are they by BuildKit.
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
        let expansion = expanded.map_err(|error| problem(&error, &file.body))?;
        self.undefined.note(&expansion, &file.body);
        Ok(expansion.text)
    }

    fn value(&self, name: &str) -> Option<String> {
        self.environment.get(name).map(str::to_owned)
    }
}

fn problem(error: &ExpandError, word: &Word) -> Diagnostic {
    Diagnostic::error("bad-expansion", error.to_string(), place(&error.range, word))
}

/// Returns where a piece of a word stands in the text.
fn place(range: &std::ops::Range<usize>, word: &Word) -> Span {
    // Where a line was continued, or tabs were removed, places in the value are not places in the text.
    if word.span.end - word.span.start == word.value.len() {
        Span::new(word.span.start + range.start, word.span.start + range.end)
    } else {
        word.span
    }
}
