//! `--progress=tty`: what runs is redrawn in place with its last lines of output; what has ended scrolls away above it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use console::{measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::steps::Steps;
use super::{View, text};
use crate::cli::human;
use crate::solve::{Event, Outcome, StepId};

/// Lines of output under a running step.
const WINDOW: usize = 6;
/// Redraws a second, at most.
const REFRESH_HERTZ: u8 = 15;

/// Draws the tree.
pub(super) struct Tree {
    bar: ProgressBar,
    size: Box<dyn Fn() -> (usize, usize) + Send>,
    paint: Paint,
    steps: Steps,
    ended: usize,
    running: BTreeMap<StepId, Running>,
    transfers: BTreeMap<(Option<StepId>, String), (u64, Option<u64>)>,
    phase: Option<(String, Duration)>,
}

/// What a running step shows.
#[derive(Debug, Default)]
struct Running {
    lines: VecDeque<String>,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

impl Tree {
    /// Returns a tree on the terminal that stderr is.
    pub(super) fn on_stderr(colours: bool) -> Tree {
        let terminal = console::Term::stderr();
        let size = move || {
            let (rows, columns) = terminal.size();
            (rows.into(), columns.into())
        };
        Tree::new(ProgressDrawTarget::stderr_with_hz(REFRESH_HERTZ), Box::new(size), colours)
    }

    /// Returns a tree on anything that is like a terminal of `rows` and `columns`.
    #[cfg(test)]
    fn on(terminal: Box<dyn indicatif::TermLike>, rows: usize, columns: usize) -> Tree {
        Tree::new(ProgressDrawTarget::term_like(terminal), Box::new(move || (rows, columns)), false)
    }

    fn new(target: ProgressDrawTarget, size: Box<dyn Fn() -> (usize, usize) + Send>, colours: bool) -> Tree {
        let style = ProgressStyle::with_template("{msg}").expect("the template is constant");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Tree {
            bar,
            size,
            paint: Paint(colours),
            steps: Steps::default(),
            ended: 0,
            running: BTreeMap::new(),
            transfers: BTreeMap::new(),
            phase: None,
        }
    }

    /// Prints a line that stays, above what is redrawn.
    fn leave(&self, line: &str) {
        self.bar.println(line);
    }

    fn redraw(&mut self, at: Duration) {
        let lines = self.lines(at);
        if lines.is_empty() {
            // An empty message would still take a line.
            return;
        }
        self.bar.set_message(lines.join("\n"));
    }

    /// Returns what is redrawn: a summary, then everything that runs.
    fn lines(&mut self, at: Duration) -> Vec<String> {
        let (rows, columns) = (self.size)();
        let width = columns.max(20) - 1;
        let total = self.steps.count();
        let running: Vec<StepId> = self.running.keys().copied().collect();
        // One row for the summary and one for the cursor; the rest is shared.
        let room = rows.saturating_sub(2 + running.len() + self.transfers.len() + usize::from(self.phase.is_some()));
        let window = (room / running.len().max(1)).min(WINDOW);
        let summary = format!("kiln {}/{total} steps", self.ended);
        let mut lines = vec![beside(&self.paint.with("1", &summary), &text::seconds(at), width)];
        for id in running {
            lines.extend(self.running_lines(id, window, width, at));
        }
        let outside = self.transfers.iter().filter(|((step, _), _)| step.is_none());
        lines.extend(outside.map(|((_, what), bytes)| transfer(what, *bytes, width)));
        if let Some((what, since)) = &self.phase {
            lines.push(beside(&format!("  {what}"), &text::seconds(at.saturating_sub(*since)), width));
        }
        lines.truncate(rows.saturating_sub(1).max(1));
        lines
    }

    fn running_lines(&mut self, id: StepId, window: usize, width: usize, at: Duration) -> Vec<String> {
        let Some(step) = self.steps.get_mut(id) else { return Vec::new() };
        let mut lines = vec![beside(&format!("  {}", step.title), &text::seconds(step.elapsed(at)), width)];
        let own = self.transfers.iter().filter(|((step, _), _)| *step == Some(id));
        lines.extend(own.map(|((_, what), bytes)| transfer(what, *bytes, width)));
        let output = &self.running[&id].lines;
        let last = output.iter().skip(output.len().saturating_sub(window));
        lines.extend(last.map(|line| self.paint.faint(&truncate_str(&format!("    {line}"), width, "…"))));
        lines
    }

