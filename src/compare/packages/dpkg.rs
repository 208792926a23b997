use super::{Manager, Package, field, text};

/// Reads dpkg's status file (deb-control(5)): paragraphs between empty lines. One without a status is installed, as in
/// the files of distroless images.
pub(super) fn packages(bytes: &[u8]) -> Vec<Package> {
    let mut found = Vec::new();
    let mut paragraph = Paragraph::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        if line.trim_ascii().is_empty() {
            found.extend(std::mem::take(&mut paragraph).package());
        } else if let Some(name) = field(line, "Package:") {
            paragraph.name = Some(name);
        } else if let Some(version) = field(line, "Version:") {
            paragraph.version = Some(version);
        } else if let Some(architecture) = field(line, "Architecture:") {
            paragraph.architecture = Some(architecture);
        } else if let Some(value) = field(line, "Multi-Arch:") {
            paragraph.is_one_of_several = value == b"same";
        } else if let Some(status) = field(line, "Status:") {
            paragraph.is_gone = GONE.iter().any(|word| status.ends_with(word));
        }
    }
    found.extend(paragraph.package());
    found
}

/// The states in which no file of a package is there (dpkg(1), "Package states").
const GONE: [&[u8]; 2] = [b" not-installed", b" config-files"];

#[derive(Default)]
struct Paragraph<'a> {
    name: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    architecture: Option<&'a [u8]>,
    /// Whether it can be installed for several architectures at once; dpkg then has that in its name.
    is_one_of_several: bool,
    is_gone: bool,
}

impl Paragraph<'_> {
    fn package(self) -> Option<Package> {
        if self.is_gone {
            return None;
        }
        let mut name = text(self.name?);
        if let Some(architecture) = self.architecture.filter(|_| self.is_one_of_several) {
            name = format!("{name}:{}", text(architecture));
        }
        Some(Package { manager: Manager::Dpkg, name, version: text(self.version?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_found() {
        let status = "Package: libc6\nStatus: install ok installed\nPriority: optional\nSection: libs\n\
                      Architecture: amd64\nMulti-Arch: same\nVersion: 2.36-9\nConffiles:\n /etc/ld.so.conf 4317c6\n\n\
                      Package: tzdata\nStatus: hold ok installed\nArchitecture: all\nMulti-Arch: foreign\nVersion: 1\n\n\
                      Package: man-db\nStatus: install ok triggers-pending\nVersion: 2\n\n\
                      Package: broken\nStatus: install reinstreq half-installed\nVersion: 4\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: never\nStatus: unknown ok not-installed\nArchitecture: amd64\n\n\
                      Package: plain\nVersion: 3\nDescription: x\n Version: not this\n";
        let found: Vec<String> =
            packages(status.as_bytes()).iter().map(|each| format!("{} {}", each.name, each.version)).collect();
        assert_eq!(found, ["libc6:amd64 2.36-9", "tzdata 1", "man-db 2", "broken 4", "plain 3"]);
        assert_eq!(packages(b"\xff\n\nPackage: a\n"), []);
    }
}
