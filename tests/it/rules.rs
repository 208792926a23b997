//! `testdata/README.md` says for every rule of the language which case shows it, and the cases are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many rules each section has; traps are a section of their own.
const SECTIONS: &[(&str, usize)] = &[
    ("1.", 10),
    ("2.", 6),
    ("3.", 8),
    ("4.", 8),
    ("5.", 4),
    ("6.", 9),
    ("7.", 11),
    ("8.", 12),
    ("9.", 12),
    ("10.", 8),
    ("11.", 12),
    ("12.", 7),
    ("13.", 12),
    ("14.", 5),
    ("15.", 4),
    ("17.", 3),
    ("trap ", 35),
];
/// Sections that are one rule.
const WHOLE: [&str; 2] = ["16", "18"];

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The first and the last column of every row.
fn rows() -> Vec<(String, String)> {
    let text = fs::read_to_string(path("testdata/README.md")).unwrap();
    let (_, table) = text.split_once("|---|---|---|\n").unwrap();
    let row = |line: &str| {
        let (rule, rest) = line.strip_prefix("| ").unwrap().split_once(" | ").unwrap();
        let cases = rest.split_once(" | ").unwrap().1.strip_suffix(" |").unwrap();
        (rule.to_owned(), cases.to_owned())
    };
    table.lines().take_while(|line| line.starts_with('|')).map(row).collect()
}

#[test]
fn every_rule_has_its_row() {
    let numbered =
        SECTIONS.iter().flat_map(|(section, count)| (1..=*count).map(move |rule| format!("{section}{rule}")));
    let expected: BTreeSet<String> = numbered.chain(WHOLE.map(str::to_owned)).collect();
    let rows = rows();
    assert_eq!(rows.len(), expected.len(), "a rule has two rows, or is none");
    assert_eq!(rows.into_iter().map(|(rule, _)| rule).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_case_exists() {
    for (rule, cases) in rows() {
        let named: Vec<&str> = cases.split('`').skip(1).step_by(2).collect();
        let reason = cases.strip_prefix("none: ").is_some_and(|reason| !reason.is_empty());
        assert!(!named.is_empty() || reason, "{rule} has neither a case nor a reason");
        for case in named.into_iter().filter(|_| !reason) {
            assert!(exists(case), "{rule}: there is no {case}");
        }
    }
}

fn exists(case: &str) -> bool {
    match case.split_once("::") {
        Some((file, test)) => fs::read_to_string(path(file)).is_ok_and(|text| text.contains(&format!("fn {test}("))),
        None => path("testdata").join(case).join("Dockerfile").is_file(),
    }
}
