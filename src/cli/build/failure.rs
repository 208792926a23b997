use std::path::PathBuf;
use std::str::FromStr;

use crate::engine;

/// What becomes of a build that fails.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct Args {
    /// What becomes of the files of a step that fails: keep (for `kiln shell`), bundle[=FILE] (also as an archive for
    /// another machine) or discard
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    pub(super) on_failure: OnFailure,
}

/// As the engine has it, to be read from a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnFailure(engine::OnFailure);

impl FromStr for OnFailure {
    type Err = String;

    fn from_str(text: &str) -> Result<OnFailure, String> {
        Ok(OnFailure(match text.split_once('=') {
            None if text == "keep" => engine::OnFailure::Keep,
            None if text == "discard" => engine::OnFailure::Discard,
            None if text == "bundle" => engine::OnFailure::Bundle(None),
            Some(("bundle", path)) if !path.is_empty() => engine::OnFailure::Bundle(Some(PathBuf::from(path))),
            _ => return Err("there are keep, bundle, bundle=FILE and discard".to_owned()),
        }))
    }
}

impl From<OnFailure> for engine::OnFailure {
    fn from(wanted: OnFailure) -> engine::OnFailure {
        wanted.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_ways() {
        for (text, expected) in [
            ("keep", Some(engine::OnFailure::Keep)),
            ("discard", Some(engine::OnFailure::Discard)),
            ("bundle", Some(engine::OnFailure::Bundle(None))),
            ("bundle=a=b.tar", Some(engine::OnFailure::Bundle(Some("a=b.tar".into())))),
            ("bundle=", None),
            ("keep=x", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(OnFailure), "{text}");
        }
    }
}
