mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InputChange, InputChanges};

/// Why an op had to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Miss {
    /// Results that were known were not wanted (`--no-cache`).
    Unwanted,
    /// Nothing like it is remembered.
    New,
    /// It was done before, and what it made is not in the store any more.
    Removed {
        /// When it was removed by kiln; none if it was lost.
        at: Option<Timestamp>,
    },
    /// It was done before for something else.
    Changed {
        /// What is not as it was; never empty.
        differences: Vec<Difference>,
        /// The build whose step is the nearest.
        than: String,
    },
}

/// One thing that an op depends on, and that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Difference {
    /// The tree it works on.
    Base {
        /// The step that made the tree, by its number in the build; none where nothing is known of it.
        step: Option<usize>,
    },
    /// Another tree that it reads.
    Source {
        /// The step that makes it, by its number; none where nothing is known of it.
        step: Option<usize>,
    },
    /// Where it stands: the step right below it is what it was, and another one used to be there.
    Order {
        /// The step, by its number.
        step: Option<usize>,
        /// What stood between, and is not written any more.
        gone: Vec<String>,
    },
    /// The image it works on.
    Image {
        /// Its name.
        name: String,
        /// What was there before: another name, or the manifest's digest of this one; none where that is not known.
        before: Option<String>,
        /// What the name means now, as the manifest's digest.
        after: String,
    },
    /// Files that it reads.
    Files {
        /// Which; nothing where that was not remembered.
        changes: Option<InputChanges>,
    },
    /// What it sees at a mount.
    Mount {
        /// Where.
        target: String,
        /// What about it.
        change: MountChange,
        /// The step whose files are there, by its number.
        step: Option<usize>,
    },
    /// A variable.
    Variable {
        /// Its name.
        name: String,
        /// Where it comes from.
        origin: VariableOrigin,
        /// Its value then; none where it was not set.
        before: Option<String>,
        /// And now.
        after: Option<String>,
    },
    /// What is executed.
    Command {
        /// Then.
        before: String,
        /// And now.
        after: String,
    },
    /// Something that is written with the instruction.
    Setting {
        /// Its name, as users know it.
        name: String,
        /// Then.
        before: String,
        /// And now.
        after: String,
    },
    /// What a server or a repository has.
    Remote,
    /// kiln itself, which does such ops in another way since.
    Version,
}

/// What about a mount is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountChange {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is mounted in another way.
    Options,
    /// The files there.
    Content,
}

/// Where a variable comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableOrigin {
    /// An ARG.
    Argument,
    /// An ENV, or the base image.
    Environment,
}

/// What of an op was written down under a name that users would not know.
const NAMES: [(&str, &str); 10] = [
    ("cwd", "WORKDIR"),
    ("user", "USER"),
    ("network", "--network"),
    ("security", "--security"),
    ("hosts", "--add-host"),
    ("hostname", "the host name"),
    ("ulimits", "--ulimit"),
    ("shm_size_bytes", "--shm-size"),
    ("platform", "the platform"),
    ("secret_env", "the variables of secrets"),
];

/// Tells how two recipes differ. Of files it tells that they do, and no more; of variables, all are of the environment.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    if before["version"] != after["version"] {
        found.push(Difference::Version);
    }
    match (before["op"].get("run"), after["op"].get("run")) {
        (Some(old), Some(new)) => run(old, new, &mut found),
        (None, None) => file(&before["op"]["file"], &after["op"]["file"], &mut found),
        _ => found.push(Difference::Command { before: kind(before), after: kind(after) }),
    }
    sources(&before["sources"], &after["sources"], &mut found);
    if before["base"] != after["base"] {
        found.push(Difference::Base { step: None });
    }
    found
}

fn kind(recipe: &Value) -> String {
    recipe["op"].as_object().and_then(|op| op.keys().next().cloned()).unwrap_or_default()
}

fn run(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    if before["argv"] != after["argv"] {
        found.push(Difference::Command { before: command(&before["argv"]), after: command(&after["argv"]) });
    }
    variables(&before["env"], &after["env"], found);
    mounts(&before["mounts"], &after["mounts"], found);
    for (member, name) in NAMES {
        setting(name, &before[member], &after[member], found);
    }
}

