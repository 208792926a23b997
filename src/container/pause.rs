use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::guard::Guard;
use crate::sys::ProcessIdentity;

/// The processes of a container, which stand still until this is dropped.
///
/// They are stopped by signal, for a user need not be able to make a cgroup to freeze. A parent that waits for its
/// children hears of one that has stopped, as a shell does when somebody types Ctrl-Z, unless the child goes on before the
/// parent can ask: so parents are stopped first and go on last.
#[derive(Debug)]
pub(super) struct Paused {
    stopped: Vec<OwnedFd>,
    guard: Guard,
}

/// How long a process may take to stand still; one that waits for a disk cannot be hurried.
const PATIENCE: Duration = Duration::from_secs(1);

/// One process, as /proc tells of it.
struct Process {
    pid: i32,
    parent: i32,
    state: char,
}

impl Paused {
    /// Stops every process in the pid namespace of `first`, but those that somebody has stopped already.
    pub(super) fn new(first: &ProcessIdentity) -> io::Result<Paused> {
        let namespace = namespace(first.pid())?;
        // Looked at after that was read: else it may be that of somebody who has the number now.
        if !first.is_alive() {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        let mut paused = Paused { stopped: Vec::new(), guard: Guard::new(&namespace)? };
        let mut seen = HashSet::new();
        // What a process has begun before it stopped is found in the next round.
        loop {
            let mut found = processes(&namespace)?;
            found.retain(|process| !seen.contains(&process.pid));
            if found.is_empty() {
                break;
            }
            for process in parents_first(found) {
                seen.insert(process.pid);
                if process.state != 'T' {
                    paused.guard.expect(process.pid)?;
                    paused.stopped.extend(stop(process.pid, &namespace)?);
                }
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && processes(&namespace)?.iter().any(|process| process.state != 'T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(paused)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        go_on(&self.stopped);
    }
}

/// Has processes go on, the last one first.
pub(super) fn go_on(stopped: &[OwnedFd]) {
    for process in stopped.iter().rev() {
        // One that was killed meanwhile does not go on.
        let _ = pidfd_send_signal(process, Signal::CONT);
    }
}

/// Opens a process if it is one of the namespace.
pub(super) fn open(pid: i32, of: &str) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Looked at after it was opened: whoever has the number now keeps it.
    namespace(pid).is_ok_and(|namespace| namespace == of).then_some(process)
}

fn stop(pid: i32, of: &str) -> io::Result<Option<OwnedFd>> {
    let Some(process) = open(pid, of) else { return Ok(None) };
    match pidfd_send_signal(&process, Signal::STOP) {
        Ok(()) => Ok(Some(process)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn namespace(pid: i32) -> io::Result<String> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/pid"))?.to_string_lossy().into_owned())
}

/// Returns the living processes of a pid namespace.
fn processes(of: &str) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        // Processes end while they are looked at, and those of others cannot be looked at.
        if namespace(pid).is_ok_and(|namespace| namespace == of)
            && let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Some(process) = parse(pid, &stat)
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Reads proc_pid_stat(5); nothing of a process that has ended.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, 'Z' | 'X')).then_some(Process { pid, parent, state })
}

fn parents_first(mut processes: Vec<Process>) -> Vec<Process> {
    let mut sorted: Vec<Process> = Vec::with_capacity(processes.len());
    while !processes.is_empty() {
        let left: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
        let (next, rest): (Vec<_>, Vec<_>) = processes.into_iter().partition(|process| !left.contains(&process.parent));
        // They were not looked at in one moment, so that two may each seem to be the other's parent.
        if next.is_empty() {
            sorted.extend(rest);
            break;
        }
        sorted.extend(next);
        processes = rest;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children() {
        let process = |pid, parent| Process { pid, parent, state: 'S' };
        let order = |processes| parents_first(processes).iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(order(vec![process(5, 4), process(4, 3), process(9, 1), process(3, 1)]), [9, 3, 4, 5]);
        assert_eq!(order(vec![process(1, 2), process(2, 1)]), [1, 2]);
    }

    #[test]
    fn stat_is_read_whatever_the_name_is() {
        let process = parse(7, "7 (a) T 9 (b) S 3 7 7 0").unwrap();
        assert_eq!((process.parent, process.state), (3, 'S'));
        assert!(parse(7, "7 (a) Z 3 7").is_none());
    }
}
