//! `kiln check`, and the questions that `kiln build --call` answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::Sandbox;

const BAD: &str = "FROM absent.example/x as Last\nCOPY a /\nLABEL a $UNSET\n";

#[test]
fn what_is_found_is_shown_and_counted() {
    let ran = Sandbox::new().file("a", "").dockerfile(BAD).kiln(&["check", "context"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    let codes: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("warning[")).collect();
    assert_eq!(
        codes,
        [
            "warning[UnpinnedBaseImage]: image `absent.example/x` has no tag",
            "warning[FromAsCasing]: 'as' and 'FROM' keywords' casing do not match",
            "warning[StageNameCasing]: Stage name 'Last' should be lowercase",
            "warning[LegacyKeyValueFormat]: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ]
    );
    assert!(ran.stdout.ends_with("\nDockerfile: 4 warnings\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("see: https://docs.docker.com/go/dockerfile/rule/from-as-casing/"), "{}", ran.stdout);
}

#[test]
fn a_clean_file_passes_also_from_standard_input() {
    let sandbox = Sandbox::new().file("f", "FROM scratch\nCOPY f /\n");
    let mut command = sandbox.command(&["check", "-f", "-", "context"]);
    command.stdin(fs::File::open(sandbox.context("f")).unwrap());
    assert_eq!(crate::support::ran(&mut command).ok(), "Dockerfile: nothing found\n");
}

#[test]
fn errors_are_findings_and_every_stage_is_looked_at() {
    let sandbox = Sandbox::new().dockerfile("FROM scratch AS a\nENV A=${x!}\nFROM scratch\nSTOPSIGNAL BAD\n");
    let ran = sandbox.kiln(&["check", "context"]);
    assert_eq!(ran.code, Some(1));
    for part in ["error[bad-expansion]", "Dockerfile:2:", "error[invalid-signal]", "Dockerfile: 2 errors"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let one = sandbox.kiln(&["check", "--target", "a", "context"]);
    assert!(one.stdout.ends_with("Dockerfile: 1 error\n"), "{}", one.stdout);
    let broken = Sandbox::new().dockerfile("FROM scratch\nRNU x\n").kiln(&["check", "context"]);
    assert!(broken.stdout.contains("error[unknown-instruction]"), "{}", broken.stdout);
}

#[test]
fn machines_read_json_and_sarif() {
    let sandbox = Sandbox::new().file("a", "").dockerfile(BAD);
    let read = |format: &str| -> Value {
        let ran = sandbox.kiln(&["check", "--format", format, "context"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let json = read("json");
    let last = &json["warnings"][3];
    assert_eq!(last["ruleName"], "LegacyKeyValueFormat");
    assert_eq!(last["location"]["ranges"][0]["start"]["line"], 3);
    let sarif = read("sarif");
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(results[2]["locations"][0]["physicalLocation"]["region"]["startColumn"], 26);
}

#[test]
fn fixes_keep_every_other_byte_and_happen_once() {
    let before = "\u{feff}FROM scratch as Last\r\nCOPY a \\\r\n\r\n  /\r\nLABEL a  b c\t\r\nEXPOSE 80/UDP\r\n# end";
    let after = "\u{feff}FROM scratch AS last\r\nCOPY a \\\r\n  /\r\nLABEL a=\"b c\"\t\r\nEXPOSE 80/udp\r\n# end";
    let sandbox = Sandbox::new().file("a", "").file("real", before).symlink("Dockerfile", "real");
    fs::set_permissions(sandbox.context("real"), fs::Permissions::from_mode(0o640)).unwrap();
    let fixed = sandbox.kiln(&["check", "--fix", "context"]);
    assert_eq!(fixed.code, Some(0), "{}{}", fixed.stdout, fixed.stderr);
    assert!(fixed.stderr.contains("6 places mended"), "{}", fixed.stderr);
    assert_eq!(fs::read_to_string(sandbox.context("real")).unwrap(), after);
    let metadata = fs::metadata(sandbox.context("real")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(sandbox.context("Dockerfile")).unwrap().is_symlink());
    let again = sandbox.kiln(&["check", "--fix", "context"]);
    assert!(again.stderr.contains("0 places mended"), "{}", again.stderr);
    assert_eq!(fs::metadata(sandbox.context("real")).unwrap().modified().unwrap(), metadata.modified().unwrap());
}

#[test]
fn what_a_comment_silences_is_not_fixed() {
    let text = "# check=skip=FromAsCasing\nFROM scratch as a\nCOPY a /\n";
    let sandbox = Sandbox::new().file("a", "").dockerfile(text);
    sandbox.kiln(&["check", "--fix", "context"]).ok();
    assert_eq!(fs::read_to_string(sandbox.context("Dockerfile")).unwrap(), text);
}

#[test]
fn the_rules_are_listed() {
    let listed = Sandbox::new().kiln(&["check", "--rules"]).ok();
    assert_eq!(listed.lines().count(), 1 + kiln::dockerfile::lint::Rule::ALL.len());
}

#[test]
fn the_readme_has_every_rule() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for rule in kiln::dockerfile::lint::Rule::ALL {
        let row = format!("| `{}` | {} |", rule.name(), rule.level().as_str());
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn a_build_can_be_a_check() {
    let sandbox = Sandbox::new().file("a", "").dockerfile("FROM scratch\nCOPY a /\nCMD a\n");
    let shown = sandbox.kiln(&["build", "--check", "context"]);
    assert_eq!(shown.code, Some(1), "{}", shown.stderr);
    let expected = "\
Check complete, 1 warning has been found!

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:3
--------------------
   1 |     FROM scratch
   2 |     COPY a /
   3 | >>> CMD a
   4 |
--------------------
";
    assert_eq!(shown.stdout, expected);
    let json: Value =
        serde_json::from_str(&sandbox.kiln(&["build", "--call=check,format=json", "context"]).stdout).unwrap();
    assert_eq!(json["warnings"][0]["detail"], expected.lines().nth(3).unwrap());
    assert!(sandbox.kiln(&["images", "-q"]).ok().is_empty());
    sandbox.write("Dockerfile", "FROM scratch\nCOPY a /\n");
    assert_eq!(sandbox.kiln(&["build", "--check", "context"]).ok(), "Check complete, no warnings found.\n");
}

#[test]
fn targets_are_listed_with_what_comments_say() {
    let text = "# base what others need\nFROM scratch AS base\n# nothing\nFROM --platform=$BUILDPLATFORM base AS tool\nFROM base\n";
    let sandbox = Sandbox::new().dockerfile(text);
    let expected = "TARGET    DESCRIPTION\nbase      what others need\ntool\n(default)\n";
    assert_eq!(sandbox.kiln(&["build", "--call=targets", "context"]).ok(), expected);
    let json: Value =
        serde_json::from_str(&sandbox.kiln(&["build", "--call=targets,format=json", "context"]).ok()).unwrap();
    let targets = json["targets"].as_array().unwrap();
    assert_eq!(targets[0]["description"], "what others need");
    assert_eq!(targets[1]["platform"], "$BUILDPLATFORM");
    assert_eq!(targets[1]["location"]["ranges"][0]["start"]["line"], 4);
    assert_eq!((&targets[2]["default"], &targets[2]["base"]), (&Value::Bool(true), &Value::from("base")));
}

#[test]
fn an_outline_says_what_a_build_can_be_given() {
    let text = "\
# BASE the image below
ARG BASE=scratch
ARG UNUSED=1
FROM $BASE AS below
ARG BASE LOW=${BASE}-low
FROM below AS top
# MODE how it runs
ARG MODE=fast
ARG BASE
RUN --mount=type=secret,id=$MODE,required=true --mount=type=ssh true
RUN --mount=type=secret,target=/run/secrets/key true
FROM scratch AS other
ARG ELSEWHERE
";
    let sandbox = Sandbox::new().dockerfile(text);
    let flags = ["--target", "top", "--build-arg", "MODE=slow", "context"];
    let expected = "\
TARGET: top

BUILD ARG   VALUE         DESCRIPTION
BASE        scratch       the image below
LOW         scratch-low
MODE        slow          how it runs

SECRET   REQUIRED
slow     true
key

SSH       REQUIRED
default

";
    let shown = sandbox.kiln(&[&["build", "--call=outline"], &flags[..]].concat()).ok();
    assert_eq!(shown, expected);
    let json = sandbox.kiln(&[&["build", "--call=outline,format=json"], &flags[..]].concat()).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["name"], &json["args"][2]["value"]), (&Value::from("top"), &Value::from("slow")));
    assert_eq!(json["args"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(json["secrets"][0]["required"], true);
}

#[test]
fn instructions_and_graphs_are_printed() {
    let sandbox =
        Sandbox::new().file("a", "").dockerfile("FROM scratch AS a\nCOPY a /\nFROM scratch\nCOPY --from=a a /b\n");
    let print = |what: &str| sandbox.kiln(&["build", &format!("--print={what}"), "context"]).ok();
    let ir: Value = serde_json::from_str(&print("ir,format=json")).unwrap();
    assert_eq!(ir["stages"][1]["steps"][0]["instruction"]["copy"]["from"]["value"], "a");
    let graph: Value = serde_json::from_str(&print("graph,format=json")).unwrap();
    let nodes = graph["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes[2]["inputs"][0], nodes[1]["id"]);
    assert_eq!((&nodes[2]["written"]["line"], &graph["targets"][0]["node"]), (&Value::from(4), &nodes[2]["id"]));
    let text = print("graph");
    assert!(text.contains("[stage-1 1/1] COPY --from=a a /b (target)\n"), "{text}");
    assert!(print("graph,format=dot").starts_with("digraph build {\n") && print("ir,format=dot").contains("cluster_1"));
    assert!(print("ir").contains("    copy:\n"));
    assert!(sandbox.kiln(&["images", "-q"]).ok().is_empty());
}

/// Dockerfiles written after the structure of well-known images; a golden lists what is found in each.
#[test]
fn real_files_pass_without_errors() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/real");
    let mut cases: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut differences = Vec::new();
    for case in cases {
        let context = kiln::engine::ContextSource::Directory(case.clone());
        let report = kiln::engine::check(&kiln::engine::BuildOptions { context, ..Default::default() }).unwrap();
        let shown = |finding: &kiln::engine::Finding| {
            assert!(!finding.is_error(), "{}: {finding:?}", case.display());
            let line = finding.lines.as_ref().map_or(0, |lines| *lines.start());
            format!("{line} {}: {}\n", finding.diagnostic.code, finding.diagnostic.message)
        };
        let actual: String = report.findings.iter().map(shown).collect();
        let golden = case.join("findings.txt");
        if std::env::var_os("KILN_BLESS").is_some() {
            fs::write(&golden, &actual).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != actual {
            differences.push(format!("{}; now it is:\n{actual}", golden.display()));
        }
    }
    assert!(differences.is_empty(), "KILN_BLESS=1 accepts:\n{}", differences.join("\n"));
}
