//! What a command costs: wall time, CPU time and peak memory of it and of all it waits for.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::Result;

/// USER_HZ, in which Linux tells times on every architecture that kiln runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Commands that count as one piece of work.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Job {
    pub commands: Vec<Vec<String>>,
    pub environment: Vec<(String, String)>,
    /// Started together, instead of one after the other.
    pub together: bool,
    /// Gets what they write to stderr.
    pub log: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub wall_s: f64,
    /// User and system time.
    pub cpu_s: f64,
    /// Of the largest process at its largest; processes that live at once are not added up.
    pub peak_bytes: u64,
}

/// Does the work in a process of its own, since `getrusage` knows no better than "all children so far".
///
/// With `daemon`, the work is done there: its CPU time is added and its memory counts.
pub(crate) fn measure(job: &Job, daemon: Option<u32>) -> Result<Cost> {
    let before = daemon.map(Usage::of).transpose()?;
    let mut child =
        Command::new(std::env::current_exe()?).arg("--measure").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    serde_json::to_writer(child.stdin.take().ok_or("a pipe was asked for")?, job)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", job.commands[0].join(" "), tail(&job.log)).into());
    }
    let mut cost: Cost = serde_json::from_slice(&output.stdout)?;
    if let (Some(pid), Some(before)) = (daemon, before) {
        let after = Usage::of(pid)?;
        cost.cpu_s += after.cpu_s - before.cpu_s;
        cost.peak_bytes = cost.peak_bytes.max(after.peak_bytes);
    }
    Ok(cost)
}

/// The last lines of what went wrong.
fn tail(log: &PathBuf) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3);
    lines.map(str::to_owned).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// The other side of [`measure`]: a job on stdin, its cost on stdout.
pub(crate) fn serve() -> Result<()> {
    let job: Job = serde_json::from_reader(std::io::stdin())?;
    let log = File::create(&job.log)?;
    let start = |words: &Vec<String>| -> Result<std::process::Child> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(job.environment.iter().map(|(name, value)| (name, value)));
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?).spawn()?)
    };
    let started = Instant::now();
    let mut failed = false;
    if job.together {
        let children = job.commands.iter().map(start).collect::<Result<Vec<_>>>()?;
        for mut child in children {
            failed |= !child.wait()?.success();
        }
    } else {
        for command in &job.commands {
            failed |= !start(command)?.wait()?.success();
        }
    }
    let wall_s = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu_s = seconds(usage.user_time()) + seconds(usage.system_time());
    let peak_bytes = u64::try_from(usage.max_rss())? << 10;
    serde_json::to_writer(std::io::stdout(), &Cost { wall_s, cpu_s, peak_bytes })?;
    if failed { Err("a command failed".into()) } else { Ok(()) }
}

/// What a daemon and the processes below it have used so far.
struct Usage {
    cpu_s: f64,
    /// Since the last look.
    peak_bytes: u64,
}

impl Usage {
    /// Reads what `/proc` tells of the tree under `pid`, and has the kernel forget the peak of memory.
    fn of(pid: u32) -> Result<Usage> {
        let mut ticks = 0;
        let mut peak_bytes = 0;
        for pid in descendants(pid)? {
            // One that ended since was counted by whoever waited for it.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // The name in parentheses may hold anything; utime, stime, cutime and cstime are fields 14 to 17 (proc(5)).
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            ticks += fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            peak_bytes = peak_bytes.max(peak.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10);
            // Only root may; without it the peak is that of the daemon's life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        Ok(Usage { cpu_s: ticks as f64 / TICKS_PER_SECOND, peak_bytes })
    }
}

fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        for task in tasks.filter_map(std::result::Result::ok) {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    Ok(found)
}
