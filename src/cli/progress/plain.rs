//! `--progress=plain`: lines for logs, each with its step's number.
//!
//! One step at a time is shown. What others write meanwhile waits, but not for ever: when it has waited for
//! [`PATIENCE`] or fills [`WAITING_BYTES`], the display leaves the step (`#5 ...`) and comes back to it later.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::steps::Steps;
use super::{View, text};
use crate::cli::human;
use crate::solve::{Event, Outcome, StepId};

/// How long output of one step waits for another's.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of it waits: some screens, of how many steps ever.
const WAITING_BYTES: usize = 64 * 1024;

/// How a log viewer is told what to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    /// Not at all.
    None,
    /// GitHub Actions: `::group::` to `::endgroup::`.
    GitHub,
    /// Buildkite: from `---` to the next.
    Buildkite,
}

impl Folding {
    /// Returns what the service that runs this process understands.
    pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Folding {
        let is_set = |name| variable(name).is_some_and(|value| value == "true");
        match () {
            () if is_set("GITHUB_ACTIONS") => Folding::GitHub,
            () if is_set("BUILDKITE") => Folding::Buildkite,
            () => Folding::None,
        }
    }

    fn begin(self) -> &'static str {
        match self {
            Folding::None => "",
            Folding::GitHub => "::group::",
            Folding::Buildkite => "--- ",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Folding::GitHub => "::endgroup::\n",
            Folding::None | Folding::Buildkite => "\n",
        }
    }
}

/// Writes plain lines.
pub(super) struct Plain<W> {
    out: W,
    folding: Folding,
    steps: Steps,
    /// Phases and transfers outside steps get numbers after the steps'.
    others: Vec<String>,
    shown: Option<Section>,
    waiting: BTreeMap<Section, Waiting>,
    /// Order in which sections began to wait.
    arrivals: usize,
}

/// What lines belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Step(StepId),
    Other(usize),
}

/// Lines that are not shown yet.
#[derive(Debug)]
struct Waiting {
    arrival: usize,
    since: Duration,
    text: String,
    ended: bool,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W, folding: Folding) -> Plain<W> {
        Plain {
            out,
            folding,
            steps: Steps::default(),
            others: Vec::new(),
            shown: None,
            waiting: BTreeMap::new(),
            arrivals: 0,
        }
    }

    fn print(&mut self, text: &str) {
        // Nobody reads a closed stderr, and the build goes on.
        let _ = self.out.write_all(text.as_bytes());
    }

    fn number_and_title(&mut self, section: Section) -> (usize, String) {
        match section {
            Section::Other(index) => (self.steps.count() + index + 1, self.others[index].clone()),
            Section::Step(step) => match self.steps.get_mut(step) {
                Some(step) => (step.number, step.title.clone()),
                None => (0, format!("step {}", step.0)),
            },
        }
    }

    fn other(&mut self, title: &str) -> Section {
        let known = self.others.iter().position(|other| other == title);
        Section::Other(known.unwrap_or_else(|| {
            self.others.push(title.to_owned());
            self.others.len() - 1
        }))
    }

    /// Shows or keeps lines of a section, which may be its last.
    fn lines(&mut self, section: Section, lines: &[String], ended: bool, at: Duration) {
        let (number, _) = self.number_and_title(section);
        let prefix = format!("#{number} ");
        let text = lines.iter().flat_map(|line| [&prefix, line.as_str(), "\n"]).collect();
        self.text(section, text, ended, at);
    }

    /// Shows or keeps such lines as they are.
    fn text(&mut self, section: Section, mut text: String, ended: bool, at: Duration) {
        if ended {
            text.push_str(self.folding.end());
        }
        if self.shown.is_none() {
            self.show(section);
        }
        if self.shown == Some(section) {
            self.print(&text);
            if ended {
                self.shown = None;
                self.next();
            }
            return;
        }
        self.arrivals += 1;
        let arrival = self.arrivals;
        let new = || Waiting { arrival, since: at, text: String::new(), ended: false };
        let waiting = self.waiting.entry(section).or_insert_with(new);
        waiting.text += &text;
        waiting.ended |= ended;
        self.lose_patience(at);
    }

    /// Prints the heading of a section.
    fn show(&mut self, section: Section) {
        let (number, title) = self.number_and_title(section);
        self.print(&format!("{}#{number} {title}\n", self.folding.begin()));
        self.shown = Some(section);
    }

    /// Shows what waits: first all that has ended, then one that has not.
    fn next(&mut self) {
        while self.shown.is_none() {
            let order = |(_, waiting): &(&Section, &Waiting)| (!waiting.ended, waiting.arrival);
            let Some(section) = self.waiting.iter().min_by_key(order).map(|(section, _)| *section) else { return };
            let waiting = self.waiting.remove(&section).expect("it was just found");
            self.show(section);
            self.print(&waiting.text);
            if waiting.ended {
                self.shown = None;
            }
        }
    }

    /// Leaves the step that is shown if another has waited too long.
    fn lose_patience(&mut self, at: Duration) {
        let too_long =
            |waiting: &Waiting| waiting.text.len() > WAITING_BYTES || at.saturating_sub(waiting.since) > PATIENCE;
        let Some(section) = self.shown.filter(|_| self.waiting.values().any(too_long)) else { return };
        let (number, _) = self.number_and_title(section);
        self.print(&format!("#{number} ...\n{}", self.folding.end()));
        self.shown = None;
        self.next();
    }

    fn finished(&mut self, id: StepId, outcome: &Outcome, duration: Duration, at: Duration) {
        let Some(step) = self.steps.get_mut(id) else { return };
        let was_started = step.started.is_some();
        let section = Section::Step(id);
        let mut text = timed(step.number, step.elapsed(at), step.rest().iter().map(String::as_str));
        let last = match outcome {
            Outcome::Cached => "CACHED".to_owned(),
            Outcome::Done => format!("DONE {}", text::seconds(duration)),
            Outcome::Failed { message } => format!("ERROR: {message}"),
            Outcome::Cancelled if was_started => "CANCELED".to_owned(),
            Outcome::Cancelled => return,
        };
        text += &format!("#{} {last}\n", step.number);
        self.text(section, text, true, at);
    }
}

