//! `kiln build --call`: what a build would be, instead of a build.

use std::io::{self, Write};
use std::str::FromStr;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::cli::check::buildkit;
use crate::cli::session::Session;
use crate::cli::{Error, progress};
use crate::engine::{Ask, BuildOptions, Target};

/// Flags that ask about a build instead of building.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Do this instead: build, check, outline or targets; `,format=json` for programs
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: Call,
    /// Check the Dockerfile instead of building it; the same as --call=check
    #[arg(long, conflicts_with = "call")]
    check: bool,
}

/// What to do, and how to print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    method: Method,
    is_json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Targets,
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Call, String> {
        let mut parts = text.split(',');
        let method = match parts.next().unwrap_or_default() {
            "build" | "" => Method::Build,
            "check" | "lint" => Method::Check,
            "targets" => Method::Targets,
            other => return Err(format!("`{other}` is none of build, check, outline and targets")),
        };
        let mut call = Call { method, is_json: false };
        for part in parts {
            match part {
                "format=json" => call.is_json = true,
                "format=text" => call.is_json = false,
                other => return Err(format!("`{other}` is neither format=json nor format=text")),
            }
        }
        Ok(call)
    }
}

impl Args {
    /// Does what is asked for instead of a build; nothing where that is a build.
    pub(super) fn run(
        &self,
        options: &BuildOptions,
        progress: &progress::Args,
        session: &Session,
    ) -> Option<Result<(), Error>> {
        let method = if self.check { Method::Check } else { self.call.method };
        match method {
            Method::Build => None,
            Method::Check => Some(self.check(options, progress, session)),
            Method::Targets => Some(self.targets(options, session)),
        }
    }

    fn check(&self, options: &BuildOptions, progress: &progress::Args, session: &Session) -> Result<(), Error> {
        let engine = session.engine()?;
        let display = progress.display(None, session);
        let report = display.watch(|observer| engine.check(options, Ask::Registries, &observer, &session.cancel))?;
        let text = if self.call.is_json { buildkit::json(&report) } else { buildkit::text(&report) };
        io::stdout().lock().write_all(text.as_bytes())?;
        if report.findings.is_empty() { Ok(()) } else { Err(Error::Reported) }
    }

    fn targets(&self, options: &BuildOptions, session: &Session) -> Result<(), Error> {
        let found = session.engine()?.targets(options, &session.cancel)?;
        let text = if self.call.is_json {
            let targets: Vec<Value> = found.targets.iter().map(target).collect();
            pretty(&json!({ "targets": targets, "sources": [encoded(found.source.text())] }))
        } else {
            let rows = found.targets.iter().map(|target| {
                let name = match (&target.name, target.is_default) {
                    (None, true) => "(default)".to_owned(),
                    (name, is_default) => name.clone().unwrap_or_default() + if is_default { " (default)" } else { "" },
                };
                vec![name, target.description.clone().unwrap_or_default()]
            });
            columns(&["TARGET", "DESCRIPTION"], &rows.collect::<Vec<_>>(), 1)
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

fn target(target: &Target) -> Value {
    let mut value = json!({});
    let texts = [("name", &target.name), ("description", &target.description)];
    for (key, text) in texts {
        if let Some(text) = text {
            value[key] = text.as_str().into();
        }
    }
    if target.is_default {
        value["default"] = true.into();
    }
    value["base"] = target.base.as_str().into();
    if let Some(platform) = &target.platform {
        value["platform"] = platform.as_str().into();
    }
    value["location"] = buildkit::location(Some(&target.lines));
    value
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("keys are strings") + "\n"
}

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Returns rows under headings with this many blanks between columns, as BuildKit lays them out.
fn columns(headings: &[&str], rows: &[Vec<String>], gap: usize) -> String {
    let head: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + gap;
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells: String = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        cells.trim_end().to_owned() + "\n"
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_formats() {
        for (text, expected) in [
            ("check", Some((Method::Check, false))),
            ("targets,format=json", Some((Method::Targets, true))),
            ("lint,format=text", Some((Method::Check, false))),
            ("build", Some((Method::Build, false))),
            ("bake", None),
            ("check,format=xml", None),
        ] {
            assert_eq!(text.parse::<Call>().ok().map(|call| (call.method, call.is_json)), expected, "{text}");
        }
    }
}
