//! How kiln's time grows with the size of the work.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::lab::Lab;
use crate::measure::{Cost, Job, measure};
use crate::peer::{Build, Kind, Tool};
use crate::workload::dockerfile;
use crate::{Result, data, say};

/// One plot: the same work at several sizes.
pub(crate) struct Curve {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub sizes: &'static [u64],
    /// Only with `--all`, and where the disk has room.
    pub large: &'static [u64],
    /// What one more of the unit takes on disk, in bytes, in the context and the store together.
    pub disk_bytes: u64,
    /// Makes the context of a size.
    pub make: fn(&Path, u64, &str) -> Result<()>,
    /// Contexts that are built at once: as many as the size says, or one.
    pub together: bool,
}

pub(crate) const CURVES: &[Curve] = &[
    Curve {
        name: "curve-files",
        what: "COPY . of 1,000 to 1,000,000 files of 1 kB",
        unit: "files",
        sizes: &[1_000, 3_000, 10_000, 30_000, 100_000],
        large: &[300_000, 1_000_000],
        disk_bytes: 6_000,
        make: |context, count, _| {
            data::tree(context, count, count * 1000, 7)?;
            dockerfile(context, "FROM scratch\nCOPY . /\n")
        },
        together: false,
    },
    Curve {
        name: "curve-layers",
        what: "a RUN over 1 to 500 layers",
        unit: "layers",
        sizes: &[1, 2, 5, 10, 20, 50, 100, 200, 500],
        large: &[],
        disk_bytes: 0,
        make: |context, count, base| {
            data::tree(context, count, count * 1000, 8)?;
            let copy = |number: u64| format!("COPY d{}/f{number} /f{number}\n", number / 100);
            // The base is a layer too, and the RUN makes no other: it changes nothing.
            let copies: String = (1..count).map(copy).collect();
            dockerfile(context, &format!("FROM {base}\n{copies}RUN true\n"))
        },
        together: false,
    },
    Curve {
        name: "curve-stages",
        what: "1 to 200 stages with a RUN each, and a COPY --from each",
        unit: "stages",
        sizes: &[1, 2, 5, 10, 20, 50, 100, 200],
        large: &[],
        disk_bytes: 0,
        make: |context, count, base| {
            let stage = |number: u64| format!("FROM {base} AS s{number}\nRUN echo {number} >/out{number}\n");
            let copy = |number: u64| format!("COPY --from=s{number} /out{number} /\n");
            let lines = (0..count).map(stage).chain(["FROM scratch\n".into()]).chain((0..count).map(copy));
            dockerfile(context, &lines.collect::<String>())
        },
        together: false,
    },
    Curve {
        name: "curve-instructions",
        what: "1 to 2,000 instructions that run nothing",
        unit: "instructions",
        sizes: &[1, 10, 50, 100, 200, 500, 1_000, 2_000],
        large: &[],
        disk_bytes: 0,
        make: |context, count, _| {
            let line = |number: u64| match number % 3 {
                0 => format!("ENV N{number}=v{number}\n"),
                1 => format!("LABEL l{number}=\"$N{}\"\n", number - 1),
                _ => format!("ARG A{number}=$N{}\n", number - 2),
            };
            dockerfile(context, &format!("FROM scratch\n{}", (0..count).map(line).collect::<String>()))
        },
        together: false,
    },
    Curve {
        name: "curve-size",
        what: "COPY of 10 MB to 20 GB in files of 10 MB",
        unit: "MB",
        sizes: &[10, 30, 100, 300, 1_000, 3_000],
        large: &[10_000, 20_000],
        disk_bytes: 2_000_000,
        make: |context, megabytes, _| {
            for number in 0..megabytes / 10 {
                data::file(&context.join(format!("f{number}")), number + 20, 10_000_000)?;
            }
            dockerfile(context, "FROM scratch\nCOPY . /\n")
        },
        together: false,
    },
    Curve {
        name: "curve-holes",
        what: "COPY of one file of 100 MB to 100 GB without content",
        unit: "MB",
        sizes: &[100, 300, 1_000, 3_000, 10_000],
        large: &[30_000, 100_000],
        disk_bytes: 0,
        make: |context, megabytes, _| {
            fs::File::create(context.join("holes"))?.set_len(megabytes * 1_000_000)?;
            dockerfile(context, "FROM scratch\nCOPY . /\n")
        },
        together: false,
    },
    Curve {
        name: "curve-builds",
        what: "1 to 64 builds at once on one store, with a COPY and a RUN each",
        unit: "builds",
        sizes: &[1, 2, 4, 8, 16, 32, 64],
        large: &[],
        disk_bytes: 0,
        make: |context, count, base| {
            for number in 0..count {
                let own = context.join(number.to_string());
                fs::create_dir(&own)?;
                data::tree(&own, 10, 10_000, number + 1)?;
                dockerfile(&own, &format!("FROM {base}\nCOPY . /{number}\nRUN echo {number} >/own\n"))?;
            }
            Ok(())
        },
        together: true,
    },
];

