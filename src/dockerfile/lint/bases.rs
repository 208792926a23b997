//! Images that a name does not hold still.

use std::collections::BTreeSet;

use super::Rule;
use super::stages::Stage;
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::ast::Keyword;

pub(super) fn check(stages: &[Stage<'_>], found: &mut Vec<Diagnostic>) {
    let names: BTreeSet<&String> = stages.iter().filter_map(|stage| stage.name.as_ref()).collect();
    for stage in stages {
        if let Some(base) = stage.base_word().filter(|_| stage.base.is_none()) {
            image(&base.value, base.span, found);
        }
        for copy in super::named(stage.steps, Keyword::Copy) {
            let from =
                copy.flags.iter().filter(|flag| flag.name.value == "from").filter_map(|flag| flag.value.as_ref());
            for from in from.filter(|from| !is_stage(from.as_str(), &names)) {
                image(from.as_str(), from.span(), found);
            }
        }
    }
}

/// Tells whether COPY reads from a stage of the file: by number, or by name in any case.
fn is_stage(from: &str, names: &BTreeSet<&String>) -> bool {
    let lower = from.to_lowercase();
    from.bytes().all(|byte| byte.is_ascii_digit()) || names.contains(&lower)
}

fn image(name: &str, span: Span, found: &mut Vec<Diagnostic>) {
    // What a variable holds is for whoever sets it to pin.
    if name == "scratch" || name.contains('$') || name.contains('@') || name.is_empty() {
        return;
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    let message = match last.split_once(':') {
        None => Some(format!("image `{name}` has no tag")),
        Some((_, "latest")) => Some(format!("image `{name}` is whatever was latest when it was pulled")),
        Some(_) => None,
    };
    if let Some(message) = message {
        let help = "name a version, such as `debian:13`, or a digest";
        found.push(Rule::UnpinnedBaseImage.at(span, message).with_help(help));
    }
    let message = format!("image `{name}` has no digest");
    found.push(Rule::BaseImageWithoutDigest.at(span, message).with_help("write `name:tag@sha256:…`"));
}