    fn finished(&mut self, id: StepId, outcome: &Outcome, duration: Duration) {
        self.ended += 1;
        let was_running = self.running.remove(&id).is_some();
        self.transfers.retain(|(step, _), _| *step != Some(id));
        let Some(step) = self.steps.get_mut(id) else { return };
        let width = (self.size)().1.max(20) - 1;
        let (mark, colour, note) = match outcome {
            Outcome::Cached => ("✓", "36", "CACHED".to_owned()),
            Outcome::Done => ("✓", "32", text::seconds(duration)),
            Outcome::Failed { .. } => ("✗", "31", text::seconds(duration)),
            Outcome::Cancelled if was_running => ("-", "33", "CANCELED".to_owned()),
            Outcome::Cancelled => return,
        };
        let line = beside(&format!("{mark} {}", step.title), &note, width);
        self.leave(&self.paint.with(colour, &line));
        if let Outcome::Failed { message } = outcome {
            let message = text::without_controls(message);
            self.leave(&self.paint.with(colour, &truncate_str(&format!("    {message}"), width, "…")));
        }
    }

    fn output(&mut self, id: StepId, lines: &str) {
        let Some(running) = self.running.get_mut(&id) else { return };
        // More is never shown.
        let last: Vec<&str> = lines.lines().rev().take(WINDOW).collect();
        running.lines.extend(last.iter().rev().map(|line| text::without_controls(text::last_overwrite(line))));
        let surplus = running.lines.len().saturating_sub(WINDOW);
        running.lines.drain(..surplus);
    }
}

impl View for Tree {
    fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Planned { steps } => self.steps.plan(steps),
            Event::Started { step: id } => {
                self.running.insert(*id, Running::default());
                if let Some(step) = self.steps.get_mut(*id) {
                    step.started = Some(at);
                }
            }
            Event::Missed { step, miss } => {
                let line = miss.cause().map(|cause| format!("not cached: {cause}"));
                self.output(*step, &line.unwrap_or_default());
            }
            Event::Output { step: id, stream, text } => {
                let lines = self.steps.get_mut(*id).map(|step| step.output(*stream, text)).unwrap_or_default();
                self.output(*id, &lines);
            }
            Event::Transfer { step, what, finished: true, .. } => {
                self.transfers.remove(&(*step, what.clone()));
            }
            Event::Transfer { step, what, done_bytes, total_bytes, .. } => {
                self.transfers.insert((*step, what.clone()), (*done_bytes, *total_bytes));
            }
            Event::Finished { step, outcome, duration } => self.finished(*step, outcome, *duration),
            Event::Used { .. } | Event::Kept { .. } => return,
            Event::Warning { message } => {
                let message = text::without_controls(message);
                self.leave(&self.paint.with("33", &format!("! {message}")));
            }
            Event::Lint { rule, message, line, excerpt, .. } => {
                let text = text::lint(rule, message, *line, excerpt);
                let (headline, excerpt) = text.split_once('\n').unwrap_or((&text, ""));
                self.leave(&self.paint.with("33", &format!("! {headline}")));
                excerpt.lines().for_each(|line| self.leave(line));
            }
            Event::Phase { what, result: None } => self.phase = Some((what.clone(), at)),
            Event::Phase { what, result: Some(result) } => {
                self.phase = None;
                self.leave(&format!("{} {what} {}", self.paint.with("32", "✓"), self.paint.faint(result)));
            }
        }
        // Output comes in floods, and the tick draws it soon enough.
        if !matches!(event, Event::Output { .. } | Event::Transfer { .. }) {
            self.redraw(at);
        }
    }

    fn tick(&mut self, at: Duration) {
        self.redraw(at);
    }

    fn end(&mut self, _: Duration) {
        self.bar.finish_and_clear();
    }
}

/// Returns `left`, cut where it must be, and `right` at the end of a line.
fn beside(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(measure_text_width(right) + 1);
    let left = truncate_str(left, room, "…");
    let blanks = " ".repeat(room - measure_text_width(&left) + 1);
    format!("{left}{blanks}{right}")
}

