//! Every directory of `testdata/dockerfile` is a case: a Dockerfile, and what kiln makes of it.
//!
//! `KILN_BLESS=1 cargo test` writes what is found now; the difference is reviewed as code.

mod dump;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::diagnostic::{Diagnostic, Source, Style, render};
use kiln::dockerfile::{self, instruction::Dockerfile};
use kiln::frontend::{self, Allow, NamedContexts, PlanOptions, ResolveImage, ResolvedImage, Unresolved};
use kiln::oci::{DiffId, Digest, ImageConfig, Platform, Reference};

#[test]
fn dockerfiles_are_read_as_their_goldens_say() {
    let cases = cases(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/dockerfile").as_path());
    assert!(cases.len() >= 60, "only {} cases were found", cases.len());
    let differences: Vec<String> = cases.iter().flat_map(|case| check(case)).collect();
    assert!(differences.is_empty(), "KILN_BLESS=1 accepts:\n{}", differences.join("\n"));
}

fn cases(root: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn check(case: &Path) -> Vec<String> {
    let bytes = fs::read(case.join("Dockerfile")).unwrap();
    let source = dockerfile::source_from_bytes("Dockerfile", &bytes).unwrap();
    let parsed = dockerfile::parse(&source);
    let (instructions, graph, diagnostics) = match dockerfile::read(&source) {
        Ok((file, warnings)) => (dump::instructions(&file, &source), graph(&source, &file), warnings),
        Err(found) => (String::new(), String::new(), found),
    };
    [
        compare(&case.join("ast.txt"), &dump::ast(&parsed.ast, &source)),
        compare(&case.join("instructions.txt"), &instructions),
        compare(&case.join("graph.txt"), &graph),
        compare(&case.join("diagnostics.txt"), &reports(&source, &diagnostics)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn reports(source: &Source, found: &[Diagnostic]) -> String {
    let reports: Vec<String> = found.iter().map(|found| render(source, found, Style::Plain) + "\n").collect();
    reports.join("\n")
}

/// Knows every image: one layer, and nothing in its config.
struct AnyImage;

impl ResolveImage for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        let mut config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            ..ImageConfig::default()
        };
        config.rootfs.diff_ids = vec![DiffId::new(Digest::of(b"layer"))];
        Ok(ResolvedImage { reference: reference.clone(), manifest: Digest::of(b"manifest"), config })
    }
}

/// Returns what is to be done for the last stage, or why it cannot be.
fn graph(source: &Source, file: &Dockerfile) -> String {
    let options = PlanOptions {
        build_args: BTreeMap::new(),
        target: None,
        platforms: Vec::new(),
        build_platform: Platform::new("linux", "amd64", None),
        labels: BTreeMap::new(),
        network: None,
        no_cache: false,
        ignore: None,
        emulated: Vec::new(),
        contexts: NamedContexts::default(),
        allow: Allow::default(),
        hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        no_cache_stages: Vec::new(),
    };
    match frontend::plan(source, file, &options, &AnyImage) {
        Ok(plan) => dump::graph(&plan),
        Err(found) => reports(source, &found),
    }
}

/// Compares a golden, which is absent where nothing is to be said.
fn compare(golden: &Path, actual: &str) -> Option<String> {
    let expected = fs::read_to_string(golden).unwrap_or_default();
    if expected == actual {
        return None;
    }
    if std::env::var_os("KILN_BLESS").is_none() {
        return Some(format!("{} differs; now it is:\n{actual}", golden.display()));
    }
    match actual {
        "" => fs::remove_file(golden).unwrap(),
        _ => fs::write(golden, actual).unwrap(),
    }
    None
}

#[test]
fn goldens_are_made_from_sources_with_stable_places() {
    let source = Source::new("Dockerfile", "FROM a\nRUN é\n");
    assert_eq!(dump::place(&source, kiln::diagnostic::Span::new(11, 13)), "2:5-6");
    assert_eq!(dump::place(&source, kiln::diagnostic::Span::new(0, 13)), "1:1-2:6");
}
