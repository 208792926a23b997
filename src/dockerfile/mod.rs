//! Dockerfile text to values: [`parse()`] yields what was written ([`ast`]), [`lower()`] what it means ([`instruction`]).
//!
//! Pure: text in, values out. Nothing here expands a variable against an environment or looks at a file.
//!
//! ```text
//! &str ──parse──▶ ast::Dockerfile ──lower──▶ instruction::Dockerfile
//! ```

pub mod ast;
pub mod instruction;
pub mod lint;
mod lower;
mod parse;
pub mod shell;
mod suggest;
mod text;

pub use lower::{decide_mount, lower, parse_trigger, read, read_parsed, size_bytes};
pub use parse::{Parsed, parse};
#[doc(hidden)]
pub use parse::{RULES, accepts};
pub use suggest::nearest;

use crate::diagnostic::Source;

/// Why bytes are no text to read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some byte is not UTF-8.
    #[error("{name}:{line} is not UTF-8 text (byte {offset} of the file)")]
    NotUtf8 {
        /// The name of the file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// How many bytes precede the one that is wrong.
        offset: usize,
        /// What is wrong with it.
        source: std::str::Utf8Error,
    },
}

/// Returns the bytes of a file as a source, without the byte-order mark some editors write.
///
/// # Errors
/// [`Error::NotUtf8`] with the place of the first wrong byte.
pub fn source_from_bytes(name: &str, bytes: &[u8]) -> Result<Source, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text))),
        Err(source) => {
            let offset = source.valid_up_to();
            let line = bytes[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Err(Error::NotUtf8 { name: name.to_owned(), line, offset, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::{Diagnostic, Severity};

    /// Pieces that mean something next to each other.
    const FRAGMENTS: [&str; 48] = [
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "SHELL ",
        "CMD ",
        "EXPOSE ",
        "volume ",
        "RNU ",
        "a",
        "a=b",
        "é",
        "日",
        "\u{a0}",
        "\u{feff}",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\\\n",
        "\\",
        "`",
        "\"",
        "'",
        " ",
        "\t",
        "#",
        "# escape=`\n",
        "# syntax=x\n",
        "# check=skip=a;",
        "<<EOF",
        "<<-\"é\"",
        "EOF\n",
        "é\n",
        "--mount=",
        "type=cache,",
        "target=/x,",
        "--from=",
        "--",
        "[\"a\", ",
        "\"b\"]",
        "CMD NONE",
        "\0",
    ];

    fn text() -> impl Strategy<Value = String> {
        let fragments = proptest::collection::vec(proptest::sample::select(&FRAGMENTS[..]), 0..60);
        prop_oneof![fragments.prop_map(|fragments| fragments.concat()), any::<String>(), changed_case()]
    }

    /// A case of `testdata` with pieces put in and taken out.
    fn changed_case() -> impl Strategy<Value = String> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/dockerfile");
        let cases = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("Dockerfile"));
        // A long one would tell nothing more, and debug output of it takes long.
        let texts = cases.filter_map(|path| std::fs::read_to_string(path).ok()).filter(|text| text.len() < 4096);
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        let change = (any::<prop::sample::Index>(), 0..6_usize, proptest::sample::select(&FRAGMENTS[..]));
        (proptest::sample::select(texts), proptest::collection::vec(change, 1..6)).prop_map(|(text, changes)| {
            let mut characters: Vec<char> = text.chars().collect();
            for (place, removed, piece) in changes {
                let start = place.index(characters.len() + 1);
                let end = (start + removed).min(characters.len());
                characters.splice(start..end, piece.chars());
            }
            characters.into_iter().collect()
        })
    }

    /// Returns every span that a value's `{:?}` shows.
    fn spans(shown: &str) -> Vec<(usize, usize)> {
        let number =
            |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
        let found = shown.split("Span { start: ").skip(1);
        found.filter_map(|rest| Some((number(rest)?, number(rest.split_once("end: ")?.1)?))).collect()
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_spans_are_in_bounds(text in text()) {
            let source = Source::new("Dockerfile", text.as_str());
            let shown = format!("{:?} {:?} {:?}", parse(&source), read(&source), parse_trigger(&source));
            for (start, end) in spans(&shown) {
                prop_assert!(text.get(start..end).is_some(), "{start}..{end} of {text:?}");
            }
        }

        #[test]
        fn a_file_is_readable_exactly_where_nothing_is_wrong(text in text()) {
            let source = Source::new("Dockerfile", text.as_str());
            let severe = |found: &[Diagnostic]| found.iter().any(|found| found.severity == Severity::Error);
            match read(&source) {
                Ok((file, warnings)) => prop_assert!(!file.stages.is_empty() && !severe(&warnings)),
                Err(found) => prop_assert!(severe(&found)),
            }
        }
    }

    #[test]
    fn reading_takes_time_in_proportion_to_the_length() {
        // Unoptimised, a mebibyte of each would take minutes.
        let length = 1 << 16;
        for piece in [
            "RUN <<E\n",
            "RUN <<E\n E\n",
            "RUN a \\\n",
            "\\\n",
            "RNU <<E\n",
            "x\n",
            "ENV a=b ",
            "RUN <<E ",
            "COPY <<E ",
            "\"",
            "COPY a <<b c\n",
            "CMD [\"a\",",
            "[",
            "ONBUILD ",
            "--a ",
            "RUN --mount=a ",
            "#\n",
            "\n",
            "'",
            "${",
            "\\\"",
        ] {
            for before in ["", "FROM a\nRUN --mount=", "FROM a\nCOPY << "] {
                let source = Source::new("Dockerfile", before.to_owned() + &piece.repeat(length / piece.len()));
                let start = Instant::now();
                let _ = read(&source).is_ok();
                // Beside other tests; what is quadratic takes longer than that.
                assert!(start.elapsed() < Duration::from_secs(5), "{before:?} {piece:?}: {:?}", start.elapsed());
            }
        }
    }

    #[test]
    fn one_body_is_not_kept_under_a_name_again_and_again() {
        let text = |markers: usize| {
            let bodies = "A\n".repeat(markers - 1) + &"x\n".repeat(1 << 19) + "A\n";
            format!("FROM scratch\nCOPY {}/d/\n{bodies}", "<<A ".repeat(markers))
        };
        assert!(read(&Source::new("Dockerfile", text(10))).is_ok());
        let found = read(&Source::new("Dockerfile", text(100))).unwrap_err();
        assert_eq!(found[0].code, "heredocs-too-large");
    }

    #[test]
    fn a_trigger_is_one_instruction() {
        for (text, code) in [
            ("RUN a", None),
            ("COPY <<f /f\nx\nf", None),
            ("RUN a\nRUN b", Some("onbuild-not-single")),
            ("FROM a", Some("onbuild-forbidden")),
            ("ONBUILD RUN a", Some("onbuild-forbidden")),
            ("RNU a", Some("unknown-instruction")),
            ("", Some("empty-file")),
        ] {
            let found = parse_trigger(&Source::new("trigger", text)).err();
            assert_eq!(found.map(|found| found[0].code), code, "{text}");
        }
    }

    #[test]
    fn empty_values_of_flags_are_none() {
        for text in ["HEALTHCHECK --interval= --retries= CMD a", "COPY --from= a /b"] {
            let source = Source::new("Dockerfile", format!("FROM a\n{text}\n"));
            assert!(read(&source).is_ok(), "{text}");
        }
        assert!(read(&Source::new("Dockerfile", "FROM a\nCOPY <<a/b /d\nx\na/b\n")).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let refused = source_from_bytes("Dockerfile", b"FROM a\nRUN \xff\n").unwrap_err();
        assert_eq!(refused.to_string(), "Dockerfile:2 is not UTF-8 text (byte 11 of the file)");
        assert_eq!(source_from_bytes("Dockerfile", "\u{feff}FROM a".as_bytes()).unwrap().text(), "FROM a");
    }
}
