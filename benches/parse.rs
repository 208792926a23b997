//! Dockerfile text to instructions, in bytes per second.

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

criterion_group!(benches, parse);
criterion_main!(benches);
