use nom::Parser;
use nom::combinator::all_consuming;

use super::flags::Flags;
use super::{Problems, words};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Instruction, Keyword};
use crate::dockerfile::instruction::Stage;
use crate::dockerfile::parse::stage_name;

/// Returns the stage that a FROM begins, also where its arguments are broken.
pub(super) fn lower(instruction: &Instruction, problems: &mut Problems) -> Stage {
    let flags = Flags::of(instruction, Keyword::From, problems);
    let platform = flags.spanned("platform").filter(|platform| !platform.value.is_empty());
    let words = words(&instruction.arguments).unwrap_or_default();
    let name = words.get(2).and_then(|name| lower_name(name, problems));
    let nothing = || Spanned::new(String::new(), instruction.name.span);
    let base = words.into_iter().next().unwrap_or_else(nothing);
    Stage { base, name, platform, span: instruction.span, steps: Vec::new() }
}

fn lower_name(name: &Spanned<String>, problems: &mut Problems) -> Option<Spanned<String>> {
    let lowered = name.value.to_lowercase();
    if all_consuming(stage_name).parse(&lowered).is_ok() {
        return Some(Spanned::new(lowered, name.span));
    }
    let message = format!("invalid name for build stage: `{}`", name.value);
    problems.push(
        Diagnostic::error("invalid-stage-name", message, name.span)
            .with_label("not the name of a stage")
            .with_help("begin with a letter; go on with letters and digits, or a single `.`, `_` or `-` between them"),
    );
    None
}
