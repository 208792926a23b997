use super::{Manager, Package, field, text};

/// Reads apk's list of installed packages (apk-package(5)): paragraphs of lines with a letter each.
pub(super) fn packages(bytes: &[u8]) -> Vec<Package> {
    let mut found = Vec::new();
    let (mut name, mut version) = (None, None);
    let end: &[u8] = b"";
    for line in bytes.split(|&byte| byte == b'\n').chain([end]) {
        if line.trim_ascii().is_empty() {
            if let (Some(name), Some(version)) = (name.take(), version.take()) {
                found.push(Package { manager: Manager::Apk, name: text(name), version: text(version) });
            }
        } else if let Some(value) = field(line, "P:") {
            name = Some(value);
        } else if let Some(value) = field(line, "V:") {
            version = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_paragraph_is_a_package() {
        let installed = "C:Q1x=\nP:musl\nV:1.2.4-r2\nF:lib\nR:ld-musl\n\nP:busybox\nV:1.36.1-r5\n";
        let found: Vec<String> =
            packages(installed.as_bytes()).iter().map(|each| format!("{} {}", each.name, each.version)).collect();
        assert_eq!(found, ["musl 1.2.4-r2", "busybox 1.36.1-r5"]);
    }
}
