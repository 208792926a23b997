//! How many instructions five inner loops take, counted by valgrind's callgrind, against what `counts.txt` says.
//!
//! On a shared machine times spread by a half; counts stay the same to a thousandth, so that what made a loop dearer by a
//! few hundredths shows. `cargo bench --bench counts` fails if one grew by more than [`TOLERANCE`]; with `-- --bless` it
//! writes what it counted.
//!
//! | loop | why it is here |
//! |---|---|
//! | `layer write` | Headers, index and digests: what each file of a COPY or RUN costs beside its bytes. |
//! | `layer read` | The same for each file of a layer that comes from elsewhere. |
//! | `ignore` | Each file of a context, whether it is needed or not. |
//! | `parse` | Before anything else happens; hostile files make it the loop of a server. |
//! | `gzip block` | Nearly all of a push. |
//!
//! SHA-256 is left out, also where it is part of a loop: valgrind has no SHA instructions, so that other code runs than does
//! elsewhere, and much more of it. The walk of a context cannot be counted: it opens directories with openat2(2), which the
//! valgrind of many systems does not know.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::process::{Command, ExitCode};

use kiln::context::Ignore;
use kiln::diagnostic::Source;
use kiln::dockerfile;
use kiln::layer::{self, Compressor, Content, Metadata, Method, Writer};

/// What may be lost before somebody has to look: another release of the compiler moves counts by less.
const TOLERANCE: f64 = 0.02;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts.txt");

const LOOPS: [(&str, fn()); 5] = [
    ("layer write", layer_write),
    ("layer read", layer_read),
    ("ignore", ignore),
    ("parse", parse),
    ("gzip block", gzip_block),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| LOOPS.iter().find(|(known, _)| *known == name);
    if let [flag, name] = &arguments[..]
        && flag == "--loop"
        && let Some((_, run)) = named(name)
    {
        run();
        return ExitCode::SUCCESS;
    }
    match compare(arguments.iter().any(|argument| argument == "--bless")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Without a stderr there is nobody to tell.
            let _ = writeln!(io::stderr(), "counts: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts all loops, prints them beside what is recorded, and tells whether none grew too much.
fn compare(bless: bool) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(RECORDED).unwrap_or_default();
    let recorded = recorded(&text);
    let (mut table, mut lines, mut is_well) = (String::new(), String::new(), true);
    writeln!(table, "{:<12} {:>14} {:>14} {:>9}", "loop", "recorded", "counted", "change")?;
    for (name, _) in LOOPS {
        let counted = count(name)?;
        writeln!(lines, "{counted:>12} {name}")?;
        let before = recorded.get(name).copied();
        let change = before.map(|before| counted as f64 / before as f64 - 1.0);
        let grew = change.is_none_or(|change| change > TOLERANCE);
        is_well &= !grew;
        let shown = |number: Option<String>| number.unwrap_or_else(|| "–".to_owned());
        let percent = shown(change.map(|change| format!("{:+.2} %", change * 100.0)));
        let mark = match before {
            None => "  not recorded",
            Some(_) if grew => "  more than it may",
            Some(_) => "",
        };
        writeln!(table, "{name:<12} {:>14} {counted:>14} {percent:>9}{mark}", shown(before.map(|n| n.to_string())))?;
    }
    io::stdout().write_all(table.as_bytes())?;
    if bless {
        fs::write(RECORDED, header()? + &lines)?;
    }
    Ok(is_well || bless)
}

/// Returns the counts of a file of lines `count name`.
fn recorded(text: &str) -> BTreeMap<&str, u64> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(' '));
    lines.filter_map(|(count, name)| Some((name, count.parse().ok()?))).collect()
}

