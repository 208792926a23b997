//! The `kiln` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiln::runtime::enter();
    kiln::container::enter();
    kiln::cli::main()
}