/// Puts the number of a step and a time in front of each line. Steps may print millions of lines, so all become one text.
fn timed<'a>(number: usize, elapsed: Duration, lines: impl Iterator<Item = &'a str>) -> String {
    let start = format!("#{number} {:.3}", elapsed.as_secs_f64());
    let mut text = String::new();
    for line in lines.map(|line| text::last_overwrite(line).trim_end()) {
        let blank = if line.is_empty() { "" } else { " " };
        [&start, blank, line, "\n"].into_iter().for_each(|part| text.push_str(part));
    }
    text
}

impl<W: Write + Send> View for Plain<W> {
    fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Planned { steps } => self.steps.plan(steps),
            Event::Started { step } => {
                if let Some(step) = self.steps.get_mut(*step) {
                    step.started = Some(at);
                }
                if self.shown.is_none() {
                    self.show(Section::Step(*step));
                }
            }
            Event::Missed { step, miss } => {
                if let Some(cause) = miss.cause() {
                    self.lines(Section::Step(*step), &[format!("not cached: {cause}")], false, at);
                }
            }
            Event::Output { step: id, stream, text } => {
                let Some(step) = self.steps.get_mut(*id) else { return };
                let whole = step.output(*stream, text);
                let text = timed(step.number, step.elapsed(at), whole.lines());
                if !text.is_empty() {
                    self.text(Section::Step(*id), text, false, at);
                }
            }
            Event::Finished { step, outcome, duration } => self.finished(*step, outcome, *duration, at),
            Event::Transfer { step, what, done_bytes, finished: true, .. } => {
                let line = format!("{what} {} done", human::size(*done_bytes));
                match step {
                    Some(step) => self.lines(Section::Step(*step), &[line], false, at),
                    None => {
                        let section = self.other(what);
                        self.lines(section, &[line], true, at);
                    }
                }
            }
            Event::Transfer { .. } | Event::Used { .. } | Event::Kept { .. } => {}
            Event::Warning { message } => self.print(&format!("warning: {message}\n")),
            Event::Lint { rule, message, line, excerpt, .. } => {
                self.print(&format!("warning: {}\n", text::lint(rule, message, *line, excerpt)));
            }
            Event::Phase { what, result } => {
                let section = self.other(what);
                match result {
                    None if self.shown.is_none() => self.show(section),
                    None => {}
                    Some(result) if result.is_empty() => self.lines(section, &["DONE".to_owned()], true, at),
                    Some(result) => self.lines(section, &[result.clone(), "DONE".to_owned()], true, at),
                }
            }
        }
    }

    fn tick(&mut self, at: Duration) {
        self.lose_patience(at);
    }

    fn end(&mut self, _: Duration) {
        self.shown = None;
        self.next();
        let _ = self.out.flush();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::graph::NodeId;
    use crate::solve::{PlannedStep, Stream};

    /// Events with their times in milliseconds.
    pub(crate) struct Recording(fn() -> Vec<(u64, Event)>);

    impl Recording {
        pub(crate) fn play(&self, view: &mut impl View) {
            for (at, event) in (self.0)() {
                view.event(&event, Duration::from_millis(at));
            }
            view.end(Duration::from_secs(2));
        }
    }

    fn planned(titles: &[&str]) -> Event {
        let step = |(place, title): (usize, &&str)| PlannedStep {
            step: NodeId(u32::try_from(place).unwrap()),
            title: (*title).to_owned(),
            place: crate::graph::Place::default(),
            written: None,
            inputs: if place == 0 { Vec::new() } else { vec![NodeId(0)] },
        };
        Event::Planned { steps: titles.iter().enumerate().map(step).collect() }
    }

    fn output(step: u32, stream: Stream, text: &str) -> Event {
        Event::Output { step: NodeId(step), stream, text: text.to_owned() }
    }

    fn finished(step: u32, outcome: Outcome, milliseconds: u64) -> Event {
        Event::Finished { step: NodeId(step), outcome, duration: Duration::from_millis(milliseconds) }
    }

    /// Two steps at once over a known base; the second fails.
    pub(crate) const BUILD: Recording = Recording(|| {
        vec![
            (0, planned(&["[1/3] FROM base", "[2/3] RUN make", "[3/3] RUN test"])),
            (10, finished(0, Outcome::Cached, 0)),
            (20, Event::Started { step: NodeId(1) }),
            (30, Event::Started { step: NodeId(2) }),
            (143, output(1, Stream::Stdout, "cc a.c\ncc ")),
            (150, output(2, Stream::Stderr, "test 1\n")),
            (200, output(1, Stream::Stdout, "b.c\n")),
            (210, Event::Warning { message: "clock skew".to_owned() }),
            (1220, finished(1, Outcome::Done, 1200)),
            (1430, finished(2, Outcome::Failed { message: "exited with code 1".to_owned() }, 1400)),
        ]
    });

    fn shown(recording: &Recording) -> String {
        shown_with(Folding::None, recording)
    }

    fn shown_with(folding: Folding, recording: &Recording) -> String {
        let mut out = Vec::new();
        recording.play(&mut Plain::new(&mut out, folding));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn output_of_one_step_stays_together() {
        let expected = "\
#1 [1/3] FROM base
#1 CACHED

#2 [2/3] RUN make
#2 0.123 cc a.c
#2 0.180 cc b.c
warning: clock skew
#2 DONE 1.2s

#3 [3/3] RUN test
#3 0.120 test 1
#3 ERROR: exited with code 1

";
        assert_eq!(shown(&BUILD), expected);
    }

    #[test]
    fn services_that_fold_logs_are_told_where() {
        let text = shown_with(Folding::GitHub, &BUILD);
        assert!(text.starts_with("::group::#1 [1/3] FROM base\n#1 CACHED\n::endgroup::\n::group::#2"), "{text}");
        assert_eq!(text.matches("::group::").count(), text.matches("::endgroup::").count());
        let environment = |name: &str| (name == "BUILDKITE").then(|| "true".to_owned());
        assert_eq!(Folding::of_environment(environment), Folding::Buildkite);
    }

    #[test]
    fn a_silent_step_gives_way_and_is_taken_up_again() {
        let recording = Recording(|| {
            vec![
                (0, planned(&["slow", "quick"])),
                (0, Event::Started { step: NodeId(0) }),
                (0, Event::Started { step: NodeId(1) }),
                (100, output(1, Stream::Stdout, "a\n")),
                (5200, output(1, Stream::Stdout, "b\n")),
                (5300, finished(1, Outcome::Done, 5300)),
                (6000, output(0, Stream::Stdout, "late, no line feed")),
                (6000, finished(0, Outcome::Done, 6000)),
            ]
        });
        let expected = "\
#1 slow
#1 ...

#2 quick
#2 0.100 a
#2 5.200 b
#2 DONE 5.3s

#1 slow
#1 6.000 late, no line feed
#1 DONE 6.0s

";
        assert_eq!(shown(&recording), expected);
    }

    #[test]
    fn steps_that_never_began_are_not_shown_and_transfers_and_phases_are() {
        let recording = Recording(|| {
            let transfer = |step, done_bytes, finished| Event::Transfer {
                step,
                what: "pull sha256:0123456789ab".to_owned(),
                done_bytes,
                total_bytes: Some(2_000_000),
                finished,
            };
            let phase = |result: Option<&str>| Event::Phase {
                what: "writing image".to_owned(),
                result: result.map(str::to_owned),
            };
            vec![
                (0, planned(&["[1/2] FROM base", "[2/2] RUN x"])),
                (0, Event::Started { step: NodeId(0) }),
                (1, transfer(Some(NodeId(0)), 1_000_000, false)),
                (2, transfer(Some(NodeId(0)), 2_000_000, true)),
                (3, finished(0, Outcome::Done, 3)),
                (4, finished(1, Outcome::Cancelled, 0)),
                (5, phase(None)),
                (6, phase(Some("sha256:cd"))),
            ]
        });
        let expected = "\
#1 [1/2] FROM base
#1 pull sha256:0123456789ab 2MB done
#1 DONE 0.0s

#3 writing image
#3 sha256:cd
#3 DONE

";
        assert_eq!(shown(&recording), expected);
    }
}
