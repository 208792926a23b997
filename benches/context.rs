//! The list of a context of 10,000 files and their digest, cold and with a stat cache, against a walk with one stat a
//! file; ignore rules, few and many, over 100,000 paths.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::context::{Context, DigestCache, Entry, Ignore, Scope, StatKey};
use kiln::diagnostic::Source;
use kiln::oci::Digest;
use walkdir::WalkDir;

const FILES: usize = 10_000;
const FILE_BYTES: usize = 6_000;
const PATHS: usize = 100_000;
/// Longer than a file's clock ticks: what was just written is never remembered.
const SETTLED: Duration = Duration::from_millis(200);

const RULES: &str = include_str!("rules.dockerignore");

#[derive(Default)]
struct Memory(Mutex<HashMap<StatKey, Digest>>);

impl DigestCache for Memory {
    fn get(&self, keys: &[StatKey]) -> Vec<Option<Digest>> {
        let digests = self.0.lock().unwrap();
        keys.iter().map(|key| digests.get(key).copied()).collect()
    }

    fn put(&self, digests: &[(StatKey, Digest)]) {
        self.0.lock().unwrap().extend(digests.iter().copied());
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
        let entries: Vec<Entry> = context.list(b"").unwrap().into_iter().collect();
        context.digests().of(&entries).unwrap()
    };
    digest(&warm);

    let mut group = criterion.benchmark_group("context");
    group.sample_size(10).throughput(Throughput::Elements(FILES as u64));
    group.bench_function("walkdir, one stat a file", |bencher| {
        bencher.iter(|| {
            let entries = WalkDir::new(directory.path()).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
            black_box(entries.map(|metadata| metadata.len()).sum::<u64>())
        });
    });
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

/// Returns how many of the paths, which are sorted, are ignored; scopes are entered as a walk does.
fn ignored(rules: &Ignore, paths: &[String]) -> usize {
    let (root, mut above, mut count) = (rules.root(), Vec::<(&str, Scope)>::new(), 0);
    for path in paths {
        let is_above = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        while above.pop_if(|(directory, _)| !is_above(directory)).is_some() {}
        let known = above.last().map_or(0, |(directory, _)| directory.len() + 1);
        for (slash, _) in path[known..].match_indices('/') {
            let directory = &path[..known + slash];
            let scope = rules.enter(above.last().map_or(&root, |(_, scope)| scope), directory.as_bytes());
            above.push((directory, scope));
        }
        let scope = above.last().map_or(&root, |(_, scope)| scope);
        count += usize::from(rules.verdict_in(scope, path.as_bytes()).is_ignored());
    }
    count
}

/// As many rules as paths, all of one form, and paths that have much in common with them. Each is to take less than 2 s.
fn rules_of_one_form(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100,000 rules and paths");
    group.sample_size(10).throughput(Throughput::Elements(PATHS as u64));
    let prefix = "prefix/".repeat(5);
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, Text<'_>, Text<'_>); 8] = [
        ("*.extN", &|number| format!("*.ext{number}"), &|number| format!("dir{number}/file.ext{number}")),
        ("dirN/*", &|number| format!("dir{number}/*"), &|number| format!("dir{number}/file.ext{number}")),
        ("x and !x", &|number| ["x", "!x"][number % 2].to_owned(), &|number| format!("x/d{number}/f{number}")),
        ("prefix/N", &|number| format!("{prefix}{number}"), &|number| format!("{prefix}{number}")),
        ("prefix/*N", &|number| format!("{prefix}*{number}"), &|number| format!("{prefix}{number}")),
        ("**/nameN", &|number| format!("**/name{number}"), &|number| format!("a{}/b/name{number}", number % 100)),
        ("a*bN", &|number| format!("a*b{number}"), &|number| format!("a{number}b{number}")),
        ("*N*", &|number| format!("*{number}*"), &|number| format!("dir{number}")),
    ];
    for (name, rule, path) in cases {
        let text: String = (0..PATHS).map(|number| rule(number) + "\n").collect();
        let source = Source::new(".dockerignore", text);
        let mut paths: Vec<String> = (0..PATHS).map(path).collect();
        paths.sort();
        let run = || ignored(&Ignore::parse(black_box(&source)).unwrap(), &paths);
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}

criterion_group!(benches, digests, matcher, many_rules, rules_of_one_form);
criterion_main!(benches);
