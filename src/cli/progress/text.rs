use std::time::Duration;

/// Returns `line` without anything that moves a cursor, changes colours or titles, or rings: what a step writes is
/// shown on somebody's terminal. A tab becomes blanks.
pub(in crate::cli) fn without_controls(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => skip_sequence(&mut characters),
            // The eight-bit form of `ESC [`.
            '\u{9b}' => skip_control_sequence(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut characters),
            '\t' => text.push_str("    "),
            _ if character.is_control() => {}
            _ => text.push(character),
        }
    }
    text
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips the rest of an escape sequence (ECMA-48, 5.3 to 5.6).
fn skip_sequence(characters: &mut Characters<'_>) {
    match characters.next() {
        Some('[') => skip_control_sequence(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(characters),
        // Intermediate bytes, then a final one.
        Some(' '..='/') => {
            while characters.next_if(|character| matches!(character, ' '..='/')).is_some() {}
            characters.next();
        }
        _ => {}
    }
}

fn skip_control_sequence(characters: &mut Characters<'_>) {
    while characters.next_if(|character| matches!(character, ' '..='?')).is_some() {}
    characters.next_if(|character| matches!(character, '@'..='~'));
}

/// Skips a string up to its terminator: BEL, or `ESC \`.
fn skip_string(characters: &mut Characters<'_>) {
    while let Some(character) = characters.next() {
        match character {
            '\x07' | '\u{9c}' => return,
            '\x1b' => {
                characters.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Returns what a terminal would show of a line in which carriage returns overwrite: what follows the last.
pub(super) fn last_overwrite(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default()
}

/// Returns a time as BuildKit prints it: `12.3s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// Returns a finding of lint: a headline as BuildKit prints it, then the place.
pub(super) fn lint(rule: &str, message: &str, line: usize, excerpt: &str) -> String {
    let excerpt: Vec<String> = excerpt.lines().map(without_controls).collect();
    format!("{rule}: {} (line {line})\n{}", without_controls(message), excerpt.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_step_writes_controls_the_terminal() {
        for (line, expected) in [
            ("plain", "plain"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bPq#0\x1b\\after", "after"),
            ("\u{9b}2Jafter", "after"),
            ("a\x1b(Bb\x1bcc", "abc"),
            ("bell\x07 back\x08", "bell back"),
            ("a\tb", "a    b"),
            ("\x1b[", ""),
            ("\x1b]never ends", ""),
            ("é\x1b[3\u{e9}", "éé"),
        ] {
            assert_eq!(without_controls(line), expected, "{line:?}");
        }
    }

    #[test]
    fn of_overwritten_text_the_last_is_seen() {
        for (line, expected) in [("10%\r50%\r100%", "100%"), ("100%\r", "100%"), ("a", "a"), ("\r", "")] {
            assert_eq!(last_overwrite(line), expected, "{line:?}");
        }
    }
}
