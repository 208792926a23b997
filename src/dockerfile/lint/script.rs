//! Shell scripts as far as lint must understand them: commands, their words, and what joins them.
//!
//! This is no shell. What it cannot follow (`eval`, aliases, text that variables bring along) it takes for plain words.

use std::ops::Range;

use crate::diagnostic::Span;
use crate::dockerfile::ast::{Arguments, Instruction, Text};

/// The script of a RUN, and where it stands.
pub(super) struct Script<'a> {
    pub(super) text: &'a str,
    origin: Origin<'a>,
    /// Whether it is a heredoc of its own.
    pub(super) is_heredoc: bool,
}

enum Origin<'a> {
    /// The end of a logical line, from this byte.
    Line(&'a Text, usize),
    /// A piece of the source, from this byte.
    Source(usize),
}

impl<'a> Script<'a> {
    /// Returns what a shell gets from a RUN; nothing of one in JSON form.
    pub(super) fn of(run: &'a Instruction) -> Option<Script<'a>> {
        let Arguments::Text(text) = &run.arguments else { return None };
        match run.heredocs.first() {
            Some(heredoc) if heredoc.marker == text.span => Some(Script {
                text: &heredoc.body.value,
                origin: Origin::Source(heredoc.body.span.start),
                is_heredoc: true,
            }),
            _ => {
                let start = run.text.as_str().len().checked_sub(text.value.len())?;
                let line = run.text.as_str().get(start..)?;
                Some(Script { text: line, origin: Origin::Line(&run.text, start), is_heredoc: false })
            }
        }
    }

    /// Returns where a piece of it was written.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        match self.origin {
            Origin::Line(line, start) => line.span_of(start + range.start..start + range.end),
            Origin::Source(start) => Span::new(start + range.start, start + range.end),
        }
    }

    /// Returns its commands, in order.
    pub(super) fn commands(&self) -> Vec<Command> {
        Scanner { text: self.text, at: 0, words: Vec::new(), commands: Vec::new(), depth: 0, heredocs: Vec::new() }
            .commands()
    }
}

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// `;`, a line feed or `&`.
    Sequence,
    /// `&&` or `||`.
    Condition,
    Pipe,
    /// Nothing, or the end of parentheses.
    End,
}

/// A simple command, keywords before it included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    pub(super) then: Then,
}

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

/// Words that stand before a command and change nothing about what it is.
const BEFORE: [&str; 14] =
    ["if", "then", "else", "elif", "while", "until", "do", "{", "!", "time", "sudo", "exec", "command", "env"];

impl Command {
    /// Returns the program and its arguments, without keywords and assignments before them.
    pub(super) fn program(&self) -> (&str, &[Word]) {
        let is_before = |word: &&Word| BEFORE.contains(&word.text.as_str()) || is_assignment(&word.text);
        let start = self.words.iter().take_while(is_before).count();
        match self.words.get(start) {
            Some(program) => (&program.text, &self.words[start + 1..]),
            None => ("", &[]),
        }
    }

    pub(super) fn range(&self) -> Range<usize> {
        match (self.words.first(), self.words.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }

    /// Returns by how much it changes the depth of compound commands.
    pub(super) fn nesting(&self) -> i32 {
        let openers = ["if", "while", "until", "for", "case", "{"];
        let closers = ["fi", "done", "esac", "}"];
        let keywords = self.words.iter().take_while(|word| {
            let text = word.text.as_str();
            BEFORE.contains(&text) || openers.contains(&text) || closers.contains(&text)
        });
        keywords.map(|word| i32::from(openers.contains(&&*word.text)) - i32::from(closers.contains(&&*word.text))).sum()
    }
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    words: Vec<Word>,
    commands: Vec<Command>,
    /// Open parentheses.
    depth: usize,
    /// Ends of the heredocs that begin below the current line.
    heredocs: Vec<String>,
}

impl Scanner<'_> {
    fn commands(mut self) -> Vec<Command> {
        while let Some(byte) = self.peek(0) {
            self.step(byte);
        }
        self.end(Then::End);
        self.commands
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn step(&mut self, byte: u8) {
        match (byte, self.peek(1)) {
            (b' ' | b'\t' | b'\r', _) => self.at += 1,
            (b'\\', Some(b'\n')) => self.at += 2,
            (b'#', _) => self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at),
            (b'\n', _) => self.line_feed(),
            (b'&', Some(b'&')) | (b'|', Some(b'|')) => self.join(Then::Condition, 2),
            (b'&', Some(b'>')) => self.redirect(),
            (b'|', next) => self.join(Then::Pipe, if next == Some(b'&') { 2 } else { 1 }),
            (b'&' | b';', _) => self.join(Then::Sequence, 1),
            (b'(', _) => self.open(),
            (b')', _) => self.close(),
            (b'<' | b'>', _) => self.redirect(),
            _ => {
                let word = self.word();
                // The number before `>` is no word.
                let is_descriptor = word.text.bytes().all(|byte| byte.is_ascii_digit());
                if !(is_descriptor && matches!(self.peek(0), Some(b'<' | b'>'))) {
                    self.words.push(word);
                }
            }
        }
    }

    fn join(&mut self, then: Then, length: usize) {
        self.at += length;
        self.end(then);
    }

