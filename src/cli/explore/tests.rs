use std::collections::BTreeMap;
use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::app::{App, Task};
use super::content::{TextLine, Tone};
use super::view::{self, Palette};
use crate::engine::{Item, Provenance};
use crate::layer::{Entry, Index, Kind, Metadata, Strata, Usage};
use crate::oci::{Digest, History};

fn index(entries: &[(&[u8], Kind, u32)]) -> Arc<Index> {
    let entry = |(path, kind, mode): &(&[u8], Kind, u32)| Entry {
        path: path.to_vec(),
        kind: kind.clone(),
        metadata: Metadata { mode: *mode, ..Metadata::default() },
    };
    Arc::new(entries.iter().map(entry).collect())
}

fn file(size: u64, text: &str) -> Kind {
    Kind::File { size, digest: Digest::of(text.as_bytes()), offset: 0 }
}

fn image(layers: Vec<Arc<Index>>, base: Option<(String, usize)>) -> (Provenance, Strata) {
    let item = |layer: usize| Item {
        history: History { created_by: Some(format!("RUN step {layer} \x1b[2J")), ..History::default() },
        layer: Some(layer),
        diff_id: None,
        written: None,
        made: None,
    };
    let provenance = Provenance {
        name: "app\x1b[31m".to_owned(),
        image_id: Some(Digest::of(b"")),
        base,
        items: (0..layers.len()).map(item).collect(),
        usage: Usage::of(&layers),
    };
    (provenance, Strata::of(layers))
}

fn three_layers() -> (Provenance, Strata) {
    let layers = vec![
        index(&[
            (b"bin", Kind::Directory, 0o755),
            (b"bin/su", file(2000, "su"), 0o4755),
            (b"etc/conf", file(10, "old"), 0o644),
            (b"etc/same", file(7, "same"), 0o644),
            (b"lib", Kind::Symlink { target: b"usr/lib\x07".to_vec() }, 0o777),
        ]),
        index(&[(b"etc/conf", file(12, "new"), 0o644), (b"evil\x1b[2J\xff", file(1, "x"), 0o644)]),
        index(&[(b"bin/su", Kind::Whiteout, 0), (b"etc/same", file(7, "same"), 0o644)]),
    ];
    image(layers, None)
}

struct Screen<'a> {
    app: App<'a>,
    terminal: Terminal<TestBackend>,
}

impl<'a> Screen<'a> {
    fn new(image: &'a (Provenance, Strata), width: u16, height: u16) -> Screen<'a> {
        static NONE: BTreeMap<usize, String> = BTreeMap::new();
        Screen::without(image, &NONE, width, height)
    }

    fn without(
        (provenance, strata): &'a (Provenance, Strata),
        unreadable: &'a BTreeMap<usize, String>,
        width: u16,
        height: u16,
    ) -> Screen<'a> {
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut screen = Screen { app: App::new(provenance, strata, unreadable), terminal };
        screen.lines();
        screen
    }

    /// Draws, and returns the lines without what is blank at their ends.
    fn lines(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| view::draw(&mut self.app, Palette::Coloured, frame)).unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width).max(1);
        let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
        buffer.content.chunks(width).map(|cells| line(cells).trim_end().to_owned()).collect()
    }

    fn text(&mut self) -> String {
        self.lines().join("\n")
    }

    fn press(&mut self, code: KeyCode) -> Option<Task> {
        let task = self.app.update(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self.lines();
        task
    }

    /// Presses keys, one for each character.
    fn keys(&mut self, keys: &str) -> Option<Task> {
        keys.chars().filter_map(|key| self.press(KeyCode::Char(key))).last()
    }

    fn mouse(&mut self, kind: MouseEventKind, column: u16, row: u16) {
        self.app.update(&Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
        self.lines();
    }

    /// Returns mark and name of each row of the tree.
    fn tree(&mut self) -> Vec<String> {
        let area = self.app.screen.tree;
        let lines = self.lines();
        let rows = lines.iter().skip(usize::from(area.y)).take(usize::from(area.height));
        let cells = |line: &String| {
            let text: String = line.chars().skip(usize::from(area.x)).take(usize::from(area.width)).collect();
            let words: Vec<&str> = text.split_whitespace().filter(|word| !matches!(*word, "▸" | "▾")).collect();
            let mark = text.chars().next().filter(|mark| *mark != ' ').map(String::from).unwrap_or_default();
            words.last().map(|name| format!("{mark}{name}"))
        };
        rows.filter_map(cells).collect()
    }
}

#[test]
fn a_small_image_on_a_small_screen() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 62, 18);
    screen.press(KeyCode::Tab);
    screen.keys("E");
    let expected = "\
┌  layers ───────────────────────────────────────────────────┐
│  #    SIZE  WASTED  INSTRUCTION                            │
│  1  2.02kB  2.02kB  RUN step 0                             │
│  2     13B          RUN step 1                             │
│  3      7B          RUN step 2                             │
│                                                            │
│                                                            │
└────────────────────────────────────────────────────────────┘
┌● layer 3 ──────────────────────────────────────────────────┐
│· drwxr-xr-x       0:0      0B ▾ bin/                       │
│R -rwsr-xr-x       0:0     2kB     su                       │
│· drwxr-xr-x       0:0     19B ▾ etc/                       │
│  -rw-r--r--       0:0     12B     conf                     │
│W -rw-r--r--       0:0      7B     same                     │
│  -rw-r--r--       0:0      1B   evil\\u{1b}[2J\\xff          │
│  lrwxrwxrwx       0:0      0B   lib → usr/lib\\u{7}         │
└────────────────────────────────────────────────────────────┘
q quit  ? keys  Tab pane  a m r u hide  / search  f filter  p";
    assert_eq!(screen.text(), expected);
    let mut smaller = Screen::new(&image, 62, 10);
    smaller.press(KeyCode::Tab);
    assert!(!smaller.text().contains("lib →"));
    smaller.keys("EG");
    assert!(smaller.text().contains("lib →"), "the list follows what is looked at");
}

