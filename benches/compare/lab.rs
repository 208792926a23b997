//! A private place to work in, and the order in which things are done there.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::measure::{Cost, Job, measure};
use crate::peer::{self, Build, Kind, Tool};
use crate::proof::{self, Listing};
use crate::registry::Registry;
use crate::report::{Measured, Row};
use crate::workload::{Act, Knows, Workload, dockerfile};
use crate::{Result, say};

/// Longer than a file's clock ticks: a file that was just written is never remembered.
const SETTLED: Duration = Duration::from_millis(50);

/// Contexts, states of the builders and a registry, all below one directory.
pub(crate) struct Lab {
    pub tools: Vec<Tool>,
    pub absent: Vec<String>,
    pub registry: Registry,
    /// The image that work starts from: a static busybox with a link for each of its commands.
    pub base: String,
    /// A kiln that is not measured: it makes what others pull.
    pub source: Tool,
    pub directory: PathBuf,
    /// Differs from one call to the next, since a daemon remembers what the last one built.
    stamp: u128,
    count: Cell<u32>,
    _temporary: TempDir,
}

impl Lab {
    /// Starts the registry, looks for the builders of these names (all if there are none), and pushes the base image.
    ///
    /// All of it is in a new directory, below `parent` if there is one, and goes with it.
    pub(crate) fn open(parent: Option<&Path>, only: &[String]) -> Result<Lab> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let temporary = TempDir::with_prefix_in("compare-", parent)?;
        let directory = temporary.path().to_owned();
        let registry = Registry::start(&directory)?;
        let (tools, absent) = peer::find(&directory, only)?;
        let kiln = tools.iter().find(|tool| tool.kind == Kind::Kiln).ok_or("kiln is to be among the builders")?;
        let source = kiln.with_state(directory.join("source"));
        let base = format!("{}/base:1", registry.host());
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
        let count = Cell::new(0);
        let lab = Lab { tools, absent, registry, base, source, directory, stamp, count, _temporary: temporary };
        lab.push_base()?;
        Ok(lab)
    }

    fn push_base(&self) -> Result<()> {
        let context = self.directory.join("base");
        fs::create_dir_all(context.join("root/bin"))?;
        fs::create_dir_all(context.join("root/tmp"))?;
        let busybox = std::env::var("BUSYBOX").unwrap_or_else(|_| "busybox".into());
        let output = std::process::Command::new(&busybox).arg("--list").output()?;
        let place = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&place).map(|path| path.join(&busybox));
        fs::copy(places.find(|path| path.exists()).ok_or("no static busybox")?, context.join("root/bin/busybox"))?;
        for command in String::from_utf8(output.stdout)?.lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", context.join("root/bin").join(command))?;
        }
        dockerfile(&context, "FROM scratch\nCOPY root /\nENV PATH=/bin\n")?;
        self.publish(&context, &self.base)
    }

    /// The directory with the commands of the base image.
    fn commands(&self) -> PathBuf {
        self.directory.join("base/root/bin")
    }

    /// Builds and pushes with the kiln that is not measured.
    fn publish(&self, context: &Path, tag: &str) -> Result<()> {
        let build = Build { context, tag, use_cache: true };
        peer::run(&self.source.build(&build), &self.source.environment())?;
        peer::run(&self.source.push(&build), &self.source.environment())
    }

    /// Has a tool fetch and unpack the base image, which is no part of any work.
    pub(crate) fn know_base(&self, tool: &Tool) -> Result<()> {
        let context = self.directory.join("known");
        fs::create_dir_all(&context)?;
        dockerfile(&context, &format!("FROM {}\nRUN :\n", self.base))?;
        let build = Build { context: &context, tag: "known:1", use_cache: true };
        peer::run(&tool.build(&build), &tool.environment())
    }

    /// A stamp that no tool has seen, of the same length each time.
    pub(crate) fn stamp(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("{:020}-{:06}\n", self.stamp, self.count.get()).trim().to_owned()
    }

    /// Measures one piece of work with every tool, run by run, so that a slow minute of the machine is slow for all.
    pub(crate) fn compare(&self, work: &Workload, runs: usize) -> Result<Row> {
        say(&format!("{}: {}", work.name, work.what));
        let bench = Bench::new(self, work)?;
        let mut columns: Vec<Column> = self.tools.iter().map(|tool| Column::new(Some(tool))).collect();
        for column in &mut columns {
            let known = column.tool.map_or(Ok(()), |tool| self.know_base(tool));
            column.failure = known.err().map(|error| error.to_string());
            if column.failure.is_some() {
                column.say(0);
            }
        }
        columns.push(Column::new(None));
        // What may know everything learns it in a run before the first.
        let first = if work.knows == Knows::Everything { 0 } else { 1 };
        for run in first..=runs {
            bench.change()?;
            for column in columns.iter_mut().filter(|column| column.failure.is_none()) {
                match bench.run(column.tool) {
                    Ok(Some(cost)) if run > 0 => column.costs.push(cost),
                    Ok(Some(_)) => {}
                    Ok(None) => column.failure = Some("cannot".into()),
                    Err(error) => column.failure = Some(error.to_string()),
                }
                column.say(run);
            }
        }
        let measured = columns.into_iter().map(|column| column.finish(&bench)).collect();
        bench.remove()?;
        Ok(Row { name: work.name, what: work.what, floor: work.floor.what(), runs, measured })
    }
}

