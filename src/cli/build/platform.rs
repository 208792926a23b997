use crate::cli::Error;
use crate::oci::Platform;

/// What is built for.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct Args {
    /// Platforms, such as linux/amd64,linux/arm64; a build for several makes one index (repeatable)
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',', env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Vec<String>,
}

impl Args {
    /// Returns the platforms, each once, in the order in which they were first named.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is none.
    pub(in crate::cli) fn platforms(&self) -> Result<Vec<Platform>, Error> {
        let mut platforms = Vec::new();
        for text in self.platform.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let platform = match text {
                "local" => Platform::host(),
                _ => text.parse().map_err(|error| Error::Usage(format!("`--platform {text}`: {error}")))?,
            };
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
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

    fn platforms(flags: &[&str]) -> Result<Vec<String>, Error> {
        let platforms = Line::parse_from([&["build"], flags].concat()).args.platforms()?;
        Ok(platforms.iter().map(Platform::to_string).collect())
    }

    #[test]
    fn platforms_are_a_list_in_which_each_is_once() {
        let flags = ["--platform", "linux/aarch64,linux/x86_64", "--platform=linux/arm64/v8, linux/arm"];
        assert_eq!(platforms(&flags).unwrap(), ["linux/arm64", "linux/amd64", "linux/arm/v7"]);
        assert_eq!(platforms(&["--platform", "local"]).unwrap(), [Platform::host().to_string()]);
        assert!(platforms(&[]).unwrap().is_empty());
        assert!(matches!(platforms(&["--platform=linux/amd64,toaster"]), Err(Error::Usage(_))));
    }
}
