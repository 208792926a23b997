use super::app::{App, moved};
use super::content::{TextLine, Tone};
use super::keys::HELP;
use crate::cli::{human, name, provenance};
use crate::engine::Provenance;
use crate::layer::{Change, Held, Kind, PlaceId};

/// Something shown over the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Popup {
    pub(super) title: String,
    pub(super) body: Body,
    /// The first line that is shown.
    pub(super) first: usize,
    /// The line that is looked at, in lists.
    pub(super) row: usize,
    /// The first column that is shown.
    pub(super) column: usize,
    wasted: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// What the task of this number will find.
    Loading(u64),
    Lines(Vec<TextLine>),
    /// Why there is nothing.
    Failed(String),
    /// The wasted paths.
    Waste,
}

impl Popup {
    pub(super) fn new(title: String, body: Body) -> Popup {
        Popup { title, body, first: 0, row: 0, column: 0, wasted: 0 }
    }

    pub(super) fn length(&self) -> usize {
        match &self.body {
            Body::Loading(_) | Body::Failed(_) => 1,
            Body::Lines(lines) => lines.len(),
            Body::Waste => self.wasted,
        }
    }

    pub(super) fn step(&mut self, rows: isize) {
        match self.body {
            Body::Waste => self.row = moved(self.row, rows, self.wasted),
            _ => self.first = moved(self.first, rows, self.length()),
        }
    }
}

pub(super) fn help() -> Popup {
    let line = |(keys, does): &(&str, &str)| TextLine::new(Tone::Plain, format!("{keys:26} {does}"));
    Popup::new("keys".to_owned(), Body::Lines(HELP.iter().map(line).collect()))
}

pub(super) fn waste(provenance: &Provenance) -> Popup {
    let usage = &provenance.usage;
    let mut popup = Popup::new(
        format!(
            "wasted: {} of {}, efficiency {:.1}%",
            human::size(usage.wasted_bytes()),
            human::size(usage.bytes()),
            usage.efficiency() * 100.0
        ),
        Body::Waste,
    );
    popup.wasted = usage.wasted.len();
    popup
}

/// Says which layers touched a path, the newest first.
pub(super) fn blame(app: &App<'_>, place: PlaceId) -> Popup {
    let mut lines: Vec<TextLine> = Vec::new();
    for (layer, held) in app.strata.touches(place) {
        let (tone, word) = match app.strata.touch(place, layer) {
            Change::Added => (Tone::Added, "added"),
            Change::Modified => (Tone::Plain, "modified"),
            Change::Rewritten => (Tone::Faint, "rewritten"),
            Change::Removed => (Tone::Removed, "removed"),
            Change::Unchanged | Change::Absent => (Tone::Faint, "unchanged"),
        };
        let facts = held.map_or_else(String::new, |held| facts(&held));
        let by = app.item(layer).map_or_else(String::new, |item| {
            name::visible(&format!("{}  {}", provenance::line(item), provenance::instruction(item, usize::MAX)))
        });
        lines.push(TextLine::new(tone, format!("layer {:3}  {word:9}  {facts:30}  {}", layer + 1, by.trim_start())));
    }
    lines.reverse();
    Popup::new(format!("/{}", name::shown(&app.strata.path(place))), Body::Lines(lines))
}

fn facts(held: &Held<'_>) -> String {
    let metadata = held.metadata();
    let size = if let Kind::File { size, .. } = held.kind() { human::size(*size) } else { String::new() };
    format!("{} {}:{} {size}", mode(held.kind(), metadata.mode), metadata.uid, metadata.gid)
}

/// Returns a type and a mode as ls(1) prints them.
pub(super) fn mode(kind: &Kind, mode: u32) -> String {
    let first = match kind {
        Kind::Directory => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
        Kind::Fifo => 'p',
        _ => '-',
    };
    let mut text = String::from(first);
    // The bit that changes what `x` means, for each of user, group and others.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
