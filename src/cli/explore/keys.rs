use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::Pane;
use super::rows::Shown;

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Close what is open over the panes, or end a filter.
    Back,
    NextPane,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Top,
    Bottom,
    /// Open or close a directory.
    Toggle,
    ToggleAll,
    ToggleShown(Shown),
    /// Compare a layer with the one below it.
    LayerAlone,
    /// Compare all layers up to this one with the base.
    SinceBase,
    ToggleScope,
    Attributes,
    Order,
    Search,
    Filter,
    NextMatch,
    PreviousMatch,
    Preview,
    Diff,
    Waste,
    Blame,
    Help,
}

/// What the help says: keys, then what they do.
pub(super) const HELP: [(&str, &str); 26] = [
    ("Tab", "the other pane"),
    ("↑ ↓  k j", "up and down"),
    ("PgUp PgDn  Home End  g G", "by pages, to the ends"),
    ("← →  h l", "close and open a directory"),
    ("Enter  Space", "open or close a directory; files: preview"),
    ("Ctrl+Space  E", "open or close all directories"),
    ("", ""),
    ("a  Ctrl+A", "show or hide what was added (A)"),
    ("m", "show or hide what was modified (M) or written again as it was (W)"),
    ("r  Ctrl+R", "show or hide what was removed (R)"),
    ("u  Ctrl+U", "show or hide what is unchanged"),
    ("o  Ctrl+B", "show or hide modes and owners"),
    ("s  Ctrl+O", "sort by size or by name"),
    ("v", "compare with the layer below, or with the base"),
    ("Ctrl+L  Ctrl+A", "the same, one each, in the layers"),
    ("", ""),
    ("/", "search paths (regular expression), n and N for the next and the last"),
    ("f  Ctrl+F", "show only paths that match; Esc shows all"),
    ("p", "preview a file, up to 64 KiB"),
    ("d", "how a file differs from what was there before"),
    ("b", "which layers touched a path"),
    ("w", "what is wasted; Enter goes there"),
    ("", ""),
    ("mouse", "click selects, a second click opens, the wheel scrolls"),
    ("Esc  q", "close what is open over the panes"),
    ("q  Ctrl+C", "quit"),
];

/// Returns what a key means; Ctrl+A is what dive has it mean in either pane.
pub(super) fn action(key: KeyEvent, pane: Pane) -> Option<Action> {
    use Action as A;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(match (key.code, pane) {
            (KeyCode::Char('c'), _) => A::Quit,
            (KeyCode::Char('a'), Pane::Layers) => A::SinceBase,
            (KeyCode::Char('l'), Pane::Layers) => A::LayerAlone,
            (KeyCode::Char('a'), Pane::Tree) => A::ToggleShown(Shown::Added),
            (KeyCode::Char('m'), Pane::Tree) => A::ToggleShown(Shown::Modified),
            (KeyCode::Char('r'), _) => A::ToggleShown(Shown::Removed),
            (KeyCode::Char('u'), _) => A::ToggleShown(Shown::Unchanged),
            (KeyCode::Char('b'), _) => A::Attributes,
            (KeyCode::Char('o'), _) => A::Order,
            (KeyCode::Char('f'), _) => A::Filter,
            (KeyCode::Char(' ' | '@') | KeyCode::Null, _) => A::ToggleAll,
            _ => return None,
        });
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('q') => A::Quit,
        KeyCode::Esc => A::Back,
        KeyCode::Tab | KeyCode::BackTab => A::NextPane,
        KeyCode::Up | KeyCode::Char('k') => A::Up,
        KeyCode::Down | KeyCode::Char('j') => A::Down,
        KeyCode::Left | KeyCode::Char('h') => A::Left,
        KeyCode::Right | KeyCode::Char('l') => A::Right,
        KeyCode::PageUp => A::PageUp,
        KeyCode::PageDown => A::PageDown,
        KeyCode::Home | KeyCode::Char('g') => A::Top,
        KeyCode::End | KeyCode::Char('G') => A::Bottom,
        KeyCode::Enter | KeyCode::Char(' ') => A::Toggle,
        KeyCode::Null | KeyCode::Char('E') => A::ToggleAll,
        KeyCode::Char('a') => A::ToggleShown(Shown::Added),
        KeyCode::Char('m') => A::ToggleShown(Shown::Modified),
        KeyCode::Char('r') => A::ToggleShown(Shown::Removed),
        KeyCode::Char('u') => A::ToggleShown(Shown::Unchanged),
        KeyCode::Char('o') => A::Attributes,
        KeyCode::Char('s') => A::Order,
        KeyCode::Char('v') => A::ToggleScope,
        KeyCode::Char('/') => A::Search,
        KeyCode::Char('f') => A::Filter,
        KeyCode::Char('n') => A::NextMatch,
        KeyCode::Char('N') => A::PreviousMatch,
        KeyCode::Char('p') => A::Preview,
        KeyCode::Char('d') => A::Diff,
        KeyCode::Char('b') => A::Blame,
        KeyCode::Char('w') => A::Waste,
        KeyCode::Char('?') | KeyCode::F(1) => A::Help,
        _ => return None,
    })
}