    /// Ends the current command; without one, says what follows the parentheses before.
    fn end(&mut self, then: Then) {
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            self.commands.push(Command { words, then });
        } else if let Some(last) = self.commands.last_mut().filter(|last| last.then == Then::End) {
            last.then = then;
        }
    }

    fn line_feed(&mut self) {
        self.join(Then::Sequence, 1);
        for name in std::mem::take(&mut self.heredocs) {
            while self.at < self.text.len() {
                let rest = &self.text[self.at..];
                let length = rest.find('\n').map_or(rest.len(), |feed| feed + 1);
                self.at += length;
                if rest[..length].trim() == name {
                    break;
                }
            }
        }
    }

    fn open(&mut self) {
        self.at += 1;
        if !self.words.is_empty() && self.peek(0) == Some(b')') {
            // The name of a function.
            self.at += 1;
            self.words.clear();
            return;
        }
        self.end(Then::Sequence);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.at += 1;
        if self.depth > 0 {
            self.depth -= 1;
            self.end(Then::End);
            return;
        }
        // The pattern of a `case`: its bars are no pipes.
        self.words.clear();
        while self.commands.last().is_some_and(|last| last.then == Then::Pipe) {
            self.commands.pop();
        }
    }

    fn redirect(&mut self) {
        let start = self.at;
        while matches!(self.peek(0), Some(b'<' | b'>' | b'&' | b'|' | b'-')) && self.at < start + 3 {
            self.at += 1;
        }
        let operator = self.text[start..self.at].to_owned();
        if self.peek(0) == Some(b'(') {
            return;
        }
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        if !matches!(self.peek(0), None | Some(b'\n' | b';' | b'|' | b'&' | b'(' | b')' | b'<' | b'>')) {
            let target = self.word();
            if matches!(operator.as_str(), "<<" | "<<-") {
                self.heredocs.push(target.text);
            }
        }
    }

    fn word(&mut self) -> Word {
        let start = self.at;
        let mut text = String::new();
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => break,
                b'\\' if self.peek(1) == Some(b'\n') => self.at += 2,
                b'\\' => {
                    self.at += 1;
                    self.take(1, &mut text);
                }
                b'\'' => self.quoted(b'\'', &mut text),
                b'"' => self.quoted(b'"', &mut text),
                b'`' => self.quoted(b'`', &mut text),
                b'$' if matches!(self.peek(1), Some(b'(' | b'{')) => self.substitution(&mut text),
                _ => self.take(1, &mut text),
            }
        }
        Word { text, range: start..self.at }
    }

    /// Takes at least `count` bytes, to the end of a character.
    fn take(&mut self, count: usize, text: &mut String) {
        let mut end = (self.at + count).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        text.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    fn quoted(&mut self, quote: u8, text: &mut String) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                byte if byte == quote => {
                    self.at += 1;
                    return;
                }
                b'\\' if quote != b'\'' && self.peek(1).is_some() => {
                    self.at += 1;
                    self.take(1, text);
                }
                b'$' if quote == b'"' && matches!(self.peek(1), Some(b'(' | b'{')) => self.substitution(text),
                _ => self.take(1, text),
            }
        }
    }

    /// Takes `$(…)` or `${…}` as a piece of a word.
    fn substitution(&mut self, text: &mut String) {
        let (open, close) = if self.peek(1) == Some(b'(') { (b'(', b')') } else { (b'{', b'}') };
        let mut depth = 0;
        self.take(1, text);
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.take(2, text),
                b'\'' if open == b'(' => self.quoted(b'\'', text),
                _ => {
                    depth += i32::from(byte == open) - i32::from(byte == close);
                    self.take(1, text);
                    if depth == 0 {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commands(text: &str) -> Vec<Command> {
        Script { text, origin: Origin::Source(0), is_heredoc: false }.commands()
    }

    fn shown(text: &str) -> String {
        let show = |command: &Command| {
            let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
            let then = match command.then {
                Then::Sequence => ";",
                Then::Condition => "&&",
                Then::Pipe => "|",
                Then::End => ".",
            };
            words.join(" ") + then
        };
        commands(text).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn scripts_are_commands() {
        for (text, expected) in [
            ("a b && c || d", "a b&& c&& d."),
            ("a 'b | c' \"d && $(e | f)\"", "a b | c d && $(e | f)."),
            ("a | b |& c", "a| b| c."),
            ("a\n\nb # c | d\n", "a; b;"),
            ("a 2>&1 >/dev/null | b <c", "a| b."),
            ("(a; b) | c", "a; b| c."),
            ("case $x in a|b) c ;; *) d ;; esac", "c; d; esac."),
            ("f() { a; }", "{ a; }."),
            ("cat <<E | b\nx | y\nE\nc", "cat| b; c."),
            ("cat <<-'E'\n\tx | y\n\tE\nc", "cat; c."),
            ("a \\\n b", "a b."),
            ("$(a | b) ${c:-d|e}", "$(a | b) ${c:-d|e}."),
            ("a &\nb", "a; b."),
            ("é 'ü' \\ö", "é ü ö."),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn the_program_stands_behind_keywords_and_assignments() {
        let all = commands("if ! A=b sudo apt-get update");
        assert_eq!(all[0].program().0, "apt-get");
        assert_eq!(all[0].program().1[0].text, "update");
    }

    proptest! {
        #[test]
        fn scanning_never_panics_and_ranges_are_in_bounds(text in "[ab é'\"`$(){};&|<>#\\\\\n-]{0,40}") {
            for command in commands(&text) {
                prop_assert!(text.get(command.range()).is_some());
            }
        }
    }
}