fn header() -> Result<String, Box<dyn Error>> {
    let version = |program: &str| -> Result<String, Box<dyn Error>> {
        let output = Command::new(program).arg("--version").output()?;
        Ok(String::from_utf8(output.stdout)?.split(" (").next().unwrap_or_default().trim().to_owned())
    };
    let (compiler, valgrind) = (version("rustc")?, version("valgrind")?);
    let architecture = std::env::consts::ARCH;
    Ok(format!("# Instructions, without SHA-256: {architecture}, {compiler}, {valgrind}. See README.md.\n"))
}

/// Runs a loop under callgrind, in a process of its own, and returns its instructions.
fn count(name: &str) -> Result<u64, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("callgrind");
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=counts::counted*"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["--loop", name])
        // Whatever the user has set must not change what is done.
        .env_clear()
        .env("TMPDIR", directory.path())
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    match instructions(&fs::read_to_string(&file)?) {
        0 => Err(format!("nothing of `{name}` was counted").into()),
        counted => Ok(counted),
    }
}

/// Adds up what functions take themselves, but for those of SHA-256. The format is that of "Callgrind Format
/// Specification" in valgrind's manual: `fn=` names a function, and numbers follow, a line and its cost; after `calls=`
/// comes what the called function took, which is counted where that is listed itself.
fn instructions(profile: &str) -> u64 {
    let (mut total, mut is_hash, mut is_call) = (0, false, false);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            is_hash = name.contains("sha2::");
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            total += if is_hash || is_call { 0 } else { cost };
            is_call = false;
        }
    }
    total
}

/// Callgrind counts while this runs. What is done but once, such as asking what the processor can, is done before.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    black_box(work)();
}

fn measure<T>(mut work: impl FnMut() -> T) {
    let mut run = || drop(black_box(work()));
    run();
    counted(&mut run);
}

/// Writes 2,000 files in 100 directories: a tenth of a kilobyte each, so that bytes do not hide what files cost.
fn archive<W: io::Write>(out: W) -> W {
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    let content = [b'a'; 100];
    let mut writer = Writer::new(out);
    for number in 0..2_000 {
        let path = format!("usr/share/d{}/file-{number:05}", number / 20);
        let file = Content::File { size: content.len() as u64, reader: &mut &content[..] };
        writer.append(path.as_bytes(), &metadata, file).expect("nothing is in the way");
    }
    writer.finish().expect("nothing is in the way").0
}

fn layer_write() {
    measure(|| archive(io::sink()));
}

fn layer_read() {
    let tar = archive(Vec::new());
    measure(|| layer::read(&tar[..], &layer::Limits::default()).expect("it is right"));
}

const RULES: &str = include_str!("rules.dockerignore");

/// 10 rules on 10,000 paths.
fn ignore() {
    let rules = Ignore::parse(&Source::new(".dockerignore", RULES)).expect("the rules are right");
    let path = |number: usize| {
        format!("src/module{}/part{}/file{number}.{}", number % 97, number % 31, ["rs", "log"][number % 2])
    };
    let paths: Vec<String> = (0..10_000).map(path).collect();
    measure(|| paths.iter().filter(|path| rules.verdict(path.as_bytes()).is_ignored()).count());
}

/// 64 KiB of stages.
fn parse() {
    const STAGE: &str = include_str!("stage.dockerfile");
    let source = Source::new("Dockerfile", STAGE.repeat((64 << 10) / STAGE.len()));
    measure(|| dockerfile::read(&source).expect("it is right"));
}

/// A mebibyte of words.
fn gzip_block() {
    const WORDS: [&str; 8] = ["return", "static", "self", "the", "length", "buffer", "if", "error"];
    let mut state = 1_u32;
    let mut text = Vec::with_capacity(1 << 20);
    while text.len() < 1 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(WORDS[state as usize >> 29].as_bytes());
        text.push(if state & (7 << 20) == 0 { b'\n' } else { b' ' });
    }
    text.truncate(1 << 20);
    measure(|| {
        let mut compressor = Compressor::new(Method::Gzip.usual(), io::sink());
        compressor.write_all(&text).expect("nothing is in the way");
        compressor.finish().expect("nothing is in the way");
    });
}