struct Column<'a> {
    tool: Option<&'a Tool>,
    costs: Vec<Cost>,
    failure: Option<String>,
}

impl<'a> Column<'a> {
    fn new(tool: Option<&'a Tool>) -> Column<'a> {
        Column { tool, costs: Vec::new(), failure: None }
    }

    fn name(&self) -> &'static str {
        self.tool.map_or("floor", |tool| tool.name)
    }

    fn say(&self, run: usize) {
        let text = match (&self.failure, self.costs.last()) {
            (Some(failure), _) => failure.clone(),
            (None, Some(cost)) => format!("{:.3} s", cost.wall_s),
            (None, None) => "ready".into(),
        };
        say(&format!("  {run} {:<8} {text}", self.name()));
    }

    /// Looks at the result of the last run and gives it back.
    fn finish(self, bench: &Bench) -> Measured {
        let mut failure = self.failure.clone();
        let proof = match self.tool.filter(|_| failure.is_none()).map(|tool| bench.proof(tool)) {
            Some(Ok(listing)) => Some(listing),
            Some(Err(error)) => {
                failure = Some(format!("result not seen: {error}"));
                None
            }
            None => None,
        };
        if let Some(tool) = self.tool {
            // For the sake of daemons, which keep it beyond this program's end; it may not be there.
            let _ = tool.reset(&bench.tag(tool));
        }
        let pushed_bytes = self.tool.filter(|_| proof.is_some()).and_then(|tool| bench.pushed_bytes(tool));
        Measured { tool: self.name(), costs: self.costs, proof, pushed_bytes, failure }
    }
}

