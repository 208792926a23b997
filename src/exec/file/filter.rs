use super::resolve::{join, split};
use super::select::below;
use crate::context::{BadPattern, Ignore, Scope};
use crate::graph::CopyOptions;

/// What a copy takes of a directory, by paths relative to it: all that is included, but not what is excluded.
pub(super) struct Filter {
    /// None includes everything.
    include: Option<Ignore>,
    exclude: Ignore,
}

/// Which patterns match a directory or one above it.
struct Scopes {
    include: Option<Scope>,
    exclude: Scope,
}

/// A directory of a walk.
struct Open<P> {
    path: P,
    number: usize,
    scopes: Scopes,
}

impl Filter {
    /// Returns the filter of a copy of whole directories.
    pub(super) fn excluding(options: &CopyOptions) -> Result<Filter, BadPattern> {
        Ok(Filter { include: None, exclude: Ignore::of_patterns(&options.exclude)? })
    }

    /// Returns the filter of a copy of what matches a pattern.
    pub(super) fn including(pattern: &str, options: &CopyOptions) -> Result<Filter, BadPattern> {
        Ok(Filter { include: Some(Ignore::of_patterns(&[pattern])?), ..Filter::excluding(options)? })
    }

    /// Tells whether everything is taken.
    pub(super) fn takes_all(&self) -> bool {
        self.include.is_none() && self.exclude.sees_all()
    }

    /// Tells of each entry whether it is taken: because it matches, or because it is a directory above one that does.
    ///
    /// `entries` are paths and whether they are directories, in the order of a walk of `directory`, which is `root` or
    /// below it.
    pub(super) fn taken<P: AsRef<[u8]>>(
        &self,
        root: &[u8],
        directory: &[u8],
        entries: impl Iterator<Item = (P, bool)>,
    ) -> Vec<bool> {
        let outer = self.scopes(below(root, directory));
        let mut taken = Vec::new();
        let mut open: Vec<Open<P>> = Vec::new();
        for (number, (path, is_directory)) in entries.enumerate() {
            while open.last().is_some_and(|above| above.path.as_ref() != split(path.as_ref()).0) {
                open.pop();
            }
            let scopes = open.last().map_or(&outer, |above| &above.scopes);
            let relative = below(root, path.as_ref());
            let matches = self.matches(scopes, relative);
            taken.push(matches);
            if matches {
                open.iter().for_each(|above| taken[above.number] = true);
            }
            if is_directory {
                let scopes = self.enter(scopes, relative);
                open.push(Open { path, number, scopes });
            }
        }
        taken
    }

    fn matches(&self, scopes: &Scopes, path: &[u8]) -> bool {
        let included = match (&self.include, &scopes.include) {
            (Some(include), Some(scope)) => include.verdict_in(scope, path).is_ignored(),
            _ => true,
        };
        included && !self.exclude.verdict_in(&scopes.exclude, path).is_ignored()
    }

    fn enter(&self, scopes: &Scopes, directory: &[u8]) -> Scopes {
        let include = self.include.as_ref().zip(scopes.include.as_ref());
        Scopes {
            include: include.map(|(include, scope)| include.enter(scope, directory)),
            exclude: self.exclude.enter(&scopes.exclude, directory),
        }
    }

    /// Returns the scopes of what lies in a directory.
    fn scopes(&self, directory: &[u8]) -> Scopes {
        let mut scopes = Scopes { include: self.include.as_ref().map(Ignore::root), exclude: self.exclude.root() };
        let mut path = Vec::new();
        for name in directory.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            path = join(&path, name);
            scopes = self.enter(&scopes, &path);
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_with_what_is_taken_below_them() {
        let walk = ["d", "d/a", "d/e", "d/e/b", "d/f", "g", "g/b"];
        let is_directory = |path: &str| matches!(path, "d" | "d/e" | "d/f" | "g");
        for (include, exclude, expected) in [
            (None, &[][..], "d d/a d/e d/e/b d/f g g/b"),
            (None, &["d"], "g g/b"),
            (None, &["d", "!d/e/b"], "d d/e d/e/b g g/b"),
            (None, &["**/b"], "d d/a d/e d/f g"),
            (None, &["*"], ""),
            (Some("**/b"), &[], "d d/e d/e/b g g/b"),
            (Some("d/*"), &[], "d d/a d/e d/e/b d/f"),
            (Some("d"), &["d/e"], "d d/a d/f"),
            (Some("x"), &[], ""),
        ] {
            let options =
                CopyOptions { exclude: exclude.iter().map(ToString::to_string).collect(), ..Default::default() };
            let filter = match include {
                Some(pattern) => Filter::including(pattern, &options).unwrap(),
                None => Filter::excluding(&options).unwrap(),
            };
            let taken = filter.taken(b"", b"", walk.iter().map(|path| (path.as_bytes(), is_directory(path))));
            let taken: Vec<&str> = walk.iter().zip(taken).filter(|(_, taken)| *taken).map(|(path, _)| *path).collect();
            assert_eq!(taken.join(" "), expected, "{include:?} {exclude:?}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_root_wherever_the_walk_begins() {
        let options = CopyOptions { exclude: vec!["d/b".to_owned()], ..Default::default() };
        let filter = Filter::including("d", &options).unwrap();
        let walk = [&b"r/d/a"[..], b"r/d/b"].into_iter().map(|path| (path, false));
        assert_eq!(filter.taken(b"r", b"r/d", walk), [true, false]);
    }
}