/// Returns a command as people write it: what a shell is given, or all arguments.
fn command(argv: &Value) -> String {
    let words: Vec<&str> = argv.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match words[..] {
        ["/bin/sh", "-c", text] => text.to_owned(),
        _ => words.join(" "),
    }
}

fn variables(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let (old, new) = (pairs(before), pairs(after));
    let already = found.len();
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (before, after) = (old.get(name), new.get(name));
        if before != after {
            found.push(Difference::Variable {
                name: (*name).to_owned(),
                origin: VariableOrigin::Environment,
                before: before.map(|value| (*value).to_owned()),
                after: after.map(|value| (*value).to_owned()),
            });
        }
    }
    if found.len() == already && before != after {
        let names = |pairs: &Value| {
            let names = pairs.as_array().into_iter().flatten().filter_map(|pair| pair[0].as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let (before, after) = (names(before), names(after));
        found.push(Difference::Setting { name: "the order of variables".to_owned(), before, after });
    }
}

fn pairs(list: &Value) -> BTreeMap<&str, &str> {
    let pairs = list.as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?))).collect()
}

fn by_target(list: &Value) -> BTreeMap<&str, &Value> {
    let mounts = list.as_array().into_iter().flatten();
    mounts.filter_map(|mount| Some((mount["target"].as_str()?, mount))).collect()
}

fn mounts(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let (old, new) = (by_target(before), by_target(after));
    for target in old.keys().chain(new.keys().filter(|target| !old.contains_key(*target))) {
        let change = match (old.get(target), new.get(target)) {
            (Some(old), Some(new)) if old == new => continue,
            // The script of a heredoc is mounted as a file.
            (Some(old), Some(new)) if old["kind"].get("file").is_some() && new["kind"].get("file").is_some() => {
                let script = |mount: &Value| mount["kind"]["file"]["data"].as_str().unwrap_or_default().to_owned();
                found.push(Difference::Command { before: script(old), after: script(new) });
                continue;
            }
            (Some(_), Some(_)) => MountChange::Options,
            (None, _) => MountChange::Added,
            (_, None) => MountChange::Removed,
        };
        found.push(Difference::Mount { target: (*target).to_owned(), change, step: None });
    }
}

fn setting(name: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    if before != after {
        found.push(Difference::Setting { name: name.to_owned(), before: plain(before), after: plain(after) });
    }
}

/// Returns a value without what only machines need.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(members) if members.contains_key("soft") => {
            format!("{}={}:{}", plain(&members["name"]), members["soft"], value["hard"])
        }
        Value::Object(members) if members.contains_key("octal") => {
            members["octal"].as_u64().map_or_else(String::new, |mode| format!("{mode:04o}"))
        }
        Value::Object(members) => match members.len() {
            1 => members.values().map(plain).collect(),
            _ => members.values().map(plain).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("/"),
        },
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn file(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let actions = |op: &Value| op["actions"].as_array().cloned().unwrap_or_default();
    let (old, new) = (actions(before), actions(after));
    if old.len() != new.len() {
        let texts = |actions: &[Value]| actions.iter().map(source_text).collect::<Vec<_>>().join(" ");
        found.push(Difference::Setting { name: "the sources".to_owned(), before: texts(&old), after: texts(&new) });
        return;
    }
    for (old, new) in old.iter().zip(&new) {
        action(old, new, found);
    }
}

/// Returns what an action takes its files from.
fn source_text(action: &Value) -> String {
    let copy = &action["copy"]["source"];
    let path = copy["path"]["path"].as_str().or_else(|| copy["inline"]["name"].as_str());
    path.or_else(|| action["make_directory"]["path"].as_str()).unwrap_or_default().to_owned()
}

