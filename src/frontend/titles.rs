use super::environment::Environment;
use crate::dockerfile::instruction::{Command, Instruction, Step};
use crate::graph::Place;
use crate::oci::Platform;

/// Numbers the steps of one stage: `[build 2/5] RUN make` (semantics reference, section 7.11).
#[derive(Debug)]
pub(super) struct Titles {
    /// The stage's, where several are built.
    platform: Option<Platform>,
    /// Nothing where the file has one stage.
    stage: String,
    next: usize,
    total: usize,
}

impl Titles {
    /// Returns the titles of a stage whose base takes a step of its own or not.
    pub(super) fn new(platform: Option<Platform>, stage: Option<String>, has_base_step: bool, steps: usize) -> Titles {
        let stage = stage.map(|name| name + " ").unwrap_or_default();
        Titles { platform, stage, next: 1, total: steps + usize::from(has_base_step) }
    }

    /// Returns the title of the next step, which says `text`, and its place.
    pub(super) fn next(&mut self, text: &str, environment: &Environment) -> (String, Place) {
        let platform = self.platform.as_ref().map(|platform| match aimed_at(environment) {
            Some(aim) => format!("{platform}{} ", arrow(platform, aim)),
            None => format!("{platform} "),
        });
        let stage = platform.unwrap_or_default() + &self.stage;
        let title = format!("[{stage}{}/{}] {text}", self.next, self.total);
        let place = Place { stage: stage.trim_end().to_owned(), position: self.next, text: text.to_owned() };
        self.next += 1;
        (title, place)
    }
}

/// What a step that runs on one platform makes things for, as far as the arguments it declared tell.
struct Aim {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

fn aimed_at(environment: &Environment) -> Option<Aim> {
    let value = |name| environment.get(name).map(str::to_owned);
    if let Some(platform) = value("TARGETPLATFORM").and_then(|text| text.parse::<Platform>().ok()) {
        let Platform { os, architecture, variant, .. } = platform;
        return Some(Aim { os: Some(os), architecture: Some(architecture), variant });
    }
    let aim = Aim { os: value("TARGETOS"), architecture: value("TARGETARCH"), variant: value("TARGETVARIANT") };
    (aim.os.is_some() || aim.architecture.is_some() || aim.variant.is_some()).then_some(aim)
}

/// Returns what tells cross builds apart: `->arm64` after the platform the compiler runs on.
fn arrow(base: &Platform, aim: Aim) -> String {
    let os = aim.os.unwrap_or_else(|| base.os.clone());
    let architecture = aim.architecture.unwrap_or_else(|| base.architecture.clone());
    let target = Platform::new(&os, &architecture, aim.variant.as_deref());
    let variant = target.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    match () {
        () if target.os != base.os => format!("->{target}"),
        () if target.architecture != base.architecture => format!("->{}{variant}", target.architecture),
        () if target.variant != base.variant && !variant.is_empty() => format!("->{}", &variant[1..]),
        () => String::new(),
    }
}

/// Tells whether an instruction is a step of its own.
pub(super) fn is_step(instruction: &Instruction) -> bool {
    use Instruction as I;
    matches!(instruction, I::Run(_) | I::Copy(_) | I::Add(_) | I::Workdir(_))
}

/// Returns the title of putting over the stage what the step of this title made.
pub(super) fn of_link(title: &str) -> String {
    title.replacen("] ", "] LINK ", 1)
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
