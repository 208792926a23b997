//! What builds, and could be better: rules, who is heard, and the rules that need the text alone.
//!
//! BuildKit's 22 rules have its names, texts and controls; kiln adds a few, under names of its own. What cannot be said
//! without the values of variables, an image or the context is found where planning knows them, in
//! [`frontend`](crate::frontend); all findings meet in [`Controls::select`].

mod apt;
mod bases;
mod casing;
mod controls;
mod definitions;
mod fix;
mod rules;
mod script;
mod scripts;
mod secrets;
mod stages;
mod triggers;

pub use controls::{Controls, InvalidOption, Occasion};
pub use definitions::docstring;
pub use fix::{Edit, apply, fixes};
pub use rules::{Group, Level, Rule};

use super::ast::{Arguments, Dockerfile, Instruction, Keyword};
use crate::diagnostic::{Diagnostic, Source, Spanned};
use stages::Stage;

/// Returns what every rule finds that needs the text alone, whether or not it is wanted.
pub fn check(file: &Dockerfile, source: &Source) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    casing::check(file, &mut found);
    definitions::check(file, &mut found);
    let stages = Stage::all(file);
    bases::check(&stages, &mut found);
    scripts::check(&stages, &mut found);
    apt::check(&stages, &mut found);
    secrets::check(file, source, &mut found);
    triggers::check(file, &mut found);
    found
}

/// Returns the words of an instruction that is a list of them.
fn words(instruction: &Instruction) -> &[Spanned<String>] {
    match &instruction.arguments {
        Arguments::Words(words) => words,
        Arguments::Json(words) => &words.value,
        _ => &[],
    }
}

/// Returns the instructions that a keyword names, those behind ONBUILD included.
fn named(instructions: &[Instruction], keyword: Keyword) -> impl Iterator<Item = &Instruction> {
    instructions.iter().filter(move |instruction| instruction.keyword == Some(keyword))
}

#[cfg(test)]
mod tests;
