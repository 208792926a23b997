use std::time::Duration;

use similar::TextDiff;

/// Lines around a change, as of `diff -u`.
const CONTEXT_LINES: usize = 3;

/// Texts so different that finding the fewest changes takes longer are compared more coarsely.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much of a file decides whether it is a text, as it does for git.
const START_BYTES: usize = 8000;

/// Tells whether bytes are text: UTF-8 without NUL.
pub fn is_text(bytes: &[u8]) -> bool {
    !bytes[..bytes.len().min(START_BYTES)].contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// Returns the hunks of a unified diff (`@@ -1,2 +1,3 @@` and lines), without names; nothing for equal texts.
pub fn hunks(before: &str, after: &str) -> String {
    let mut config = TextDiff::configure();
    config.timeout(PATIENCE);
    let diff = config.diff_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT_LINES).missing_newline_hint(true).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_as_diff_tells_them() {
        let expected = "@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n";
        assert_eq!(hunks("a\nb\nd\n", "a\nc\nd\n"), expected);
        assert_eq!(hunks("", "x"), "@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n");
        assert_eq!(hunks("x\n", "x\n"), "");
    }

    #[test]
    fn text_is_utf8_without_nul() {
        for (bytes, expected) in
            [(&b"a\n"[..], true), (b"", true), ("é".as_bytes(), true), (b"a\0", false), (b"\xff", false)]
        {
            assert_eq!(is_text(bytes), expected, "{bytes:?}");
        }
    }
}
