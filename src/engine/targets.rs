use std::ops::RangeInclusive;

use super::check::located_lines;
use super::contexts::MainContext;
use super::dockerfile::{self, Loaded};
use super::{BuildOptions, Engine, Error};
use crate::diagnostic::Source;
use crate::dockerfile::ast::{Dockerfile, Keyword};
use crate::dockerfile::instruction::Stage;
use crate::dockerfile::lint::docstring;
use crate::sys::Cancel;

/// The stages of a build file.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The text.
    pub source: Source,
    /// In the order of the file.
    pub targets: Vec<Target>,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; none where it has none.
    pub name: Option<String>,
    /// Whether it is built where nobody says otherwise.
    pub is_default: bool,
    /// What a comment says about it.
    pub description: Option<String>,
    /// The image or stage it is built on, as written.
    pub base: String,
    /// The platform of its FROM, as written.
    pub platform: Option<String>,
    /// The lines of its FROM.
    pub lines: RangeInclusive<usize>,
}

impl Engine {
    /// Returns the stages of a build file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn targets(&self, options: &BuildOptions, cancel: &Cancel) -> Result<Targets, Error> {
        let context = MainContext::prepare(options, &self.store, cancel)?;
        let loaded = dockerfile::load(options.file.as_ref(), &context)?;
        Ok(list(&loaded))
    }
}

fn list(loaded: &Loaded) -> Targets {
    let last = loaded.file.stages.len() - 1;
    let stages = loaded.file.stages.iter().enumerate();
    let target = |(index, stage): (usize, &Stage)| Target {
        name: stage.name.as_ref().map(|name| name.value.clone()),
        is_default: index == last,
        description: description(&loaded.ast, index, stage),
        base: stage.base.value.clone(),
        platform: stage.platform.as_ref().map(|platform| platform.value.clone()),
        lines: located_lines(&loaded.source, stage.span),
    };
    Targets { targets: stages.map(target).collect(), source: loaded.source.clone() }
}

/// Returns what the comment above a FROM says about its stage.
pub(super) fn description(file: &Dockerfile, index: usize, stage: &Stage) -> Option<String> {
    let mut froms = file.instructions.iter().filter(|instruction| instruction.keyword == Some(Keyword::From));
    docstring(&froms.nth(index)?.comments, &stage.name.as_ref()?.value).map(str::to_owned)
}
