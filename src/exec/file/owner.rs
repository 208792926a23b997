use std::io::Read;

use super::error::shown;
use super::{Error, Stack};
use crate::graph::Owner;
use crate::layer::Kind;

/// A user and a group by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Databases larger than this are not read.
const MOST_BYTES: u64 = 10 << 20;

/// Returns the numbers of `user[:group]`. Names are looked up in `base`; an unknown user is 0, as is an empty one. A user
/// without a group has its number as group, or the group its line in the database names; an unknown group changes
/// nothing of that, and an empty one is 0.
///
/// # Errors
/// When a database is there and cannot be read.
pub(super) fn ids(owner: &Owner, base: Stack<'_>) -> Result<Ids, Error> {
    let (user, group) = owner.text.split_once(':').map_or((&owner.text[..], None), |(user, group)| (user, Some(group)));
    let mut ids = match number(user) {
        Some(uid) => Ids { uid, gid: uid },
        None => user_ids(user, base)?,
    };
    let gid = match group {
        None => None,
        Some("") => Some(0),
        Some(group) => number(group).map_or_else(|| group_id(group, base), |gid| Ok(Some(gid)))?,
    };
    ids.gid = gid.unwrap_or(ids.gid);
    Ok(ids)
}

/// Ids are signed 32-bit numbers to the kernel's callers; what does not fit is a name.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number| i32::try_from(number).is_ok())
}

fn user_ids(name: &str, base: Stack<'_>) -> Result<Ids, Error> {
    if matches!(name, "" | "root") {
        return Ok(Ids::default());
    }
    let field = |line: &[&str], index: usize| line.get(index).and_then(|field| number(field)).unwrap_or_default();
    let ids = find(base, b"etc/passwd", name, |line| Ids { uid: field(line, 2), gid: field(line, 3) })?;
    Ok(ids.unwrap_or_default())
}

fn group_id(name: &str, base: Stack<'_>) -> Result<Option<u32>, Error> {
    if name == "root" {
        return Ok(Some(0));
    }
    find(base, b"etc/group", name, |line| line.get(2).and_then(|field| number(field)).unwrap_or_default())
}

/// Returns what `read` makes of the first line of a database whose first field is `name`.
fn find<T>(base: Stack<'_>, path: &[u8], name: &str, read: impl Fn(&[&str]) -> T) -> Result<Option<T>, Error> {
    let text = database(base, path)?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    Ok(lines.find(|line| line[0] == name).map(|line| read(&line)))
}

fn database(base: Stack<'_>, path: &[u8]) -> Result<String, Error> {
    // A loop of links, or a file among the directories, is as good as no database.
    let node = base.view.resolve(path).ok().and_then(|resolution| resolution.node);
    let Some(node) = node.filter(|node| matches!(node.kind, Kind::File { size: ..=MOST_BYTES, .. })) else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    (base.content)(node)
        .and_then(|content| content.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(|source| Error::Content { path: shown(path), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
