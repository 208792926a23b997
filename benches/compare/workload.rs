//! The work that is compared: what each piece is made of, what changes before each run, and what it is measured against.

use std::fs;
use std::path::Path;

use crate::floor::Floor;
use crate::{Result, data};

/// One row of the table.
pub(crate) struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// Takes minutes or gigabytes; runs only when named.
    pub large: bool,
    /// Makes the context; the second argument is the base image.
    pub make: fn(&Path, &str) -> Result<()>,
    /// Changes the context before each run, so that it holds what no tool has seen. Has the same length on each call.
    pub change: fn(&Path, &str, &str) -> Result<()>,
    pub knows: Knows,
    pub act: Act,
    pub floor: Floor,
}

/// What a tool may know of the work before it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knows {
    /// All that the run before left.
    Everything,
    /// Base images, but no result: `--no-cache`.
    Base,
    /// Nothing: its state is new, or the name of the context is, and `--no-cache`.
    Nothing,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Build,
    BuildAndPush,
    /// Of an image that was just built.
    Push,
    PushAgain,
    /// Of an image that nobody has seen.
    Pull,
    /// A build with one trivial step over such an image.
    PullAndRun,
}

const MIB: u64 = 1 << 20;

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "hello",
        what: "FROM scratch and COPY of one file",
        large: false,
        make: |context, _| {
            data::file(&context.join("file"), 1, 1000)?;
            dockerfile(context, "FROM scratch\nCOPY file /\n")
        },
        change: unchanged,
        knows: Knows::Base,
        act: Act::Build,
        floor: Floor::Start,
    },
    Workload {
        name: "run20",
        what: "20 tiny RUN steps, uncached",
        large: false,
        make: |context, base| dockerfile(context, &format!("FROM {base}\n{}", "RUN true\n".repeat(20))),
        change: unchanged,
        knows: Knows::Base,
        act: Act::Build,
        floor: Floor::Shell("i=0; while [ $i -lt 20 ]; do sh -c true; i=$((i+1)); done"),
    },
    Workload {
        name: "warm40",
        what: "40 instructions over 2,000 files, all cached",
        large: false,
        make: forty,
        change: unchanged,
        knows: Knows::Everything,
        act: Act::Build,
        floor: Floor::Stat,
    },
    Workload {
        name: "last-changed",
        what: "the same, last instruction changed",
        large: false,
        make: forty,
        change: |context, base, stamp| dockerfile(context, &forty_instructions(base, stamp)),
        knows: Knows::Everything,
        act: Act::Build,
        floor: Floor::Stat,
    },
    Workload {
        name: "files-cold",
        what: "COPY . of 50,000 files (300 MB), nothing known",
        large: false,
        make: fifty_thousand,
        change: unchanged,
        knows: Knows::Nothing,
        act: Act::Build,
        floor: Floor::Tar,
    },
    Workload {
        name: "files-warm",
        what: "the same, nothing changed",
        large: false,
        make: fifty_thousand,
        change: unchanged,
        knows: Knows::Everything,
        act: Act::Build,
        floor: Floor::Stat,
    },
    Workload {
        name: "files-touched",
        what: "the same, one file changed",
        large: false,
        make: fifty_thousand,
        change: |context, _, stamp| Ok(fs::write(context.join("d7/f707"), stamp)?),
        knows: Knows::Everything,
        act: Act::Build,
        floor: Floor::Tar,
    },
    Workload {
        name: "package",
        what: "RUN that makes 8,000 files (300 MB), then one that changes and deletes some",
        large: false,
        make: |context, base| {
            data::archive(&context.join("package.tar"), 8_000, 300 * MIB, 3)?;
            let text = format!("FROM {base}\nRUN --mount=type=bind,target=/context {UNPACK}\nRUN {MODIFY}\n");
            dockerfile(context, &text)
        },
        change: unchanged,
        knows: Knows::Base,
        act: Act::Build,
        floor: Floor::Shell(PACKAGE),
    },
    Workload {
        name: "output",
        what: "RUN that prints 1 GiB",
        large: false,
        make: |context, base| dockerfile(context, &format!("FROM {base}\nRUN {PRINT}\n")),
        change: unchanged,
        knows: Knows::Base,
        act: Act::Build,
        floor: Floor::Shell(PRINT_TO_SOMEBODY),
    },
    Workload {
        name: "stages",
        what: "6 parallel stages, 1 s of sleep and some CPU each",
        large: false,
        make: |context, base| {
            let stage = |number: u32| format!("FROM {base} AS s{number}\nRUN {STAGE} >/out{number}\n");
            let copy = |number: u32| format!("COPY --from=s{number} /out{number} /\n");
            let all = (0..6).map(stage).chain(["FROM scratch\n".into()]).chain((0..6).map(copy));
            dockerfile(context, &all.collect::<String>())
        },
        change: unchanged,
        knows: Knows::Base,
        act: Act::Build,
        floor: Floor::Together(6, STAGE),
    },
    Workload {
        name: "push",
        what: "push of 500 MB in 3 layers, never pushed before",
        large: false,
        make: three_layers,
        change: stamp_layers,
        knows: Knows::Everything,
        act: Act::Push,
        floor: Floor::Tar,
    },
    Workload {
        name: "build-push",
        what: "the same with the build: those that compress while they build have no head start",
        large: false,
        make: three_layers,
        change: stamp_layers,
        knows: Knows::Everything,
        act: Act::BuildAndPush,
        floor: Floor::Tar,
    },
    Workload {
        name: "push-again",
        what: "push again, nothing new",
        large: false,
        make: three_layers,
        change: unchanged,
        knows: Knows::Everything,
        act: Act::PushAgain,
        floor: Floor::Start,
    },
    Workload {
        name: "pull",
        what: "pull of that image by one that never saw it",
        large: false,
        make: three_layers,
        change: stamp_layers,
        knows: Knows::Everything,
        act: Act::Pull,
        floor: Floor::Tar,
    },
    Workload {
        name: "pull-run",
        what: "FROM that image, RUN true: pulled, unpacked and run",
        large: false,
        make: three_layers,
        change: stamp_layers,
        knows: Knows::Everything,
        act: Act::PullAndRun,
        floor: Floor::Tar,
    },
    Workload {
        name: "big",
        what: "build and push of 2 GB in 20 files",
        large: true,
        make: |context, _| {
            for number in 0..20 {
                data::file(&context.join(format!("f{number}")), 100 + number, 100 * MIB)?;
            }
            dockerfile(context, "FROM scratch\nCOPY f* stamp /\n")
        },
        change: |context, _, stamp| Ok(fs::write(context.join("stamp"), stamp)?),
        knows: Knows::Nothing,
        act: Act::BuildAndPush,
        floor: Floor::Tar,
    },
];