#[test]
fn a_wide_screen_has_details() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 130, 30);
    let text = screen.text();
    for expected in ["2.04kB in 3 layers, efficiency 1.0%, 2.02kB wasted", "2kB  /bin/su", "app", "3 files"] {
        assert_eq!(text.contains(expected), expected != "3 files", "{expected}\n{text}");
    }
    assert!(!text.contains('\x1b') && !text.contains('\x07'));
}

#[test]
fn kinds_of_change_can_be_hidden() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 100, 30);
    screen.press(KeyCode::Tab);
    screen.keys("Eu");
    assert_eq!(screen.tree(), ["·bin/", "Rsu", "·etc/", "Wsame"]);
    screen.keys("r");
    assert_eq!(screen.tree(), ["·etc/", "Wsame"]);
    screen.keys("m");
    assert_eq!(screen.tree(), ["nshow"], "nothing to show");
    screen.keys("mru");
    assert_eq!(screen.tree().len(), 7);
}

#[test]
fn another_layer_is_another_tree() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 100, 30);
    screen.keys("Ek");
    assert_eq!(screen.tree(), ["bin/", "su", "·etc/", "Mconf", "same", "Aevil\\u{1b}[2J\\xff", "usr/lib\\u{7}"]);
    screen.keys("g");
    assert!(screen.tree().iter().all(|row| row.starts_with('A')));
    screen.keys("Gv");
    assert_eq!(screen.tree(), ["·bin/", "Rsu", "·etc/", "Mconf", "Wsame", "Aevil\\u{1b}[2J\\xff", "usr/lib\\u{7}"]);
    assert!(screen.text().contains("layers 2-3"));
}

#[test]
fn paths_are_searched_and_filtered() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 100, 30);
    let chosen = |screen: &Screen<'_>| {
        String::from_utf8_lossy(&screen.app.strata.path(screen.app.place().unwrap())).into_owned()
    };
    screen.keys("/s[ua]");
    screen.press(KeyCode::Enter);
    assert_eq!(chosen(&screen), "bin/su");
    screen.keys("n");
    assert_eq!(chosen(&screen), "etc/same");
    screen.keys("n");
    assert_eq!(chosen(&screen), "bin/su", "the search goes round");
    screen.keys("N");
    assert_eq!(chosen(&screen), "etc/same");
    screen.keys("fETC/");
    screen.press(KeyCode::Enter);
    assert_eq!(screen.tree(), ["nshow"], "capitals matter where there are some");
    screen.keys("f");
    screen.app.update(&Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    screen.keys("etc/");
    screen.press(KeyCode::Enter);
    assert_eq!(screen.tree(), ["·etc/", "conf", "Wsame"]);
    screen.press(KeyCode::Esc);
    assert!(screen.tree().contains(&"·bin/".to_owned()));
    screen.keys("/(");
    screen.press(KeyCode::Enter);
    assert!(screen.text().contains("unclosed group"), "{}", screen.text());
}

#[test]
fn files_are_read_where_they_are() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 100, 30);
    let place = |path: &[u8]| image.1.lookup(path).unwrap();
    screen.keys("/bin/su");
    screen.press(KeyCode::Enter);
    let task = screen.keys("p");
    assert_eq!(task, Some(Task::Preview { load: 1, place: place(b"bin/su"), after: 1 }), "what was removed");
    assert!(screen.text().contains("reading …"));
    screen.app.loaded(0, Ok(vec![TextLine::new(Tone::Plain, "of another time")]));
    assert!(screen.text().contains("reading …"));
    screen.app.loaded(1, Err("error: lost\n".to_owned()));
    assert!(screen.text().contains("error: lost"));
    screen.press(KeyCode::Esc);
    let task = screen.keys("d");
    assert_eq!(task, Some(Task::Diff { load: 2, place: place(b"bin/su"), before: Some(1), after: 2 }));
    screen.press(KeyCode::Esc);
    assert_eq!(screen.keys("gd"), None);
    assert!(screen.text().contains("it is what it was before"), "{}", screen.text());
}

