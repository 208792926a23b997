//! SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format").

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::diagnostic::{Source, Span};
use crate::dockerfile::lint::Rule;
use crate::engine::{Finding, Report};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Returns the report as one run of the tool kiln.
pub(super) fn document(report: &Report) -> String {
    let errors = report.findings.iter().filter(|finding| finding.rule.is_none());
    let errors: BTreeSet<&str> = errors.map(|finding| finding.diagnostic.code).collect();
    let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).chain(errors.iter().copied()).collect();
    let rules: Vec<Value> =
        Rule::ALL.iter().map(|rule| rule_of(*rule)).chain(errors.iter().map(|code| json!({ "id": code }))).collect();
    let index = |finding: &Finding| names.iter().position(|name| *name == finding.diagnostic.code);
    let places = Places::of(&report.source);
    let results: Vec<Value> =
        report.findings.iter().map(|finding| result(finding, index(finding), &report.source, &places)).collect();
    let driver = json!({ "name": "kiln", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    let document = json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] });
    serde_json::to_string_pretty(&document).expect("keys are strings") + "\n"
}

fn rule_of(rule: Rule) -> Value {
    let mut value = json!({
        "id": rule.name(),
        "shortDescription": { "text": rule.description() },
        "defaultConfiguration": { "level": "warning" },
        "properties": { "tags": [rule.group().as_str()] },
    });
    if let Some(url) = rule.url() {
        value["helpUri"] = url.into();
    }
    value
}

fn result(finding: &Finding, index: Option<usize>, source: &Source, places: &Places<'_>) -> Value {
    let diagnostic = &finding.diagnostic;
    let help = diagnostic.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
    let locations: Vec<Value> = diagnostic
        .labels
        .first()
        .map(|(span, _)| {
            let artifact = json!({ "uri": uri(source.name()) });
            json!({ "physicalLocation": { "artifactLocation": artifact, "region": places.region(*span) } })
        })
        .into_iter()
        .collect();
    json!({
        "ruleId": diagnostic.code,
        "ruleIndex": index,
        "level": if finding.is_error() { "error" } else { "warning" },
        "message": { "text": format!("{}{help}", diagnostic.message) },
        "locations": locations,
    })
}

/// Returns a path as a relative reference (RFC 3986, "path-noscheme").
fn uri(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            // Writing into a String cannot fail.
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// Where lines begin, to count lines and columns from 1.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl Places<'_> {
    fn of(source: &Source) -> Places<'_> {
        let feeds = source.text().match_indices('\n').map(|(place, _)| place + 1);
        Places { text: source.text(), starts: std::iter::once(0).chain(feeds).collect() }
    }

    fn region(&self, span: Span) -> Value {
        let (line, column) = self.place(span.start);
        let (last, end) = self.place(span.end);
        json!({ "startLine": line, "startColumn": column, "endLine": last, "endColumn": end })
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|&start| start <= offset);
        (line, self.text[self.starts[line - 1]..offset].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostic;

    #[test]
    fn results_point_at_their_rules_and_words() {
        let source = Source::new("a b/Dockerfile", "FROM a\nCMD é x\n");
        let finding = |diagnostic: Diagnostic, rule| Finding { diagnostic, rule, lines: Some(2..=2) };
        let findings = vec![
            finding(Rule::SecretValue.at(Span::new(11, 13), "found").with_help("mend it"), Some(Rule::SecretValue)),
            finding(Diagnostic::error("bad", "wrong", Span::new(0, 4)), None),
        ];
        let document: Value = serde_json::from_str(&document(&Report { source, findings })).unwrap();
        let run = &document["runs"][0];
        for (place, rule) in [(0, "SecretValue"), (1, "bad")] {
            let result = &run["results"][place];
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], rule);
            assert_eq!(result["ruleId"], rule);
        }
        let location = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "a%20b/Dockerfile");
        assert_eq!(location["region"], json!({ "startLine": 2, "startColumn": 5, "endLine": 2, "endColumn": 6 }));
        assert_eq!(run["results"][0]["message"]["text"], "found\nmend it");
    }
}
