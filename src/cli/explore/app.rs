use std::collections::BTreeMap;

use ratatui::crossterm::event::{
    Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Rect};

use super::content::TextLine;
use super::keys::{self, Action};
use super::popup::{self, Body, Popup};
use super::rows::{Order, Pattern, Rows, each_path};
use crate::engine::{Item, Provenance};
use crate::layer::{Change, Changes, Kind, PlaceId, Strata, Waste};

/// All that is shown, as plain data: events change it, and drawing reads it.
pub(super) struct App<'a> {
    pub(super) provenance: &'a Provenance,
    pub(super) strata: &'a Strata,
    /// Why layers could not be read, by their numbers.
    pub(super) unreadable: &'a BTreeMap<usize, String>,
    pub(super) pane: Pane,
    /// The layer that is looked at, from 0; there may be none.
    pub(super) layer: usize,
    pub(super) scope: Scope,
    pub(super) changes: Changes,
    pub(super) tree: Rows,
    /// The row of the tree that is looked at.
    pub(super) row: usize,
    pub(super) attributes: bool,
    pub(super) popup: Option<Popup>,
    pub(super) prompt: Option<Prompt>,
    pub(super) search: Option<Pattern>,
    pub(super) message: Option<String>,
    /// Where things were drawn.
    pub(super) screen: Screen,
    loads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Layers,
    Tree,
}

/// What a layer is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one below it.
    LayerBelow,
    /// The base image, or the first layer where no base is known.
    Base,
}

/// A text that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) purpose: Purpose,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Search,
    Filter,
}

/// The lists as they were drawn, and the first row of each that was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Screen {
    pub(super) layers: Rect,
    pub(super) first_layer: usize,
    pub(super) tree: Rect,
    pub(super) first_row: usize,
    pub(super) popup: Rect,
}

/// What is to be done beside drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Quit,
    /// Read a file as it is after a layer.
    Preview {
        load: u64,
        place: PlaceId,
        after: usize,
    },
    /// Read a file as it is after two layers.
    Diff {
        load: u64,
        place: PlaceId,
        before: Option<usize>,
        after: usize,
    },
}

/// How many rows a turn of the wheel is.
const WHEEL_ROWS: isize = 3;