/// A curve as it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub points: Vec<Point>,
}

/// Medians at one size.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub size: u64,
    /// With nothing known but the base image.
    pub first: Cost,
    /// The same build again.
    pub again: Cost,
}

impl Series {
    /// The exponent by which time grows from a size to the largest: the slope of the line through both on logarithmic axes.
    pub(crate) fn slope(&self, of: fn(&Point) -> Cost) -> Option<f64> {
        let (last, before) = (self.points.last()?, self.points.iter().rev().nth(2)?);
        let rise = (of(last).wall_s / of(before).wall_s).ln();
        Some(rise / (last.size as f64 / before.size as f64).ln())
    }
}

pub(crate) fn run(lab: &Lab, curve: &Curve, all: bool, runs: usize) -> Result<Series> {
    say(&format!("{}: {}", curve.name, curve.what));
    let kiln = lab.tools.iter().find(|tool| tool.kind == Kind::Kiln).ok_or("kiln is not among the builders")?;
    let mut points = Vec::new();
    for &size in curve.sizes.iter().chain(curve.large.iter().filter(|_| all)) {
        let directory = lab.directory.join(curve.name);
        let (needed, free) = (size * curve.disk_bytes, free_bytes(&lab.directory)?);
        if needed > free {
            say(&format!(
                "  {size} {}: left out, for it takes {needed} bytes of disk, and {free} are free",
                curve.unit
            ));
            continue;
        }
        let context = directory.join("context");
        fs::create_dir_all(&context)?;
        (curve.make)(&context, size, &lab.base)?;
        let own = kiln.with_state(directory.join("state"));
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            own.reset("")?;
            lab.know_base(&own)?;
            first.push(build(lab, &own, curve, &context, size)?);
            again.push(build(lab, &own, curve, &context, size)?);
        }
        let point = Point { size, first: Cost::median(&first), again: Cost::median(&again) };
        say(&format!("  {size} {}: {:.3} s, {:.3} s", curve.unit, point.first.wall_s, point.again.wall_s));
        points.push(point);
        fs::remove_dir_all(&directory)?;
    }
    Ok(Series { name: curve.name, what: curve.what, unit: curve.unit, points })
}

/// What may still be written beside a file.
fn free_bytes(directory: &Path) -> Result<u64> {
    let disk = nix::sys::statvfs::statvfs(directory)?;
    Ok(disk.blocks_available() * disk.fragment_size())
}

fn build(lab: &Lab, tool: &Tool, curve: &Curve, context: &Path, size: u64) -> Result<Cost> {
    let one =
        |context: &Path, name: String| tool.build(&Build { context, tag: &format!("curve:{name}"), use_cache: true });
    let commands = if curve.together {
        (0..size).map(|number| one(&context.join(number.to_string()), number.to_string())).collect()
    } else {
        vec![one(context, "0".into())]
    };
    let log = lab.directory.join("log");
    measure(&Job { commands, environment: tool.environment(), together: curve.together, log }, None)
}
