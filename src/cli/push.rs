use std::io::{self, Write};

use super::Error;
use super::compression;
use super::progress::{self, Mode};
use super::session::Session;
use crate::engine::TransferOptions;
use crate::oci::Reference;

/// Send images to their registries
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the names alone
    #[arg(short, long)]
    quiet: bool,
    /// Ask this registry without TLS if need be (repeatable)
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    compression: compression::Args,
    #[command(flatten)]
    progress: progress::Args,
    /// Names
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let packing = args.compression.packing()?;
    let engine = session.engine()?;
    let options = TransferOptions { platform: None, insecure_registries: args.insecure_registry.clone(), packing };
    let display = args.progress.display(if args.quiet { Some(Mode::Quiet) } else { None }, session);
    for reference in &args.images {
        let digest = display.watch(|observer| engine.push(reference, &options, observer, &session.cancel))?;
        writeln!(
            io::stdout(),
            "{}",
            if args.quiet { reference.familiar() } else { format!("{} {digest}", reference.familiar()) }
        )?;
    }
    Ok(())
}
