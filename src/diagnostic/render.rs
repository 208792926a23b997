use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity, Source};

/// Whether rendered text carries terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// Prints one diagnostic with its place in `source`, ending without a line feed.
pub fn render(source: &Source, diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let text = without_c1(source.text());
    let mut snippet = Snippet::source(&*text).path(in_one_line(source.name()));
    for (place, (span, label)) in diagnostic.labels.iter().enumerate() {
        let kind = if place == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let annotation = kind.span(span.range());
        snippet = snippet.annotation(if label.is_empty() { annotation } else { annotation.label(in_one_line(label)) });
    }
    let title = level.primary_title(pictured(&diagnostic.message)).id(diagnostic.code);
    let mut report: Vec<Group<'_>> = vec![title.element(snippet)];
    if let Some(help) = &diagnostic.help {
        report.push(Group::with_title(Level::HELP.secondary_title(pictured(help))));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    renderer.render(&report)
}

/// Returns a text with pictures of the controls in it but line feeds: `annotate_snippets` replaces those of ASCII, in titles
/// and the source alone, and indents lines.
fn pictured(text: &str) -> String {
    let picture = |character: char| match character {
        '\n' => '\n',
        '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '␡',
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    };
    text.chars().map(picture).collect()
}

fn in_one_line(text: &str) -> String {
    pictured(text).replace('\n', "␊")
}

/// Returns a text with a mark of as many bytes in place of the controls beyond ASCII, so that spans keep their places.
fn without_c1(text: &str) -> Cow<'_, str> {
    match text.contains(is_c1) {
        true => text.replace(is_c1, "·").into(),
        false => text.into(),
    }
}

fn is_c1(character: char) -> bool {
    matches!(character, '\u{80}'..='\u{9f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    #[test]
    fn a_diagnostic_points_at_the_word() {
        let source = Source::new("Dockerfile", "FROM scratch\nRNU make\n");
        let diagnostic = Diagnostic::error("unknown-instruction", "unknown instruction `RNU`", Span::new(13, 16))
            .with_label("not a Dockerfile instruction")
            .with_help("did you mean `RUN`?");
        let expected = "\
error[unknown-instruction]: unknown instruction `RNU`
 --> Dockerfile:2:1
  |
2 | RNU make
  | ^^^ not a Dockerfile instruction
  |
help: did you mean `RUN`?";
        assert_eq!(render(&source, &diagnostic, Style::Plain), expected);
    }
}
