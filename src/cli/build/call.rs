//! `kiln build --call`: what a build would be, instead of a build.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};

use super::print::{self, Print, What};
use crate::cli::check::buildkit;
use crate::cli::session::Session;
use crate::cli::{Error, progress};
use crate::engine::{Ask, BuildOptions, Outline, OutlineItem, Target};
use crate::solve::{Event, Observe};

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
    /// Print this instead of building: ir (typed instructions) or graph (what is to be done); `,format=json` or `,format=dot`
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["call", "check"])]
    print: Option<Print>,
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
    Outline,
    Targets,
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Call, String> {
        let mut parts = text.split(',');
        let method = match parts.next().unwrap_or_default() {
            "build" | "" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
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
        if let Some(print) = self.print {
            return Some(self.print(print, options, progress, session));
        }
        let method = if self.check { Method::Check } else { self.call.method };
        match method {
            Method::Build => None,
            Method::Check => Some(self.check(options, progress, session)),
            Method::Outline => Some(self.outline(options, session)),
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

    fn print(
        &self,
        print: Print,
        options: &BuildOptions,
        progress: &progress::Args,
        session: &Session,
    ) -> Result<(), Error> {
        let engine = session.engine()?;
        let text = match print.what {
            What::Instructions => {
                let (source, file) = engine.instructions(options, &session.cancel)?;
                print::instructions(&file, &source, print.form)
            }
            What::Graph => {
                let display = progress.display(None, session);
                let plan = display.watch(|observer| engine.plan(options, &observer, &session.cancel))?;
                print::graph(&plan, print.form)
            }
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn outline(&self, options: &BuildOptions, session: &Session) -> Result<(), Error> {
        let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
        let outline = session.engine()?.outline(options, &observer, &session.cancel)?;
        let text = if self.call.is_json { pretty(&outline_document(&outline)) } else { outline_text(&outline) };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
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
    set(&mut value, "name", target.name.as_deref());
    set(&mut value, "description", target.description.as_deref());
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

fn outline_document(outline: &Outline) -> Value {
    let arguments = outline.arguments.iter().map(|argument| {
        let mut value = json!({ "name": argument.name });
        set(&mut value, "description", argument.description.as_deref());
        set(&mut value, "value", argument.value.as_deref());
        value["location"] = buildkit::location(Some(&argument.lines));
        value
    });
    let items = |items: &[OutlineItem]| -> Vec<Value> {
        let item = |item: &OutlineItem| {
            let mut value = json!({ "name": item.name });
            if item.required {
                value["required"] = true.into();
            }
            value["location"] = buildkit::location(Some(&item.lines));
            value
        };
        items.iter().map(item).collect()
    };
    let mut document = json!({});
    set(&mut document, "name", outline.name.as_deref());
    set(&mut document, "description", outline.description.as_deref());
    let lists = [("args", arguments.collect()), ("secrets", items(&outline.secrets)), ("ssh", items(&outline.agents))];
    for (key, list) in lists {
        if !list.is_empty() {
            document[key] = list.into();
        }
    }
    document["sources"] = json!([encoded(outline.source.text())]);
    document
}

/// Sets a member where there is something to say, as BuildKit leaves out what is empty.
fn set(value: &mut Value, key: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        value[key] = text.into();
    }
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.clone().unwrap_or_else(|| "(default)".to_owned());
        let description = outline.description.iter().map(|it| vec!["DESCRIPTION:".to_owned(), it.clone()]);
        text += &columns(&["TARGET:", &name], &description.collect::<Vec<_>>(), 1);
        text.push('\n');
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let (value, description) = (argument.value.clone(), argument.description.clone());
        vec![argument.name.clone(), value.unwrap_or_default(), description.unwrap_or_default()]
    });
    text += &table(&["BUILD ARG", "VALUE", "DESCRIPTION"], &arguments.collect::<Vec<_>>());
    for (heading, items) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        let rows = items.iter().map(|item| {
            let required = if item.required { "true" } else { "" };
            vec![item.name.clone(), required.to_owned()]
        });
        text += &table(&[heading, "REQUIRED"], &rows.collect::<Vec<_>>());
    }
    text
}

/// Returns rows under headings and a blank line; nothing without rows.
fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { columns(headings, rows, 3) + "\n" }
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
            ("outline", Some((Method::Outline, false))),
            ("lint,format=text", Some((Method::Check, false))),
            ("build", Some((Method::Build, false))),
            ("bake", None),
            ("check,format=xml", None),
        ] {
            assert_eq!(text.parse::<Call>().ok().map(|call| (call.method, call.is_json)), expected, "{text}");
        }
    }
}
