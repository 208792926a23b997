use std::collections::BTreeMap;
use std::time::Duration;

use crate::solve::{PlannedStep, StepId, Stream};

/// What a view remembers of the steps: numbers, titles, start times, and lines that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: BTreeMap<StepId, Step>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// Place in the plan, from 1: what `kiln log` takes.
    pub(super) number: usize,
    /// What people read.
    pub(super) title: String,
    /// When it began, if it did.
    pub(super) started: Option<Duration>,
    partial: [String; 2],
}

impl Steps {
    /// Adds planned steps.
    pub(super) fn plan(&mut self, planned: &[PlannedStep]) {
        for step in planned {
            let number = self.steps.len() + 1;
            let title = super::without_controls(step.title.lines().next().unwrap_or_default());
            self.steps.insert(step.step, Step { number, title, started: None, partial: Default::default() });
        }
    }

    /// Returns how many steps there are.
    pub(super) fn count(&self) -> usize {
        self.steps.len()
    }

    /// Returns a step, unless it was never planned.
    pub(super) fn get_mut(&mut self, step: StepId) -> Option<&mut Step> {
        self.steps.get_mut(&step)
    }
}

impl Step {
    /// Adds output and returns the lines that are whole now, or as long as lines may be; the last may have no line feed.
    pub(super) fn output(&mut self, stream: Stream, text: &str) -> String {
        let partial = self.partial(stream);
        let Some(end) = text.rfind('\n') else {
            partial.push_str(text);
            return shortened(partial).unwrap_or_default();
        };
        let mut whole = std::mem::take(partial);
        whole.push_str(&text[..=end]);
        partial.push_str(&text[end + 1..]);
        whole
    }

    /// Returns what was written after the last line feeds.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let rests = self.partial.iter_mut().map(std::mem::take);
        rests.filter(|rest| !rest.is_empty()).collect()
    }

    fn partial(&mut self, stream: Stream) -> &mut String {
        match stream {
            Stream::Stdout => &mut self.partial[0],
            Stream::Stderr => &mut self.partial[1],
        }
    }

    /// Returns the time since its start.
    pub(super) fn elapsed(&self, at: Duration) -> Duration {
        self.started.map_or(Duration::ZERO, |started| at.saturating_sub(started))
    }
}

/// How much of a line waits for its end. What a program prints without one must not fill memory.
const LINE_BYTES: usize = 64 << 10;

/// Shortens the beginning of a line that has become too long by what it has overwritten itself. If that is not enough, it
/// is returned as a line, and what follows is another.
fn shortened(partial: &mut String) -> Option<String> {
    if partial.len() <= LINE_BYTES {
        return None;
    }
    let shown = partial.trim_end_matches('\r').rfind('\r').map_or(0, |overwritten| overwritten + 1);
    partial.drain(..shown);
    (partial.len() > LINE_BYTES).then(|| std::mem::take(partial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NodeId;

    #[test]
    fn pieces_of_output_become_lines_of_one_stream() {
        let mut steps = Steps::default();
        steps.plan(&[PlannedStep {
            step: NodeId(4),
            title: "x".into(),
            place: crate::graph::Place::default(),
            written: None,
            inputs: Vec::new(),
        }]);
        let step = steps.get_mut(NodeId(4)).unwrap();
        assert!(step.output(Stream::Stdout, "on").is_empty());
        assert_eq!(step.output(Stream::Stderr, "error\r\n"), "error\r\n");
        assert_eq!(step.output(Stream::Stdout, "e\n\ntwo"), "one\n\n");
        // Of a line without an end no more is kept than anybody reads, and of a progress bar what it shows.
        let bar: Vec<String> = (0..LINE_BYTES).map(|at| step.output(Stream::Stderr, &format!("\r{at} %"))).collect();
        assert!(bar.concat().is_empty() && step.partial(Stream::Stderr).len() <= LINE_BYTES);
        let flood: Vec<String> = (0..5).map(|_| step.output(Stream::Stderr, &"x".repeat(LINE_BYTES))).collect();
        assert_eq!(flood.iter().map(|line| line.trim_start_matches(|c| c != 'x').len()).sum::<usize>(), 5 * LINE_BYTES);
        assert!(step.output(Stream::Stderr, "\n").len() <= 1);
        assert_eq!(step.rest(), ["two"]);
        assert!(step.rest().is_empty());
    }
}
