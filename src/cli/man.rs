use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;

use super::{Error, usage};

/// Print a manual page
///
/// Such as `kiln man build | man -l -`. All pages at once, for a package: `kiln man --all /usr/share/man/man1`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    all: Option<PathBuf>,
    /// The command (default: all of kiln in one page)
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let mut kiln = usage::command().disable_help_subcommand(true);
    kiln.build();
    let Some(directory) = &args.all else {
        let name = args.command.as_deref();
        return Ok(io::stdout().write_all(page(&kiln, name)?.as_bytes())?);
    };
    let failed = |path: PathBuf| |source| Error::File { action: "write", path, source };
    fs::create_dir_all(directory).map_err(failed(directory.clone()))?;
    let names = kiln.get_subcommands().map(Command::get_name).map(Some);
    for name in names.chain([None]) {
        let path = directory.join(name.map_or_else(|| "kiln.1".to_owned(), |name| format!("kiln-{name}.1")));
        fs::write(&path, page(&kiln, name)?).map_err(failed(path))?;
    }
    Ok(())
}

/// Returns the page of a command, or of the whole.
fn page(kiln: &Command, name: Option<&str>) -> Result<String, Error> {
    let unknown = |name| Error::Usage(format!("kiln has no command `{name}`"));
    let command = name.map_or(Ok(kiln), |name| kiln.find_subcommand(name).ok_or_else(|| unknown(name)))?;
    let mut page = Vec::new();
    let source = format!("kiln {}", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("kiln").render(&mut page)?;
    Ok(in_ascii(&String::from_utf8_lossy(&page)))
}

/// Writes the rest of Unicode as groff_char(7) has it: what formats a page cannot be expected to know its encoding.
fn in_ascii(page: &str) -> String {
    page.chars().fold(String::with_capacity(page.len()), |mut text, character| {
        if character.is_ascii() {
            text.push(character);
        } else {
            text.push_str(&format!("\\[u{:04X}]", u32::from(character)));
        }
        text
    })
}
