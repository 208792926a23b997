use super::Error;
use super::error::shown;
use crate::layer::{Kind, View};

/// What a look-up of one path finds, as far as resolving asks.
pub(super) enum Found {
    Directory,
    Link(Vec<u8>),
    Other,
}

impl Found {
    /// Returns what is at `path` in a merged tree, no link followed.
    pub(super) fn in_view(view: &View, path: &[u8]) -> Option<Found> {
        Some(match &view.lookup(path)?.kind {
            Kind::Directory => Found::Directory,
            Kind::Symlink { target } => Found::Link(target.clone()),
            _ => Found::Other,
        })
    }
}

/// As the kernel has it.
const MOST_LINKS: usize = 40;

/// Follows every link of `path`, the last component too, without leaving `root`: absolute links start there again, and
/// `..` stops there. Returns the path, `root` included, and what is there; components below a missing one are kept as
/// they are.
///
/// # Errors
/// When there are too many links, something but a directory has components below, or `lookup` fails.
pub(super) fn resolve(
    root: &[u8],
    path: &[u8],
    mut lookup: impl FnMut(&[u8]) -> Result<Option<Found>, Error>,
) -> Result<(Vec<u8>, Option<Found>), Error> {
    let mut at = root.to_vec();
    let mut found = Some(Found::Directory);
    let mut open: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(component) = open.pop() {
        if matches!(found, Some(Found::Other)) {
            return Err(Error::NotADirectory { path: shown(&at) });
        }
        if component == b".." {
            at = parent_within(root, &at);
            found = Some(Found::Directory);
            continue;
        }
        let next = join(&at, &component);
        found = lookup(&next)?;
        let Some(Found::Link(target)) = &found else {
            at = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(Error::Links { path: shown(path) });
        }
        if target.starts_with(b"/") {
            at = root.to_vec();
        }
        open.extend(components(target).rev().map(<[u8]>::to_vec));
        found = Some(Found::Directory);
    }
    Ok((at, found))
}

/// Returns the components of a path that mean something: neither empty nor `.`.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

fn parent_within(root: &[u8], path: &[u8]) -> Vec<u8> {
    if path.len() <= root.len() { root.to_vec() } else { split(path).0.to_vec() }
}

/// Cleans a path lexically and makes it relative to the root, above which there is nothing.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join(&b'/')
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory, name) {
        (b"", name) => name.to_vec(),
        (directory, b"") => directory.to_vec(),
        (directory, name) => [directory, b"/", name].concat(),
    }
}

/// Splits off the last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(path: &[u8]) -> Result<Option<Found>, Error> {
        Ok(match path {
            b"d" | b"d/e" | b"r" | b"r/d" => Some(Found::Directory),
            b"d/f" => Some(Found::Other),
            b"abs" => Some(Found::Link(b"/d/e".to_vec())),
            b"rel" | b"r/rel" => Some(Found::Link(b"d".to_vec())),
            b"up" => Some(Found::Link(b"../../../d".to_vec())),
            b"d/up" => Some(Found::Link(b"../rel/./e/".to_vec())),
            b"dangling" => Some(Found::Link(b"/no/where".to_vec())),
            b"loop" => Some(Found::Link(b"loop".to_vec())),
            b"r/out" => Some(Found::Link(b"/../../d".to_vec())),
            _ => None,
        })
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        for (root, path, expected, there) in [
            ("", "/", "", true),
            ("", "d", "d", true),
            ("", "abs", "d/e", true),
            ("", "rel/e", "d/e", true),
            ("", "rel/../d", "d", true),
            ("", "up", "d", true),
            ("", "d/up", "d/e", true),
            ("", "dangling", "no/where", false),
            ("", "dangling/x", "no/where/x", false),
            ("", "missing/../d", "d", true),
            ("r", "rel", "r/d", true),
            ("r", "out", "r/d", true),
            ("r", "../../d", "r/d", true),
        ] {
            let (at, found) = resolve(root.as_bytes(), path.as_bytes(), lookup).unwrap();
            assert_eq!(
                (String::from_utf8(at).unwrap(), found.is_some()),
                (expected.to_owned(), there),
                "{root} {path}"
            );
        }
    }

    #[test]
    fn loops_and_files_as_directories_are_errors() {
        assert!(matches!(resolve(b"", b"loop/x", lookup), Err(Error::Links { .. })));
        assert!(matches!(resolve(b"", b"d/f/x", lookup), Err(Error::NotADirectory { .. })));
    }

    #[test]
    fn nothing_is_above_the_root() {
        for (path, expected) in [("/", ""), (".", ""), ("../../f", "f"), ("a/./b//", "a/b"), ("/a/../../b/.", "b")] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
