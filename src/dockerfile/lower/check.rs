use nom::Parser;
use nom::combinator::all_consuming;

use super::Problems;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::parse::check_option;
use crate::dockerfile::suggest::{did_you_mean, nearest};

const OPTIONS: [&str; 3] = ["skip", "experimental", "error"];

/// Checks the value of the `check` directive: at most three options between `;`.
pub(super) fn validate(options: &Spanned<String>, problems: &mut Problems) {
    let mut start = options.span.start;
    for (place, option) in options.value.split(';').enumerate() {
        let span = Span::new(start, start + option.len());
        start = span.end + 1;
        if place >= OPTIONS.len() {
            let message = "at most three check options can be given";
            problems.push(Diagnostic::error("invalid-check-option", message, span).with_label("one too many"));
            return;
        }
        if all_consuming(check_option).parse(option).is_err() {
            problems.push(invalid(option, span));
        }
    }
}

fn invalid(option: &str, span: Span) -> Diagnostic {
    let key = option.split('=').next().unwrap_or(option).trim();
    let finding = Diagnostic::error("invalid-check-option", format!("invalid check option `{option}`"), span)
        .with_label("must be `skip=…`, `experimental=…` or `error=true`");
    match did_you_mean(nearest(key, OPTIONS).filter(|near| *near != key), "") {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}
