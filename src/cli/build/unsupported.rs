use clap::ArgAction;

use super::Error;

/// Flags of other builders. Those that ask for what kiln does anyway are accepted, the others earn a clear answer
/// instead of a build that is not what was asked for.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<String>,
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    attest: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    cache_from: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    cache_to: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    annotation: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    security_opt: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    resource: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    policy: Vec<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(short = 'm', long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(short = 'c', long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
}

impl Args {
    /// # Errors
    /// [`Error::NotSupported`] for the first flag that changes the result and that kiln does not have.
    pub(super) fn check(&self) -> Result<(), Error> {
        let repeated = [
            ("--attest", &self.attest),
            ("--cache-from", &self.cache_from),
            ("--cache-to", &self.cache_to),
            ("--annotation", &self.annotation),
            ("--security-opt", &self.security_opt),
            ("--resource", &self.resource),
            ("--policy", &self.policy),
        ];
        let single = [
            ("--cgroup-parent", &self.cgroup_parent),
            ("--builder", &self.builder),
            ("--isolation", &self.isolation),
            ("--memory", &self.memory),
            ("--memory-swap", &self.memory_swap),
            ("--cpu-shares", &self.cpu_shares),
            ("--cpu-period", &self.cpu_period),
            ("--cpu-quota", &self.cpu_quota),
            ("--cpuset-cpus", &self.cpuset_cpus),
            ("--cpuset-mems", &self.cpuset_mems),
        ];
        let wanted = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "false");
        let attested = [("--provenance", wanted(&self.provenance)), ("--sbom", wanted(&self.sbom))];
        let given = repeated.iter().map(|(flag, values)| (*flag, !values.is_empty()));
        let given = given.chain(single.iter().map(|(flag, value)| (*flag, value.is_some())));
        let mut given = given.chain(attested);
        match given.find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Error::NotSupported { flag: flag.to_owned() }),
            None => Ok(()),
        }
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

    fn answer(flags: &[&str]) -> Option<String> {
        let line = Line::try_parse_from([&["build"], flags].concat()).unwrap();
        line.args.check().err().map(|error| error.to_string())
    }

    #[test]
    fn flags_of_other_builders_are_never_ignored() {
        for flags in
            [&["--cache-from", "a", "--cache-from", "b"][..], &["--provenance=mode=max"], &["--sbom"], &["-m", "1g"]]
        {
            let answer = answer(flags).unwrap();
            assert!(answer.ends_with("is not supported yet"), "{flags:?}: {answer}");
        }
        assert_eq!(answer(&["--cache-to", "x"]).unwrap(), "`--cache-to` is not supported yet");
    }

    #[test]
    fn flags_without_effect_are_accepted() {
        assert_eq!(answer(&["--rm", "--force-rm=false", "--provenance=false", "--sbom=false", "--compress"]), None);
    }
}
