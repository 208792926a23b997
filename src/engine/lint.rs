use super::dockerfile::Loaded;
use super::{BuildOptions, Error};
use crate::diagnostic::{Diagnostic, Source, Style, render};
use crate::dockerfile::lint::{self, Controls, Occasion, Rule};
use crate::solve::Event;

/// Build argument that replaces the `check` directive of the file.
const CONTROL_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Returns who is heard about a file.
///
/// # Errors
/// [`Error::LintControls`] where the build argument cannot be read.
pub(super) fn controls(loaded: &Loaded, options: &BuildOptions) -> Result<Controls, Error> {
    let given = options.build_args.get(CONTROL_ARGUMENT).map(String::as_str);
    Ok(Controls::of(&loaded.ast, given)?)
}

/// Returns the findings about a file that a build shows: those of reading it, and what planning found.
pub(super) fn select(
    loaded: &Loaded,
    controls: &Controls,
    planned: impl IntoIterator<Item = Diagnostic>,
    occasion: Occasion,
) -> Vec<Diagnostic> {
    let read = loaded.warnings.iter().cloned().chain(lint::check(&loaded.ast, &loaded.source));
    controls.select(read.chain(planned), occasion)
}

/// Returns what an observer hears of a finding.
pub(super) fn event(source: &Source, finding: &Diagnostic) -> Event {
    let place = finding.labels.first().map(|(span, _)| source.line(span.start));
    match (Rule::named(finding.code), place) {
        (Some(rule), Some(line)) => {
            let rendered = render(source, finding, Style::Plain);
            let excerpt = rendered.split_once('\n').map_or("", |(_, excerpt)| excerpt);
            Event::Lint {
                rule: rule.name().to_owned(),
                message: finding.message.clone(),
                url: rule.url(),
                file: source.name().to_owned(),
                line,
                excerpt: excerpt.to_owned(),
            }
        }
        (_, line) => {
            let place = line.map(|line| format!(" ({}:{line})", source.name())).unwrap_or_default();
            Event::Warning { message: format!("{}{place}", finding.message) }
        }
    }
}

/// Returns the error that findings are where the file wants it so.
///
/// # Errors
/// [`Error::LintViolation`] with the names of the rules.
pub(super) fn verdict(controls: &Controls, found: &[Diagnostic]) -> Result<(), Error> {
    let mut rules: Vec<&'static str> =
        found.iter().filter_map(|finding| Rule::named(finding.code)).map(Rule::name).collect();
    rules.sort_unstable();
    rules.dedup();
    if controls.forbids() && !rules.is_empty() { Err(Error::LintViolation { rules }) } else { Ok(()) }
}