impl<'a> App<'a> {
    /// Shows what the last layer did.
    pub(super) fn new(
        provenance: &'a Provenance,
        strata: &'a Strata,
        unreadable: &'a BTreeMap<usize, String>,
    ) -> App<'a> {
        let mut app = App {
            provenance,
            strata,
            unreadable,
            pane: Pane::Layers,
            layer: strata.layers().saturating_sub(1),
            scope: Scope::LayerBelow,
            changes: Changes::default(),
            tree: Rows::default(),
            row: 0,
            attributes: true,
            popup: None,
            prompt: None,
            search: None,
            message: None,
            screen: Screen::default(),
            loads: 0,
        };
        app.compare();
        app
    }

    /// Returns the layer whose tree is shown.
    pub(super) fn after(&self) -> Option<usize> {
        (self.strata.layers() > 0).then_some(self.layer)
    }

    /// Returns the layer that it is compared with.
    pub(super) fn before(&self) -> Option<usize> {
        match self.scope {
            Scope::LayerBelow => self.layer.checked_sub(1),
            Scope::Base => Some(self.base_layers().saturating_sub(1)).filter(|&base| base < self.layer),
        }
    }

    /// Returns how many layers the image began with.
    pub(super) fn base_layers(&self) -> usize {
        self.provenance.base.as_ref().map_or(1, |(_, layers)| *layers)
    }

    /// Returns the item of the history that made a layer.
    pub(super) fn item(&self, layer: usize) -> Option<&'a Item> {
        self.provenance.items.iter().find(|item| item.layer == Some(layer))
    }

    /// Returns the place that is looked at.
    pub(super) fn place(&self) -> Option<PlaceId> {
        self.tree.rows.get(self.row).map(|row| row.place)
    }

    /// Takes an event; tells what to do about it.
    pub(super) fn update(&mut self, input: &Input) -> Option<Task> {
        match input {
            Input::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            Input::Mouse(mouse) => self.mouse(*mouse),
            _ => None,
        }
    }

    /// Takes what a task found; an answer that nobody waits for any more is dropped.
    pub(super) fn loaded(&mut self, load: u64, lines: Result<Vec<TextLine>, String>) {
        let Some(popup) = self.popup.as_mut().filter(|popup| popup.body == Body::Loading(load)) else { return };
        popup.body = lines.map_or_else(Body::Failed, Body::Lines);
    }

    fn key(&mut self, key: KeyEvent) -> Option<Task> {
        self.message = None;
        if self.prompt.is_some() {
            return self.write(key);
        }
        let action = keys::action(key, self.pane)?;
        if self.popup.is_some() {
            return self.in_popup(action);
        }
        self.act(action)
    }

    fn act(&mut self, action: Action) -> Option<Task> {
        match action {
            Action::Quit => return Some(Task::Quit),
            Action::Back => self.set_filter(None),
            Action::NextPane => {
                self.pane = if self.pane == Pane::Layers { Pane::Tree } else { Pane::Layers };
            }
            Action::Up => self.step(-1),
            Action::Down => self.step(1),
            Action::PageUp => self.step(-self.page()),
            Action::PageDown => self.step(self.page()),
            Action::Top => self.step(isize::MIN),
            Action::Bottom => self.step(isize::MAX),
            Action::Left => self.close(),
            Action::Right => self.open(),
            Action::Toggle => return self.toggle(),
            Action::ToggleAll => {
                let place = self.place();
                self.tree.toggle_all(self.strata);
                self.list(place);
            }
            Action::ToggleShown(shown) => {
                if !self.tree.hidden.remove(&shown) {
                    self.tree.hidden.insert(shown);
                }
                self.choose();
            }
            Action::LayerAlone => self.set_scope(Scope::LayerBelow),
            Action::SinceBase => self.set_scope(Scope::Base),
            Action::ToggleScope => {
                self.set_scope(if self.scope == Scope::Base { Scope::LayerBelow } else { Scope::Base });
            }
            Action::Attributes => self.attributes = !self.attributes,
            Action::Order => {
                self.tree.order = if self.tree.order == Order::Name { Order::Size } else { Order::Name };
                self.list(self.place());
            }
            Action::Search => self.prompt = Some(Prompt { purpose: Purpose::Search, text: String::new() }),
            Action::Filter => {
                let text = self.tree.filter.as_ref().map_or_else(String::new, |filter| filter.text.clone());
                self.prompt = Some(Prompt { purpose: Purpose::Filter, text });
            }
            Action::NextMatch => self.next_match(Direction::Forward),
            Action::PreviousMatch => self.next_match(Direction::Backward),
            Action::Preview => return self.preview(),
            Action::Diff => return self.diff(),
            Action::Blame => self.blame(),
            Action::Waste => self.popup = Some(popup::waste(self.provenance)),
            Action::Help => self.popup = Some(popup::help()),
        }
        None
    }

    fn in_popup(&mut self, action: Action) -> Option<Task> {
        let popup = self.popup.as_mut()?;
        let page = (self.screen.popup.height as isize - 1).max(1);
        match action {
            Action::Up => popup.step(-1),
            Action::Down => popup.step(1),
            Action::PageUp => popup.step(-page),
            Action::PageDown => popup.step(page),
            Action::Top => popup.step(isize::MIN),
            Action::Bottom => popup.step(isize::MAX),
            Action::Left => popup.column = popup.column.saturating_sub(8),
            Action::Right => popup.column += 8,
            Action::Toggle if popup.body == Body::Waste => {
                let row = popup.row;
                self.popup = None;
                self.go_to_waste(self.provenance.usage.wasted.get(row)?);
            }
            _ => self.popup = None,
        }
        None
    }

    /// Looks at another layer or at other changes.
    fn compare(&mut self) {
        self.changes = self.strata.between(self.before(), self.after());
        self.choose();
    }

    fn choose(&mut self) {
        let place = self.place();
        self.tree.choose(self.strata, &self.changes);
        self.select(place);
    }

    fn list(&mut self, place: Option<PlaceId>) {
        self.tree.list(self.strata, &self.changes);
        self.select(place);
    }

    /// Keeps looking at a place, or at the nearest above it that is still shown.
    fn select(&mut self, place: Option<PlaceId>) {
        let mut shown = std::iter::successors(place, |&place| self.strata.parent(place));
        let found = shown.find_map(|place| self.tree.find(place));
        let last = self.tree.rows.len().saturating_sub(1);
        self.row = found.unwrap_or(self.row.min(last));
    }

    fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
        self.compare();
    }

    fn set_layer(&mut self, layer: usize) {
        if layer != self.layer {
            self.layer = layer;
            self.compare();
        }
    }

    fn set_filter(&mut self, filter: Option<Pattern>) {
        let place = self.place();
        self.tree.set_filter(filter);
        if let Some(place) = place {
            self.tree.reveal(place, self.strata);
        }
        self.choose();
    }

    fn page(&self) -> isize {
        let area = if self.pane == Pane::Layers { self.screen.layers } else { self.screen.tree };
        (area.height as isize - 1).max(1)
    }

    fn step(&mut self, rows: isize) {
        match self.pane {
            Pane::Layers => self.set_layer(moved(self.layer, rows, self.strata.layers())),
            Pane::Tree => self.row = moved(self.row, rows, self.tree.rows.len()),
        }
    }

    fn open(&mut self) {
        let Some(row) = self.tree.rows.get(self.row).filter(|_| self.pane == Pane::Tree) else { return };
        if row.has_children && !row.is_open {
            self.tree.toggle(row.place);
            self.list(self.place());
        } else if row.is_open {
            self.step(1);
        }
    }

    fn close(&mut self) {
        let Some(row) = self.tree.rows.get(self.row).filter(|_| self.pane == Pane::Tree) else { return };
        if row.is_open {
            self.tree.toggle(row.place);
            self.list(self.place());
        } else if row.depth > 0 {
            self.select(self.strata.parent(row.place));
        }
    }

    fn toggle(&mut self) -> Option<Task> {
        if self.pane == Pane::Layers {
            self.pane = Pane::Tree;
            return None;
        }
        let row = *self.tree.rows.get(self.row)?;
        if !row.has_children {
            return self.preview();
        }
        self.tree.toggle(row.place);
        self.list(Some(row.place));
        None
    }

    /// Looks at what hid a wasted file.
    fn go_to_waste(&mut self, waste: &Waste) {
        let Some(place) = self.strata.lookup(&waste.path) else { return };
        (self.layer, self.scope) = (waste.hidden_by, Scope::LayerBelow);
        self.tree.set_filter(None);
        self.tree.hidden.clear();
        self.compare();
        self.go_to(place);
    }

    fn go_to(&mut self, place: PlaceId) {
        self.pane = Pane::Tree;
        self.tree.reveal(place, self.strata);
        self.list(Some(place));
    }

    fn next_match(&mut self, direction: Direction) {
        let Some(pattern) = &self.search else {
            self.message = Some("nothing is searched for; begin with /".to_owned());
            return;
        };
        let here = self.place().unwrap_or_default();
        // The nearest on the asked side, or else the farthest on the other, so that it goes round.
        let (mut before, mut after, mut first, mut last) = (None, None, None, None);
        each_path(self.strata, |place, path| {
            if !self.tree.is_wanted(place) || !pattern.matches(path) {
                return;
            }
            first = first.or(Some(place));
            last = Some(place);
            if place < here {
                before = Some(place);
            } else if place > here {
                after = after.or(Some(place));
            }
        });
        let found = match direction {
            Direction::Forward => after.or(first),
            Direction::Backward => before.or(last),
        };
        match found {
            Some(place) => self.go_to(place),
            None => self.message = Some(format!("no path matches {}", pattern.text)),
        }
    }

    fn write(&mut self, key: KeyEvent) -> Option<Task> {
        let prompt = self.prompt.as_mut()?;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Task::Quit),
            KeyCode::Char('u') if control => prompt.text.clear(),
            KeyCode::Char(character) if !control => prompt.text.push(character),
            KeyCode::Backspace if prompt.text.is_empty() => self.prompt = None,
            KeyCode::Backspace => drop(prompt.text.pop()),
            KeyCode::Esc => self.prompt = None,
            KeyCode::Enter => {
                let prompt = self.prompt.take()?;
                self.written(&prompt);
            }
            _ => {}
        }
        None
    }

    fn written(&mut self, prompt: &Prompt) {
        let pattern = match Pattern::parse(&prompt.text) {
            _ if prompt.text.is_empty() => None,
            Ok(pattern) => Some(pattern),
            Err(error) => {
                self.message = Some(error);
                return;
            }
        };
        match (prompt.purpose, pattern) {
            (Purpose::Filter, pattern) => {
                self.pane = Pane::Tree;
                self.set_filter(pattern);
            }
            // Without a text, the search before goes on.
            (Purpose::Search, pattern) => {
                self.search = pattern.or(self.search.take());
                self.next_match(Direction::Forward);
            }
        }
    }

    /// Returns what is looked at, with the layer after which it is there.
    fn looked_at(&mut self) -> Option<(PlaceId, usize)> {
        let place = self.place()?;
        let after = [self.after(), self.before()].into_iter().flatten();
        after.into_iter().find(|&after| self.strata.held(place, Some(after)).is_some()).map(|after| (place, after))
    }

    fn preview(&mut self) -> Option<Task> {
        let (place, after) = self.looked_at()?;
        let held = self.strata.held(place, Some(after))?;
        match held.kind() {
            Kind::File { .. } | Kind::Hardlink { .. } => {}
            _ => {
                self.message = Some("this is no file".to_owned());
                return None;
            }
        }
        let load = self.begin_load(place, "");
        Some(Task::Preview { load, place, after })
    }

    fn diff(&mut self) -> Option<Task> {
        let (place, _) = self.looked_at()?;
        let (before, after) = (self.before(), self.after()?);
        let is_file = |layer| {
            let held = self.strata.held(place, layer);
            held.is_some_and(|held| self.strata.content(held).is_some())
        };
        if self.changes.change[place] == Change::Unchanged {
            self.message = Some("it is what it was before".to_owned());
            return None;
        }
        if !is_file(before) && !is_file(Some(after)) {
            self.message = Some("this is no file".to_owned());
            return None;
        }
        let against = before.map_or_else(|| "nothing".to_owned(), |layer| format!("layer {}", layer + 1));
        let load = self.begin_load(place, &format!(": layer {} against {against}", after + 1));
        Some(Task::Diff { load, place, before, after })
    }

    fn begin_load(&mut self, place: PlaceId, title: &str) -> u64 {
        self.loads += 1;
        let path = crate::cli::name::shown(&self.strata.path(place));
        self.popup = Some(Popup::new(format!("/{path}{title}"), Body::Loading(self.loads)));
        self.loads
    }

    fn blame(&mut self) {
        if let Some(place) = self.place() {
            self.popup = Some(popup::blame(self, place));
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) -> Option<Task> {
        let at = Position::new(mouse.column, mouse.row);
        let wheel = match mouse.kind {
            MouseEventKind::ScrollUp => -WHEEL_ROWS,
            MouseEventKind::ScrollDown => WHEEL_ROWS,
            MouseEventKind::Down(MouseButton::Left) => return self.click(at),
            _ => return None,
        };
        match &mut self.popup {
            Some(popup) => popup.step(wheel),
            None => {
                if let Some(pane) = self.pane_at(at) {
                    self.pane = pane;
                    self.step(wheel);
                }
            }
        }
        None
    }

    fn pane_at(&self, at: Position) -> Option<Pane> {
        let panes = [(self.screen.layers, Pane::Layers), (self.screen.tree, Pane::Tree)];
        panes.into_iter().find(|(area, _)| area.contains(at)).map(|(_, pane)| pane)
    }

    fn click(&mut self, at: Position) -> Option<Task> {
        if let Some(popup) = &mut self.popup {
            if !self.screen.popup.contains(at) {
                self.popup = None;
            } else if popup.body == Body::Waste {
                let clicked = popup.first + usize::from(at.y - self.screen.popup.y);
                if clicked == popup.row {
                    return self.in_popup(Action::Toggle);
                }
                popup.row = clicked.min(popup.length().saturating_sub(1));
            }
            return None;
        }
        self.pane = self.pane_at(at)?;
        let row = |area: Rect, first: usize| first + usize::from(at.y - area.y);
        match self.pane {
            Pane::Layers => {
                let layer = row(self.screen.layers, self.screen.first_layer);
                if layer < self.strata.layers() {
                    self.set_layer(layer);
                }
            }
            Pane::Tree => {
                let clicked = row(self.screen.tree, self.screen.first_row);
                if clicked == self.row {
                    return self.toggle();
                }
                if clicked < self.tree.rows.len() {
                    self.row = clicked;
                }
            }
        }
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// Returns a place in a list some rows on, or its nearest end.
pub(super) fn moved(from: usize, rows: isize, count: usize) -> usize {
    from.saturating_add_signed(rows).min(count.saturating_sub(1))
}
