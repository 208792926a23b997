//! What `kiln history --steps`, `--tree` and `kiln blame` print.

use serde_json::{Value, json};

use super::human;
use super::name;
use super::progress::without_controls;
use super::table;
use crate::engine::{Blame, Item, Provenance, Touch, TouchKind};
use crate::layer::LayerUsage;
use crate::store::Outcome;

/// Returns the items of the history, newest first, as a table.
pub(super) fn steps(provenance: &Provenance, whole: bool) -> Vec<u8> {
    let row = |item: &Item| {
        let usage = usage(provenance, item);
        [
            layer(item, whole),
            usage.map_or_else(String::new, |usage| human::size(usage.bytes)),
            usage.map_or_else(String::new, |usage| wasted(usage.wasted_bytes)),
            time(item),
            outcome(item).to_owned(),
            line(item),
            instruction(item, if whole { usize::MAX } else { INSTRUCTION_CHARACTERS }),
        ]
    };
    let rows: Vec<_> = provenance.items.iter().rev().map(row).collect();
    let mut out = Vec::new();
    table::print(&mut out, ["LAYER", "SIZE", "WASTED", "TIME", "CACHE", "LINE", "INSTRUCTION"], &rows)
        .expect("memory can be written");
    out
}

/// Returns one object for each item, newest first.
pub(super) fn objects(provenance: &Provenance) -> Vec<Value> {
    let object = |item: &Item| {
        let usage = usage(provenance, item);
        json!({
            "CreatedAt": item.history.created,
            "CreatedBy": item.history.created_by,
            "Comment": item.history.comment,
            "EmptyLayer": item.history.empty_layer,
            "Layer": item.layer,
            "DiffID": item.diff_id,
            "Bytes": usage.map(|usage| usage.bytes),
            "WastedBytes": usage.map(|usage| usage.wasted_bytes),
            "Files": usage.map(|usage| usage.files),
            "Deletions": usage.map(|usage| usage.deletions),
            "File": item.written.as_ref().map(|written| &written.file),
            "Line": item.written.as_ref().map(|written| written.line),
            "Build": item.made.as_ref().map(|made| made.build.to_string()),
            "Step": item.made.as_ref().map(|made| made.step.number),
            "Outcome": item.made.as_ref().map(|made| made.step.outcome),
            "DurationMs": item.made.as_ref().and_then(|made| made.duration).map(|time| time.as_millis() as u64),
            "Base": provenance.base.as_ref().filter(|(_, layers)| item.layer.is_some_and(|layer| layer < *layers)).map(|(name, _)| name),
        })
    };
    provenance.items.iter().rev().map(object).collect()
}

/// Returns the image as a tree: its base, then its own instructions, in the order of the file.
pub(super) fn tree(provenance: &Provenance, whole: bool) -> String {
    let usage = &provenance.usage;
    let name = without_controls(&provenance.name);
    let mut text = format!("{name}  {}", human::size(usage.bytes()));
    if usage.wasted_bytes() > 0 {
        text += &format!(", {} wasted", human::size(usage.wasted_bytes()));
    }
    text.push('\n');
    let inherited = provenance.base.as_ref().map_or(0, |(_, layers)| *layers);
    let mut branches = Vec::new();
    if let Some((base, layers)) = &provenance.base {
        let bytes = usage.layers[..*layers].iter().map(|layer| layer.bytes).sum();
        let layers = if *layers == 1 { "1 layer".to_owned() } else { format!("{layers} layers") };
        branches.push(format!("FROM {}  ({layers}, {})", without_controls(base), human::size(bytes)));
    }
    // What has no layer and stands before the first own one may be the base's or the image's: its place tells.
    let own = |item: &&Item| match item.layer {
        Some(layer) => layer >= inherited,
        None => item.written.is_some() || provenance.base.is_none(),
    };
    branches.extend(provenance.items.iter().filter(own).map(|item| branch(provenance, item, whole)));
    for (number, branch) in branches.iter().enumerate() {
        let corner = if number + 1 == branches.len() { "└─" } else { "├─" };
        text += &format!("{corner} {branch}\n");
    }
    text
}

fn branch(provenance: &Provenance, item: &Item, whole: bool) -> String {
    let mut facts = Vec::new();
    if let Some(usage) = usage(provenance, item) {
        facts.push(human::size(usage.bytes));
        if usage.wasted_bytes > 0 {
            facts.push(format!("{} wasted", human::size(usage.wasted_bytes)));
        }
    }
    facts.extend(Some(time(item)).filter(|time| !time.is_empty()));
    facts.extend(Some(outcome(item).to_owned()).filter(|outcome| !outcome.is_empty()));
    facts.extend(Some(line(item)).filter(|line| !line.is_empty()));
    let facts = if facts.is_empty() { String::new() } else { format!("  ({})", facts.join(", ")) };
    instruction(item, if whole { usize::MAX } else { INSTRUCTION_CHARACTERS * 2 }) + &facts
}

/// Characters of an instruction that a row has room for.
const INSTRUCTION_CHARACTERS: usize = 50;

fn usage<'a>(provenance: &'a Provenance, item: &Item) -> Option<&'a LayerUsage> {
    item.layer.and_then(|layer| provenance.usage.layers.get(layer))
}

fn layer(item: &Item, whole: bool) -> String {
    match item.diff_id {
        None => String::new(),
        Some(diff_id) if whole => diff_id.to_string(),
        Some(diff_id) => diff_id.digest().short(),
    }
}

