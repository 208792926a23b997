use std::path::{Path, PathBuf};

use super::super::Error;

/// What one side of a comparison was asked for as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// An image by its name or id, here or in a registry; or a path, where there is one.
    Any(String),
    /// A registry's image.
    Image(String),
    /// An archive, and which image of it.
    Archive(PathBuf, Option<String>),
    /// An OCI layout, and which image of it.
    Layout(PathBuf, Option<String>),
    /// A directory of files.
    Directory(PathBuf),
    /// The result of a build.
    Build(String),
    /// A container as it is now.
    Container(String),
}

/// A name, and after how many instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: Name,
    pub(super) step: Option<usize>,
}

impl Asked {
    /// Reads a side's name: `IMAGE`, `IMAGE@STEP`, `docker://IMAGE`, `docker-archive:FILE[:NAME]`,
    /// `oci-archive:FILE[:TAG]`, `oci:DIR[:TAG]`, `dir:DIR`, `build:ID`, `container:NAME`, or a path.
    pub(super) fn parse(text: &str) -> Result<Asked, Error> {
        let (text, step) = split_step(text);
        let name = match text.split_once(':') {
            Some(("docker", image)) if image.starts_with("//") => Name::Image(image[2..].to_owned()),
            Some(("docker-archive" | "oci-archive", file)) => {
                let (path, name) = split_tag(file);
                Name::Archive(path, name)
            }
            Some(("oci", layout)) => {
                let (path, tag) = split_tag(layout);
                Name::Layout(path, tag)
            }
            Some(("dir", path)) => Name::Directory(path.into()),
            Some(("build", id)) => Name::Build(id.to_owned()),
            Some(("container", name)) => Name::Container(name.to_owned()),
            Some(("containers-storage" | "docker-daemon" | "tarball", _)) => {
                return Err(Error::CannotCompare(text.to_owned()));
            }
            _ if is_path(text) => path(text),
            _ => Name::Any(text.to_owned()),
        };
        Ok(Asked { name, step })
    }
}

/// What is at a path that the user surely meant as one, or that no image has for its name.
pub(super) fn path(text: &str) -> Name {
    let whole = Path::new(text);
    let (path, tag) = if whole.exists() { (whole.to_owned(), None) } else { split_tag(text) };
    match path.is_dir() {
        true if path.join("index.json").is_file() && path.join("blobs").is_dir() => Name::Layout(path, tag),
        true => Name::Directory(path),
        false => Name::Archive(path, tag),
    }
}

/// Tells whether a text is a path and never an image's name.
fn is_path(text: &str) -> bool {
    text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

/// Splits `PATH:TAG`, unless all of it is a path.
fn split_tag(text: &str) -> (PathBuf, Option<String>) {
    match text.split_once(':') {
        Some((path, tag)) if !Path::new(text).exists() && !tag.is_empty() => (path.into(), Some(tag.to_owned())),
        _ => (text.into(), None),
    }
}

/// Splits `NAME@3`; a digest behind an `@` is no number.
fn split_step(text: &str) -> (&str, Option<usize>) {
    match text.rsplit_once('@') {
        Some((name, step)) if !name.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) => {
            step.parse().map_or((text, None), |step| (name, Some(step)))
        }
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let any = |text: &str| Name::Any(text.to_owned());
        let some = |text: &str| Some(text.to_owned());
        let digest = format!("app@sha256:{}", "a".repeat(64));
        for (text, name, step) in [
            ("app", any("app"), None),
            ("host:5000/a/b:1", any("host:5000/a/b:1"), None),
            ("app:1@3", any("app:1"), Some(3)),
            (&digest, any(&digest), None),
            ("docker://app:1", Name::Image("app:1".into()), None),
            ("docker-archive:a.tar", Name::Archive("a.tar".into(), None), None),
            ("docker-archive:a.tar:x/y:1", Name::Archive("a.tar".into(), some("x/y:1")), None),
            ("oci:/none/such:v1@0", Name::Layout("/none/such".into(), some("v1")), Some(0)),
            ("oci-archive:/none/such.tar", Name::Archive("/none/such.tar".into(), None), None),
            ("dir:rootfs", Name::Directory("rootfs".into()), None),
            ("build:0123", Name::Build("0123".into()), None),
            ("container:web", Name::Container("web".into()), None),
            ("./none.tar", Name::Archive("./none.tar".into(), None), None),
            ("/", Name::Directory("/".into()), None),
        ] {
            assert_eq!(Asked::parse(text).unwrap(), Asked { name, step }, "{text}");
        }
        assert!(Asked::parse("docker-daemon:x").is_err());
    }
}
