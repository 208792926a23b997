//! Builds in which nothing changed, through the library: 40 instructions over a context of 2,000 files, and `hello`'s
//! size of a build. Each against a walk of the same context with one stat for each file.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::engine::{BuildOptions, ContextSource, Engine, EngineOptions};
use kiln::solve::Event;
use kiln::sys::Cancel;
use tempfile::TempDir;
use walkdir::WalkDir;

/// Longer than a file's clock ticks: what was just written is never remembered.
const SETTLED: Duration = Duration::from_millis(200);

fn context(files: usize, dockerfile: &str) -> TempDir {
    let context = tempfile::tempdir().unwrap();
    for number in 0..files {
        let directory = context.path().join(format!("src/d{}", number % 20));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{number}")), format!("content {number}\n").repeat(100)).unwrap();
    }
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    std::thread::sleep(SETTLED);
    context
}

/// Forty instructions: copies of one directory each, with metadata between.
fn forty() -> String {
    let pair = |number: usize| format!("COPY src/d{number} /d{number}\nENV N{number}={number}\n");
    "FROM scratch\n".to_owned() + &(0..20).map(pair).collect::<String>()
}

fn build(root: &Path, context: &Path) -> usize {
    let engine = Engine::open(&EngineOptions { root: Some(root.to_owned()), config: None }).unwrap();
    let options = BuildOptions { context: ContextSource::Directory(context.to_owned()), ..BuildOptions::default() };
    engine.build(&options, Arc::new(|_: Event| {}), &Cancel::new()).unwrap().executed_steps
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cached build");
    group.sample_size(20);
    for (name, files, dockerfile) in
        [("one file", 1, "FROM scratch\nCOPY src /\n".to_owned()), ("40 instructions, 2,000 files", 2_000, forty())]
    {
        let (root, context) = (tempfile::tempdir().unwrap(), context(files, &dockerfile));
        build(root.path(), context.path());
        assert_eq!(build(root.path(), context.path()), 0, "the second build is cached");
        group.bench_function(name, |bench| bench.iter(|| build(root.path(), context.path())));
        group.bench_function(format!("{name}: stat walk"), |bench| {
            bench.iter(|| {
                let entries = WalkDir::new(context.path()).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
                black_box(entries.map(|metadata| metadata.len()).sum::<u64>())
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
