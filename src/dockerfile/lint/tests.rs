use super::*;
use crate::dockerfile::parse;

/// Returns what is found, as `Rule@text`.
fn found(text: &str) -> Vec<String> {
    let source = Source::new("Dockerfile", text);
    let mut found = check(&parse(&source).ast, &source);
    found.sort_by_key(|finding| finding.labels[0].0);
    // These speak on request alone, and everywhere.
    found.retain(|finding| !matches!(finding.code, "BaseImageWithoutDigest" | "AptGetRecommends"));
    found.iter().map(|finding| format!("{}@{}", finding.code, source.slice(finding.labels[0].0))).collect()
}

#[test]
fn names_have_their_cases() {
    for (text, expected) in [
        ("FROM a:1 AS b\nRUN c\n", &[][..]),
        ("FROM a:1 AS Bc\n", &["StageNameCasing@Bc"]),
        ("FROM a:1 as b\nRUN c\n", &["FromAsCasing@as"]),
        ("From a:1 as b\nRUN c\n", &["ConsistentInstructionCasing@From"]),
        ("from a:1 as b\nRUN c\nrun d\n", &["ConsistentInstructionCasing@RUN"]),
        ("arg A\narg B\nFROM a:1\nrun d\n", &["ConsistentInstructionCasing@run"]),
        ("FROM a:1 AS b\nFROM a:1 AS B\n", &["StageNameCasing@B", "DuplicateStageName@B"]),
        ("FROM a:1 AS context\n", &["ReservedStageName@context"]),
        ("FROM a:1\nMAINTAINER me\n", &["MaintainerDeprecated@MAINTAINER"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn definitions_are_described_under_their_names() {
    for (text, expected) in [
        ("# a thing\nARG a\nFROM a:1\n", &[][..]),
        ("# thing\nARG a\nFROM a:1\n", &["InvalidDefinitionDescription@ARG"]),
        ("# thing\n#\nARG a\nFROM a:1\n", &[]),
        ("# b thing\nARG a b\nFROM a:1\n", &[]),
        ("# thing\nFROM a:1\n", &[]),
        ("# thing\nFROM a:1 AS b\n", &["InvalidDefinitionDescription@FROM"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn bases_are_held_still() {
    for (text, expected) in [
        ("FROM scratch\n", &[][..]),
        ("FROM localhost:5000/a\n", &["UnpinnedBaseImage@localhost:5000/a"]),
        ("FROM a:latest\n", &["UnpinnedBaseImage@a:latest"]),
        ("FROM a@sha256:0\nFROM $a\n", &[]),
        ("FROM a:1 AS b\nFROM b\nCOPY --from=b / /\nCOPY --from=0 / /\n", &[]),
        ("FROM a:1\nCOPY --from=uv:latest / /\n", &["UnpinnedBaseImage@uv:latest"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn scripts_stop_at_failures() {
    for (text, expected) in [
        ("RUN <<E\na\nb\nE\n", &["HeredocWithoutErrexit@<<E"][..]),
        ("RUN <<E\nset -eux\na\nb\nE\n", &[]),
        ("RUN <<E\na &&\nb\nE\n", &[]),
        ("RUN <<E\nif a; then\nb\nfi\nE\n", &[]),
        ("RUN <<E\n#!/bin/bash -e\na\nb\nE\n", &[]),
        ("RUN <<E\n#!/usr/bin/env bash\na\nb\nE\n", &["HeredocWithoutErrexit@<<E"]),
        ("RUN <<E\n#!/usr/bin/env python3\na\nb | c\nE\n", &[]),
        ("RUN python3 <<E\na\nb | c\nE\n", &[]),
        ("SHELL [\"/bin/bash\", \"-ec\"]\nRUN <<E\na\nb\nE\n", &[]),
        ("RUN a \\\n  | b\n", &["PipeWithoutPipefail@a"]),
        ("RUN set -o pipefail && a | b\n", &[]),
        ("RUN { echo a; echo b; } | c\nRUN echo a | b\nRUN a || b\nRUN [\"a\", \"|\"]\n", &[]),
        ("SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b\n", &[]),
    ] {
        assert_eq!(found(&format!("FROM a:1\n{text}")), expected, "{text}");
    }
    let shell = "FROM a:1 AS b\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nFROM b\nRUN a | b\n";
    assert_eq!(found(shell), [""; 0]);
}

#[test]
fn scripts_have_unix_line_endings() {
    for (text, expected) in [
        ("RUN <<E\r\n#!/bin/sh -e\r\na\r\nE\r\n", &["CrlfInScript@#!/bin/sh -e"][..]),
        ("RUN <<E\r\na\r\nE\r\n", &["CrlfInScript@a"]),
        ("COPY <<E /\r\n#!/bin/sh\r\nE\r\n", &["CrlfInScript@#!/bin/sh"]),
        ("COPY <<E /\r\na=b\r\nE\r\n", &[]),
        ("RUN a\r\n", &[]),
    ] {
        assert_eq!(found(&format!("FROM a:1\r\n{text}")), expected, "{text:?}");
    }
}

#[test]
fn apt_get_has_its_pitfalls() {
    let clean = "&& rm -rf /var/lib/apt/lists/*";
    for (text, expected) in [
        (format!("RUN apt-get update && apt-get install -y a {clean}"), &[][..]),
        (format!("RUN apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qqy install a {clean}"), &[]),
        (format!("RUN apt-get update && apt-get install a {clean}"), &["AptGetWithoutYes@apt-get install a"]),
        ("RUN apt-get install -y a".to_owned(), &["AptGetWithoutUpdate@apt-get install -y a"]),
        ("RUN apt-get install -y ./a.deb".to_owned(), &[]),
        (format!("RUN apt-get update {clean}"), &["AptGetWithoutUpdate@apt-get update"]),
        ("RUN apt-get update && apt-get install -y a".to_owned(), &["AptGetListsKept@apt-get update"]),
        ("RUN --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y a".to_owned(), &[]),
        ("RUN <<E\nset -e\napt-get update\napt-get install -y a\nE".to_owned(), &["AptGetListsKept@apt-get update"]),
    ] {
        assert_eq!(found(&format!("FROM a:1\n{text}\n")), expected, "{text}");
    }
    assert_eq!(found("FROM a:1 AS b\nRUN apt-get update && apt-get install -y a\nFROM a:1\n"), [""; 0]);
}

#[test]
fn triggers_that_no_build_can_fire_are_told() {
    for (text, expected) in [
        ("ONBUILD RNU a\n", &["BrokenTrigger@RNU"][..]),
        ("ONBUILD COPY a\n", &["BrokenTrigger@a"]),
        ("ONBUILD COPY --chwon=1 a b\n", &["BrokenTrigger@--chwon"]),
        ("ONBUILD RUN --mount=type=cach,target=/a \\\n b\n", &["BrokenTrigger@RUN --mount=type=cach,target=/a \\\n b"]),
        ("ONBUILD RUN a\nONBUILD COPY <<E /b\nx\nE\n", &[]),
    ] {
        assert_eq!(found(&format!("FROM a:1\n{text}")), expected, "{text}");
    }
}

#[test]
fn docstrings_begin_with_the_name() {
    let comments: Vec<_> = ["other", "name  what it is", "name.x"].map(comment).to_vec();
    assert_eq!(docstring(&comments, "name"), Some("what it is"));
    assert_eq!(docstring(&comments, "nam"), None);
}

fn comment(text: &str) -> Spanned<String> {
    Spanned::new(text.to_owned(), crate::diagnostic::Span::default())
}