/// Sixteen million lines of 64 bytes.
const PRINT: &str = "yes 'a line as programs print them while they are at work, as many do' | head -c 1073741824";
const PRINT_TO_SOMEBODY: &str =
    "yes 'a line as programs print them while they are at work, as many do' | head -c 1073741824 | cat >/dev/null";

const UNPACK: &str = "mkdir /opt && tar -xf /context/package.tar -C /opt";
const MODIFY: &str = "rm -rf /opt/d1 /opt/d2 /opt/d3 && for file in /opt/d4/* /opt/d5/*; do echo changed >>$file; done";
/// The same without containers.
const PACKAGE: &str = "mkdir opt && tar -xf \"$CONTEXT\"/package.tar -C opt && rm -rf opt/d1 opt/d2 opt/d3 \
     && for file in opt/d4/* opt/d5/*; do echo changed >>$file; done";
/// About a sixth of a second of one core: busybox does not use the processor's SHA instructions.
const STAGE: &str = "sleep 1 && head -c 50000000 /dev/zero | sha256sum";

fn unchanged(_: &Path, _: &str, _: &str) -> Result<()> {
    Ok(())
}

pub(crate) fn dockerfile(context: &Path, text: &str) -> Result<()> {
    Ok(fs::write(context.join("Dockerfile"), text)?)
}

fn fifty_thousand(context: &Path, _: &str) -> Result<()> {
    data::tree(context, 50_000, 300 * MIB, 2)?;
    dockerfile(context, "FROM scratch\nCOPY . /\n")
}

fn forty(context: &Path, base: &str) -> Result<()> {
    data::tree(context, 2_000, 20 * MIB, 5)?;
    dockerfile(context, &forty_instructions(base, "0"))
}

fn forty_instructions(base: &str, stamp: &str) -> String {
    let triple = |number: u32| format!("COPY d{number} /d{number}\nENV N{number}={number}\nRUN : {number}\n");
    let steps: String = (0..12).map(triple).collect();
    format!("FROM {base}\nWORKDIR /work\nLABEL a=b\n{steps}COPY d19 /d19\nRUN echo {stamp} >/last\n")
}

fn three_layers(context: &Path, base: &str) -> Result<()> {
    for (name, seed) in [("a", 11), ("b", 12), ("c", 13)] {
        fs::create_dir(context.join(name))?;
        data::tree(&context.join(name), 2_000, 166 * MIB, seed)?;
    }
    stamp_layers(context, base, "0")?;
    dockerfile(context, &format!("FROM {base}\nCOPY a /a\nCOPY b /b\nCOPY c /c\n"))
}

fn stamp_layers(context: &Path, _: &str, stamp: &str) -> Result<()> {
    for name in ["a", "b", "c"] {
        fs::write(context.join(name).join("stamp"), stamp)?;
    }
    Ok(())
}
