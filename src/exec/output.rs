use std::borrow::Cow;
use std::collections::VecDeque;

/// Lines of output kept for the message about a failure.
const TAIL_LINES: usize = 12;

/// Longest line kept for that, in bytes.
const TAIL_LINE_BYTES: usize = 2000;

/// The last lines of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: bool,
}

impl Tail {
    /// Takes bytes as they come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        // Of many lines at once, all but the last would only be dropped again.
        let closed = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut feeds = (0..closed.len()).rev().filter(|&at| closed[at] == b'\n');
        let bytes = match feeds.nth(TAIL_LINES - 1) {
            Some(feed) => {
                self.open = false;
                &bytes[feed + 1..]
            }
            None => bytes,
        };
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !self.open {
                let oldest = if self.lines.len() == TAIL_LINES { self.lines.pop_front() } else { None };
                let mut line = oldest.unwrap_or_default();
                line.clear();
                self.lines.push_back(line);
            }
            self.open = !piece.ends_with(b"\n");
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if let Some(line) = self.lines.back_mut() {
                let room = TAIL_LINE_BYTES.saturating_sub(line.len());
                line.extend_from_slice(&text[..text.len().min(room)]);
            }
        }
    }

    /// Returns the lines; of a progress bar that overwrote itself, what it showed last.
    pub(super) fn lines(&self) -> Vec<String> {
        let shown = |line: &Vec<u8>| {
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            let last = text.rsplit(|&byte| byte == b'\r').next().unwrap_or(text);
            String::from_utf8_lossy(last).into_owned()
        };
        self.lines.iter().map(shown).collect()
    }
}

/// Turns bytes in pieces into text, without breaking a character that lies in two of them.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Returns the text that is complete with `bytes`.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> String {
        let mut bytes = Cow::Borrowed(bytes);
        if !self.pending.is_empty() {
            bytes = Cow::Owned([&self.pending, &bytes[..]].concat());
            self.pending.clear();
        }
        let complete = bytes.len() - incomplete_suffix(&bytes);
        self.pending.extend_from_slice(&bytes[complete..]);
        String::from_utf8_lossy(&bytes[..complete]).into_owned()
    }
}

/// Length of an unfinished character at the end of `bytes`: at most 3.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    for index in (start..bytes.len()).rev() {
        let wanted = match bytes[index] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        let there = bytes.len() - index;
        return if there < wanted { there } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_whatever_the_pieces() {
        let mut tail = Tail::default();
        let text: String = (0..20).map(|line| format!("line {line}\n")).collect();
        for piece in text.as_bytes().chunks(3) {
            tail.push(piece);
        }
        tail.push(b"10%\r50%\r90%");
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first().unwrap(), "line 9");
        assert_eq!(lines.last().unwrap(), "90%");
        let mut whole = Tail::default();
        whole.push(b"begun");
        whole.push(text.as_bytes());
        whole.push(b"10%\r50%\r90%");
        assert_eq!(whole.lines(), lines);
        tail.push(&vec![b'x'; 10_000]);
        assert_eq!(tail.lines().last().unwrap().len(), TAIL_LINE_BYTES - "10%\r50%\r".len());
    }

    #[test]
    fn characters_survive_being_cut() {
        let text = "aé日🦀 ok";
        for size in 1..5 {
            let mut decoder = Decoder::default();
            let joined: String = text.as_bytes().chunks(size).map(|piece| decoder.decode(piece)).collect();
            assert_eq!(joined, text, "pieces of {size}");
        }
        assert_eq!(Decoder::default().decode(b"a\xffb"), "a\u{fffd}b");
    }
}
