//! A build as one web page that needs nothing else: where the time went, why steps ran, what the layers hold and waste.

mod timeline;
mod treemap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::name;
use super::progress::without_controls;
use super::{human, why};
use crate::engine::{ImageSizes, Summary};
use crate::layer::Waste;
use crate::store::Outcome;

use treemap::{Rectangle, squarify};

/// Returns the whole page.
pub(super) fn page(summary: &Summary) -> String {
    let build = &summary.build;
    let title = without_controls(&build.title);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "kiln: build of " (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    h1 { "Build of " (title) }
                    p.faint { (headline(summary)) }
                    @if let Some(error) = &build.facts.error { p.failed { (without_controls(error)) } }
                    (facts(summary))
                    (timeline::section(summary))
                    (failures(summary))
                    @if let Some(image) = &summary.image { (layers(image)) (waste(image)) }
                    (findings(summary))
                }
            }
        }
    };
    page.into_string()
}

fn headline(summary: &Summary) -> String {
    let build = &summary.build;
    let when = build.started.strftime("%Y-%m-%d %H:%M:%S UTC");
    let (file, context) = (without_controls(&build.facts.file), without_controls(&build.facts.context));
    format!("build {}, {when}, {file} in {context}", build.id)
}

fn facts(summary: &Summary) -> Markup {
    let build = &summary.build;
    let ran = build.steps.iter().filter(|step| step.ran()).count();
    let cpu = build.steps.iter().map(|step| step.facts.cpu_ms).sum::<u64>();
    let peak = build.steps.iter().map(|step| step.facts.peak_memory_bytes).max().unwrap_or_default();
    let usage = summary.image.as_ref().map(|image| &image.provenance.usage);
    let outcome = build.outcome.map_or("running", Outcome::as_str);
    let mut facts = vec![
        (outcome.to_owned(), "outcome"),
        (build.duration().map(human::duration).unwrap_or_default(), "in all"),
        (format!("{ran} + {}", build.count(Outcome::Cached)), "steps ran + cached"),
        (human::duration(std::time::Duration::from_millis(cpu)), "CPU time of steps"),
        (human::size(peak), "largest process"),
    ];
    if let Some(usage) = usage {
        facts.push((human::size(usage.bytes()), "in all layers"));
        facts.push((human::size(usage.wasted_bytes()), "of it wasted"));
    }
    html! {
        div.facts {
            @for (value, meaning) in facts { div.fact { b { (value) } span { (meaning) } } }
        }
    }
}

fn failures(summary: &Summary) -> Markup {
    html! {
        @for (number, lines) in &summary.failures {
            @if let Some(step) = summary.build.step(*number) {
                h2.failed { "What " (why::title(step)) " wrote last" }
                pre { (lines.iter().map(|line| without_controls(line)).collect::<Vec<_>>().join("\n")) }
            }
        }
    }
}

const WIDTH: f64 = 1160.0;
const HEIGHT: f64 = 420.0;
/// Of a layer's own line above its directories.
const CAPTION: f64 = 20.0;
/// Pixels below which a rectangle has no room for text.
const ROOM: f64 = 70.0;

fn layers(image: &ImageSizes) -> Markup {
    let usage = &image.provenance.usage;
    let mut order: Vec<usize> = (0..usage.layers.len()).filter(|&layer| usage.layers[layer].bytes > 0).collect();
    order.sort_by_key(|&layer| std::cmp::Reverse(usage.layers[layer].bytes));
    let sizes: Vec<u64> = order.iter().map(|&layer| usage.layers[layer].bytes).collect();
    let whole = Rectangle { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT };
    html! {
        h2 { "What the layers hold" }
        @if order.is_empty() { p.faint { "Nothing: no layer has a file with content." } } @else {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="sizes of the layers and their directories" {
                @for (layer, rectangle) in order.iter().zip(squarify(&sizes, whole)) { (layer_box(image, *layer, rectangle)) }
            }
        }
        div.scroll { (layer_table(image)) }
    }
}

