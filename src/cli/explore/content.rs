//! Contents of files as lines that a terminal can take.

use similar::{ChangeTag, TextDiff};

use crate::cli::{human, name};
use crate::engine::Beginning;

/// A line over the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextLine {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Added,
    Removed,
    /// Beside the matter.
    Faint,
}

impl TextLine {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> TextLine {
        TextLine { text: text.into(), tone }
    }
}

/// Of a file, this much is shown.
pub(super) const MOST_BYTES: u64 = 64 << 10;
const BYTES_PER_ROW: usize = 16;
/// Lines around a change.
const CONTEXT_LINES: usize = 3;

/// Returns the beginning of a file, as text or in hexadecimal.
pub(super) fn preview(file: &Beginning) -> Vec<TextLine> {
    let mut lines: Vec<TextLine> = match is_text(file) {
        true => lines(&file.bytes).into_iter().map(|line| TextLine::new(Tone::Plain, line)).collect(),
        false => hexadecimal(&file.bytes),
    };
    if file.bytes.is_empty() {
        lines.push(TextLine::new(Tone::Faint, "(empty)"));
    }
    lines.extend(rest(file));
    lines
}

/// Returns how two files differ; none is no file.
pub(super) fn difference(before: Option<&Beginning>, after: Option<&Beginning>) -> Vec<TextLine> {
    let nothing = Beginning { bytes: Vec::new(), size_bytes: 0 };
    let (old, new) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    if old == new && old.bytes.len() as u64 == old.size_bytes {
        return vec![TextLine::new(Tone::Faint, "the contents are equal")];
    }
    if !(is_text(old) && is_text(new)) {
        let text = format!("binary contents differ: {} → {}", human::size(old.size_bytes), human::size(new.size_bytes));
        return vec![TextLine::new(Tone::Plain, text)];
    }
    let (old_lines, new_lines) = (lines(&old.bytes), lines(&new.bytes));
    let (old_slices, new_slices) = (slices(&old_lines), slices(&new_lines));
    let diff = TextDiff::from_slices(&old_slices, &new_slices);
    let mut out = Vec::new();
    for hunk in diff.grouped_ops(CONTEXT_LINES) {
        if !out.is_empty() {
            out.push(TextLine::new(Tone::Faint, "⋮"));
        }
        for change in hunk.iter().flat_map(|op| diff.iter_changes(op)) {
            let (tone, sign) = match change.tag() {
                ChangeTag::Equal => (Tone::Plain, ' '),
                ChangeTag::Insert => (Tone::Added, '+'),
                ChangeTag::Delete => (Tone::Removed, '-'),
            };
            out.push(TextLine::new(tone, format!("{sign}{}", change.value())));
        }
    }
    if out.is_empty() {
        out.push(TextLine::new(Tone::Faint, "no difference in what is shown"));
    }
    out.extend(rest(if new.size_bytes > old.size_bytes { new } else { old }));
    out
}

fn slices(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

fn rest(file: &Beginning) -> Option<TextLine> {
    let more = file.size_bytes - file.bytes.len() as u64;
    (more > 0).then(|| TextLine::new(Tone::Faint, format!("… {} more", human::size(more))))
}

/// Tells whether a file is for people: it has no NUL, and hardly anything that is not UTF-8.
fn is_text(file: &Beginning) -> bool {
    let invalid: usize = file.bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    !file.bytes.contains(&0) && invalid * 10 <= file.bytes.len()
}

/// Returns lines without anything in them that a terminal would act upon.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = bytes.split(|&byte| byte == b'\n').map(line).collect();
    // What follows the last line feed is no line.
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn line(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.strip_suffix(b"\r").unwrap_or(bytes).utf8_chunks() {
        text += &name::visible(&chunk.valid().replace('\t', "    "));
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

fn hexadecimal(bytes: &[u8]) -> Vec<TextLine> {
    let row = |(number, row): (usize, &[u8])| {
        let digits: String = row.iter().map(|byte| format!("{byte:02x} ")).collect();
        let graphic = |&byte: &u8| if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' };
        let characters: String = row.iter().map(graphic).collect();
        let width = BYTES_PER_ROW * 3;
        TextLine::new(Tone::Plain, format!("{:08x}  {digits:width$} {characters}", number * BYTES_PER_ROW))
    };
    bytes.chunks(BYTES_PER_ROW).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Beginning {
        Beginning { bytes: bytes.to_vec(), size_bytes: bytes.len() as u64 }
    }

    fn texts(lines: &[TextLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn nothing_in_a_file_reaches_the_terminal_raw() {
        let hostile = file(b"a\tb\r\n\x1b]0;title\x07\xffabcdefghijkl\n");
        assert_eq!(texts(&preview(&hostile)), ["a    b", "\\u{1b}]0;title\\u{7}\\xffabcdefghijkl"]);
        let binary = preview(&file(b"\x7fELF\0\x1b"));
        assert_eq!(texts(&binary), [format!("00000000  {:48} .ELF..", "7f 45 4c 46 00 1b")]);
        assert_eq!(texts(&preview(&Beginning { bytes: b"ab".to_vec(), size_bytes: 2000 })), ["ab", "… 2kB more"]);
        assert_eq!(texts(&preview(&file(b""))), ["(empty)"]);
    }

    #[test]
    fn a_difference_has_its_lines() {
        let (old, new) = (file(b"one\ntwo\n"), file(b"one\nzwei\n"));
        assert_eq!(texts(&difference(Some(&old), Some(&new))), [" one", "-two", "+zwei"]);
        assert_eq!(texts(&difference(None, Some(&old))), ["+one", "+two"]);
        assert_eq!(texts(&difference(Some(&old), Some(&old))), ["the contents are equal"]);
        assert_eq!(texts(&difference(Some(&file(b"\0")), None)), ["binary contents differ: 1B → 0B"]);
    }
}
