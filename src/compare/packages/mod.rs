//! The packages of an image, read from the files in which package managers keep them.

mod apk;
mod cargo;
mod dpkg;
mod go;
mod npm;
mod pip;
mod rpm;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use crate::layer::Kind;

use super::File;

/// Whose a package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// Red Hat's and SUSE's.
    Rpm,
    /// Python's distributions, whoever installed them.
    Pip,
    /// What is in a directory `node_modules`.
    Npm,
    /// What `cargo install` installed.
    Cargo,
    /// What a Go program is made of.
    Go,
}

impl Manager {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::Dpkg => "dpkg",
            Manager::Apk => "apk",
            Manager::Rpm => "rpm",
            Manager::Pip => "pip",
            Manager::Npm => "npm",
            Manager::Cargo => "cargo",
            Manager::Go => "go",
        }
    }
}

/// A package in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Package {
    /// Whose.
    pub manager: Manager,
    /// As the manager calls it.
    pub name: String,
    /// As the manager writes it.
    pub version: String,
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageChange {
    /// Whose.
    pub manager: Manager,
    /// Which.
    pub name: String,
    /// The versions that are gone; none if it is new.
    pub before: Vec<String>,
    /// The versions that came; none if it is gone.
    pub after: Vec<String>,
}

/// Why the packages of a file are not known.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is in a form that kiln cannot read.
    #[error("it is a package database in {0}'s format, which kiln cannot read")]
    Format(&'static str),
    /// It is not what it should be.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It could not be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

/// A file that tells of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackageFile {
    /// Debian's `status`, or one file of `status.d`.
    Dpkg,
    /// Alpine's `installed`.
    Apk,
    /// An rpm database in SQLite.
    Rpm,
    /// An rpm database of another kind.
    OtherRpm(&'static str),
    /// The directory of a Python distribution tells all.
    Pip,
    /// A package's `package.json`.
    Npm,
    /// cargo's list of what it installed.
    Cargo,
    /// A program, perhaps of Go.
    Program,
}

/// Databases and lists are smaller. Programs are not read as a whole.
const MAX_BYTES: u64 = 256 << 20;

impl PackageFile {
    /// Tells whether a file is one, by its path and what it is.
    pub fn of(path: &[u8], file: &File) -> Option<PackageFile> {
        let Kind::File { size, .. } = file.kind else { return None };
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        Some(match path {
            b"var/lib/dpkg/status" => PackageFile::Dpkg,
            _ if path.starts_with(b"var/lib/dpkg/status.d/") && !path.ends_with(b".md5sums") => PackageFile::Dpkg,
            b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => PackageFile::Apk,
            b"var/lib/rpm/rpmdb.sqlite" | b"usr/lib/sysimage/rpm/rpmdb.sqlite" | b"usr/share/rpm/rpmdb.sqlite" => {
                PackageFile::Rpm
            }
            b"var/lib/rpm/Packages" | b"usr/lib/sysimage/rpm/Packages" => PackageFile::OtherRpm("Berkeley DB"),
            b"var/lib/rpm/Packages.db" | b"usr/lib/sysimage/rpm/Packages.db" => PackageFile::OtherRpm("ndb"),
            _ if pip::package(path).is_some() => PackageFile::Pip,
            _ if npm::name(path).is_some() => PackageFile::Npm,
            _ if name == b".crates2.json" => PackageFile::Cargo,
            _ if file.metadata.mode & 0o111 != 0 && size >= go::LEAST_BYTES => PackageFile::Program,
            _ => return None,
        })
    }

    /// Tells whether reading the content is needed, and not only the path.
    pub fn has_content(self) -> bool {
        !matches!(self, PackageFile::Pip | PackageFile::OtherRpm(_))
    }

    /// Tells whether it is one file for many packages, in which a change of any is a change of the file.
    pub fn is_database(self) -> bool {
        matches!(self, PackageFile::Dpkg | PackageFile::Apk | PackageFile::Rpm | PackageFile::Cargo)
    }

    /// Reads the packages out of the file at `path`.
    ///
    /// # Errors
    /// All of [`Unreadable`].
    pub fn read(self, path: &[u8], content: &mut dyn Read) -> Result<Vec<Package>, Unreadable> {
        let mut bytes = Vec::new();
        let mut all = |bytes: &mut Vec<u8>| content.take(MAX_BYTES).read_to_end(bytes);
        match self {
            PackageFile::Pip => Ok(pip::package(path).into_iter().collect()),
            PackageFile::OtherRpm(format) => Err(Unreadable::Format(format)),
            PackageFile::Program => Ok(go::modules(content)?),
            PackageFile::Dpkg => all(&mut bytes).map(|_| dpkg::packages(&bytes)).map_err(Unreadable::from),
            PackageFile::Apk => all(&mut bytes).map(|_| apk::packages(&bytes)).map_err(Unreadable::from),
            PackageFile::Rpm => all(&mut bytes).map_err(Unreadable::from).and_then(|_| rpm::packages(&bytes)),
            PackageFile::Npm => {
                all(&mut bytes)?;
                Ok(npm::package(path, &bytes).into_iter().collect())
            }
            PackageFile::Cargo => all(&mut bytes).map_err(Unreadable::from).and_then(|_| cargo::packages(&bytes)),
        }
    }
}

/// Compares the packages that two sides tell of in the files that differ between them, in the order of managers and
/// names.
pub fn packages(before: &[Package], after: &[Package]) -> Vec<PackageChange> {
    let (before, after): (BTreeSet<&Package>, BTreeSet<&Package>) = (before.iter().collect(), after.iter().collect());
    let mut changes: BTreeMap<(Manager, &str), [Vec<String>; 2]> = BTreeMap::new();
    for package in before.difference(&after) {
        changes.entry((package.manager, &package.name)).or_default()[0].push(package.version.clone());
    }
    for package in after.difference(&before) {
        changes.entry((package.manager, &package.name)).or_default()[1].push(package.version.clone());
    }
    let change = |((manager, name), [before, after]): ((Manager, &str), [Vec<String>; 2])| PackageChange {
        manager,
        name: name.to_owned(),
        before,
        after,
    };
    changes.into_iter().map(change).collect()
}

/// Returns the value of a line `KEY: value`, as files in the manner of mail headers have it.
fn field<'a>(line: &'a [u8], key: &str) -> Option<&'a [u8]> {
    line.strip_prefix(key.as_bytes()).map(<[u8]>::trim_ascii)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Metadata;
    use crate::oci::Digest;

    #[test]
    fn files_are_known_by_their_paths() {
        let file = |mode| File {
            kind: Kind::File { size: 1 << 20, digest: Digest::of(b""), offset: 0 },
            metadata: Metadata { mode, ..Metadata::default() },
            layer: Some(0),
        };
        for (path, mode, expected) in [
            ("var/lib/dpkg/status", 0o644, Some(PackageFile::Dpkg)),
            ("var/lib/dpkg/status-old", 0o644, None),
            ("var/lib/dpkg/status.d/base-files", 0o644, Some(PackageFile::Dpkg)),
            ("var/lib/dpkg/status.d/base-files.md5sums", 0o644, None),
            ("lib/apk/db/installed", 0o644, Some(PackageFile::Apk)),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", 0o644, Some(PackageFile::Rpm)),
            ("var/lib/rpm/Packages", 0o644, Some(PackageFile::OtherRpm("Berkeley DB"))),
            ("usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA", 0o644, Some(PackageFile::Pip)),
            ("app/node_modules/@babel/core/package.json", 0o644, Some(PackageFile::Npm)),
            ("app/package.json", 0o644, None),
            ("root/.cargo/.crates2.json", 0o644, Some(PackageFile::Cargo)),
            ("usr/bin/tool", 0o755, Some(PackageFile::Program)),
            ("usr/bin/tool", 0o644, None),
        ] {
            assert_eq!(PackageFile::of(path.as_bytes(), &file(mode)), expected, "{path}");
        }
    }

    #[test]
    fn packages_are_compared_by_name() {
        let package = |name: &str, version: &str| Package {
            manager: Manager::Apk,
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let before = [package("a", "1"), package("b", "1"), package("c", "1"), package("d", "1"), package("d", "2")];
        let after = [package("a", "1"), package("b", "2"), package("d", "2"), package("d", "3"), package("e", "1")];
        let told: Vec<String> = packages(&before, &after)
            .iter()
            .map(|change| format!("{} {} {}", change.name, change.before.join("+"), change.after.join("+")))
            .collect();
        assert_eq!(told, ["b 1 2", "c 1 ", "d 1 3", "e  1"]);
    }
}
