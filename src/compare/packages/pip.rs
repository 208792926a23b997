use super::{Manager, Package, text};

/// Returns the distribution whose metadata a path is: `NAME-VERSION.dist-info/METADATA` (the specification "Recording
/// installed projects"), or in older forms `NAME-VERSION[-pyX].egg-info[/PKG-INFO]`.
pub(super) fn package(path: &[u8]) -> Option<Package> {
    let mut names = path.rsplit(|&byte| byte == b'/');
    let last = names.next()?;
    let name = match last {
        b"METADATA" => names.next()?.strip_suffix(b".dist-info")?,
        b"PKG-INFO" => names.next()?.strip_suffix(b".egg-info")?,
        other => other.strip_suffix(b".egg-info")?,
    };
    // Names have their hyphens replaced, so the first one ends the name.
    let mut parts = name.splitn(3, |&byte| byte == b'-');
    let (name, version) = (parts.next()?, parts.next()?);
    if name.is_empty() || version.is_empty() {
        return None;
    }
    Some(Package { manager: Manager::Pip, name: text(name), version: text(version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_name_and_version() {
        for (path, expected) in [
            ("a/typing_extensions-4.9.0.dist-info/METADATA", Some("typing_extensions 4.9.0")),
            ("a/six-1.16.0.egg-info/PKG-INFO", Some("six 1.16.0")),
            ("a/PyYAML-6.0-py3.11.egg-info", Some("PyYAML 6.0")),
            ("a/six-1.16.0.dist-info/RECORD", None),
            ("METADATA", None),
            ("a/x.dist-info/METADATA", None),
        ] {
            let found = package(path.as_bytes()).map(|each| format!("{} {}", each.name, each.version));
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
