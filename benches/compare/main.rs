//! kiln beside its peers: the same work for each, interleaved, with proof that it was the same.
//!
//! `cargo bench --bench compare -- table` measures every builder it finds and prints medians, CPU time, peak memory and
//! ratios. `benches/README.md` says how to give it builders that are not on the `PATH`.
//!
//! | module | purpose |
//! |---|---|
//! | `data` | Contents that are the same on every machine. |
//! | `workload` | The table of work. |
//! | `peer` | The builders and their command lines. |
//! | `floor` | What the machine takes for the heart of a piece of work. |
//! | `lab` | Runs a piece of work: contexts, states, registry, order. |
//! | `measure` | Wall time, CPU time and peak memory of commands. |
//! | `proof` | That images are equal. |
//! | `curve` | Time against size, for kiln alone. |
//! | `report`, `plot` | Tables, JSON and SVG. |

mod curve;
mod data;
mod floor;
mod lab;
mod measure;
mod peer;
mod plot;
mod proof;
mod registry;
mod report;
mod workload;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser};

use crate::curve::CURVES;
use crate::lab::Lab;
use crate::workload::WORKLOADS;

/// Nothing here is caught and told apart: an error is a line in the report or the end.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Compares kiln with the builders found on PATH or named by KILN, BUILDAH, PODMAN, DOCKER and BUILDCTL.
#[derive(Debug, Parser)]
#[command(name = "compare", after_help = names())]
struct Arguments {
    /// How often each piece of work is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// Only these builders, such as kiln,docker
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    tools: Vec<String>,
    /// Write all that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the curves as SVG to this directory
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Keep everything in a temporary directory below this one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Also the work and the sizes that take many minutes or gigabytes; without a WORKLOAD, everything
    #[arg(long)]
    all: bool,
    /// What to measure: names of work or curves, `table` or `curves`
    #[arg(value_name = "WORKLOAD")]
    names: Vec<String>,
    /// As cargo calls every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    measure: bool,
    #[arg(long, hide = true, value_name = "KIND")]
    floor: Option<String>,
    #[arg(long, hide = true)]
    list: bool,
}

fn names() -> String {
    let rows = WORKLOADS.iter().map(|work| (work.name, work.what, work.large));
    let rows = rows.chain(CURVES.iter().map(|curve| (curve.name, curve.what, false)));
    let line = |(name, what, large): (&str, &str, bool)| {
        format!("  {name:<20} {what}{}\n", if large { " (only when named)" } else { "" })
    };
    format!("Workloads:\n{}", rows.map(line).collect::<String>())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let paths: Vec<PathBuf> = arguments.names.iter().map(PathBuf::from).collect();
    if arguments.measure {
        measure::serve()
    } else if let Some(kind) = &arguments.floor {
        floor::serve(kind, paths.first().ok_or("floor of what?")?)
    } else if arguments.list {
        proof::serve(&paths)
    } else if arguments.names.is_empty() && !arguments.all {
        Ok(Arguments::command().print_long_help()?)
    } else {
        compare(&arguments)
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let everything = arguments.names.is_empty();
    let has = |wanted: &str| arguments.names.iter().any(|name| name == wanted);
    let known = |name: &str| WORKLOADS.iter().any(|work| work.name == name) || CURVES.iter().any(|c| c.name == name);
    if let Some(name) =
        arguments.names.iter().find(|name| !known(name) && !["table", "curves"].contains(&name.as_str()))
    {
        return Err(format!("no workload `{name}`: --help lists them").into());
    }
    // Each piece of work has a place of its own, so that none finds what another left, and disks are not filled.
    let open = || Lab::open(arguments.dir.as_deref(), &arguments.tools);
    let mut report = report::Report::of(&open()?);
    for work in WORKLOADS {
        let in_table = (everything || has("table")) && (arguments.all || !work.large);
        if in_table || has(work.name) {
            report.rows.push(open()?.compare(work, arguments.runs)?);
            report.write(arguments.json.as_deref(), arguments.markdown.as_deref())?;
        }
    }
    for curve in CURVES.iter().filter(|curve| everything || has("curves") || has(curve.name)) {
        let measured = curve::run(&open()?, curve, arguments.all, arguments.runs)?;
        if let Some(directory) = &arguments.plot {
            std::fs::create_dir_all(directory)?;
            std::fs::write(directory.join(format!("{}.svg", curve.name)), plot::svg(&measured))?;
        }
        report.curves.push(measured);
        report.write(arguments.json.as_deref(), arguments.markdown.as_deref())?;
    }
    Ok(std::io::stdout().write_all(report.text().as_bytes())?)
}

/// Says on stderr what is being done, as it may take long.
pub(crate) fn say(text: &str) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}
