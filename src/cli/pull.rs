use std::io::{self, Write};

use super::Error;
use super::progress::{self, Mode};
use super::session::Session;
use crate::engine::TransferOptions;
use crate::oci::{Platform, Reference};

/// Fetch images from their registries
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the names alone
    #[arg(short, long)]
    quiet: bool,
    /// Which image of a multi-platform one, such as linux/arm64
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<Platform>,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    progress: progress::Args,
    /// Names
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine()?;
    let options = TransferOptions {
        platform: args.platform.clone(),
        insecure_registries: args.insecure_registry.clone(),
        packing: None,
    };
    let display = args.progress.display(if args.quiet { Some(Mode::Quiet) } else { None }, session);
    for reference in &args.images {
        let image = display.watch(|observer| engine.pull(reference, &options, observer, &session.cancel))?;
        let name = image.reference.as_ref().unwrap_or(reference);
        writeln!(
            io::stdout(),
            "{}",
            if args.quiet { name.familiar() } else { format!("{} {}", name.familiar(), image.manifest) }
        )?;
    }
    Ok(())
}
