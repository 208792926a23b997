use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Name of the build argument that says what time it is.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Returns when the commit was made that `directory` is a checkout of, in seconds; nothing where that is unknown: there is
/// no git, the directory is not part of a commit, or belongs to somebody git does not trust.
pub(super) fn commit_time(directory: &Path) -> Option<i64> {
    // A directory that merely lies in a checkout, ignored or new, has nothing to do with the commit.
    let tracked = git(directory, &["ls-tree", "--name-only", "HEAD"])?;
    if tracked.trim().is_empty() {
        return None;
    }
    git(directory, &["log", "-1", "--format=%ct"])?.trim().parse().ok()
}

/// Returns when the newest file below a directory was changed, in seconds; directories and links do not count.
pub(super) fn newest(directory: &Path) -> Option<i64> {
    let entries = fs::read_dir(directory).ok()?.map_while(Result::ok);
    let times = entries.filter_map(|entry| match entry.metadata().ok()? {
        metadata if metadata.is_dir() => newest(&entry.path()),
        metadata if metadata.is_file() => Some(metadata.mtime()),
        _ => None,
    });
    times.max()
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    // Set inside of hooks, where they mean another repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
