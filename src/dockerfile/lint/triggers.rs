//! ONBUILD triggers that every build of the image's users will fail on.

use super::{Rule, named};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::dockerfile::ast::{Dockerfile, Keyword};
use crate::dockerfile::lower;
use crate::dockerfile::parse::MOST_FINDINGS;

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let triggers = named(&file.instructions, Keyword::Onbuild).filter_map(lower::trigger);
    let broken = triggers.filter_map(|trigger| {
        let text = Source::new("trigger", trigger.value.as_str());
        let problem = lower::parse_trigger(&text).err()?.into_iter().next()?;
        // Where lines were continued, places in the trigger are not places in the file.
        let is_as_written = trigger.span.end - trigger.span.start == trigger.value.len();
        let span = match problem.labels.first() {
            Some((place, _)) if is_as_written => {
                Span::new(trigger.span.start + place.start, trigger.span.start + place.end)
            }
            _ => trigger.span,
        };
        let help = "a build that starts from this image reads the trigger, and will stop here";
        Some(Rule::BrokenTrigger.at(span, format!("ONBUILD trigger: {}", problem.message)).with_help(help))
    });
    found.extend(broken.take(MOST_FINDINGS));
}
