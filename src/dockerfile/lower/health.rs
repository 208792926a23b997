use super::flags::Flags;
use super::{Problems, command};
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Arguments, Text};
use crate::dockerfile::instruction::{Command, Healthcheck};

/// Docker refuses to check more often.
const SHORTEST_NANOSECONDS: i64 = 1_000_000;

pub(super) fn lower(arguments: &Arguments, flags: &Flags<'_>, problems: &mut Problems) -> Option<Healthcheck> {
    let Arguments::Health(kind, rest) = arguments else { return None };
    match kind.value.to_ascii_uppercase().as_str() {
        "NONE" => none(rest, problems),
        "CMD" => checked(kind, command(rest)?, flags, problems),
        _ => {
            let message = format!("unknown type `{}` in HEALTHCHECK", kind.value);
            problems.push(
                Diagnostic::error("unknown-healthcheck-type", message, kind.span)
                    .with_label("must be CMD or NONE")
                    .with_help("write `HEALTHCHECK CMD command`"),
            );
            None
        }
    }
}

fn none(rest: &Arguments, problems: &mut Problems) -> Option<Healthcheck> {
    let extra = match rest {
        Arguments::Text(text) if text.value.is_empty() => return Some(Healthcheck::None),
        Arguments::Text(text) => text.span,
        Arguments::Json(words) if words.value.is_empty() => return Some(Healthcheck::None),
        Arguments::Json(words) => words.span,
        _ => return None,
    };
    let message = "HEALTHCHECK NONE takes no arguments";
    problems.push(Diagnostic::error("healthcheck-arguments", message, extra).with_label("remove this"));
    None
}

fn checked(
    kind: &Spanned<String>,
    command: Command,
    flags: &Flags<'_>,
    problems: &mut Problems,
) -> Option<Healthcheck> {
    let is_empty = match &command {
        Command::Shell(text) => text.value.is_empty(),
        Command::Exec(words) => words.value.is_empty(),
    };
    if is_empty {
        let message = "missing command after HEALTHCHECK CMD";
        problems.push(Diagnostic::error("missing-arguments", message, kind.span).with_label("needs a command"));
    }
    // An empty value is none.
    let value = |name| flags.value(name).filter(|value| !value.as_str().is_empty());
    let mut duration = |name| value(name).map_or(0, |value| interval(name, value, problems));
    Some(Healthcheck::Command {
        command,
        interval: duration("interval"),
        timeout: duration("timeout"),
        start_period: duration("start-period"),
        start_interval: duration("start-interval"),
        retries: value("retries").map_or(0, |value| retries(value, problems)),
    })
}

fn interval(name: &str, value: &Text, problems: &mut Problems) -> u64 {
    let text = value.as_str();
    let finding = match nanoseconds(text) {
        Some(0) => return 0,
        Some(long) if long >= SHORTEST_NANOSECONDS => return long.unsigned_abs(),
        Some(_) => Diagnostic::error("invalid-duration", format!("`--{name}` cannot be less than 1ms"), value.span())
            .with_label("too short"),
        None => Diagnostic::error("invalid-duration", format!("invalid duration `{text}`"), value.span())
            .with_label("not a duration")
            .with_help("write a number and a unit, such as `30s` or `1m30s`"),
    };
    problems.push(finding);
    0
}

fn retries(value: &Text, problems: &mut Problems) -> u64 {
    let text = value.as_str();
    let (message, label) = match text.parse::<i32>() {
        Ok(retries) if retries >= 0 => return u64::from(retries.unsigned_abs()),
        Ok(_) => (format!("`--retries` cannot be negative ({text})"), "must be 0 or more"),
        Err(_) => (format!("invalid number `{text}`"), "must be a whole number"),
    };
    problems.push(Diagnostic::error("invalid-retries", message, value.span()).with_label(label));
    0
}

/// Returns the length of a Go duration such as `1m30.5s` (Go, "time.ParseDuration").
fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() || total == 0 {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len() - number);
        total += part(&rest[..number], &rest[number..number + unit])?;
        rest = &rest[number + unit..];
        if total == 0 && rest.is_empty() {
            break;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn part(number: &str, unit: &str) -> Option<i128> {
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    // Digits beyond these are less than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let power = 10_i128.pow(u32::try_from(fraction.len()).expect("at most 15"));
    Some(digits(whole)? * scale + digits(fraction)? * scale / power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("100µs", Some(100_000)),
            ("-2s", Some(-2_000_000_000)),
            ("+1ms", Some(1_000_000)),
            ("1", None),
            ("s", None),
            (".s", None),
            ("", None),
            ("1d", None),
            ("1s2", None),
            ("1..5s", None),
            ("9223372036854775808ns", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
