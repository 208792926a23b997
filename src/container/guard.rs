//! Who wakes the processes of a container if whoever stopped them is killed before it can.

use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::pause::{go_on, open};

/// What the program is called as a guard.
const NAME: &str = "kiln-guard";

/// Its last line: the processes go on without it.
const DONE: &str = "done";

/// A process of its own, which hears of every process that is to be stopped before it is.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts the guard of the processes in this pid namespace.
    pub(super) fn new(namespace: &str) -> io::Result<Guard> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).arg(namespace).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What is typed at a terminal is for whom it guards against.
        Ok(Guard { child: command.process_group(0).spawn()? })
    }

    /// Tells of a process that is about to be stopped.
    pub(super) fn expect(&mut self, pid: i32) -> io::Result<()> {
        self.say(&pid.to_string())
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        // In one piece: a number that is cut off is another number.
        self.child.stdin.as_mut().map_or(Ok(()), |pipe| pipe.write_all(format!("{line}\n").as_bytes()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // One that has ended guards nothing, and need not hear that there is nothing to guard.
        let _ = self.say(DONE);
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Becomes the guard of a container that stands still, if that is what this process was started as, and does not return then.
pub fn enter() {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() == Some(OsStr::new(NAME)) {
        let namespace = arguments.next().unwrap_or_default();
        watch(&mut io::stdin().lock(), &namespace.to_string_lossy());
        std::process::exit(0);
    }
}

fn watch(told: &mut dyn BufRead, namespace: &str) {
    let mut stopped: Vec<OwnedFd> = Vec::new();
    let mut line = String::new();
    while told.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
        if line.trim_end() == DONE {
            return;
        }
        // One that has ended, or is a stranger with its number, needs nobody.
        stopped.extend(line.trim_end().parse().ok().and_then(|pid| open(pid, namespace)));
        line.clear();
    }
    go_on(&stopped);
}
