use std::fmt;
use std::time::Duration;

/// How a container ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The end of its first process; all others were killed then.
    pub status: ExitStatus,
    /// User and system time of its first process and those that process waited for.
    pub cpu: Duration,
    /// Largest resident set of one process; never less than kiln's own, which the kernel counts until exec.
    pub max_rss_bytes: u64,
}

/// The end of a process. Displayed, it completes "the process …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// The kernel killed it, or one of its children, because memory ran out.
    OutOfMemory,
}

impl ExitStatus {
    /// Tells whether the process exited with code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// Returns it as shells count: 128 and the signal of a process that was killed.
    pub fn shell_code(self) -> i32 {
        const KILLED: i32 = 128 + 9;
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
            ExitStatus::OutOfMemory => KILLED,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signal(9) => f.write_str("was killed (signal 9, SIGKILL), perhaps because memory ran out"),
            ExitStatus::Signal(31) => f.write_str(
                "was killed (signal 31, SIGSYS): it is a program for another architecture of this processor",
            ),
            ExitStatus::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "was killed (signal {signal}, {name})"),
                Err(_) => write!(f, "was killed (signal {signal})"),
            },
            ExitStatus::OutOfMemory => f.write_str("was killed: cannot allocate memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_for_shells() {
        let statuses = [ExitStatus::Code(3), ExitStatus::Signal(15), ExitStatus::OutOfMemory];
        assert_eq!(statuses.map(ExitStatus::shell_code), [3, 143, 137]);
    }

    #[test]
    fn statuses_read_as_sentences() {
        let cases = [
            (ExitStatus::Code(3), "exited with code 3"),
            (ExitStatus::Signal(11), "was killed (signal 11, SIGSEGV)"),
            (ExitStatus::Signal(40), "was killed (signal 40)"),
            (ExitStatus::Signal(9), "was killed (signal 9, SIGKILL), perhaps because memory ran out"),
        ];
        for (status, expected) in cases {
            assert_eq!(status.to_string(), expected);
        }
    }
}
