use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Which process: a number alone is given again, after a restart of the machine too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    pid: i32,
    /// When it began, in clock ticks since the machine did (proc_pid_stat(5), `starttime`).
    start: u64,
    /// Which start of the machine.
    boot: String,
}

impl ProcessIdentity {
    /// Returns who this process is.
    ///
    /// # Errors
    /// What reading /proc said.
    pub fn own() -> io::Result<ProcessIdentity> {
        ProcessIdentity::of(std::process::id() as i32)
    }

    /// Returns who has the number `pid` now.
    ///
    /// # Errors
    /// What reading /proc said.
    pub fn of(pid: i32) -> io::Result<ProcessIdentity> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start = started(&stat).ok_or(io::ErrorKind::InvalidData)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(ProcessIdentity { pid, start, boot: boot.trim().to_owned() })
    }

    /// Returns the number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Tells whether the process is there.
    pub fn is_alive(&self) -> bool {
        ProcessIdentity::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Returns a descriptor of the process; nothing where it is gone.
    ///
    /// # Errors
    /// What pidfd_open(2) said.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => Ok(None),
            // Looked at after it was opened: whoever it is now, it stays.
            opened => Ok(Some(opened?).filter(|_| self.is_alive())),
        }
    }
}

/// Reads when a process began; nothing of one that has ended and only waits for its parent.
fn started(stat: &str) -> Option<u64> {
    // The name before it may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.start, self.boot)
    }
}

impl FromStr for ProcessIdentity {
    type Err = ();

    fn from_str(text: &str) -> Result<ProcessIdentity, ()> {
        let mut words = text.split(' ');
        let (Some(pid), Some(start), Some(boot)) = (words.next(), words.next(), words.next()) else { return Err(()) };
        Ok(ProcessIdentity {
            pid: pid.parse().map_err(drop)?,
            start: start.parse().map_err(drop)?,
            boot: boot.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_nobody_else() {
        let own = ProcessIdentity::own().unwrap();
        assert!(own.is_alive() && own.open().unwrap().is_some());
        assert_eq!(own.to_string().parse(), Ok(own.clone()));
        for other in [
            ProcessIdentity { start: own.start + 1, ..own.clone() },
            ProcessIdentity { boot: "earlier".into(), ..own.clone() },
            ProcessIdentity { pid: i32::MAX, ..own.clone() },
        ] {
            assert!(!other.is_alive() && other.open().unwrap().is_none(), "{other}");
        }
    }

    #[test]
    fn a_name_does_not_confuse_and_who_has_ended_is_gone() {
        let stat = |state: &str| format!("7 (a ) R (b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1234 19");
        assert_eq!(started(&stat("S")), Some(1234));
        assert_eq!(started(&stat("Z")), None);
    }
}
