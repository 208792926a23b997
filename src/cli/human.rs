//! Numbers as docker prints them.

use std::time::Duration;

use jiff::Timestamp;

/// Returns a size in powers of 1000 with three significant digits: `7.8MB`, `124kB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

/// Reads a size such as `20MB`, `1.5GiB` or `4096`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "it is no size such as 20MB".to_owned();
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.to_ascii_lowercase();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    #[expect(clippy::cast_precision_loss, reason = "a size is no more exact than it is written")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is neither negative nor huge")]
    Ok((number * *factor as f64) as u64)
}

const SIZE_UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
];

/// Returns a time in tenths of seconds, or in milliseconds where those would say nothing.
pub(super) fn duration(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{}ms", time.as_millis())
    } else {
        format!("{:.1}s", time.as_secs_f64())
    }
}

/// Returns how long ago `then` was, roughly.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let days = hours / 24;
    let text = match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if days < 14 => format!("{days} days"),
        _ if days < 60 => format!("{} weeks", days / 7),
        _ if days < 730 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    };
    text + " ago"
}

/// Returns a time in the form of docker's JSON, or docker's words for none.
pub(super) fn created(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "N/A".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S %z UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (7_800_000, "7.8MB"),
            (123_456_789, "123MB"),
            (12_345_678, "12.3MB"),
            (1_240_000_000, "1.24GB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn ages_are_rough() {
        const DAY: i64 = 86_400;
        for (seconds, expected) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (61, "About a minute ago"),
            (59 * 60, "59 minutes ago"),
            (3600, "About an hour ago"),
            (5 * 3600, "5 hours ago"),
            (3 * DAY, "3 days ago"),
            (20 * DAY, "2 weeks ago"),
            (100 * DAY, "3 months ago"),
            (800 * DAY, "2 years ago"),
        ] {
            let then = Timestamp::from_second(1_700_000_000).unwrap();
            let now = Timestamp::from_second(1_700_000_000 + seconds).unwrap();
            assert_eq!(ago(then, now), expected, "{seconds}");
        }
    }
}
