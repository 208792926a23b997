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

/// The first and the last real-time signal, as C libraries count: they keep the two before for themselves.
const REAL_TIME_ENDS: [i32; 2] = [34, 64];

/// Returns the number of a signal that is written as STOPSIGNAL takes it; none for what is no signal.
pub fn signal_number(text: &str) -> Option<i32> {
    let most = REAL_TIME_ENDS[1];
    if let Ok(number) = text.parse::<i32>() {
        return (1..=most).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let [first, last] = REAL_TIME_ENDS;
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<u32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest.trim_start_matches('+'))
            .filter(|offset| *offset <= REAL_TIME[0].1)
            .map(|n| first + n as i32);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest.trim_start_matches('-'))
            .filter(|offset| *offset <= REAL_TIME[1].1)
            .map(|n| last - n as i32);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        name => name,
    };
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_number() {
        for name in NAMES {
            assert!(signal_number(name).is_some(), "{name}");
        }
        for (text, number) in
            [("9", 9), ("SIGTERM", 15), ("term", 15), ("RTMIN+1", 35), ("SIGRTMAX-1", 63), ("CLD", 17)]
        {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["0", "65", "-1", "", "BAD", "RTMIN+16"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }

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
