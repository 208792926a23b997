use std::fmt;
use std::str::FromStr;

use crate::cli::human;

/// By how much an image may grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    Bytes(u64),
    /// Of the size before.
    Percent(f64),
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let wrong = || "it is neither a size such as +10MB nor a part such as +5%".to_owned();
        let value = text.strip_prefix('+').unwrap_or(text);
        if let Some(number) = value.strip_suffix('%') {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            return number.parse().ok().filter(|_| is_number).map(Budget::Percent).ok_or_else(wrong);
        }
        human::parse_size(value).map(Budget::Bytes).map_err(|_| wrong())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Bytes(bytes) => write!(f, "+{}", human::size(*bytes)),
            Budget::Percent(percent) => write!(f, "+{percent}%"),
        }
    }
}

impl Budget {
    /// Returns the bytes that may come to an image of `size_bytes`; none if that had to be known and is not.
    pub(super) fn bytes(self, size_bytes: Option<u64>) -> Option<u64> {
        match self {
            Budget::Bytes(bytes) => Some(bytes),
            #[expect(clippy::cast_precision_loss, reason = "a part of a size needs no more digits")]
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
            Budget::Percent(percent) => size_bytes.map(|size| (size as f64 * percent / 100.0) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_sizes_or_parts() {
        for (text, expected) in [
            ("+10MB", Ok(Budget::Bytes(10_000_000))),
            ("1.5kib", Ok(Budget::Bytes(1536))),
            ("0", Ok(Budget::Bytes(0))),
            ("+5%", Ok(Budget::Percent(5.0))),
        ] {
            assert_eq!(text.parse::<Budget>(), expected, "{text}");
        }
        for wrong in ["", "+", "-1MB", "10 parsecs", "1.2.3", "%"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
        assert_eq!((Budget::Percent(5.0).bytes(Some(200)), Budget::Percent(5.0).bytes(None)), (Some(10), None));
    }
}
