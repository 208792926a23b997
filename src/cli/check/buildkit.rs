//! A report in the forms of BuildKit (`docker build --check`).

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::dockerfile::lint::Rule;
use crate::engine::{Finding, Report};

#[derive(Serialize)]
struct Document {
    warnings: Vec<Warning>,
    sources: Vec<Value>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    rule_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    location: Value,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Value,
}

/// Returns the document of `--call=check,format=json`. There is one error at most, the first.
pub(in crate::cli) fn json(report: &Report) -> String {
    let warnings = report.findings.iter().filter(|finding| !finding.is_error());
    let warning = |finding: &Finding| Warning {
        rule_name: finding.diagnostic.code.to_owned(),
        description: finding.rule.map(Rule::description),
        url: finding.rule.and_then(Rule::url),
        detail: finding.diagnostic.message.clone(),
        location: location(finding.lines.as_ref()),
    };
    let error = report.findings.iter().find(|finding| finding.is_error());
    let data = base64::engine::general_purpose::STANDARD.encode(report.source.text());
    let document = Document {
        warnings: warnings.map(warning).collect(),
        sources: vec![json!({ "filename": report.source.name(), "data": data, "language": "Dockerfile" })],
        build_error: error.map(|error| BuildError {
            message: error.diagnostic.message.clone(),
            location: location(error.lines.as_ref()),
        }),
    };
    serde_json::to_string_pretty(&document).expect("keys are strings") + "\n"
}

/// Returns lines as BuildKit writes a place; it knows no columns, and leaves out what is zero.
pub(in crate::cli) fn location(lines: Option<&RangeInclusive<usize>>) -> Value {
    match lines {
        Some(lines) => json!({ "ranges": [{ "start": { "line": lines.start() }, "end": { "line": lines.end() } }] }),
        None => json!({}),
    }
}

/// Returns the text of `--check`: a headline, then each finding with the lines around it.
pub(in crate::cli) fn text(report: &Report) -> String {
    let (errors, warnings): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.is_error());
    let mut text = match (warnings.len(), errors.first()) {
        (0, None) => return "Check complete, no warnings found.\n".to_owned(),
        (0, Some(_)) => String::new(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in warnings {
        let page = warning.rule.and_then(Rule::url).map(|url| format!(" - {url}")).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "\nWARNING: {}{page}\n{}", warning.diagnostic.code, warning.diagnostic.message);
        text += &excerpt(report, warning.lines.as_ref());
    }
    if let Some(error) = errors.first() {
        let _ = writeln!(text, "\nERROR: {}", error.diagnostic.message);
        text += &excerpt(report, error.lines.as_ref());
    }
    text
}

/// Lines shown around one line, and around several.
const AROUND_ONE: usize = 4;
const AROUND_MORE: usize = 2;

fn excerpt(report: &Report, marked: Option<&RangeInclusive<usize>>) -> String {
    let Some(marked) = marked else { return String::new() };
    let lines: Vec<&str> = report.source.text().split('\n').collect();
    let (mut first, mut last) = (*marked.start(), (*marked.end()).min(lines.len()));
    let mut padding = if first == last { AROUND_ONE } else { AROUND_MORE };
    while padding > 0 && (first > 1 || last < lines.len()) {
        // One line at each side, and one less to go for each, as BuildKit counts.
        padding = padding.saturating_sub(1 + usize::from(first > 1) + usize::from(last < lines.len()));
        first = (first - 1).max(1);
        last = (last + 1).min(lines.len());
    }
    let rule = "-".repeat(20);
    let mut text = format!("{}:{}\n{rule}\n", report.source.name(), marked.start());
    for number in first..=last {
        let mark = if marked.contains(&number) { ">>>" } else { "   " };
        let line = lines[number - 1].trim_end_matches('\r');
        let line = format!(" {number:3} | {mark} {}", crate::cli::progress::without_controls(line));
        text += line.trim_end();
        text.push('\n');
    }
    text + &rule + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Diagnostic, Source, Span};

    fn report() -> Report {
        let source = Source::new("Dockerfile", "FROM a\n# c\nCMD x\nRUN y\n");
        let warning = Rule::JSONArgsRecommended.at(Span::new(15, 16), "JSON arguments recommended for CMD");
        let error = Diagnostic::error("bad", "something is wrong", Span::new(17, 20));
        let finding = |diagnostic: Diagnostic, rule, line| Finding { diagnostic, rule, lines: Some(line..=line) };
        let findings = vec![finding(warning, Some(Rule::JSONArgsRecommended), 3), finding(error, None, 4)];
        Report { source, findings }
    }

    #[test]
    fn text_is_buildkits() {
        let expected = "\
Check complete, 1 warning has been found!

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD
Dockerfile:3
--------------------
   1 |     FROM a
   2 |     # c
   3 | >>> CMD x
   4 |     RUN y
   5 |
--------------------

ERROR: something is wrong
Dockerfile:4
--------------------
   2 |     # c
   3 |     CMD x
   4 | >>> RUN y
   5 |
--------------------
";
        assert_eq!(text(&report()), expected);
        assert_eq!(text(&Report { findings: Vec::new(), ..report() }), "Check complete, no warnings found.\n");
    }

    #[test]
    fn json_is_buildkits() {
        let document: Value = serde_json::from_str(&json(&report())).unwrap();
        assert_eq!(document["warnings"][0]["ruleName"], "JSONArgsRecommended");
        assert_eq!(document["warnings"][0]["location"]["ranges"][0]["start"]["line"], 3);
        assert_eq!(document["buildError"]["message"], "something is wrong");
        assert_eq!(document["sources"][0]["filename"], "Dockerfile");
    }
}
