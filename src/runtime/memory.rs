//! Whether the kernel killed something because memory ran out.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Returns how often the kernel has killed a process of this cgroup, or of one below it, for want of memory; none when
/// the kernel does not say. Containers live in kiln's own cgroup, since a user need not be able to make others.
pub(super) fn kills() -> Option<u64> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| file(&std::fs::read_to_string("/proc/self/cgroup").ok()?)).as_ref()?;
    count(&std::fs::read_to_string(file).ok()?)
}

/// Finds the file with the counter from the text of `/proc/self/cgroup`.
fn file(cgroups: &str) -> Option<PathBuf> {
    let candidates = cgroups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events")),
            "memory" => Some(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control")),
            _ => None,
        }
    });
    candidates.into_iter().find(|file| file.exists())
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_counter_are_read() {
        assert_eq!(count("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(count("max 4\n"), None);
    }
}
