use std::collections::BTreeMap;

use crate::engine::BuildOptions;

/// Flags about times, and about proof.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Make the same image of the same content, whenever and wherever
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reproducible: Option<bool>,
    /// Build reproducibly, then once more under other circumstances, and fail unless both images are equal
    #[arg(long)]
    verify: bool,
}

impl Args {
    /// Adds what the flags and the environment say.
    pub(super) fn add(&self, environment: impl Fn(&str) -> Option<String>, options: &mut BuildOptions) {
        options.reproducible = self.reproducible;
        options.verify = self.verify;
        inherit("SOURCE_DATE_EPOCH", environment, &mut options.build_args);
    }
}

/// Makes a variable of the environment a build argument, unless there is one of that name.
fn inherit(name: &str, environment: impl Fn(&str) -> Option<String>, build_args: &mut BTreeMap<String, String>) {
    if let Some(value) = environment(name).filter(|value| !value.is_empty()) {
        build_args.entry(name.to_owned()).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(flags: &[&str], given: Option<&str>) -> BuildOptions {
        let mut options = BuildOptions::default();
        options.build_args.extend(given.map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch.to_owned())));
        let environment = |name: &str| (name == "SOURCE_DATE_EPOCH").then(|| "17".to_owned());
        Line::parse_from([&["build"], flags].concat()).args.add(environment, &mut options);
        options
    }

    #[test]
    fn the_epoch_of_the_environment_is_a_build_argument() {
        assert_eq!(options(&[], None).build_args["SOURCE_DATE_EPOCH"], "17");
        assert_eq!(options(&[], Some("18")).build_args["SOURCE_DATE_EPOCH"], "18");
    }

    #[test]
    fn reproducible_can_be_said_and_denied() {
        for (flags, expected) in
            [(&[][..], None), (&["--reproducible"], Some(true)), (&["--reproducible=false"], Some(false))]
        {
            assert_eq!(options(flags, None).reproducible, expected);
        }
    }
}
