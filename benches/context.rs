//! The digest of a context of 10,000 files, cold and with a stat cache; ignore rules, few and
//! many, over 100,000 paths.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::context::{Context, DigestCache, Ignore, StatKey};
use kiln::diagnostic::Source;
use kiln::oci::Digest;

const FILES: usize = 10_000;
const FILE_BYTES: usize = 6_000;
const PATHS: usize = 100_000;
/// Longer than a file's clock ticks: what was just written is never remembered.
const SETTLED: Duration = Duration::from_millis(200);

const RULES: &str = "\
.git
**/node_modules
**/*.log
target/**
!target/keep
docs/*.md
!docs/README.md
*.tmp
build/[a-f]?/**
**/__pycache__
";

#[derive(Default)]
struct Memory(Mutex<HashMap<StatKey, Digest>>);

impl DigestCache for Memory {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        self.0.lock().unwrap().get(key).copied()
    }

    fn put(&self, key: StatKey, digest: Digest) {
        self.0.lock().unwrap().insert(key, digest);
    }
}

fn rules() -> Ignore {
    Ignore::parse(&Source::new(".dockerignore", RULES)).unwrap()
}

fn digests(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let path = directory.path().join(format!("d{}/e{}", number / 1000, number / 100 % 10));
        fs::create_dir_all(&path).unwrap();
        let content = number.to_string().repeat(FILE_BYTES).into_bytes();
        fs::write(path.join(format!("f{number}")), &content[..FILE_BYTES]).unwrap();
    }
    thread::sleep(SETTLED);
    let cold = Context::open(directory.path(), rules(), None).unwrap();
    let warm = Context::open(directory.path(), rules(), Some(Arc::new(Memory::default()))).unwrap();
    let digest = |context: &Context| {
        let entries = context.list(b"").unwrap();
        context.digests(&entries).unwrap()
    };
    digest(&warm);

    let mut group = criterion.benchmark_group("context");
    group.sample_size(10).throughput(Throughput::Elements(FILES as u64));
    group.bench_function("list", |bencher| bencher.iter(|| cold.list(b"").unwrap()));
    group.bench_function("digest cold", |bencher| bencher.iter(|| digest(&cold)));
    group.bench_function("digest with stat cache", |bencher| bencher.iter(|| digest(&warm)));
    group.finish();
}

fn matcher(criterion: &mut Criterion) {
    let rules = rules();
    let paths: Vec<String> = (0..PATHS)
        .map(|number| {
            format!("src/module{}/part{}/file{number}.{}", number % 97, number % 31, ["rs", "log"][number % 2])
        })
        .collect();
    let mut group = criterion.benchmark_group("ignore");
    group.sample_size(10).throughput(Throughput::Elements(PATHS as u64));
    group.bench_function("verdicts", |bencher| {
        bencher.iter(|| paths.iter().filter(|path| black_box(&rules).verdict(path.as_bytes()).is_ignored()).count());
    });
    let scope = rules.enter(&rules.enter(&rules.root(), b"src"), b"src/module1");
    group.bench_function("verdicts in a known directory", |bencher| {
        bencher.iter(|| paths.iter().filter(|path| rules.verdict_in(&scope, path.as_bytes()).is_ignored()).count());
    });
    group.finish();
}

/// As many rules as paths, of every form that people write.
fn many_rules(criterion: &mut Criterion) {
    let rule = |number: usize| match number % 10 {
        0 => format!("src/module{}/part{}/file{number}.rs", number % 97, number % 31),
        1 => format!("out{number}/**"),
        2 => format!("**/cache{number}"),
        3 => format!("*.ext{number}"),
        4 => format!("**/*.tmp{number}"),
        5 => format!("!src/module{}/**/keep{number}", number % 97),
        6 => format!("build{number}/[a-f]?/**"),
        7 => format!("**/test{number}_*"),
        8 => format!("docs/*/page{number}.md"),
        _ => format!("!src/file{number}"),
    };
    let text: String = (0..PATHS).map(|number| rule(number) + "\n").collect();
    let source = Source::new(".dockerignore", text);
    let paths: Vec<String> =
        (0..PATHS).map(|number| format!("src/module{}/part{}/file{number}.rs", number % 97, number % 31)).collect();
    let mut group = criterion.benchmark_group("100,000 rules");
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter(|| Ignore::parse(&source).unwrap()));
    let rules = Ignore::parse(&source).unwrap();
    group.throughput(Throughput::Elements(PATHS as u64));
    group.bench_function("verdicts on 100,000 paths", |bencher| {
        bencher.iter(|| paths.iter().filter(|path| black_box(&rules).verdict(path.as_bytes()).is_ignored()).count());
    });
    group.finish();
}

criterion_group!(benches, digests, matcher, many_rules);
criterion_main!(benches);
