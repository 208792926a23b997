use std::io::{self, Write};

use super::Error;
use super::session::Session;

/// Print what the steps of a build wrote
///
/// kiln keeps the output of every step it ran; of more than 32 MiB, both ends. Without arguments, this is all of the last build.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A step of the last build, by the number of the progress display, or a build, or a step of a build
    #[arg(value_name = "STEP|BUILD[:STEP]")]
    of: Option<String>,
    /// Of this build instead of the last
    #[arg(long, value_name = "ID")]
    build: Option<String>,
}

/// A number of more digits is the id of a build: nobody has so many steps.
const STEP_DIGITS: usize = 5;

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let (build, step) = named(args)?;
    let text = session.engine()?.log(build, step)?;
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Returns the build, where it is not the last, and the step, where it is not all.
fn named(args: &Args) -> Result<(Option<&str>, Option<usize>), Error> {
    let Some(of) = args.of.as_deref() else { return Ok((args.build.as_deref(), None)) };
    let number = |text: &str| {
        text.trim_start_matches('#').parse().map_err(|_| Error::Usage(format!("`{text}` is not the number of a step")))
    };
    match (of.split_once(':'), &args.build) {
        (Some((build, step)), None) => Ok((Some(build), Some(number(step)?))),
        (None, None) if of.trim_start_matches('#').len() > STEP_DIGITS => Ok((Some(of), None)),
        (None, build) => Ok((build.as_deref(), Some(number(of)?))),
        (Some(_), Some(_)) => Err(Error::Usage("the build is named twice".to_owned())),
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

    #[test]
    fn steps_and_builds_are_told_apart() {
        for (line, expected) in [
            (&[][..], Some((None, None))),
            (&["7"], Some((None, Some(7)))),
            (&["#7"], Some((None, Some(7)))),
            (&["3c4e5aba7481"], Some((Some("3c4e5aba7481"), None))),
            (&["123456"], Some((Some("123456"), None))),
            (&["3c4e:7"], Some((Some("3c4e"), Some(7)))),
            (&["--build=3c4e", "7"], Some((Some("3c4e"), Some(7)))),
            (&["make"], None),
            (&["3c4e:make"], None),
            (&["--build=3c4e", "3c4e:7"], None),
        ] {
            let args = Line::parse_from([&["log"], line].concat()).args;
            assert_eq!(named(&args).ok(), expected, "{line:?}");
        }
    }
}