fn wasted(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { human::size(bytes) }
}

pub(super) fn time(item: &Item) -> String {
    item.made.as_ref().and_then(|made| made.duration).map(human::duration).unwrap_or_default()
}

pub(super) fn outcome(item: &Item) -> &'static str {
    match item.made.as_ref().map(|made| made.step.outcome) {
        Some(Outcome::Cached) => "cached",
        Some(Outcome::Done) => "ran",
        _ => "",
    }
}

pub(super) fn line(item: &Item) -> String {
    item.written
        .as_ref()
        .map_or_else(String::new, |written| without_controls(&format!("{}:{}", written.file, written.line)))
}

pub(super) fn instruction(item: &Item, most: usize) -> String {
    // As it is written, where that is known; the history's own text is for programs.
    let text = match &item.made {
        Some(made) if !made.step.place.text.is_empty() => made.step.place.text.as_str(),
        _ => item.history.created_by.as_deref().unwrap_or_default(),
    };
    let text = without_controls(&text.replace(['\n', '\t'], " "));
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text,
    }
}

/// Returns which steps wrote a path, the newest first.
pub(super) fn blame(provenance: &Provenance, blame: &Blame) -> String {
    let path = name::shown(&blame.path);
    let Some(last) = blame.touches.last() else { return String::new() };
    let mut text = match last.change {
        TouchKind::Removed => format!("/{path} is not there: {} removed it\n\n", of(provenance, last)),
        _ => format!("/{path} is as {} left it\n\n", of(provenance, last)),
    };
    let row = |touch: &Touch| {
        let item = item(provenance, touch.layer);
        let (mode, owner, size) = match &touch.metadata {
            None => Default::default(),
            Some((metadata, size)) => (
                format!("{:04o}", metadata.mode & 0o7777),
                format!("{}:{}", metadata.uid, metadata.gid),
                human::size(*size),
            ),
        };
        let step = item.and_then(|item| item.made.as_ref()).map(|made| format!("{}:{}", made.build, made.step.number));
        [
            (touch.layer + 1).to_string(),
            word(touch.change).to_owned(),
            size,
            mode,
            owner,
            step.unwrap_or_default(),
            origin(provenance, touch.layer),
            item.map_or_else(String::new, |item| instruction(item, INSTRUCTION_CHARACTERS)),
        ]
    };
    let rows: Vec<_> = blame.touches.iter().rev().map(row).collect();
    let mut out = Vec::new();
    let headings = ["LAYER", "CHANGE", "SIZE", "MODE", "OWNER", "STEP", "LINE", "INSTRUCTION"];
    table::print(&mut out, headings, &rows).expect("memory can be written");
    text += &String::from_utf8_lossy(&out);
    text
}

/// Returns where the instruction of a layer is written, or the image it came with.
fn origin(provenance: &Provenance, layer: usize) -> String {
    let written = item(provenance, layer).map(line).filter(|line| !line.is_empty());
    let base = provenance.base.as_ref().filter(|(_, layers)| layer < *layers);
    match (base, written) {
        (Some((base, _)), _) => without_controls(base),
        (None, written) => written.unwrap_or_default(),
    }
}

fn of(provenance: &Provenance, touch: &Touch) -> String {
    let item = item(provenance, touch.layer);
    let text = item.map_or_else(String::new, |item| instruction(item, INSTRUCTION_CHARACTERS));
    match origin(provenance, touch.layer) {
        origin if origin.is_empty() => format!("layer {} ({text})", touch.layer + 1),
        origin => format!("{origin} ({text})"),
    }
}

fn item(provenance: &Provenance, layer: usize) -> Option<&Item> {
    provenance.items.iter().find(|item| item.layer == Some(layer))
}

fn word(change: TouchKind) -> &'static str {
    match change {
        TouchKind::Added => "added",
        TouchKind::Content => "content",
        TouchKind::Metadata => "metadata",
        TouchKind::Rewritten => "rewritten",
        TouchKind::Removed => "removed",
    }
}

/// Returns the same as JSON, base first.
pub(super) fn blame_object(provenance: &Provenance, blame: &Blame) -> Value {
    let touch = |touch: &Touch| {
        let item = item(provenance, touch.layer);
        let made = item.and_then(|item| item.made.as_ref());
        json!({
            "layer": touch.layer,
            "change": word(touch.change),
            "mode": touch.metadata.as_ref().map(|(metadata, _)| format!("{:04o}", metadata.mode & 0o7777)),
            "uid": touch.metadata.as_ref().map(|(metadata, _)| metadata.uid),
            "gid": touch.metadata.as_ref().map(|(metadata, _)| metadata.gid),
            "size_bytes": touch.metadata.as_ref().map(|(_, size)| size),
            "diff_id": item.and_then(|item| item.diff_id),
            "instruction": item.map(|item| instruction(item, usize::MAX)),
            "file": item.and_then(|item| item.written.as_ref()).map(|written| &written.file),
            "line": item.and_then(|item| item.written.as_ref()).map(|written| written.line),
            "base": provenance.base.as_ref().filter(|(_, layers)| touch.layer < *layers).map(|(name, _)| name),
            "build": made.map(|made| made.build.to_string()),
            "step": made.map(|made| made.step.number),
        })
    };
    let touches: Vec<Value> = blame.touches.iter().map(touch).collect();
    json!({ "path": name::shown(&blame.path), "exists": blame.is_there, "touches": touches })
}