fn layer_box(image: &ImageSizes, layer: usize, outer: Rectangle) -> Markup {
    let hue = (layer * 47 + 215) % 360;
    let inner = Rectangle { y: outer.y + CAPTION, height: (outer.height - CAPTION).max(0.0), ..outer };
    let directories = &image.directories[layer];
    let sizes: Vec<u64> = directories.iter().map(|(_, size)| *size).collect();
    let title = format!("{}. {}", layer + 1, instruction(image, layer));
    html! {
        g {
            title { (title) "\n" (human::size(image.provenance.usage.layers[layer].bytes)) }
            (rectangle(outer, &format!("hsl({hue} 45% 34%)"), 2.0))
            @if outer.width > ROOM { text x=(outer.x + 6.0) y=(outer.y + 14.0) { (fitting(&title, outer.width)) } }
        }
        @for ((path, size), place) in directories.iter().zip(squarify(&sizes, inner)) {
            @if place.width * place.height > 9.0 {
                g {
                    title { "/" (name::shown(path)) "\n" (human::size(*size)) }
                    (rectangle(place, &format!("hsl({hue} 42% 45%)"), 1.0))
                    @if place.width > ROOM && place.height > CAPTION {
                        text x=(place.x + 6.0) y=(place.y + 15.0) { (fitting(&format!("/{}", name::shown(path)), place.width)) }
                    }
                }
            }
        }
    }
}

fn rectangle(at: Rectangle, colour: &str, border: f64) -> Markup {
    let number = |value: f64| format!("{value:.1}");
    html! {
        rect x=(number(at.x)) y=(number(at.y)) width=(number(at.width)) height=(number(at.height)) fill=(colour)
            stroke-width=(border) {}
    }
}

/// Returns as much of a text as a rectangle has room for.
fn fitting(text: &str, width: f64) -> String {
    /// Of a letter, on the average of the font.
    const LETTER: f64 = 6.6;
    let most = ((width - 12.0) / LETTER).max(0.0) as usize;
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}

fn instruction(image: &ImageSizes, layer: usize) -> String {
    let item = image.provenance.items.iter().find(|item| item.layer == Some(layer));
    let made = item.and_then(|item| item.made.as_ref()).map(|made| made.step.place.text.clone());
    let text = made.or_else(|| item.and_then(|item| item.history.created_by.clone())).unwrap_or_default();
    without_controls(&text.replace('\n', " "))
}

fn layer_table(image: &ImageSizes) -> Markup {
    let usage = &image.provenance.usage;
    html! {
        table {
            thead { tr { th.number { "layer" } th { "instruction" } th.number { "size" } th.number { "wasted" } th.number { "files" } } }
            tbody {
                @for (layer, own) in usage.layers.iter().enumerate() {
                    tr {
                        td.number { (layer + 1) }
                        td.wide.mono { (instruction(image, layer)) }
                        td.number { (human::size(own.bytes)) }
                        td.number { @if own.wasted_bytes > 0 { (human::size(own.wasted_bytes)) } }
                        td.number { (own.files) }
                    }
                }
            }
        }
    }
}

/// Paths of wasted content that are listed.
const WASTE_ROWS: usize = 30;

fn waste(image: &ImageSizes) -> Markup {
    let usage = &image.provenance.usage;
    let numbers =
        |waste: &Waste| waste.layers.iter().map(|layer| (layer + 1).to_string()).collect::<Vec<_>>().join(", ");
    html! {
        h2 { "What is wasted" }
        @if usage.wasted.is_empty() { p.faint { "Nothing: everything in the layers can be seen." } } @else {
            p.faint { "Contents that a later layer replaces or deletes: they are in the image and nobody can see them." }
            div.scroll { table {
                thead { tr { th { "path" } th.number { "size" } th.number { "in layers" } th.number { "hidden by" } } }
                tbody {
                    @for waste in usage.wasted.iter().take(WASTE_ROWS) {
                        tr {
                            td.wide.mono { "/" (name::shown(&waste.path)) }
                            td.number { (human::size(waste.bytes)) }
                            td.number { (numbers(waste)) }
                            td.number { (waste.hidden_by + 1) }
                        }
                    }
                }
            } }
            @if usage.wasted.len() > WASTE_ROWS { p.faint { "and " (usage.wasted.len() - WASTE_ROWS) " more" } }
        }
    }
}

fn findings(summary: &Summary) -> Markup {
    let findings = &summary.build.facts.findings;
    html! {
        @if !findings.is_empty() {
            h2 { "What lint and the build said" }
            div.scroll { table { tbody {
                @for finding in findings {
                    tr {
                        td.number { @if let Some(line) = finding.line { "line " (line) } }
                        td { (finding.rule.as_deref().unwrap_or("warning")) }
                        td.wide { (without_controls(&finding.message)) }
                    }
                }
            } } }
        }
    }
}
