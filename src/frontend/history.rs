//! What instructions are called in the history of an image (semantics reference, section 12.2): BuildKit's texts, which
//! are those of Go's formatting.

use std::fmt::Write;

use crate::oci::Healthcheck;

/// Returns `["a" "b"]`, as Go prints a list with `%q`.
pub(super) fn quoted(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(" "))
}

/// Returns `[a b]`, as Go prints a list with `%v`.
pub(super) fn plain(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        let escaped = match character {
            '"' => Some('"'),
            '\\' => Some('\\'),
            '\u{7}' => Some('a'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{b}' => Some('v'),
            _ => None,
        };
        // Writing to a string cannot fail.
        let _ = match (escaped, u32::from(character)) {
            (Some(letter), _) => write!(quoted, "\\{letter}"),
            (None, code @ (0..0x20 | 0x7f)) => write!(quoted, "\\x{code:02x}"),
            (None, code) if is_printable(character) || code == 0x20 => write!(quoted, "{character}"),
            (None, code @ ..=0xffff) => write!(quoted, "\\u{code:04x}"),
            (None, code) => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push('"');
    quoted
}

fn is_printable(character: char) -> bool {
    !character.is_control()
        && !character.is_whitespace()
        && !matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}')
}

/// Returns a health check as Go prints the struct.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// Returns nanoseconds as Go prints a duration: `1h2m3.5s`, `1.5ms`, `0s`.
fn duration(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let small = [(1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (SECOND, 1_000_000, "ms")];
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if let Some((_, unit, name)) = small.iter().find(|(limit, _, _)| nanoseconds < *limit) {
        return format!("{}{name}", decimal(nanoseconds, *unit));
    }
    let (minutes, rest) = (nanoseconds / (60 * SECOND), nanoseconds % (60 * SECOND));
    let seconds = decimal(rest, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Returns `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % unit);
    let fraction = if digits == 0 { "" } else { fraction.trim_end_matches('0') };
    let whole = value / unit;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_quoted_as_go_does() {
        let items = ["a b", "\"\\", "\n\u{1}\u{7f}", "é\u{a0}\u{200b}\u{1f600}", ""].map(str::to_owned);
        assert_eq!(quoted(&items), r#"["a b" "\"\\" "\n\x01\x7f" "é\u00a0\u200b😀" ""]"#);
        assert_eq!((quoted(&[]), plain(&items[..1])), ("[]".to_owned(), "[a b]".to_owned()));
    }

    #[test]
    fn durations_are_those_of_go() {
        const SECOND: u64 = 1_000_000_000;
        for (nanoseconds, expected) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_001_000, "1.001ms"),
            (5 * SECOND, "5s"),
            (90 * SECOND + SECOND / 2, "1m30.5s"),
            (3600 * SECOND, "1h0m0s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
