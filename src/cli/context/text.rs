use std::io::{self, Write};

use super::super::name::shown;
use super::{Columns, Totals, is_kept, size_bytes};
use crate::cli::human;
use crate::cli::progress::without_controls;
use crate::context::{Fate, Ignore, Kind, Listed, Tally};

/// Width of a narrow column with its gap, as of other tables. Rows are printed as they come, so none fits its cells.
const NARROW: usize = 10;
/// Width that paths get before what follows them.
const PATH: usize = 40;

pub(super) fn headings(columns: Columns, out: &mut impl Write) -> io::Result<()> {
    match columns {
        Columns::Sizes => writeln!(out, "{:NARROW$}PATH", "SIZE"),
        Columns::Sums => writeln!(out, "{:NARROW$}{:NARROW$}PATH", "SIZE", "FILES"),
        Columns::Reasons => writeln!(out, "{:NARROW$}{:NARROW$}{:PATH$}WHY", "STATE", "SIZE", "PATH"),
    }
}

pub(super) fn row(listed: &Listed, columns: Columns, ignore: &Ignore, out: &mut impl Write) -> io::Result<()> {
    let counted = listed.kind != Some(Kind::Directory) || listed.below.files > 0;
    let size = if counted { human::size(size_bytes(listed)) } else { String::new() };
    let path = path(listed);
    match columns {
        Columns::Sizes => writeln!(out, "{size:NARROW$}{path}"),
        Columns::Sums => {
            let files = match listed.kind {
                Some(Kind::Directory) => listed.below.files.to_string(),
                _ => String::new(),
            };
            writeln!(out, "{size:NARROW$}{files:NARROW$}{path}")
        }
        Columns::Reasons => {
            let fate = if is_kept(listed) { "kept" } else { "dropped" };
            // However long a path is, a gap follows it.
            let width = PATH.saturating_sub(3);
            writeln!(out, "{fate:NARROW$}{size:NARROW$}{path:width$}   {}", reason(listed, ignore))
        }
    }
}

fn path(listed: &Listed) -> String {
    let path = shown(&listed.path);
    match &listed.kind {
        Some(Kind::Directory) => path + "/",
        Some(Kind::Symlink { target }) => format!("{path} -> {}", shown(target)),
        _ => path,
    }
}

fn reason(listed: &Listed, ignore: &Ignore) -> String {
    match listed.fate {
        Fate::Kept(None) => "no rule".to_owned(),
        Fate::Kept(Some(rule)) => self::rule(rule, listed, ignore),
        Fate::Around(rule) => format!("for what is kept below it, despite {}", self::rule(rule, listed, ignore)),
        Fate::Dropped(rule) => self::rule(rule, listed, ignore) + &below(listed.below),
        Fate::Socket => "a socket, which is never part of a context".to_owned(),
    }
}

/// Returns the place of a rule, what is written there, and the directory that it matches if it does not match the path.
fn rule(number: usize, listed: &Listed, ignore: &Ignore) -> String {
    let Some((file, line, pattern)) = ignore.rule(number) else { return String::new() };
    let rule = format!("{}:{line}: {}", without_controls(file), without_controls(pattern));
    match ignore.reach(number, &listed.path) {
        end if end < listed.path.len() => format!("{rule} (matches {}/)", shown(&listed.path[..end])),
        _ => rule,
    }
}

fn below(below: Tally) -> String {
    match below {
        Tally { unknown: 1, files: 0, directories: 0, others: 0, .. } => "; not looked into".to_owned(),
        Tally { files: 0, directories: 0, others: 0, .. } => String::new(),
        below => format!("; with {}", amount(below)),
    }
}

/// Prints how much was listed.
pub(super) fn totals(totals: &Totals, columns: Columns, out: &mut impl Write) -> io::Result<()> {
    let kept = totals.kept;
    writeln!(out, "\nin the context: {}; {} bytes in all", amount(kept), kept.size_bytes)?;
    match columns {
        Columns::Reasons => writeln!(out, "dropped: {}", amount(totals.dropped)),
        Columns::Sizes | Columns::Sums => Ok(()),
    }
}

/// Returns such as `3 files (13.4kB), 1 directory (not looked into)`.
fn amount(tally: Tally) -> String {
    let count = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let mut parts = vec![format!("{} ({})", count(tally.files, "file", "files"), human::size(tally.size_bytes))];
    if tally.directories > 0 {
        let unknown = match tally.unknown {
            0 => String::new(),
            unknown if unknown == tally.directories => " (not looked into)".to_owned(),
            unknown => format!(" ({unknown} of them not looked into)"),
        };
        parts.push(count(tally.directories, "directory", "directories") + &unknown);
    }
    if tally.others > 0 {
        parts.push(count(tally.others, "other", "others"));
    }
    parts.join(", ")
}
