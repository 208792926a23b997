use std::time::Duration;

use maud::{Markup, html};

use crate::cli::{human, why};
use crate::engine::{BuildStep, PhaseFact, Summary};
use crate::store::Outcome;

/// Returns the steps in the order of the plan, each with its bar on a common scale, and why it ran.
pub(super) fn section(summary: &Summary) -> Markup {
    let build = &summary.build;
    let whole = build.facts.duration_ms.max(1);
    html! {
        h2 { "Where the time went, and why" }
        p.faint {
            span.key style="background: var(--critical)" {} "on the critical path"
            span.key style="background: var(--ran)" {} "beside it"
            span.key style="background: var(--failed)" {} "failed"
            "; paler, the layer after its step"
        }
        @for step in &build.steps { (row(step, build.facts.critical_steps.contains(&step.number), whole)) }
        @for phase in &build.facts.phases { (phase_row(phase, whole)) }
    }
}

fn row(step: &BuildStep, is_critical: bool, whole: u64) -> Markup {
    let class = match step.outcome {
        Outcome::Failed => "step failure",
        Outcome::Done | Outcome::Interrupted if is_critical => "step critical",
        Outcome::Done | Outcome::Interrupted => "step",
        Outcome::Cached | Outcome::Skipped => "step cached",
    };
    let time = match step.outcome {
        Outcome::Cached => "cached".to_owned(),
        Outcome::Skipped => "–".to_owned(),
        _ => human::duration(step.duration),
    };
    let title = format!("#{} {}", step.number, why::title(step));
    let took = u64::try_from(step.duration.as_millis()).unwrap_or(u64::MAX);
    html! {
        div class=(class) {
            div {
                div.title.mono title=(title) { (title) }
                @if let Some(miss) = &step.facts.miss { div.why { (miss.to_string()) (used(step)) } }
            }
            div.track {
                @if let Some(began) = step.facts.started_ms {
                    (bar("bar", began, took, whole))
                    @if let Some(kept) = step.facts.kept_ms.and_then(|kept| kept.checked_sub(began + took)) {
                        (bar("bar layer", began + took, kept, whole))
                    }
                }
            }
            div.time { (time) }
        }
    }
}

/// Returns what a step used, as the end of its reason.
fn used(step: &BuildStep) -> String {
    let mut facts = Vec::new();
    if step.facts.cpu_ms > 0 {
        facts.push(format!("cpu {}", human::duration(Duration::from_millis(step.facts.cpu_ms))));
    }
    if step.facts.peak_memory_bytes > 0 {
        facts.push(format!("peak {}", human::size(step.facts.peak_memory_bytes)));
    }
    facts.extend(step.facts.layer_bytes.map(|bytes| format!("layer {}", human::size(bytes))));
    if facts.is_empty() { String::new() } else { format!(" · {}", facts.join(", ")) }
}

fn phase_row(phase: &PhaseFact, whole: u64) -> Markup {
    html! {
        div.step.critical {
            div { div.title.mono { (phase.what) } }
            div.track { (bar("bar", phase.started_ms, phase.duration_ms, whole)) }
            div.time { (human::duration(Duration::from_millis(phase.duration_ms))) }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "parts of a picture")]
fn bar(class: &str, began: u64, took: u64, whole: u64) -> Markup {
    let percent = |part: u64| part.min(whole) as f64 * 100.0 / whole as f64;
    let style = format!("left: {:.2}%; width: {:.2}%", percent(began), percent(took));
    html! { div class=(class) style=(style) {} }
}
