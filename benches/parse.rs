//! Dockerfile text to instructions, in bytes per second: of real files, and of texts made to take long.

use std::fs;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::diagnostic::Source;
use kiln::dockerfile;
use kiln::engine::{self, BuildOptions, ContextSource};

/// Every kind of line that real files are made of.
const STAGE: &str = include_str!("stage.dockerfile");

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, text) in [
        ("one stage", STAGE.to_owned()),
        ("1 MiB of stages", STAGE.repeat((1 << 20) / STAGE.len())),
        ("1 MiB in one instruction", format!("FROM a\nRUN {}", "a b \\\n".repeat((1 << 20) / 6))),
    ] {
        let source = Source::new("Dockerfile", text);
        group.throughput(Throughput::Bytes(source.text().len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| dockerfile::read(black_box(&source)).unwrap()));
    }
    group.finish();
}

/// Bytes of a hostile file.
const BYTES: usize = 1 << 20;

/// Returns a mebibyte of `piece`, over and over, after `head` and before `tail`. What has no end of line is continued
/// before lines grow longer than they may be.
fn repeated(head: &str, piece: &str, tail: &str) -> String {
    const LINE_BYTES: usize = 60_000;
    let mut text = format!("FROM scratch\n{head}");
    let mut line = 0;
    while text.len() + tail.len() < BYTES {
        text += piece;
        line = if piece.ends_with('\n') { 0 } else { line + piece.len() };
        if line > LINE_BYTES {
            text += "\\\n";
            line = 0;
        }
    }
    text + tail + "\n"
}

/// Returns a mebibyte of lines that differ.
fn numbered(line: impl Fn(usize) -> String) -> String {
    let mut text = "FROM scratch AS s0\n".to_owned();
    let mut number = 1;
    while text.len() < BYTES {
        text += &line(number);
        number += 1;
    }
    text
}

/// A mebibyte of what no person writes: head, what is repeated, and tail.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("", "RUN a\n", ""),
    ("", "ONBUILD RUN a\n", ""),
    ("", "RUN <<E\nE\n", ""),
    ("", "RUN <<E\n", ""),
    ("", "COPY <<E b\nE\n", ""),
    ("", "RNU a\n", ""),
    ("", "#\n", ""),
    ("", "\n", ""),
    ("RUN ", "\\\n", "a"),
    ("RUN a \\\n", "#\n", "a"),
    ("RUN a \\\n", "\n", "a"),
    ("RUN ", "a ", ""),
    ("RUN ", "$", ""),
    ("RUN ", "\"", ""),
    ("RUN ", "'", ""),
    ("RUN ", "\\\"", ""),
    ("RUN ", "[", ""),
    ("RUN ", "\0", ""),
    ("RUN ", "<<A ", ""),
    ("RUN <<A ", "${a:-", ""),
    ("RUN <<A ", "\"", ""),
    ("RUN ", "--a ", "b"),
    ("RUN ", "--mount=target=/a ", "b"),
    ("RUN --mount=", "a=b,", " b"),
    ("RUN --mount=target=/", "${a:-", " b"),
    ("RUN [", "\"a\",", "\"\"]"),
    ("RUN [\"", "\\u0041", "\"]"),
    ("RUN [", "[", ""),
    ("COPY ", "<<A ", "b"),
    ("COPY ", "--exclude=a ", "a b"),
    ("COPY ", "a ", "b/"),
    ("ENV ", "a=b ", ""),
    ("ENV a=", "${a:-", ""),
    ("ENV a=", "\"", ""),
    ("LABEL ", "a=\"b\" ", ""),
    ("ONBUILD ", "ONBUILD ", "RUN a"),
    ("HEALTHCHECK ", "--retries=1 ", "CMD a"),
    ("RUN <<E\n", "a | b\n", "E"),
    ("COPY <<E b\n", "${a:-", "\nE"),
];

/// Reading alone, and reading with what it means: each is to take less than 100 ms.
fn hostile(criterion: &mut Criterion) {
    for (what, read) in [
        ("parse", (|source| drop(dockerfile::parse(source))) as fn(&Source)),
        ("read", |source| drop(dockerfile::read(source))),
    ] {
        let mut group = criterion.benchmark_group(format!("{what} 1 MiB of"));
        group.sample_size(10).throughput(Throughput::Bytes(BYTES as u64));
        for (head, piece, tail) in HOSTILE {
            let source = Source::new("Dockerfile", repeated(head, piece, tail));
            group.bench_function(format!("{head:?} {piece:?}"), |bencher| bencher.iter(|| read(black_box(&source))));
        }
        group.finish();
    }
}

/// What `kiln check` does with a mebibyte that asks for the square of it: stages, variables, paths.
fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check 1 MiB of");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES as u64));
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("FROM", repeated("", "FROM a\n", "")),
        ("stages in a chain", numbered(|number| format!("FROM s{} AS s{number}\n", number - 1))),
        ("copies in a chain", numbered(|number| format!("FROM a AS s{number}\nCOPY --from=s{} a b\n", number - 1))),
        ("ARG", numbered(|number| format!("ARG A{number}=b\n"))),
        ("ENV", numbered(|number| format!("ENV A{number}=$A{}\n", number - 1))),
        ("ENV and RUN", numbered(|number| format!("ENV A{number}=b\nRUN a\n"))),
        ("unknown variables", numbered(|number| format!("ENV A{number}=$U{number}\n"))),
        ("growing values", repeated("", "ENV A=\"${A}x\"\n", "")),
        ("growing paths", repeated("", "WORKDIR a\n", "")),
        ("ranges of ports", repeated("EXPOSE ", "1-65535 ", "")),
    ] {
        fs::write(directory.path().join("Dockerfile"), text).unwrap();
        let context = ContextSource::Directory(directory.path().to_owned());
        let options = BuildOptions { context, ..BuildOptions::default() };
        group.bench_function(name, |bencher| bencher.iter(|| engine::check(&options).unwrap()));
    }
    group.finish();
}

/// Constructs in words of the greatest length that a line has.
fn expand(criterion: &mut Criterion) {
    const BYTES: usize = 1 << 16;
    let mut group = criterion.benchmark_group("64 KiB of words with");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES as u64));
    for piece in ["$", "${a}", "${a:-b}", "${a:-", "${a//b/c}", "'", "\"$a\"", "\\"] {
        let word = piece.repeat(BYTES / piece.len());
        group.bench_function(format!("{piece:?}"), |bencher| {
            bencher.iter(|| dockerfile::shell::expand(black_box(&word), '\\', &|_| Some("abc".into())).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, parse, hostile, check, expand);
criterion_main!(benches);
