use std::collections::BTreeMap;
use std::io::{self, Stdout};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use super::app::{App, Task};
use super::content::{self, MOST_BYTES, TextLine};
use super::view::{self, Palette};
use crate::cli::{Error, report};
use crate::diagnostic::Style;
use crate::engine::{self, Exploration};
use crate::sys::Cancel;

/// How soon an interrupt and an answer are noticed while nobody touches a key.
const PATIENCE: Duration = Duration::from_millis(50);

type Answer = (u64, Result<Vec<TextLine>, String>);

/// Shows an image until somebody has seen enough; `unreadable` says why layers are not shown, by their numbers.
///
/// # Errors
/// [`Error::Terminal`] if there is none to be had, [`engine::Error::Cancelled`] after a signal.
pub(super) fn run(
    exploration: &Exploration,
    unreadable: &BTreeMap<usize, String>,
    palette: Palette,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut app = App::new(&exploration.provenance, &exploration.strata, unreadable);
    let reading = Cancel::new();
    let result = std::thread::scope(|scope| {
        let (sender, answers) = mpsc::channel::<Answer>();
        let result = show(&mut app, palette, cancel, &answers, &|task| {
            let (sender, reading) = (sender.clone(), reading.clone());
            scope.spawn(move || work(exploration, task, &reading, &sender));
        });
        // Whoever leaves does not wait for a file.
        reading.cancel();
        result
    });
    result.map_err(Error::Terminal)?;
    Ok(cancel.check().map_err(engine::Error::from)?)
}

fn show(
    app: &mut App<'_>,
    palette: Palette,
    cancel: &Cancel,
    answers: &mpsc::Receiver<Answer>,
    begin: &dyn Fn(Task),
) -> io::Result<()> {
    let mut screen = AlternateScreen::enter()?;
    let mut is_stale = true;
    while !cancel.is_cancelled() {
        if is_stale {
            screen.terminal.draw(|frame| view::draw(app, palette, frame))?;
            is_stale = false;
        }
        while let Ok((load, lines)) = answers.try_recv() {
            app.loaded(load, lines);
            is_stale = true;
        }
        if is_stale || !event::poll(PATIENCE)? {
            continue;
        }
        // All that is waiting, before anything is drawn: a key that repeats must not run behind.
        while event::poll(Duration::ZERO)? {
            match app.update(&event::read()?) {
                Some(Task::Quit) => return Ok(()),
                Some(task) => begin(task),
                None => {}
            }
            is_stale = true;
        }
    }
    Ok(())
}

fn work(exploration: &Exploration, task: Task, cancel: &Cancel, answers: &Sender<Answer>) {
    let (load, lines) = match task {
        Task::Quit => return,
        Task::Preview { load, place, after } => {
            let file = exploration.beginning(place, after, MOST_BYTES, cancel);
            (load, file.map(|file| file.as_ref().map_or_else(Vec::new, content::preview)))
        }
        Task::Diff { load, place, before, after } => {
            let read = |after| match after {
                None => Ok(None),
                Some(after) => exploration.beginning(place, after, MOST_BYTES, cancel),
            };
            let lines = read(before).and_then(|old| Ok(content::difference(old.as_ref(), read(Some(after))?.as_ref())));
            (load, lines)
        }
    };
    let lines = lines.map_err(|error| report::text(&Error::Engine(error), Style::Plain));
    // Nobody listens any more once the program ends.
    let _ = answers.send((load, lines));
}

/// The terminal while it belongs to this program; given back when dropped.
struct AlternateScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl AlternateScreen {
    fn enter() -> io::Result<AlternateScreen> {
        let hook = std::panic::take_hook();
        // A message in the other screen would be gone with it.
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            hook(panic);
        }));
        enable_raw_mode()?;
        let entered = execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match entered {
            Ok(terminal) => Ok(AlternateScreen { terminal }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }
}

impl Drop for AlternateScreen {
    fn drop(&mut self) {
        // Fails only where the terminal is gone.
        let _ = self.terminal.show_cursor();
        leave();
    }
}

fn leave() {
    // As much as goes: a terminal that is gone needs none of it.
    let _ = execute!(io::stdout(), DisableMouseCapture, LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
    let _ = disable_raw_mode();
}
