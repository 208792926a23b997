use std::fmt::Write;

/// Returns a path as text that shows every byte of it and moves no cursor: what is not UTF-8, and characters that are
/// not seen or change how others are, become escapes, and so does the backslash.
pub(super) fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' || is_hidden(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Returns a text in one line, in which what moves a cursor or is not seen is an escape; a backslash stays one.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns a path as it is, for JSON; what is not UTF-8 is escaped as for people, and then its bytes in hexadecimal
/// say what it is.
pub(super) fn exact(path: &[u8]) -> (String, Option<String>) {
    match str::from_utf8(path) {
        Ok(path) => (path.to_owned(), None),
        Err(_) => (shown(path), Some(path.iter().map(|byte| format!("{byte:02x}")).collect())),
    }
}

/// Controls, line and paragraph separators, and what is of no width or turns the direction of writing.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_hidden() {
        for (path, expected) in [
            (&b"a b/\xc3\xa9"[..], "a b/é"),
            (b"\xff\xc3", "\\xff\\xc3"),
            (b"a\nb\x1b[31m", "a\\nb\\u{1b}[31m"),
            (b"a\\nb", "a\\\\nb"),
            ("\u{202e}gpj.exe".as_bytes(), "\\u{202e}gpj.exe"),
            ("e\u{301}".as_bytes(), "e\u{301}"),
        ] {
            assert_eq!(shown(path), expected);
        }
    }

    #[test]
    fn a_text_is_one_line() {
        assert_eq!(visible("RUN a \\\n\tb\x1b[2J"), "RUN a \\\\n\\tb\\u{1b}[2J");
    }

    #[test]
    fn names_in_json_lose_nothing() {
        assert_eq!(exact(b"a\n"), ("a\n".to_owned(), None));
        assert_eq!(exact(b"a\xff"), ("a\\xff".to_owned(), Some("61ff".to_owned())));
    }
}
