//! Causes as people read them, each in one line.

use std::fmt;

use super::*;

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Unwanted => f.write_str("cached results are not wanted (--no-cache)"),
            Miss::New => f.write_str("nothing like it was built before"),
            Miss::Removed { at: None } => f.write_str("its result is not in the store any more"),
            Miss::Removed { at: Some(at) } => {
                write!(f, "its result was removed on {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
            }
            Miss::Changed { differences, .. } => {
                let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
        }
    }
}

/// Characters of a value that one line has room for.
const SHOWN: usize = 60;

/// Returns a value in quotes, in one line that is not too long, with nothing in it that a terminal would obey.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '␤' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Base { step: Some(step) } => write!(f, "step #{step} below it changed"),
            Difference::Base { step: None } => f.write_str("what is below it changed"),
            Difference::Source { step: Some(step) } => write!(f, "step #{step}, from which it reads, changed"),
            Difference::Source { step: None } => f.write_str("what it reads changed"),
            Difference::Order { step, gone } => {
                let step = step.map_or_else(|| "nothing".to_owned(), |step| format!("step #{step}"));
                match gone.is_empty() {
                    true => write!(f, "it comes right after {step} now"),
                    false => {
                        let gone: Vec<String> = gone.iter().map(|text| quoted(text)).collect();
                        write!(f, "what stood between it and {step} is gone: {}", gone.join(", "))
                    }
                }
            }
            Difference::Image { name, before, after } => match before {
                Some(before) if before.starts_with("sha256:") => {
                    write!(f, "the image {} changed from {} to {}", quoted(name), short(before), short(after))
                }
                Some(before) => write!(f, "the image changed from {} to {}", quoted(before), quoted(name)),
                None => write!(f, "the image {} is another ({})", quoted(name), short(after)),
            },
            Difference::Files { changes: None } => f.write_str("files that it reads changed"),
            Difference::Files { changes: Some(changes) } => changes.fmt(f),
            Difference::Mount { target, change, step } => {
                let target = quoted(target);
                match (change, step) {
                    (MountChange::Added, _) => write!(f, "the mount at {target} is new"),
                    (MountChange::Removed, _) => write!(f, "the mount at {target} is gone"),
                    (MountChange::Options, _) => write!(f, "the mount at {target} has other options"),
                    (MountChange::Content, Some(step)) => write!(f, "the files at {target} changed with step #{step}"),
                    (MountChange::Content, None) => write!(f, "the files mounted at {target} changed"),
                }
            }
            Difference::Variable { name, origin, before, after } => {
                let kind = match origin {
                    VariableOrigin::Argument => "ARG",
                    VariableOrigin::Environment => "ENV",
                };
                write!(f, "{kind} {} ", printable(name))?;
                match (before, after) {
                    (Some(before), Some(after)) => write!(f, "changed from {} to {}", quoted(before), quoted(after)),
                    (None, Some(after)) => write!(f, "is new: {}", quoted(after)),
                    (before, None) => write!(f, "is gone, which was {}", quoted(before.as_deref().unwrap_or_default())),
                }
            }
            Difference::Command { before, after } => {
                let (before, after) = windows(before, after);
                write!(f, "the command changed from {} to {}", quoted(&before), quoted(&after))
            }
            Difference::Setting { name, before, after } => match (before.as_str(), after.as_str()) {
                ("", after) => write!(f, "{name} is new: {}", quoted(after)),
                (before, "") => write!(f, "{name} is gone, which was {}", quoted(before)),
                (before, after) => write!(f, "{name} changed from {} to {}", quoted(before), quoted(after)),
            },
            Difference::Remote => f.write_str("what is fetched changed"),
            Difference::Version => f.write_str("this version of kiln does such steps in another way"),
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '␤' } else { c }).collect()
}

/// Returns a digest as far as people compare it.
fn short(digest: &str) -> String {
    const HEX: usize = 12;
    match digest.split_once(':') {
        Some((algorithm, hex)) if hex.len() > HEX && hex.is_ascii() => format!("{algorithm}:{}", &hex[..HEX]),
        _ => printable(digest),
    }
}

/// Cuts from two long texts the beginning that they share, but for a few characters.
fn windows(before: &str, after: &str) -> (String, String) {
    const LEFT: usize = 12;
    let shared = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let longest = before.chars().count().max(after.chars().count());
    if longest <= SHOWN || shared <= LEFT {
        return (before.to_owned(), after.to_owned());
    }
    let cut = |text: &str| format!("…{}", text.chars().skip(shared - LEFT).collect::<String>());
    (cut(before), cut(after))
}

impl fmt::Display for InputChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as one line has room for.
        const NAMED: usize = 3;
        let counts = [(self.changed, "changed"), (self.added, "added"), (self.removed, "removed")];
        let texts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, verb)| format!("{count} {verb}")).collect();
        let files = if self.total == 1 { "file" } else { "files" };
        write!(f, "of {} {files}, {}", grouped(self.total), texts.join(", "))?;
        let names: Vec<String> =
            self.examples.iter().take(NAMED).map(|(path, change)| example(path, *change)).collect();
        let more = (self.changed + self.added + self.removed).saturating_sub(names.len());
        let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
        if names.is_empty() { Ok(()) } else { write!(f, ": {}{more}", names.join(", ")) }
    }
}

fn example(path: &str, change: InputChange) -> String {
    let path = printable(path);
    match change {
        InputChange::Metadata => format!("{path} (mode or owner)"),
        InputChange::Content | InputChange::Added | InputChange::Removed => path,
    }
}

/// Returns a number with its thousands apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    groups.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.join(",")
}
