use std::io::{self, Write};

use serde_json::Value;

use super::Part;
use crate::cli::human;
use crate::cli::name::{shown, visible};
use crate::compare::{Change, ChangeKind, Class, Comparison, ConfigChange, Counts, File, HistoryLine, PackageChange};
use crate::engine::{Cause, Diff, DiffSide, LayerDiff, Packages, Patch, PatchText};
use crate::layer::{Kind, Mtime};

/// What people read.
pub(super) struct Page<'a> {
    pub(super) out: &'a mut dyn Write,
    /// How many files of a list are printed.
    pub(super) limit: usize,
    pub(super) coloured: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// As much of an instruction as goes on a line beside other things.
const INSTRUCTION_CHARACTERS: usize = 70;

/// Prints changes as `docker diff` does.
pub(super) fn docker(files: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    let mut told = std::collections::BTreeSet::new();
    for change in files.changes.iter().filter(|change| !change.path.is_empty()) {
        // For docker, a directory is another when something in it is.
        let ends = change.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for above in ends.map(|end| &change.path[..end]).filter(|above| told.insert(above.to_vec())) {
            writeln!(out, "C /{}", shown(above))?;
        }
        told.insert(change.path.clone());
        writeln!(out, "{} /{}", letter(change.kind).0, shown(&change.path))?;
    }
    Ok(())
}

