/// Signals of Linux by name (signal(7)).
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Real-time signals are named from both ends: `RTMIN+0` to `RTMIN+15`, `RTMAX-0` to `RTMAX-14`.
const REAL_TIME: [(&str, u32); 2] = [("RTMIN+", 15), ("RTMAX-", 14)];

/// Tells whether `text` is what STOPSIGNAL takes: a number, or a name with or without `SIG`.
pub(super) fn is_valid(text: &str) -> bool {
    // As in Docker, which leaves it to the kernel whether a number means anything.
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name)
        || REAL_TIME.iter().any(|(prefix, last)| {
            name.strip_prefix(prefix).and_then(|rest| rest.parse::<u32>().ok()).is_some_and(|offset| offset <= *last)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_numbers_and_names() {
        for valid in ["9", "SIGTERM", "term", "SIGRTMIN+15", "RTMAX-14", "64", "200", "-1"] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in ["0", "BAD", "SIGRTMIN+16", "", "SIG"] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }
}
