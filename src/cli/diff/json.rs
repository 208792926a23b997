//! The document of `kiln diff --json`.
//!
//! ```text
//! { "before": SIDE, "after": SIDE,
//!   "shared_layers": how many at the bottom are the same,
//!   "growth_bytes": by how much the layers that are not shared are larger,
//!   "files": { "added", "changed", "deleted": how many,
//!              "only_times": how many more differ in their time alone,
//!              "shared_layers_known": false where the shared layers are not here,
//!              "changes": [CHANGE] },
//!   "causes": [{ "side", "layer", "diff_id", "created_by", "files", "bytes" }],
//!   "packages": { "changes": [{ "manager", "name", "before": [VERSION], "after": [VERSION] }],
//!                 "unread": [{ "path", "path_hex"?, "why" }] },
//!   "patches": [{ "path", "path_hex"?, "change", "hunks": text of `diff -u` or null, "why": "binary" | "too-large" | null }],
//!   "config": [{ "member", "key", "before", "after" }],
//!   "history": [{ "change", "created_by", "layer_before", "layer_after" }] }
//!
//! SIDE   { "name", "id", "manifest", "size_bytes", "layers": [{ "diff_id", "created_by", "size_bytes" }] }
//! CHANGE { "path", "path_hex"?, "change": "added" | "changed" | "deleted", "classes": [CLASS], "before": FILE?, "after": FILE? }
//! FILE   { "type", "size_bytes", "digest", "target", "mode", "uid", "gid", "mtime", "xattrs", "layer" }
//! CLASS  "type" | "content" | "link" | "mode" | "owner" | "xattr" | "mtime"
//! ```
//!
//! Parts that were not asked for, or that a side does not have, are null. Layers are counted from 1. A path that is not
//! UTF-8 is escaped, and has its bytes beside it in hexadecimal; so has the target of a link (`target_hex`).
//! Of a single image, the document is a list of `{ "diff_id", "created_by", "size_bytes", "files" }`, base first.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Part;
use super::text::kind;
use crate::cli::name::exact;
use crate::compare::{Change, ChangeKind, Class, Comparison, ConfigChange, File, HistoryLine, PackageChange};
use crate::engine::{Cause, Diff, DiffSide, LayerDiff, Packages, Patch, PatchText, SideLayer, UnreadPackages};
use crate::layer::Kind;
use crate::oci::DiffId;

/// Writes the document of two sides.
pub(super) fn diff(
    diff: &Diff,
    wants: &dyn Fn(Part) -> bool,
    wants_patches: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let compared = diff.files.as_ref();
    let files_wanted = compared.filter(|_| wants(Part::Files));
    let document = Document {
        before: side(&diff.before),
        after: side(&diff.after),
        shared_layers: diff.shared_layers,
        growth_bytes: compared.map(|_| diff.growth_bytes()),
        files: files_wanted.map(files),
        causes: files_wanted.map(|_| List(&diff.causes, cause)),
        packages: diff.packages.as_ref().map(packages),
        patches: wants_patches.then_some(List(&diff.patches, patch)),
        config: diff.config.as_deref().filter(|_| wants(Part::Config)),
        history: diff.history.as_deref().filter(|_| wants(Part::History)).map(|lines| List(lines, line)),
    };
    write(&document, out)
}

/// Writes the document of the layers of one image.
pub(super) fn layers(layers: &[LayerDiff], out: &mut dyn Write) -> io::Result<()> {
    write(&List(layers, layer_diff), out)
}

fn write(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    before: Value,
    after: Value,
    shared_layers: usize,
    growth_bytes: Option<i64>,
    files: Option<Files<'a>>,
    causes: Option<List<'a, Cause>>,
    packages: Option<Value>,
    patches: Option<List<'a, Patch>>,
    config: Option<&'a [ConfigChange]>,
    history: Option<List<'a, HistoryLine>>,
}

#[derive(Serialize)]
struct Files<'a> {
    added: u64,
    changed: u64,
    deleted: u64,
    only_times: u64,
    shared_layers_known: bool,
    changes: List<'a, Change>,
}

#[derive(Serialize)]
struct LayerDocument<'a> {
    diff_id: DiffId,
    created_by: Option<&'a str>,
    size_bytes: Option<u64>,
    files: Files<'a>,
}

