//! What kiln says about text a user wrote: sources, byte spans, diagnostics and how they are printed.

mod render;
mod span;

pub use render::{Style, render};
pub use span::{Lines, Source, Span, Spanned};

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file builds; its author will want to know.
    Warning,
    /// The file cannot be built.
    Error,
}

/// One finding about a source text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// Stable kebab-case name, such as `unknown-instruction`.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where, the main place first. The text of a label says what is there; it may be empty.
    pub labels: Vec<(Span, String)>,
    /// What would likely mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns an error at `span`.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: vec![(span, String::new())],
            help: None,
        }
    }

    /// Returns a warning at `span`.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message, span) }
    }

    /// Says what is at the main place.
    pub fn with_label(mut self, text: impl Into<String>) -> Diagnostic {
        self.labels[0].1 = text.into();
        self
    }

    /// Points at a second place.
    pub fn with_also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push((span, text.into()));
        self
    }

    /// Adds what would likely mend it.
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }
}