fn action(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let mut setting = |name: &str, before: &Value, after: &Value| {
        let difference = Difference::Setting { name: name.to_owned(), before: plain(before), after: plain(after) };
        if before != after && !found.contains(&difference) {
            found.push(difference);
        }
    };
    let (old, new) = (&before["copy"], &after["copy"]);
    if old.is_null() || new.is_null() {
        setting("WORKDIR", &before["make_directory"], &after["make_directory"]);
        return;
    }
    setting("the destination", &old["destination"], &new["destination"]);
    let (from, to) = (&old["source"], &new["source"]);
    if from.get("inline").is_some() && to.get("inline").is_some() {
        if from["inline"] != to["inline"] {
            setting("the heredoc", &from["inline"]["data"], &to["inline"]["data"]);
        }
    } else {
        setting("the source", &from["path"]["path"], &to["path"]["path"]);
    }
    for (member, name) in
        [("owner", "--chown"), ("mode", "--chmod"), ("exclude", "--exclude"), ("parents", "--parents")]
    {
        setting(name, &old["options"][member], &new["options"][member]);
    }
    setting("unpacking", &old["options"]["add"], &new["options"]["add"]);
}

fn sources(before: &Value, after: &Value, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (old, new) = (by_target(&before["mounts"]), by_target(&after["mounts"]));
    for (target, content) in &new {
        if old.get(target).is_some_and(|old| old != content) {
            let target = (*target).to_owned();
            found.push(Difference::Mount { target, change: MountChange::Content, step: None });
        }
    }
    if !old.is_empty() || !new.is_empty() {
        return;
    }
    // What is read from elsewhere wraps what is read, and that wraps the files where there is a time.
    let unwrap = |value: &Value| (value.get("reads").unwrap_or(value).clone(), value["remotes"].clone());
    let ((old, old_remotes), (new, new_remotes)) = (unwrap(before), unwrap(after));
    let files = |value: &Value| value.get("files").unwrap_or(value).clone();
    if items(&files(&old)) != items(&files(&new)) {
        found.push(Difference::Files { changes: None });
    }
    if old_remotes != new_remotes {
        found.push(Difference::Remote);
    }
    setting("SOURCE_DATE_EPOCH", &old["epoch"], &new["epoch"], found);
    setting("--reproducible", &old["normalized"], &new["normalized"], found);
}

/// Returns what was read, without what the op says already.
fn items(actions: &Value) -> Vec<&Value> {
    actions.as_array().into_iter().flatten().map(|action| &action["copy"]["items"]).collect()
}

impl Difference {
    /// Tells whether the reason lies in another step.
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Difference::Base { .. } | Difference::Source { .. } => true,
            Difference::Mount { change, step, .. } => *change == MountChange::Content && step.is_some(),
            _ => false,
        }
    }
}