/// One piece of work with its context.
struct Bench<'a> {
    lab: &'a Lab,
    work: &'a Workload,
    /// Holds the context under a name of its own, and whatever else a run needs.
    directory: PathBuf,
    context: RefCell<PathBuf>,
    /// What is pulled; it has another name in each run, lest it be taken for one that is there already.
    source: RefCell<String>,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab, work: &'a Workload) -> Result<Bench<'a>> {
        let directory = lab.directory.join(work.name);
        let context = directory.join("context");
        fs::create_dir_all(&context)?;
        (work.make)(&context, &lab.base)?;
        Ok(Bench { lab, work, directory, context: context.into(), source: RefCell::default() })
    }

    /// Changes the context for all tools, and publishes it where it is to be pulled.
    fn change(&self) -> Result<()> {
        let context = self.context.borrow().clone();
        (self.work.change)(&context, &self.lab.base, &self.lab.stamp())?;
        if matches!(self.work.act, Act::Pull | Act::PullAndRun) {
            let tag = format!("{}/source:{}", self.lab.registry.host(), self.lab.stamp());
            self.lab.publish(&context, &tag)?;
            fs::create_dir_all(self.trivial())?;
            dockerfile(&self.trivial(), &format!("FROM {tag}\nRUN true\n"))?;
            self.source.replace(tag);
        }
        std::thread::sleep(SETTLED);
        Ok(())
    }

    /// The context of a build that does next to nothing to what it pulls.
    fn trivial(&self) -> PathBuf {
        self.directory.join("trivial")
    }

    fn tag(&self, tool: &Tool) -> String {
        match self.work.act {
            Act::Pull => self.source.borrow().clone(),
            _ => format!("{}:1", self.repository(tool)),
        }
    }

    /// Each tool has its own repository: what another one pushed is not there.
    fn repository(&self, tool: &Tool) -> String {
        format!("{}/{}/{}", self.lab.registry.host(), tool.name, self.work.name)
    }

    /// Measures one run of one tool, or of the floor. `None` where the tool has no way to do it.
    fn run(&self, tool: Option<&Tool>) -> Result<Option<Cost>> {
        let log = self.directory.join("log");
        let Some(tool) = tool else {
            let scratch = self.directory.join("scratch");
            fs::create_dir_all(&scratch)?;
            let job = self.work.floor.job(&self.context.borrow(), &scratch, &self.lab.commands())?;
            let cost = measure(&Job { log, ..job }, None)?;
            fs::remove_dir_all(&scratch)?;
            return Ok(Some(cost));
        };
        let tag = self.tag(tool);
        if self.work.knows == Knows::Nothing {
            tool.reset(&tag)?;
            self.rename()?;
        }
        let context = self.built();
        let build = self.build(&context, &tag);
        if matches!(self.work.act, Act::Push | Act::PushAgain) {
            peer::run(&tool.build(&build), &tool.environment())?;
        }
        let commands = match self.work.act {
            Act::Build | Act::PullAndRun => vec![tool.build(&build)],
            Act::BuildAndPush => vec![tool.build(&build), tool.push(&build)],
            Act::Push | Act::PushAgain => vec![tool.push(&build)],
            Act::Pull => match tool.pull(&tag) {
                Some(command) => vec![command],
                None => return Ok(None),
            },
        };
        let job = Job { commands, environment: tool.environment(), log, together: false };
        measure(&job, tool.daemon).map(Some)
    }

    fn built(&self) -> PathBuf {
        if self.work.act == Act::PullAndRun { self.trivial() } else { self.context.borrow().clone() }
    }

    fn build<'b>(&self, context: &'b Path, tag: &'b str) -> Build<'b> {
        Build { context, tag, use_cache: self.work.knows == Knows::Everything }
    }

    /// Gives the context a new name, under which no daemon has received it.
    fn rename(&self) -> Result<()> {
        let next = self.directory.join(format!("context-{}", self.lab.stamp()));
        let before = self.context.replace(next.clone());
        Ok(fs::rename(before, next)?)
    }

    /// The layers in the registry, where the work ends there.
    fn pushed(&self, tool: &Tool) -> Option<Result<Vec<PathBuf>>> {
        let pushes = matches!(self.work.act, Act::Push | Act::PushAgain | Act::BuildAndPush);
        pushes.then(|| self.lab.registry.layers(&format!("{}/{}", tool.name, self.work.name)))
    }

    fn pushed_bytes(&self, tool: &Tool) -> Option<u64> {
        self.pushed(tool)?.ok()?.iter().map(|layer| Some(fs::metadata(layer).ok()?.len())).sum()
    }

    fn proof(&self, tool: &Tool) -> Result<Listing> {
        if let Some(layers) = self.pushed(tool) {
            return proof::of_layers(&layers?);
        }
        let (context, tag) = (self.built(), self.tag(tool));
        let archive = self.directory.join(format!("{}.tar", tool.name));
        tool.save(&self.build(&context, &tag), &archive)?;
        let listing = proof::of_archive(&archive, &self.directory.join("unpacked"));
        fs::remove_file(&archive)?;
        listing
    }

    fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.directory)?)
    }
}
