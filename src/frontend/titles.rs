use crate::dockerfile::instruction::{Command, Instruction, Step};

/// Numbers the steps of one stage: `[build 2/5] RUN make` (semantics reference, section 7.11).
#[derive(Debug)]
pub(super) struct Titles {
    /// Nothing where the file has one stage.
    stage: String,
    next: usize,
    total: usize,
}

impl Titles {
    /// Returns the titles of a stage whose base takes a step of its own or not.
    pub(super) fn new(stage: Option<String>, has_base_step: bool, steps: usize) -> Titles {
        let stage = stage.map(|name| name + " ").unwrap_or_default();
        Titles { stage, next: 1, total: steps + usize::from(has_base_step) }
    }

    pub(super) fn next(&mut self, text: &str) -> String {
        let title = format!("[{}{}/{}] {text}", self.stage, self.next, self.total);
        self.next += 1;
        title
    }
}

/// Tells whether an instruction is a step of its own.
pub(super) fn is_step(instruction: &Instruction) -> bool {
    use Instruction as I;
    matches!(instruction, I::Run(_) | I::Copy(_) | I::Add(_) | I::Workdir(_))
}

/// Returns a step as people wrote it; a script that stands in a heredoc is told by its first line.
pub(super) fn text(step: &Step) -> String {
    let Instruction::Run(run) = &step.instruction else { return step.text.clone() };
    let body = match (&run.script, &run.command) {
        (Some(script), _) => &script.body.value,
        (None, Command::Shell(text)) => &text.value,
        (None, Command::Exec(_)) => return step.text.clone(),
    };
    let mut lines = body.lines();
    match lines.next() {
        Some(first) if step.text.contains("<<") && !step.text.contains(first) => {
            let more = if lines.next().is_some() { "..." } else { "" };
            format!("{} ({first}{more})", step.text)
        }
        _ => step.text.clone(),
    }
}
