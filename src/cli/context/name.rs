use std::fmt::Write;

/// Returns a path as text that shows every byte of it and moves no cursor: what is not UTF-8, and characters that are
/// not seen or change how others are, become escapes, and so does the backslash.
pub(in crate::cli) fn shown(path: &[u8]) -> String {
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
}
