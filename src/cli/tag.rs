use super::Error;
use super::session::Session;
use crate::oci::Reference;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name or an id
    #[arg(value_name = "SOURCE_IMAGE")]
    source: String,
    /// The new name
    #[arg(value_name = "TARGET_IMAGE")]
    target: Reference,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    Ok(session.engine()?.tag(&args.source, &args.target)?)
}
