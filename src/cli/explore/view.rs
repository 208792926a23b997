use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::app::{App, Pane, Purpose, Scope};
use super::content::Tone;
use super::popup::{Body, Popup, mode};
use super::rows::{Order, Row, Shown};
use crate::cli::{human, name, provenance};
use crate::layer::{Change, Kind};

/// Whether colours may be used; letters and weights say the same without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    Coloured,
    Plain,
}

/// Below this width, the panes stand over each other.
const WIDE_COLUMNS: u16 = 90;
/// Below this width, modes and owners leave too little for names.
const ATTRIBUTE_COLUMNS: u16 = 52;
/// Of a tree that stands below, the list of layers takes this many rows.
const STACKED_LAYER_ROWS: u16 = 9;
const DETAIL_ROWS: u16 = 14;

impl Palette {
    fn colour(self, colour: Color) -> Style {
        match self {
            Palette::Coloured => Style::new().fg(colour),
            Palette::Plain => Style::new(),
        }
    }

    fn change(self, change: Change) -> Style {
        match change {
            Change::Added => self.colour(Color::Green),
            Change::Modified => self.colour(Color::Yellow),
            Change::Rewritten => self.colour(Color::Magenta),
            Change::Removed => self.colour(Color::Red).add_modifier(Modifier::CROSSED_OUT),
            Change::Unchanged | Change::Absent => Style::new(),
        }
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Added => self.colour(Color::Green),
            Tone::Removed => self.colour(Color::Red),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

/// Draws everything, and notes where.
pub(super) fn draw(app: &mut App<'_>, palette: Palette, frame: &mut Frame<'_>) {
    let [main, foot] = Layout::vertical([Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
    if main.width >= WIDE_COLUMNS {
        let [left, right] = Layout::horizontal([Constraint::Percentage(42), Constraint::Percentage(58)]).areas(main);
        let [top, bottom] =
            Layout::vertical([Constraint::Min(4), Constraint::Length(DETAIL_ROWS.min(main.height / 2))]).areas(left);
        layers(app, palette, frame, top);
        details(app, palette, frame, bottom);
        tree(app, palette, frame, right);
    } else {
        let above = STACKED_LAYER_ROWS.min(main.height / 2);
        let [top, bottom] = Layout::vertical([Constraint::Length(above), Constraint::Min(3)]).areas(main);
        layers(app, palette, frame, top);
        tree(app, palette, frame, bottom);
    }
    footer(app, palette, frame, foot);
    if app.popup.is_some() {
        popup(app, palette, frame, main);
    }
}

fn block<'a>(title: String, palette: Palette, is_active: bool) -> Block<'a> {
    let style = if is_active { palette.colour(Color::Cyan).add_modifier(Modifier::BOLD) } else { Style::new() };
    let mark = if is_active { "●" } else { " " };
    Block::bordered().border_style(style).title(Span::styled(format!("{mark} {title} "), style))
}

/// Returns the first row to show so that `selected` is among those shown, moving as little as possible.
fn scrolled(first: usize, selected: usize, rows: u16) -> usize {
    let rows = usize::from(rows).max(1);
    first.min(selected).max((selected + 1).saturating_sub(rows))
}

fn layers(app: &mut App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let block = block("layers".to_owned(), palette, app.pane == Pane::Layers);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if app.strata.layers() == 0 {
        frame.render_widget(Line::from("the image has no layers"), inner);
        return;
    }
    let [head, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inner);
    let heading = Span::styled("  #    SIZE  WASTED  INSTRUCTION", Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(Line::from(heading), head);
    app.screen.layers = list;
    app.screen.first_layer = scrolled(app.screen.first_layer, app.layer, list.height);
    for (y, layer) in (app.screen.first_layer..app.strata.layers()).take(usize::from(list.height)).enumerate() {
        let usage = app.provenance.usage.layers.get(layer).copied().unwrap_or_default();
        let wasted = if usage.wasted_bytes == 0 { String::new() } else { human::size(usage.wasted_bytes) };
        let is_unreadable = app.unreadable.contains_key(&layer);
        let (size, note) =
            if is_unreadable { ("?".to_owned(), "unreadable  ") } else { (human::size(usage.bytes), "") };
        let from_base = app.provenance.base.is_some() && layer < app.base_layers();
        let style = if from_base { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
        let line = Line::from(vec![
            Span::styled(format!("{:3} {size:>7} ", layer + 1), style),
            Span::styled(format!("{wasted:>7}  {note}"), palette.colour(Color::Red)),
            Span::styled(instruction(app, layer), style),
        ]);
        put(line, row_style(layer == app.layer, app.pane == Pane::Layers), frame, list, y);
    }
}

fn row_style(is_selected: bool, is_active: bool) -> Style {
    match (is_selected, is_active) {
        (false, _) => Style::new(),
        (true, true) => Style::new().add_modifier(Modifier::REVERSED),
        (true, false) => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
    }
}

/// Puts a line into a row of a list.
fn put(line: Line<'_>, style: Style, frame: &mut Frame<'_>, list: Rect, y: usize) {
    let row = Rect { y: list.y + y as u16, height: 1, ..list };
    frame.render_widget(line, row);
    frame.buffer_mut().set_style(row, style);
}

fn instruction(app: &App<'_>, layer: usize) -> String {
    app.item(layer).map_or_else(String::new, |item| name::visible(&provenance::instruction(item, usize::MAX)))
}

fn details(app: &App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let usage = &app.provenance.usage;
    let faint = |text: String| Span::styled(text, Style::new().add_modifier(Modifier::DIM));
    let mut lines = Vec::new();
    if let Some(after) = app.after() {
        let layer = usage.layers.get(after).copied().unwrap_or_default();
        let item = app.item(after);
        let base = app.provenance.base.as_ref().filter(|(_, layers)| after < *layers);
        let facts = [
            item.and_then(|item| item.diff_id).map(|diff_id| diff_id.digest().short()),
            Some(if layer.files == 1 { "1 file".to_owned() } else { format!("{} files", layer.files) })
                .filter(|_| !app.unreadable.contains_key(&after)),
            Some(format!("{} deleted", layer.deletions)).filter(|_| layer.deletions > 0),
            item.map(provenance::time),
            item.map(|item| provenance::outcome(item).to_owned()),
            item.map(|item| name::visible(&provenance::line(item))),
            base.map(|(base, _)| format!("from {}", name::visible(base))),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().filter(|fact| !fact.is_empty()).collect();
        lines.push(Line::from(faint(facts.join(" · "))));
        lines.push(Line::from(instruction(app, after)));
        for line in app.unreadable.get(&after).into_iter().flat_map(|why| why.lines()) {
            lines.push(Line::from(Span::styled(name::visible(line), palette.colour(Color::Red))));
        }
        lines.push(Line::default());
    }
    let mut sums = vec![Span::raw(format!(
        "{} in {} layers, efficiency {:.1}%, ",
        human::size(usage.bytes()),
        app.strata.layers(),
        usage.efficiency() * 100.0
    ))];
    let wasted = format!("{} wasted", human::size(usage.wasted_bytes()));
    sums.push(if usage.wasted_bytes() == 0 { faint(wasted) } else { Span::styled(wasted, palette.colour(Color::Red)) });
    lines.push(Line::from(sums));
    for waste in usage.wasted.iter().take(usize::from(DETAIL_ROWS)) {
        lines.push(Line::from(format!("{:>7}  /{}", human::size(waste.bytes), name::shown(&waste.path))));
    }
    let block = block(name::visible(&app.provenance.name), palette, false);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn tree(app: &mut App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let block = block(tree_title(app), palette, app.pane == Pane::Tree);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let list = unreadable(app, palette, frame, inner);
    app.screen.tree = list;
    app.screen.first_row = scrolled(app.screen.first_row, app.row, list.height);
    if app.tree.rows.is_empty() {
        frame.render_widget(Line::from("nothing to show"), list);
    }
    let rows = app.tree.rows.iter().enumerate().skip(app.screen.first_row).take(usize::from(list.height));
    for (y, (number, row)) in rows.enumerate() {
        let line = tree_line(app, palette, row, list.width);
        put(line, row_style(number == app.row, app.pane == Pane::Tree), frame, list, y);
    }
}

/// Says above the tree why nothing is known of what the layer did, and returns what is left of the area.
fn unreadable(app: &App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) -> Rect {
    let why = app.after().and_then(|after| app.unreadable.get(&after)).and_then(|why| why.lines().next());
    let Some(why) = why.filter(|_| area.height > 1) else { return area };
    let [head, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::from(Span::styled(name::visible(why), palette.colour(Color::Red))), head);
    list
}

fn tree_title(app: &App<'_>) -> String {
    let Some(after) = app.after() else { return "files".to_owned() };
    let mut title = match (app.scope, app.before()) {
        (Scope::LayerBelow, _) => format!("layer {}", after + 1),
        (Scope::Base, Some(base)) => format!("layers {}-{}", base + 2, after + 1),
        (Scope::Base, None) => format!("layers 1-{}", after + 1),
    };
    let kinds = [(Shown::Added, "A"), (Shown::Modified, "M"), (Shown::Removed, "R"), (Shown::Unchanged, "unchanged")];
    let hidden: Vec<&str> =
        kinds.iter().filter(|(kind, _)| app.tree.hidden.contains(kind)).map(|(_, name)| *name).collect();
    if !hidden.is_empty() {
        title += &format!(" without {}", hidden.join(", "));
    }
    if let Some(filter) = &app.tree.filter {
        title += &format!(" matching {}", name::visible(&filter.text));
    }
    if app.tree.order == Order::Size {
        title += " by size";
    }
    let unseen: Vec<String> = app.unreadable.range(..=after).map(|(layer, _)| (layer + 1).to_string()).collect();
    if !unseen.is_empty() {
        title += &format!(", unreadable: {}", unseen.join(", "));
    }
    title
}

fn tree_line<'a>(app: &App<'_>, palette: Palette, row: &Row, width: u16) -> Line<'a> {
    let change = app.changes.change[row.place];
    let held = app.strata.held(row.place, app.after()).or_else(|| app.strata.held(row.place, app.before()));
    let Some(held) = held else { return Line::default() };
    let letter = match change {
        Change::Added => 'A',
        Change::Modified => 'M',
        Change::Rewritten => 'W',
        Change::Removed => 'R',
        Change::Unchanged | Change::Absent if app.changes.is_changed_inside[row.place] => '·',
        Change::Unchanged | Change::Absent => ' ',
    };
    let style = palette.change(change);
    let mut start = format!("{letter} ");
    if app.attributes && width >= ATTRIBUTE_COLUMNS {
        let metadata = held.metadata();
        let owner = format!("{}:{}", metadata.uid, metadata.gid);
        start += &format!("{} {owner:>9} ", mode(held.kind(), metadata.mode));
    }
    start += &format!("{:>7} ", human::size(app.changes.bytes[row.place]));
    let indent = " ".repeat((row.depth * 2).min(usize::from(width) / 2));
    let marker = match (row.has_children, row.is_open) {
        (true, true) => "▾ ",
        (true, false) => "▸ ",
        (false, _) => "  ",
    };
    let mut text = name::shown(app.strata.name(row.place));
    match held.kind() {
        Kind::Directory => text.push('/'),
        Kind::Symlink { target } => text += &format!(" → {}", name::shown(target)),
        Kind::Hardlink { target } => text += &format!(" = /{}", name::shown(target)),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => text += &format!(" {major}:{minor}"),
        _ => {}
    }
    let letter_style = style.remove_modifier(Modifier::CROSSED_OUT);
    Line::from(vec![Span::styled(start, letter_style), Span::raw(indent + marker), Span::styled(text, style)])
}

fn footer(app: &App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let line = match (&app.prompt, &app.message) {
        (Some(prompt), _) => {
            let purpose = if prompt.purpose == Purpose::Search { "/" } else { "show only: " };
            Line::from(format!("{purpose}{}▏", name::visible(&prompt.text)))
        }
        (None, Some(message)) => Line::from(Span::styled(name::visible(message), palette.colour(Color::Yellow))),
        (None, None) => {
            let keys = "q quit  ? keys  Tab pane  a m r u hide  / search  f filter  p preview  d diff  b blame  w wasted  v scope";
            Line::from(Span::styled(keys, Style::new().add_modifier(Modifier::DIM)))
        }
    };
    frame.render_widget(line, area);
}

fn popup(app: &mut App<'_>, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let Some(mut popup) = app.popup.take() else { return };
    let (across, down) = if area.width >= WIDE_COLUMNS { (area.width / 16, area.height / 12) } else { (0, 1) };
    let area = area.inner(Margin::new(across, down));
    let block = block(name::visible(&popup.title), palette, true);
    let inner = block.inner(area);
    app.screen.popup = inner;
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    match &popup.body {
        Body::Loading(_) => frame.render_widget(Line::from("reading …"), inner),
        Body::Failed(error) => {
            let lines: Vec<Line<'_>> = error.lines().map(|line| Line::from(name::visible(line))).collect();
            let text = Paragraph::new(lines).style(palette.colour(Color::Red)).wrap(Wrap { trim: false });
            frame.render_widget(text, inner);
        }
        Body::Lines(lines) => {
            popup.first = popup.first.min(lines.len().saturating_sub(usize::from(inner.height)));
            for (y, line) in lines.iter().skip(popup.first).take(usize::from(inner.height)).enumerate() {
                let text: String = line.text.chars().skip(popup.column).collect();
                put(Line::from(Span::styled(text, palette.tone(line.tone))), Style::new(), frame, inner, y);
            }
        }
        Body::Waste => {
            popup.first = scrolled(popup.first, popup.row, inner.height);
            wasted_rows(app, &popup, frame, inner);
        }
    }
    app.popup = Some(popup);
}

fn wasted_rows(app: &App<'_>, popup: &Popup, frame: &mut Frame<'_>, list: Rect) {
    let wasted = &app.provenance.usage.wasted;
    if wasted.is_empty() {
        frame.render_widget(Line::from("nothing"), list);
    }
    let rows = wasted.iter().enumerate().skip(popup.first).take(usize::from(list.height));
    for (y, (number, waste)) in rows.enumerate() {
        let layers: Vec<String> = waste.layers.iter().map(|layer| (layer + 1).to_string()).collect();
        let text = format!(
            "{:>7}  /{}  (layer {}, hidden by {})",
            human::size(waste.bytes),
            name::shown(&waste.path),
            layers.join(", "),
            waste.hidden_by + 1
        );
        let text: String = text.chars().skip(popup.column).collect();
        put(Line::from(text), row_style(number == popup.row, true), frame, list, y);
    }
}
