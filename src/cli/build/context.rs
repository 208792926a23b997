use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Error;
use crate::engine::{ContextSource, NamedSource, Stream};
use crate::graph::{Git, Http};

/// Flags about where files come from.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// What an image, a stage or `--from` of this name means: a directory, docker-image://NAME, oci-layout://DIR:TAG,
    /// or the URL of a file or git repository (repeatable)
    #[arg(long, value_name = "NAME=SOURCE")]
    build_context: Vec<String>,
    /// Rules about what may be used, and what instead, in BuildKit's form (default: the file that
    /// EXPERIMENTAL_BUILDKIT_SOURCE_POLICY names, as for buildx)
    #[arg(long, value_name = "FILE")]
    source_policy_file: Option<PathBuf>,
}

/// Names a source policy where no flag does.
const SOURCE_POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

impl Args {
    /// Returns the source policy, whose default is `environment`'s.
    pub(super) fn source_policy(&self, environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let inherited = || Some(PathBuf::from(environment(SOURCE_POLICY).filter(|path| !path.is_empty())?));
        self.source_policy_file.clone().or_else(inherited)
    }

    /// Returns the named contexts; the last of a name counts.
    pub(super) fn named(&self) -> Result<BTreeMap<String, NamedSource>, Error> {
        self.build_context.iter().map(|text| named(text)).collect()
    }
}

/// Returns where the context argument says the files are.
pub(in crate::cli) fn source(path: &Path, stdin: impl Read + Send + 'static) -> ContextSource {
    let text = path.to_string_lossy();
    if text == "-" {
        return ContextSource::Stream(Stream::new(stdin));
    }
    if path.is_file() {
        return ContextSource::Archive(path.to_owned());
    }
    if !path.is_dir() && (is_url(&text) || Git::of_context(&text).is_some()) {
        return ContextSource::Remote(text.into_owned());
    }
    ContextSource::Directory(path.to_owned())
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

fn named(text: &str) -> Result<(String, NamedSource), Error> {
    let wrong = |why: &str| Error::Usage(format!("`--build-context {text}`: {why}"));
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("it is not NAME=SOURCE"))?;
    if name.is_empty() || value.is_empty() {
        return Err(wrong("it is not NAME=SOURCE"));
    }
    let source = if Path::new(value).is_dir() {
        NamedSource::Directory(value.into())
    } else if let Some(image) = value.strip_prefix("docker-image://") {
        NamedSource::Image(image.parse().map_err(|error| wrong(&format!("{error}")))?)
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        self::layout(layout).map_err(|why| wrong(&why))?
    } else if value.starts_with("target:") {
        return Err(wrong("other targets are for bake files alone"));
    } else if let Some(git) = Git::of_context(value) {
        NamedSource::Git(git.map_err(|error| wrong(&error.to_string()))?)
    } else if is_url(value) {
        NamedSource::Http(Http { name: "context".to_owned(), ..Http::of_url(value) })
    } else {
        NamedSource::Directory(value.into())
    };
    Ok((name.to_owned(), source))
}

/// Reads `path[:tag][@digest]`.
fn layout(text: &str) -> Result<NamedSource, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|error| format!("{error}"))?)),
        None => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok(NamedSource::Layout { path: path.into(), tag, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> NamedSource {
        named(text).unwrap().1
    }

    #[test]
    fn a_flag_names_the_policy_or_else_the_environment() {
        let policy = |flag: Option<&str>, variable: &'static str| {
            let args = Args { build_context: Vec::new(), source_policy_file: flag.map(PathBuf::from) };
            let environment = |name: &str| (name == SOURCE_POLICY).then(|| variable.into());
            args.source_policy(environment).map(|path| path.display().to_string())
        };
        assert_eq!(policy(Some("a"), "b").as_deref(), Some("a"));
        assert_eq!((policy(None, "b").as_deref(), policy(None, "")), (Some("b"), None));
    }

    #[test]
    fn contexts_are_known_by_their_form() {
        for (text, expected) in [
            ("-", "stream"),
            ("/", "directory"),
            ("no/such", "directory"),
            ("https://example.com/x.tar", "remote"),
            ("git@github.com:me/x", "remote"),
            ("github.com/me/x", "remote"),
        ] {
            let found = match source(Path::new(text), std::io::empty()) {
                ContextSource::Stream(_) => "stream",
                ContextSource::Directory(_) => "directory",
                ContextSource::Archive(_) => "archive",
                ContextSource::Remote(_) => "remote",
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn named_contexts_are_many_things() {
        assert_eq!(of("a=some/directory"), NamedSource::Directory("some/directory".into()));
        assert_eq!(of("a=docker-image://alpine"), NamedSource::Image("alpine".parse().unwrap()));
        let layout =
            |tag: Option<&str>| NamedSource::Layout { path: "./d".into(), tag: tag.map(Into::into), digest: None };
        assert_eq!((of("a=oci-layout://./d"), of("a=oci-layout://./d:v1")), (layout(None), layout(Some("v1"))));
        assert!(matches!(of("a=https://x.example/y"), NamedSource::Http(http) if http.name == "context"));
        assert!(matches!(of("a=https://x.example/y.git#main"), NamedSource::Git(_)));
        for wrong in ["a", "=b", "a=", "a=docker-image://UPPER", "a=oci-layout://d@sha256:1", "a=target:x"] {
            assert!(matches!(named(wrong), Err(Error::Usage(_))), "{wrong}");
        }
    }
}
