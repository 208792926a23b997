//! What the machine itself takes for the heart of a piece of work, measured beside the tools.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Result;
use crate::measure::Job;

/// The least that has to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floor {
    /// A process is started and ends.
    Start,
    /// One `stat` of each file of the context.
    Stat,
    /// The context as a tar, through SHA-256 on one core: read once, hashed once.
    Tar,
    /// The commands of the RUN steps, without a container.
    Shell(&'static str),
    /// As many of them at once.
    Together(usize, &'static str),
}

impl Floor {
    /// The work as a job over `context`, in the empty directory `scratch`; `bin` has the commands of the base image.
    pub(crate) fn job(self, context: &Path, scratch: &Path, bin: &Path) -> Result<Job> {
        let own = std::env::current_exe()?.to_string_lossy().into_owned();
        let path = context.to_string_lossy().into_owned();
        let shell = |text: &str| -> Vec<String> {
            let text = format!("cd '{}' && {text}", scratch.display());
            vec![bin.join("sh").to_string_lossy().into_owned(), "-c".into(), text]
        };
        let commands = match self {
            Floor::Start => vec![vec![bin.join("true").to_string_lossy().into_owned()]],
            Floor::Stat => vec![vec![own, "--floor=stat".into(), path.clone()]],
            Floor::Tar => vec![vec![own, "--floor=tar".into(), path.clone()]],
            Floor::Shell(text) => vec![shell(text)],
            Floor::Together(count, text) => vec![shell(text); count],
        };
        let environment = vec![("CONTEXT".into(), path), ("PATH".into(), bin.to_string_lossy().into_owned())];
        Ok(Job { commands, environment, together: matches!(self, Floor::Together(..)), ..Job::default() })
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            Floor::Start => "start of a process",
            Floor::Stat => "stat of each file",
            Floor::Tar => "tar of the files through SHA-256, one core",
            Floor::Shell(_) | Floor::Together(..) => "the same commands without containers",
        }
    }
}

/// Does the two kinds that are no command of the system.
pub(crate) fn serve(kind: &str, directory: &Path) -> Result<()> {
    match kind {
        "stat" => stat(directory),
        _ => {
            let mut builder = tar::Builder::new(Hashing(Sha256::new()));
            builder.append_dir_all(".", directory)?;
            builder.into_inner()?.0.finalize();
            Ok(())
        }
    }
}

fn stat(directory: &Path) -> Result<()> {
    let mut left: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.metadata()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