impl Miss {
    /// Tells whether nothing but other steps is the reason.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Miss::Changed { differences, .. } if differences.iter().all(Difference::is_elsewhere))
    }

    /// Returns the reason where it is one that users look for: it lies in the step itself, and they have not asked for it.
    pub fn cause(&self) -> Option<String> {
        let told = matches!(self, Miss::Removed { .. } | Miss::Changed { .. }) && !self.is_elsewhere();
        told.then(|| self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(change: impl FnOnce(&mut Value)) -> Value {
        let mut recipe = json!({
            "version": 4,
            "base": "sha256:aa",
            "op": { "run": {
                "argv": ["/bin/sh", "-c", "make"],
                "env": [["PATH", "/bin"], ["V", "1"]],
                "cwd": "/", "user": "", "network": "host",
                "mounts": [{ "target": "/c", "kind": { "cache": { "id": "/c" } } }],
                "platform": { "os": "linux", "architecture": "amd64" },
            } },
            "sources": { "mounts": [{ "target": "/ctx", "content": { "content": "sha256:11", "entries": 3 } }] },
        });
        change(&mut recipe);
        recipe
    }

    fn copy(change: impl FnOnce(&mut Value)) -> Value {
        let options = json!({ "add": "copy", "mode": null, "owner": null });
        let mut recipe = json!({
            "version": 4,
            "base": null,
            "op": { "file": { "base": null, "actions": [
                { "copy": { "destination": "/d/", "options": options, "source": { "path": { "from": 0, "path": "a" } } } },
            ] } },
            "sources": [{ "copy": { "destination": "/d/", "options": options, "items": [{ "digest": "sha256:22" }] } }],
        });
        change(&mut recipe);
        recipe
    }

    #[test]
    fn what_changed_is_told_in_words() {
        type Case = (Value, &'static str);
        let before = run(|_| {});
        let cases: [Case; 12] = [
            (run(|r| r["base"] = json!("sha256:bb")), "what is below it changed"),
            (run(|r| r["version"] = json!(5)), "this version of kiln does such steps in another way"),
            (run(|r| r["op"]["run"]["argv"][2] = json!("make all")), "the command changed from `make` to `make all`"),
            (run(|r| r["op"]["run"]["env"][1][1] = json!("2")), "ENV V changed from `1` to `2`"),
            (run(|r| r["op"]["run"]["env"] = json!([["PATH", "/bin"]])), "ENV V is gone, which was `1`"),
            (run(|r| r["op"]["run"]["env"][1][0] = json!("W")), "ENV V is gone, which was `1`; ENV W is new: `1`"),
            (
                run(|r| r["op"]["run"]["env"] = json!([["V", "1"], ["PATH", "/bin"]])),
                "the order of variables changed from `PATH V` to `V PATH`",
            ),
            (run(|r| r["op"]["run"]["user"] = json!("app")), "USER is new: `app`"),
            (
                run(|r| r["op"]["run"]["platform"]["architecture"] = json!("arm64")),
                "the platform changed from `linux/amd64` to `linux/arm64`",
            ),
            (run(|r| r["op"]["run"]["mounts"] = json!([])), "the mount at `/c` is gone"),
            (
                run(|r| r["op"]["run"]["mounts"][0]["kind"]["cache"]["id"] = json!("x")),
                "the mount at `/c` has other options",
            ),
            (
                run(|r| r["sources"]["mounts"][0]["content"]["content"] = json!("sha256:12")),
                "the files mounted at `/ctx` changed",
            ),
        ];
        for (after, expected) in cases {
            assert_eq!(told(&before, &after), expected);
        }
        let before = copy(|_| {});
        let cases: [Case; 5] = [
            (
                copy(|r| r["sources"][0]["copy"]["items"][0]["digest"] = json!("sha256:23")),
                "files that it reads changed",
            ),
            (
                copy(|r| r["op"]["file"]["actions"][0]["copy"]["options"]["mode"] = json!({ "octal": 493 })),
                "--chmod is new: `0755`",
            ),
            (
                copy(|r| r["op"]["file"]["actions"][0]["copy"]["options"]["owner"] = json!({ "text": "7:8" })),
                "--chown is new: `7:8`",
            ),
            (
                copy(|r| r["op"]["file"]["actions"][0]["copy"]["destination"] = json!("/e/")),
                "the destination changed from `/d/` to `/e/`",
            ),
            (
                copy(|r| r["op"]["file"]["actions"][0]["copy"]["source"]["path"]["path"] = json!("b")),
                "the source changed from `a` to `b`",
            ),
        ];
        for (after, expected) in cases {
            assert_eq!(told(&before, &after), expected);
        }
        assert_eq!(
            told(&copy(|_| {}), &run(|_| {})).split(';').next(),
            Some("the command changed from `file` to `run`")
        );
    }

    fn told(before: &Value, after: &Value) -> String {
        Miss::Changed { differences: differences(before, after), than: String::new() }.to_string()
    }

    #[test]
    fn lines_stay_lines() {
        let long = "x".repeat(100);
        let (before, after) = (format!("{long}1\n"), format!("{long}2\u{1b}[31m"));
        let text = Difference::Command { before, after }.to_string();
        assert_eq!(text, "the command changed from `…xxxxxxxxxxxx1␤` to `…xxxxxxxxxxxx2␤[31m`");
    }

    #[test]
    fn files_are_counted_and_named() {
        let names = ["a", "b", "c"].map(|name| (name.to_owned(), InputChange::Content)).to_vec();
        let changes = InputChanges { total: 1240, changed: 4, added: 0, removed: 1, examples: names };
        assert_eq!(changes.to_string(), "of 1,240 files, 4 changed, 1 removed: a, b, c and 2 more");
    }
}
