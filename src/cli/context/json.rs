use serde_json::{Value, json};

use super::super::name::exact;
use super::{Columns, Totals, is_kept, size_bytes};
use crate::context::{Fate, Ignore, Kind, Listed, Tally};
use crate::engine::ContextListing;

/// Returns a path as an object.
pub(super) fn entry(listed: &Listed, columns: Columns, ignore: &Ignore) -> Value {
    let (path, hex) = exact(&listed.path);
    let mut entry = json!({ "type": "entry", "path": path });
    if let Some(hex) = hex {
        entry["path_hex"] = hex.into();
    }
    entry["kind"] = kind(listed.kind.as_ref()).into();
    let is_directory = listed.kind == Some(Kind::Directory);
    if !is_directory {
        entry["size_bytes"] = size_bytes(listed).into();
    }
    if let Some(Kind::Symlink { target }) = &listed.kind {
        entry["target"] = name(target).into();
    }
    if columns == Columns::Reasons {
        entry["kept"] = is_kept(listed).into();
        entry["reason"] = reason(listed).into();
        entry["rule"] = rule(listed, ignore);
    }
    let is_whole = columns == Columns::Sums || matches!(listed.fate, Fate::Dropped(_));
    if is_directory && is_whole {
        entry["below"] = tally(listed.below);
    }
    entry
}

/// Returns a path as it is; what is not UTF-8 is escaped as for people.
fn name(path: &[u8]) -> String {
    exact(path).0
}

fn kind(kind: Option<&Kind>) -> &'static str {
    match kind {
        Some(Kind::File { .. }) => "file",
        Some(Kind::Directory) => "directory",
        Some(Kind::Symlink { .. }) => "symlink",
        Some(Kind::CharDevice { .. }) => "char-device",
        Some(Kind::BlockDevice { .. }) => "block-device",
        Some(Kind::Fifo) => "fifo",
        None => "socket",
    }
}

fn reason(listed: &Listed) -> &'static str {
    match listed.fate {
        Fate::Kept(None) => "no-rule",
        Fate::Kept(Some(_)) | Fate::Dropped(_) => "rule",
        Fate::Around(_) => "kept-below",
        Fate::Socket => "socket",
    }
}

/// Returns the rule that decided; of a directory that is there for what is below it, the one that drops it.
fn rule(listed: &Listed, ignore: &Ignore) -> Value {
    let (Fate::Kept(Some(number)) | Fate::Around(number) | Fate::Dropped(number)) = listed.fate else {
        return Value::Null;
    };
    let Some((file, line, pattern)) = ignore.rule(number) else { return Value::Null };
    let matched = &listed.path[..ignore.reach(number, &listed.path)];
    json!({ "file": file, "line": line, "pattern": pattern, "matches": name(matched) })
}

fn tally(tally: Tally) -> Value {
    json!({
        "files": tally.files,
        "directories": tally.directories,
        "others": tally.others,
        "size_bytes": tally.size_bytes,
        "unknown_directories": tally.unknown,
    })
}

/// Returns the last object.
pub(super) fn totals(totals: &Totals, columns: Columns, listing: &ContextListing) -> Value {
    let mut object = json!({
        "type": "total",
        "ignore_file": listing.ignore().file(),
        "ignore_files_apply": listing.has_rules(),
        "kept": tally(totals.kept),
    });
    if columns == Columns::Reasons {
        object["dropped"] = tally(totals.dropped);
    }
    object
}
