use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Which users there are for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// All of them: this is the machine's own user namespace.
    Root,
    /// User 0, who is `uid` outside, and a range of others.
    Subordinate {
        /// User outside.
        uid: u32,
        /// Group outside.
        gid: u32,
    },
    /// User 0, who is `uid` outside, and nobody else.
    Single {
        /// User outside.
        uid: u32,
        /// Group outside.
        gid: u32,
    },
}

static IDS: OnceLock<Ids> = OnceLock::new();

/// Returns which users there are for this process now; `runtime::enter_user_namespace` changes it.
pub fn ids() -> Ids {
    IDS.get().copied().unwrap_or_else(|| {
        let read = |kind| std::fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default();
        of_maps(&read("uid"), &read("gid"))
    })
}

/// Notes what `runtime::enter_user_namespace` has done.
pub(super) fn remember(ids: Ids) {
    // A second entry is refused before it gets here.
    let _ = IDS.set(ids);
}

impl Ids {
    /// Returns one line for the user when fewer users exist than images need.
    pub fn notice(self) -> Option<&'static str> {
        match self {
            Ids::Single { .. } => Some(
                "only your own user id is mapped: files of other users in images become yours, and steps run as root \
                 only (install `uidmap` and add ranges for you to /etc/subuid and /etc/subgid)",
            ),
            Ids::Root | Ids::Subordinate { .. } => None,
        }
    }
}

/// Reads the maps of user_namespaces(7): `inside outside count` in each line.
fn of_maps(uids: &str, gids: &str) -> Ids {
    let lines = |map: &str| -> Vec<[u32; 3]> {
        let numbers = |line: &str| line.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>();
        map.lines().filter_map(|line| <[u32; 3]>::try_from(numbers(line)).ok()).collect()
    };
    let (uids, gids) = (lines(uids), lines(gids));
    let outside = |map: &[[u32; 3]]| map.first().map_or(0, |line| line[1]);
    let (uid, gid) = (outside(&uids), outside(&gids));
    match (uids.as_slice(), gids.as_slice()) {
        ([[0, 0, u32::MAX]], _) | ([], _) => Ids::Root,
        ([[_, _, 1]], _) | (_, [[_, _, 1]]) => Ids::Single { uid, gid },
        _ => Ids::Subordinate { uid, gid },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_tell_which_users_exist() {
        let range = "0 1000 1\n1 100000 65536\n";
        let cases = [
            ("         0          0 4294967295\n", "0 0 4294967295\n", Ids::Root),
            (range, range, Ids::Subordinate { uid: 1000, gid: 1000 }),
            ("0 1000 1\n", "0 1001 1\n", Ids::Single { uid: 1000, gid: 1001 }),
            (range, "0 1001 1\n", Ids::Single { uid: 1000, gid: 1001 }),
            ("0 5000 65536\n", "0 6000 65536\n", Ids::Subordinate { uid: 5000, gid: 6000 }),
        ];
        for (uids, gids, expected) in cases {
            assert_eq!(of_maps(uids, gids), expected, "{uids:?} {gids:?}");
        }
    }
}