fn transfer(what: &str, (done, total): (u64, Option<u64>), width: usize) -> String {
    let total = total.map(|total| format!(" / {}", human::size(total))).unwrap_or_default();
    beside(&format!("    {}", text::without_controls(what)), &format!("{}{total}", human::size(done)), width)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::cli::progress::plain::tests::BUILD;
    use crate::graph::NodeId;
    use crate::solve::{PlannedStep, Stream};

    /// A terminal of 40 columns, which wraps as terminals do: when the character after the last column comes.
    #[derive(Debug, Clone, Default)]
    struct Rows(Arc<Mutex<Grid>>);

    #[derive(Debug, Default)]
    struct Grid {
        rows: Vec<Vec<char>>,
        row: usize,
        column: usize,
    }

    impl Rows {
        const COLUMNS: usize = 40;

        fn text(&self) -> String {
            let grid = self.0.lock().unwrap();
            let rows = grid.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
            rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
        }

        fn change(&self, change: impl FnOnce(&mut Grid)) -> io::Result<()> {
            change(&mut self.0.lock().unwrap());
            Ok(())
        }
    }

    impl Grid {
        fn write(&mut self, character: char) {
            if character == '\r' {
                self.column = 0;
                return;
            }
            if self.column == Rows::COLUMNS {
                (self.row, self.column) = (self.row + 1, 0);
            }
            let needed = self.rows.len().max(self.row + 1);
            self.rows.resize(needed, vec![' '; Rows::COLUMNS]);
            self.rows[self.row][self.column] = character;
            self.column += 1;
        }
    }

    impl TermLike for Rows {
        fn width(&self) -> u16 {
            40
        }
        fn height(&self) -> u16 {
            24
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.change(|grid| grid.row = grid.row.saturating_sub(n))
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.change(|grid| grid.row += n)
        }
        fn move_cursor_right(&self, n: usize) -> io::Result<()> {
            self.change(|grid| grid.column += n)
        }
        fn move_cursor_left(&self, n: usize) -> io::Result<()> {
            self.change(|grid| grid.column = grid.column.saturating_sub(n))
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.change(|grid| (grid.row, grid.column) = (grid.row + 1, 0))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.change(|grid| text.chars().for_each(|character| grid.write(character)))
        }
        fn clear_line(&self) -> io::Result<()> {
            self.change(|grid| {
                grid.column = 0;
                if let Some(row) = grid.rows.get_mut(grid.row) {
                    row.fill(' ');
                }
            })
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn tree(rows: usize) -> (Tree, Rows) {
        let screen = Rows::default();
        (Tree::on(Box::new(screen.clone()), rows, 40), screen)
    }

    fn started(tree: &mut Tree, title: &str) {
        let step = PlannedStep {
            step: NodeId(0),
            title: title.to_owned(),
            place: crate::graph::Place::default(),
            written: None,
            inputs: Vec::new(),
        };
        tree.event(&Event::Planned { steps: vec![step] }, Duration::ZERO);
        tree.event(&Event::Started { step: NodeId(0) }, Duration::ZERO);
    }

    fn output(tree: &mut Tree, text: &str) {
        let event = Event::Output { step: NodeId(0), stream: Stream::Stdout, text: text.to_owned() };
        tree.event(&event, Duration::ZERO);
    }

    #[test]
    fn a_running_step_shows_its_time_and_its_last_lines() {
        let (mut tree, _) = tree(24);
        started(&mut tree, "[2/3] RUN make");
        let lines: String = (1..=9).map(|line| format!("line {line}\n")).collect();
        output(&mut tree, &lines);
        let expected = "\
kiln 0/1 steps                     1.5s
  [2/3] RUN make                   1.5s
    line 4
    line 5
    line 6
    line 7
    line 8
    line 9";
        assert_eq!(tree.lines(Duration::from_millis(1500)).join("\n"), expected);
    }

    #[test]
    fn titles_and_output_are_cut_and_cannot_control_the_terminal() {
        let (mut tree, _) = tree(24);
        started(&mut tree, &format!("RUN {}\x1b[2J", "x".repeat(80)));
        output(&mut tree, &format!("\x1b]0;title\x07{}\n", "y".repeat(80)));
        output(&mut tree, "10%\r100%\n");
        let lines = tree.lines(Duration::ZERO);
        assert!(lines.iter().all(|line| measure_text_width(line) <= 39), "{lines:?}");
        assert!(!lines.concat().contains(['\x1b', '\x07', '\r']), "{lines:?}");
        assert_eq!(lines[3], "    100%");
    }

    #[test]
    fn a_low_terminal_is_never_overdrawn() {
        for rows in [1, 2, 3, 5] {
            let (mut tree, _) = tree(rows);
            started(&mut tree, "RUN make");
            output(&mut tree, "a\nb\nc\nd\ne\nf\n");
            assert!(tree.lines(Duration::ZERO).len() <= rows.saturating_sub(1).max(1), "{rows}");
        }
    }

    #[test]
    fn what_has_ended_stays_on_the_screen() {
        let (mut tree, screen) = tree(24);
        BUILD.play(&mut tree);
        let expected = "\
✓ [1/3] FROM base                CACHED
! clock skew
✓ [2/3] RUN make                   1.2s
✗ [3/3] RUN test                   1.4s
    exited with code 1";
        assert_eq!(screen.text(), expected);
    }
}
