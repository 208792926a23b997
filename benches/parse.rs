//! Dockerfile text to instructions, in bytes per second: of real files, and of texts made to take long.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::diagnostic::Source;
use kiln::dockerfile;

/// Every kind of line that real files are made of.
const STAGE: &str = r#"
# build: compiles the program
FROM --platform=$BUILDPLATFORM docker.io/library/debian:12 AS build
ARG VERSION=1.2.3 REVISION
ENV PATH="/opt/bin:$PATH" LANG=C.UTF-8 \
    # what the compiler is told
    CFLAGS='-O2 -g'
WORKDIR /src
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=bind,source=.,target=/context,ro \
    apt-get update && \
    apt-get install -y --no-install-recommends gcc make && \
    rm -rf /var/lib/apt/lists/*
COPY --chown=1000:1000 --exclude=*.o ["Makefile", "src dir/", "./"]
RUN <<EOF
set -e
make -j"$(nproc)"
make install DESTDIR=/out
EOF
LABEL org.opencontainers.image.version=$VERSION
HEALTHCHECK --interval=30s --timeout=5s CMD ["/usr/bin/program", "--check"]
ENTRYPOINT ["/usr/bin/program"]
"#;

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

/// A mebibyte of what no person writes.
fn hostile(criterion: &mut Criterion) {
    const BYTES: usize = 1 << 20;
    let mut group = criterion.benchmark_group("1 MiB of");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES as u64));
    for piece in [
        "$",
        "${",
        "${a:-",
        "<<A ",
        "\\",
        "\\\n",
        "\"",
        "'",
        "\\\"",
        "[",
        "\0",
        "#\n",
        "RUN <<E\n",
        "RUN a\n",
        "ENV a=b\n",
        "RNU a\n",
        "COPY a <<b c\n",
        "--a ",
    ] {
        let text = format!("FROM a\nRUN {}", piece.repeat(BYTES / piece.len()));
        let source = Source::new("Dockerfile", text);
        group.bench_function(format!("{piece:?}"), |bencher| {
            bencher.iter(|| dockerfile::read(black_box(&source)).is_ok());
        });
    }
    for (name, text) in [
        ("strings of one array", format!("FROM a\nRUN [{}\"\"]", "\"a\",".repeat(BYTES / 4))),
        ("arrays in arrays", format!("FROM a\nRUN {}{}", "[".repeat(BYTES / 2), "]".repeat(BYTES / 2))),
        ("words of one ENV", format!("FROM a\nENV {}", "a=b ".repeat(BYTES / 4))),
        ("options of one mount", format!("FROM a\nRUN --mount={} b", "a=b,".repeat(BYTES / 4))),
        ("fields of mounts", format!("FROM a\nRUN {}b", "--mount=target=/a ".repeat(BYTES / 18))),
    ] {
        let source = Source::new("Dockerfile", text);
        group.bench_function(name, |bencher| bencher.iter(|| dockerfile::read(black_box(&source)).is_ok()));
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

criterion_group!(benches, parse, hostile, expand);
criterion_main!(benches);
