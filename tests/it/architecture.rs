//! The layer table of `src/lib.rs`, held against what the modules use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// One row of the table.
#[derive(Debug)]
struct Module {
    layer: u32,
    /// Modules of its own layer that it may use.
    beside: BTreeSet<String>,
}

/// Reads rows like ``//! | 2 mechanisms | [`cache`] → `store` | Cache keys. |``; an empty first cell repeats the one above.
fn table() -> BTreeMap<String, Module> {
    let text = fs::read_to_string(Path::new(SOURCES).join("lib.rs")).unwrap();
    let mut layer = None;
    let mut modules = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split('|').map(str::trim);
        let (first, names) = (cells.next().unwrap(), cells.next().unwrap());
        layer = first.split(' ').next().and_then(|number| number.parse().ok()).or(layer);
        let mut names = names.split('`').skip(1).step_by(2).map(str::to_owned);
        if let (Some(layer), Some(name)) = (layer, names.next()) {
            modules.insert(name, Module { layer, beside: names.collect() });
        }
    }
    modules
}

/// Returns the modules that the code below `path` names after `crate::`.
fn used(path: &Path) -> BTreeSet<String> {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().flat_map(|entry| used(&entry.unwrap().path())).collect();
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return BTreeSet::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("crate::").skip(1).flat_map(first_names).collect()
}

/// Returns the first name of a path, or of each path in braces: `a::b` and `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..place].trim_start()));
                start = place + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_table_names_every_module() {
    let text = fs::read_to_string(Path::new(SOURCES).join("lib.rs")).unwrap();
    let declared: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, table().into_keys().collect());
}

#[test]
fn modules_use_lower_layers_and_what_their_arrows_name() {
    let table = table();
    let mut wrong = Vec::new();
    for (name, module) in &table {
        let directory = Path::new(SOURCES).join(name);
        let path = if directory.is_dir() { directory } else { directory.with_extension("rs") };
        // What is not in the table is an item of the crate's root, and there are none: `name` says which it would be.
        for other in used(&path).into_iter().filter(|other| other != name) {
            let allowed = match table.get(&other) {
                Some(used) => {
                    used.layer < module.layer || (used.layer == module.layer && module.beside.contains(&other))
                }
                None => false,
            };
            if !allowed {
                wrong.push(format!("{name} → {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the table of src/lib.rs: {wrong:?}");
}

#[test]
fn arrows_stay_in_their_layer() {
    let table = table();
    for (name, module) in &table {
        for beside in &module.beside {
            assert_eq!(table[beside].layer, module.layer, "{name} → {beside}");
        }
    }
}

#[test]
fn paths_in_braces_are_read() {
    assert_eq!(first_names("store::{Store, Error};"), ["store"]);
    assert_eq!(first_names("{oci::{Digest, DiffId}, store, fs::Root};"), ["oci", "store", "fs"]);
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    let mut files = Vec::new();
    let mut directories = vec![Path::new(SOURCES).to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    let lifts = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("(unsafe_code"));
    let lifted: Vec<_> = files.iter().filter(|path| lifts(path)).collect();
    assert!(lifted.iter().all(|path| path.starts_with(Path::new(SOURCES).join("sys"))), "{lifted:?}");
}