impl Page<'_> {
    /// Prints how two sides differ.
    pub(super) fn diff(&mut self, diff: &Diff, wants: &dyn Fn(Part) -> bool) -> io::Result<()> {
        self.side("---", RED, &diff.before, diff.shared_layers)?;
        self.side("+++", GREEN, &diff.after, diff.shared_layers)?;
        let mut is_equal = true;
        if let Some(files) = diff.files.as_ref().filter(|_| wants(Part::Files)) {
            is_equal &= files.changes.is_empty();
            let growth = growth(diff.growth_bytes());
            writeln!(self.out, "size   {} → {} ({growth})", size(&diff.before), size(&diff.after))?;
            writeln!(self.out, "files  {}", counts(files))?;
            if files.blind {
                let hint = "the shared layers are not here: a file with `C` may be new, or gone with `D` unseen";
                writeln!(self.out, "       {hint} (--fetch-shared)")?;
            }
            self.files(files)?;
            self.causes(&diff.causes)?;
        }
        if let Some(packages) = diff.packages.as_ref().filter(|packages| **packages != Packages::default()) {
            is_equal = false;
            self.heading("packages")?;
            self.packages(packages)?;
        }
        if let Some(config) = diff.config.as_ref().filter(|config| wants(Part::Config) && !config.is_empty()) {
            is_equal = false;
            self.heading("config")?;
            config.iter().try_for_each(|change| self.setting(change))?;
        }
        if let Some(history) = diff.history.as_ref().filter(|_| wants(Part::History))
            && history.iter().any(|line| line.kind.is_some())
        {
            is_equal = false;
            self.heading("history")?;
            self.history(history)?;
        }
        is_equal &= diff.patches.is_empty();
        diff.patches.iter().try_for_each(|patch| self.patch(patch))?;
        if is_equal { writeln!(self.out, "no differences") } else { Ok(()) }
    }

    /// Prints what each layer changed.
    pub(super) fn layers(&mut self, layers: &[LayerDiff]) -> io::Result<()> {
        for (place, diff) in layers.iter().enumerate() {
            if place > 0 {
                writeln!(self.out)?;
            }
            let size = diff.layer.size_bytes.map_or_else(|| "?".to_owned(), human::size);
            let title = format!("layer {}  {}  {size}", place + 1, diff.layer.diff_id.digest().short());
            writeln!(self.out, "{}  {}", self.paint(BOLD, &title), instruction(diff.layer.created_by.as_deref()))?;
            writeln!(self.out, "{}", counts(&diff.files))?;
            self.files(&diff.files)?;
        }
        if layers.is_empty() { writeln!(self.out, "no layers") } else { Ok(()) }
    }

    fn side(&mut self, sign: &str, colour: &str, side: &DiffSide, shared: usize) -> io::Result<()> {
        let id = side.image_id.map(|id| format!("{}, ", id.short())).unwrap_or_default();
        let layers = side.layers.len();
        let plural = if layers == 1 { "" } else { "s" };
        let line = format!("{sign} {}  ({id}{layers} layer{plural}, {shared} shared)", visible(&side.name));
        writeln!(self.out, "{}", self.paint(colour, &line))
    }

    fn heading(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", self.paint(BOLD, title))
    }

    fn files(&mut self, files: &Comparison) -> io::Result<()> {
        let listed = files.changes.len().min(self.limit);
        if listed > 0 {
            writeln!(self.out)?;
        }
        for change in &files.changes[..listed] {
            let (letter, colour) = letter(change.kind);
            let path = shown(&change.path);
            let slash = if is_directory(change) && !path.is_empty() { "/" } else { "" };
            let line = format!("{letter} /{path}{slash}{}", details(change));
            writeln!(self.out, "{}", self.paint(colour, &line))?;
        }
        let left = files.counts.total() - listed as u64;
        if left > 0 && self.limit > 0 { writeln!(self.out, "… {left} more (--limit 0)") } else { Ok(()) }
    }

    fn causes(&mut self, causes: &[Cause]) -> io::Result<()> {
        if causes.is_empty() {
            return Ok(());
        }
        self.heading("size by layer")?;
        for cause in causes {
            let (sign, colour) = if cause.is_before { ('-', RED) } else { ('+', GREEN) };
            let plural = if cause.files == 1 { "" } else { "s" };
            let amount = format!("{sign}{:8} {:5} file{plural:1}", human::size(cause.bytes), cause.files);
            let (amount, place) = (self.paint(colour, &amount), cause.place + 1);
            writeln!(self.out, "{amount}  layer {place}  {}", instruction(cause.layer.created_by.as_deref()))?;
        }
        Ok(())
    }

    fn setting(&mut self, change: &ConfigChange) -> io::Result<()> {
        let key = change.key.as_ref().map(|key| format!(" {}", visible(key))).unwrap_or_default();
        let name = format!("{}{key}", visible(&change.member));
        let line = match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                self.paint(YELLOW, &format!("C {name}  {} → {}", value(before), value(after)))
            }
            (Some(before), None) => self.paint(RED, &format!("D {name}  {}", value(before))),
            (None, after) => {
                let after = after.as_ref().map(value).unwrap_or_default();
                self.paint(GREEN, &format!("A {name}  {after}"))
            }
        };
        writeln!(self.out, "{}", line.trim_end())
    }

    fn packages(&mut self, packages: &Packages) -> io::Result<()> {
        for change in &packages.changes {
            let (kind, versions) = match (&change.before[..], &change.after[..]) {
                ([], after) => (ChangeKind::Added, versions(after)),
                (before, []) => (ChangeKind::Removed, versions(before)),
                (before, after) => (ChangeKind::Modified, format!("{} → {}", versions(before), versions(after))),
            };
            let PackageChange { manager, name, .. } = change;
            let (letter, colour) = letter(kind);
            let line = format!("{letter} {:5} {}  {versions}", manager.as_str(), visible(name));
            writeln!(self.out, "{}", self.paint(colour, &line))?;
        }
        for unread in &packages.unread {
            writeln!(self.out, "? /{}: {}", shown(&unread.path), visible(&unread.why))?;
        }
        Ok(())
    }

    /// Prints the difference of a text. Whatever would move a cursor is escaped; tabs stay.
    fn patch(&mut self, patch: &Patch) -> io::Result<()> {
        let path = shown(&patch.path);
        let (before, after) = match patch.kind {
            ChangeKind::Added => ("/dev/null".to_owned(), format!("b/{path}")),
            ChangeKind::Removed => (format!("a/{path}"), "/dev/null".to_owned()),
            ChangeKind::Modified => (format!("a/{path}"), format!("b/{path}")),
        };
        let hunks = match &patch.text {
            PatchText::Hunks(hunks) => hunks,
            PatchText::Binary => return writeln!(self.out, "\nBinary files {before} and {after} differ"),
            PatchText::TooLarge => return writeln!(self.out, "\nFiles {before} and {after} differ, and are large"),
        };
        writeln!(self.out, "\n{}", self.paint(BOLD, &format!("--- {before}\n+++ {after}")))?;
        for line in hunks.split_terminator('\n') {
            let text = line.split('\t').map(visible).collect::<Vec<_>>().join("\t");
            let text = match line.as_bytes().first() {
                Some(b'+') => self.paint(GREEN, &text),
                Some(b'-') => self.paint(RED, &text),
                _ => text,
            };
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    fn history(&mut self, lines: &[HistoryLine]) -> io::Result<()> {
        for line in lines {
            let (sign, colour) = match line.kind {
                None => continue,
                Some(ChangeKind::Added) => ('+', GREEN),
                Some(ChangeKind::Removed) => ('-', RED),
                Some(ChangeKind::Modified) => ('~', YELLOW),
            };
            let layer = match (line.before, line.after) {
                (Some(before), Some(after)) => format!("layer {} → {}  ", before + 1, after + 1),
                (Some(layer), None) | (None, Some(layer)) => format!("layer {}  ", layer + 1),
                (None, None) => String::new(),
            };
            let text = format!("{sign} {layer}{}", visible(&line.created_by));
            writeln!(self.out, "{}", self.paint(colour, &text))?;
        }
        Ok(())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn versions(versions: &[String]) -> String {
    versions.iter().map(|version| visible(version)).collect::<Vec<_>>().join(", ")
}

fn letter(kind: ChangeKind) -> (char, &'static str) {
    match kind {
        ChangeKind::Added => ('A', GREEN),
        ChangeKind::Modified => ('C', YELLOW),
        ChangeKind::Removed => ('D', RED),
    }
}

fn size(side: &DiffSide) -> String {
    side.size_bytes().map_or_else(|| "?".to_owned(), human::size)
}

fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", human::size(bytes.unsigned_abs()))
}

fn counts(files: &Comparison) -> String {
    let Counts { added, modified: changed, removed: deleted } = files.counts;
    let times = match files.only_times {
        0 => String::new(),
        count => format!(" ({count} more in their time alone)"),
    };
    format!("{added} added, {changed} changed, {deleted} deleted{times}")
}

fn instruction(created_by: Option<&str>) -> String {
    let text = visible(created_by.unwrap_or("(no instruction is recorded)"));
    match text.char_indices().nth(INSTRUCTION_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns what there is to say of a change behind its path.
fn details(change: &Change) -> String {
    let mut words = Vec::new();
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => words.extend(change.classes.iter().map(|class| differs(class, before, after))),
        (Some(file), None) | (None, Some(file)) => words.extend(described(file)),
        (None, None) => {}
    }
    if words.is_empty() { String::new() } else { format!("  {}", words.join(", ")) }
}

fn is_directory(change: &Change) -> bool {
    change.after.as_ref().or(change.before.as_ref()).is_some_and(|file| file.kind == Kind::Directory)
}

fn described(file: &File) -> Option<String> {
    match &file.kind {
        Kind::File { size, .. } => Some(human::size(*size)),
        Kind::Symlink { target } => Some(format!("→ {}", shown(target))),
        Kind::Directory => None,
        other => Some(kind(other).to_owned()),
    }
}

fn differs(class: Class, before: &File, after: &File) -> String {
    let (old, new) = (&before.metadata, &after.metadata);
    match class {
        Class::Type => format!("{} → {}", kind(&before.kind), kind(&after.kind)),
        Class::Content if before.size_bytes() == after.size_bytes() => "content".to_owned(),
        Class::Content => {
            format!("content {} → {}", human::size(before.size_bytes()), human::size(after.size_bytes()))
        }
        Class::Link => match (&before.kind, &after.kind) {
            (Kind::Symlink { target: old }, Kind::Symlink { target: new }) => {
                format!("link {} → {}", shown(old), shown(new))
            }
            _ => class.as_str().to_owned(),
        },
        Class::Mode => format!("mode {:04o} → {:04o}", old.mode, new.mode),
        Class::Owner => format!("owner {}:{} → {}:{}", old.uid, old.gid, new.uid, new.gid),
        Class::Xattr => class.as_str().to_owned(),
        Class::Mtime => format!("mtime {} → {}", time(old.mtime), time(new.mtime)),
    }
}

fn time(mtime: Mtime) -> String {
    jiff::Timestamp::from_second(mtime.seconds).map_or_else(|_| mtime.seconds.to_string(), |time| time.to_string())
}

/// Returns the word for what a file is.
pub(super) fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } => "file",
        Kind::Directory => "directory",
        Kind::Symlink { .. } => "symlink",
        Kind::CharDevice { .. } => "char-device",
        Kind::BlockDevice { .. } => "block-device",
        Kind::Fifo => "fifo",
        // No comparison has these as what is there.
        Kind::Hardlink { .. } | Kind::Whiteout | Kind::Opaque => "nothing",
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text),
        Value::Object(members) if members.is_empty() => String::new(),
        other => visible(&other.to_string()),
    }
}
