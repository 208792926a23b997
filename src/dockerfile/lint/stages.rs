//! Stages as the text shows them.

use std::rc::Rc;

use super::casing::stage_name;
use super::words;
use crate::diagnostic::Spanned;
use crate::dockerfile::ast::{Arguments, Dockerfile, Instruction, Keyword};

/// One FROM and what follows it.
pub(super) struct Stage<'a> {
    pub(super) from: &'a Instruction,
    /// In lower case.
    pub(super) name: Option<String>,
    /// The stage it is built on, where that is one of this file.
    pub(super) base: Option<usize>,
    pub(super) steps: &'a [Instruction],
    /// Whether its layers are those of the last stage.
    pub(super) is_shipped: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn all(file: &'a Dockerfile) -> Vec<Stage<'a>> {
        let mut stages: Vec<Stage<'a>> = Vec::new();
        let mut names = std::collections::BTreeMap::new();
        let is_from = |instruction: &Instruction| instruction.keyword == Some(Keyword::From);
        let mut rest = &file.instructions[..];
        while let Some(start) = rest.iter().position(is_from) {
            let (from, after) = (&rest[start], &rest[start + 1..]);
            let length = after.iter().position(is_from).unwrap_or(after.len());
            let base = words(from).first().and_then(|base| names.get(&base.value).copied());
            let name = stage_name(from).map(|name| name.value.to_lowercase());
            names.extend(name.clone().map(|name| (name, stages.len())));
            stages.push(Stage { from, name, base, steps: &after[..length], is_shipped: false });
            rest = &after[length..];
        }
        let mut shipped = stages.len().checked_sub(1);
        while let Some(stage) = shipped {
            stages[stage].is_shipped = true;
            shipped = stages[stage].base;
        }
        stages
    }

    /// Returns the image or stage it is built on, as written.
    pub(super) fn base_word(&self) -> Option<&'a Spanned<String>> {
        words(self.from).first()
    }
}

/// Follows what SHELL sets, step by step, also from a stage to those built on it.
pub(super) fn with_shells<'a>(stages: &[Stage<'a>], mut each: impl FnMut(&Stage<'a>, &'a Instruction, &[String])) {
    let mut last: Vec<Rc<[String]>> = Vec::new();
    for stage in stages {
        let mut shell = stage.base.map(|base| last[base].clone()).unwrap_or_else(|| Rc::from([]));
        for step in stage.steps {
            if let (Some(Keyword::Shell), Arguments::Json(words)) = (step.keyword, &step.arguments) {
                shell = words.value.iter().map(|word| word.value.clone()).collect();
            }
            each(stage, step, &shell);
        }
        last.push(shell);
    }
}