/// A list, and how each item is written. One is made at a time: the values of a million files would take gigabytes.
struct List<'a, T, V = Value>(&'a [T], fn(&'a T) -> V);

impl<T, V: Serialize> Serialize for List<'_, T, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

fn side(side: &DiffSide) -> Value {
    json!({
        "name": side.name,
        "id": side.image_id,
        "manifest": side.manifest,
        "size_bytes": side.size_bytes(),
        "layers": side.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn layer(layer: &SideLayer) -> Value {
    json!({ "diff_id": layer.diff_id, "created_by": layer.created_by, "size_bytes": layer.size_bytes })
}

fn layer_diff(diff: &LayerDiff) -> LayerDocument<'_> {
    let SideLayer { diff_id, created_by, size_bytes } = &diff.layer;
    LayerDocument {
        diff_id: *diff_id,
        created_by: created_by.as_deref(),
        size_bytes: *size_bytes,
        files: files(&diff.files),
    }
}

fn files(files: &Comparison) -> Files<'_> {
    Files {
        added: files.counts.added,
        changed: files.counts.modified,
        deleted: files.counts.removed,
        only_times: files.only_times,
        shared_layers_known: !files.blind,
        changes: List(&files.changes, change),
    }
}

fn change(change: &Change) -> Value {
    let mut object = Map::new();
    put_path(&mut object, "path", &[b"/", &change.path[..]].concat());
    object.insert("change".to_owned(), word(change.kind).into());
    object.insert("classes".to_owned(), change.classes.iter().map(Class::as_str).collect());
    object.insert("before".to_owned(), change.before.as_ref().map_or(Value::Null, file));
    object.insert("after".to_owned(), change.after.as_ref().map_or(Value::Null, file));
    object.into()
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "changed",
        ChangeKind::Removed => "deleted",
    }
}

fn put_path(object: &mut Map<String, Value>, member: &str, path: &[u8]) {
    let (path, hex) = exact(path);
    object.insert(member.to_owned(), path.into());
    if let Some(hex) = hex {
        object.insert(format!("{member}_hex"), hex.into());
    }
}

fn file(file: &File) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), kind(&file.kind).into());
    match &file.kind {
        Kind::File { size, digest, .. } => {
            object.insert("size_bytes".to_owned(), (*size).into());
            object.insert("digest".to_owned(), json!(digest));
        }
        Kind::Symlink { target } => put_path(&mut object, "target", target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            object.insert("device".to_owned(), json!([major, minor]));
        }
        _ => {}
    }
    let metadata = &file.metadata;
    object.insert("mode".to_owned(), format!("{:04o}", metadata.mode).into());
    object.insert("uid".to_owned(), metadata.uid.into());
    object.insert("gid".to_owned(), metadata.gid.into());
    object.insert("mtime".to_owned(), metadata.mtime.seconds.into());
    if !metadata.xattrs.is_empty() {
        let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let xattrs: Map<String, Value> =
            metadata.xattrs.iter().map(|(name, value)| (exact(name).0, hex(value).into())).collect();
        object.insert("xattrs".to_owned(), xattrs.into());
    }
    object.insert("layer".to_owned(), json!(file.layer.map(|layer| layer + 1)));
    object.into()
}

fn cause(cause: &Cause) -> Value {
    json!({
        "side": if cause.is_before { "before" } else { "after" },
        "layer": cause.place + 1,
        "diff_id": cause.layer.diff_id,
        "created_by": cause.layer.created_by,
        "files": cause.files,
        "bytes": cause.bytes,
    })
}

fn packages(packages: &Packages) -> Value {
    let change = |change: &PackageChange| {
        json!({
            "manager": change.manager.as_str(),
            "name": change.name,
            "before": change.before,
            "after": change.after,
        })
    };
    let unread = |unread: &UnreadPackages| {
        let mut object = Map::new();
        put_path(&mut object, "path", &[b"/", &unread.path[..]].concat());
        object.insert("why".to_owned(), unread.why.as_str().into());
        Value::from(object)
    };
    json!({
        "changes": packages.changes.iter().map(change).collect::<Vec<_>>(),
        "unread": packages.unread.iter().map(unread).collect::<Vec<_>>(),
    })
}

fn patch(patch: &Patch) -> Value {
    let mut object = Map::new();
    put_path(&mut object, "path", &[b"/", &patch.path[..]].concat());
    object.insert("change".to_owned(), word(patch.kind).into());
    let (hunks, why) = match &patch.text {
        PatchText::Hunks(hunks) => (Some(hunks.as_str()), None),
        PatchText::Binary => (None, Some("binary")),
        PatchText::TooLarge => (None, Some("too-large")),
    };
    object.insert("hunks".to_owned(), hunks.into());
    object.insert("why".to_owned(), why.into());
    object.into()
}

fn line(line: &HistoryLine) -> Value {
    json!({
        "change": line.kind.map_or("same", word),
        "created_by": line.created_by,
        "layer_before": line.before.map(|layer| layer + 1),
        "layer_after": line.after.map(|layer| layer + 1),
    })
}