#[test]
fn every_touch_of_a_path_is_told() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 120, 30);
    screen.keys("/same");
    screen.press(KeyCode::Enter);
    screen.keys("b");
    let text = screen.text();
    let newest = text.find("layer   3  rewritten").unwrap_or_else(|| panic!("{text}"));
    assert!(newest < text.find("layer   1  added").unwrap(), "{text}");
}

#[test]
fn wasted_paths_lead_to_what_hid_them() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 120, 30);
    screen.keys("wj");
    assert!(screen.text().contains("10B  /etc/conf  (layer 1, hidden by 2)"), "{}", screen.text());
    screen.press(KeyCode::Enter);
    assert_eq!((screen.app.layer, screen.app.place()), (1, image.1.lookup(b"etc/conf")));
}

#[test]
fn the_mouse_selects_opens_and_scrolls() {
    let image = three_layers();
    let mut screen = Screen::new(&image, 120, 30);
    let click = MouseEventKind::Down(MouseButton::Left);
    let (layers, tree) = (screen.app.screen.layers, screen.app.screen.tree);
    screen.mouse(click, layers.x + 3, layers.y);
    assert_eq!(screen.app.layer, 0);
    screen.mouse(click, tree.x + 3, tree.y + 1);
    screen.mouse(click, tree.x + 3, tree.y + 1);
    assert_eq!(screen.tree(), ["Abin/", "Aetc/", "Aconf", "Asame", "Ausr/lib\\u{7}"]);
    screen.mouse(MouseEventKind::ScrollDown, tree.x, tree.y);
    assert_eq!(screen.app.row, 4);
    screen.mouse(click, tree.x + 3, tree.y + 25);
    assert_eq!(screen.app.row, 4, "there is no such row");
}

#[test]
fn keys_are_told_and_all_of_them_survive_any_screen() {
    let images = [three_layers(), image(Vec::new(), None), image(vec![index(&[])], Some(("base".to_owned(), 1)))];
    for image in &images {
        for (width, height) in [(120, 40), (60, 20), (10, 5), (1, 1), (0, 0)] {
            let mut screen = Screen::new(image, width, height);
            for _ in 0..2 {
                for key in "?jkq wjkGg hl\tEamruosvbpd/xyz".chars() {
                    if screen.keys(&key.to_string()) == Some(Task::Quit) {
                        continue;
                    }
                    screen.app.prompt = None;
                }
                for code in
                    [KeyCode::Tab, KeyCode::Enter, KeyCode::PageDown, KeyCode::PageUp, KeyCode::End, KeyCode::Esc]
                {
                    screen.press(code);
                }
                screen.mouse(MouseEventKind::Down(MouseButton::Left), 2, 2);
                screen.mouse(MouseEventKind::ScrollUp, 2, 2);
            }
        }
    }
    let mut screen = Screen::new(&images[0], 120, 40);
    screen.keys("?");
    assert!(screen.text().contains("w                          what is wasted"), "{}", screen.text());
    screen.keys("q");
    assert_eq!(screen.keys("q"), Some(Task::Quit));
}

#[test]
fn an_unreadable_layer_is_shown_as_such() {
    let mut layers = vec![index(&[(b"a", file(1, "1"), 0o644)]), index(&[]), index(&[(b"b", file(1, "2"), 0o644)])];
    layers[1] = Arc::default();
    let image = image(layers, None);
    let why = BTreeMap::from([(1, "error: layer 2 is broken\x1b[2J\ncaused by: it ends early\n".to_owned())]);
    for (width, has_details) in [(120, true), (60, false)] {
        let mut screen = Screen::without(&image, &why, width, 30);
        let top = screen.text();
        assert!(top.contains("layer 3, unreadable: 2") && top.contains("A ") && top.contains("  2       ?"), "{top}");
        assert!(top.contains("unreadable  RUN step 1") && !top.contains("layer 2 is broken"), "{top}");
        screen.press(KeyCode::Up);
        let text = screen.text();
        assert!(text.contains("error: layer 2 is broken\\u{1b}[2J"), "{text}");
        assert_eq!(text.contains("caused by: it ends early"), has_details, "{text}");
        // What was there before still is, and nothing else.
        assert_eq!(screen.app.tree.rows.len(), 1, "{text}");
        assert!(!text.contains("0 files"), "{text}");
        screen.press(KeyCode::Up);
        assert!(!screen.text().contains("unreadable: "));
    }
}

#[test]
fn five_hundred_layers_scroll() {
    let layers = (0..500).map(|layer| index(&[(b"a", file(1, &layer.to_string()), 0o644)])).collect();
    let image = image(layers, None);
    let mut screen = Screen::new(&image, 100, 30);
    assert!(screen.text().contains("500 "));
    screen.keys("g");
    assert_eq!((screen.app.layer, screen.app.screen.first_layer), (0, 0));
    screen.press(KeyCode::PageDown);
    assert!(screen.app.layer > 5 && screen.tree() == ["Ma"], "{}", screen.app.layer);
}
