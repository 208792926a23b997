//! What people and programs see of an operation while it goes on: views of one stream of [`Event`]s, on stderr.

mod json;
mod path;
mod plain;
mod steps;
mod text;
mod tree;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::session::{self, Session};
use crate::engine::{self, BuildResult};
use crate::solve::{CriticalPath, Event, Observe, Timeline};

pub(super) use text::without_controls;

/// The flag that chooses a view.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How to show progress
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Auto, env = "BUILDKIT_PROGRESS", hide_env = true)]
    progress: Mode,
}

/// A way to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// A live tree on a terminal, plain lines elsewhere
    Auto,
    /// Lines, the output of one step kept together
    Plain,
    /// A live tree
    Tty,
    /// One event a line
    #[value(alias = "rawjson")]
    Json,
    /// Nothing but the result
    Quiet,
    /// Nothing
    None,
}

impl Args {
    /// Returns the display that the flag, or `forced`, asks for.
    pub(super) fn display(&self, forced: Option<Mode>, session: &Session) -> Display {
        let mode = match forced.unwrap_or(self.progress) {
            // The live tree redraws lines, which needs a terminal and nobody else writing to it.
            Mode::Auto | Mode::Tty if io::stderr().is_terminal() && !session.logging => Mode::Tty,
            Mode::Auto | Mode::Tty => Mode::Plain,
            mode => mode,
        };
        Display { mode, started: Instant::now() }
    }
}

/// Shows operations in one way.
#[derive(Debug)]
pub(super) struct Display {
    mode: Mode,
    started: Instant,
}

impl Display {
    /// Returns how it shows; never [`Mode::Auto`].
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Shows what `operation` tells its observer while it runs.
    ///
    /// # Errors
    /// The operation's; [`Error::Reported`] if the display has shown it as an event.
    pub(super) fn watch<T>(
        &self,
        operation: impl FnOnce(Arc<dyn Observe>) -> Result<T, engine::Error>,
    ) -> Result<T, Error> {
        let shown = Shown { view: self.view(), timeline: Timeline::default() };
        let screen = Arc::new(Screen { shown: Mutex::new(shown), started: self.started });
        let result = std::thread::scope(|scope| {
            let (stop, stopped) = channel::<()>();
            let ticking = screen.clone();
            scope.spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    ticking.shown().view.tick(ticking.started.elapsed());
                }
            });
            // Dropped even when the operation panics, or the scope would wait for the ticks for ever.
            let _stop: Sender<()> = stop;
            operation(screen.clone())
        });
        let mut shown = screen.shown();
        shown.view.end(self.started.elapsed());
        if let (Ok(_), Some(path)) = (&result, shown.timeline.critical_path()) {
            self.path(&path);
        }
        result.map_err(|error| self.failed(error.into()))
    }

    /// Says where the time went.
    fn path(&self, path: &CriticalPath) {
        let text = match self.mode {
            Mode::Json => json::critical_path(path, self.started.elapsed()),
            Mode::Quiet | Mode::None => return,
            Mode::Auto | Mode::Plain | Mode::Tty => path::text(path, self.started.elapsed()),
        };
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Says in one line what a build has made.
    pub(super) fn built(&self, result: &BuildResult) {
        let seconds = text::seconds(self.started.elapsed());
        let names: Vec<String> = result.tags.iter().map(|tag| format!(" as {}", tag.familiar())).collect();
        let line = match self.mode {
            Mode::Json => json::built(result, self.started.elapsed()),
            Mode::Quiet | Mode::None => return,
            _ => format!(
                "built {}{} in {seconds} ({} executed, {} cached)",
                result.image_id,
                names.join(","),
                result.executed_steps,
                result.cached_steps
            ),
        };
        // A closed stderr must not fail a build that is done.
        let _ = writeln!(io::stderr(), "{line}");
    }

    fn view(&self) -> Box<dyn View> {
        match self.mode {
            Mode::Tty => Box::new(tree::Tree::on_stderr(session::colours())),
            Mode::Auto | Mode::Plain => {
                let folding = plain::Folding::of_environment(|name| std::env::var(name).ok());
                Box::new(plain::Plain::new(io::stderr(), folding))
            }
            Mode::Json => Box::new(json::Json::new(io::stderr())),
            Mode::Quiet | Mode::None => Box::new(Silent),
        }
    }

    fn failed(&self, error: Error) -> Error {
        if self.mode != Mode::Json || matches!(error, Error::Engine(engine::Error::Cancelled)) {
            return error;
        }
        let _ = writeln!(io::stderr(), "{}", json::failed(&error, self.started.elapsed()));
        Error::Reported
    }
}

/// Often enough for tenths of seconds, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// Shows events; `at` is the time since the operation began.
trait View: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event, at: Duration);

    /// Tells whether it shows what steps write.
    fn hears_output(&self) -> bool {
        true
    }

    /// Shows that time goes by.
    fn tick(&mut self, _at: Duration) {}

    /// Shows what is still held back; no event follows.
    fn end(&mut self, _at: Duration) {}
}

/// Shows nothing.
struct Silent;

impl View for Silent {
    fn event(&mut self, _: &Event, _: Duration) {}

    fn hears_output(&self) -> bool {
        false
    }
}

struct Screen {
    shown: Mutex<Shown>,
    started: Instant,
}

struct Shown {
    view: Box<dyn View>,
    timeline: Timeline,
}

impl Screen {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        // A view that panicked half-way shows a torn line, and no more harm than that.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Screen {
    fn observe(&self, event: Event) {
        let mut shown = self.shown();
        let at = self.started.elapsed();
        shown.timeline.event(&event, at);
        shown.view.event(&event, at);
    }

    fn hears_output(&self) -> bool {
        self.shown().view.hears_output()
    }
}
