use super::{Manager, Package, text};

/// Returns the name that a path gives a package: what lies directly in a `node_modules`, with its scope.
pub(super) fn name(path: &[u8]) -> Option<String> {
    let directory = path.strip_suffix(b"/package.json")?;
    let mut names = directory.rsplit(|&byte| byte == b'/');
    let (name, above) = (names.next()?, names.next()?);
    if above == b"node_modules" {
        return Some(text(name));
    }
    if above.starts_with(b"@") && names.next()? == b"node_modules" {
        return Some(format!("{}/{}", text(above), text(name)));
    }
    None
}

/// Reads a `package.json`; none where it has no version, as some that only say what kind of module a directory is.
pub(super) fn package(path: &[u8], bytes: &[u8]) -> Option<Package> {
    #[derive(serde::Deserialize)]
    struct Document {
        version: String,
    }
    let document: Document = serde_json::from_slice(bytes).ok()?;
    Some(Package { manager: Manager::Npm, name: name(path)?, version: document.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_in_node_modules() {
        for (path, expected) in [
            ("app/node_modules/left-pad/package.json", Some("left-pad")),
            ("node_modules/@a/b/package.json", Some("@a/b")),
            ("app/node_modules/x/node_modules/y/package.json", Some("y")),
            ("app/node_modules/x/lib/package.json", None),
            ("app/package.json", None),
        ] {
            assert_eq!(name(path.as_bytes()).as_deref(), expected, "{path}");
        }
        let path = b"node_modules/x/package.json";
        assert_eq!(package(path, br#"{"name":"x","version":"1.2"}"#).unwrap().version, "1.2");
        assert_eq!(package(path, br#"{"type":"module"}"#), None);
        assert_eq!(package(path, b"{"), None);
    }
}
