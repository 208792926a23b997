//! What was measured, as a table for a terminal, as Markdown, and as JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::Result;
use crate::curve::Series;
use crate::lab::Lab;
use crate::measure::Cost;
use crate::plot::duration;
use crate::proof::Listing;

/// All of one call.
pub(crate) struct Report {
    tools: Vec<(&'static str, String, bool)>,
    absent: Vec<String>,
    pub rows: Vec<Row>,
    pub curves: Vec<Series>,
}

/// One piece of work.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// What the floor is.
    pub floor: &'static str,
    pub runs: usize,
    /// Kiln first and the floor last.
    pub measured: Vec<Measured>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub tool: &'static str,
    pub costs: Vec<Cost>,
    /// What its image holds; not known of the floor.
    pub proof: Option<Listing>,
    /// What its layers take in the registry, where they were pushed: whoever compresses less has less to do.
    pub pushed_bytes: Option<u64>,
    pub failure: Option<String>,
}

impl Cost {
    /// Medians of wall and CPU time; of memory the most, as that is what a machine must have.
    pub(crate) fn median(costs: &[Cost]) -> Cost {
        let middle = |of: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
            let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
            (upper + lower) / 2.0
        };
        let peak_bytes = costs.iter().map(|cost| cost.peak_bytes).max().unwrap_or(0);
        Cost { wall_s: middle(|cost| cost.wall_s), cpu_s: middle(|cost| cost.cpu_s), peak_bytes }
    }
}

impl Row {
    fn of(&self, tool: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.tool == tool)
    }

    fn wall(&self, tool: &str) -> Option<f64> {
        let measured = self.of(tool).filter(|measured| !measured.costs.is_empty())?;
        Some(Cost::median(&measured.costs).wall_s)
    }

    /// Whether all images hold the same, or which do not hold what kiln's does.
    fn equal(&self) -> String {
        let pushed =
            |measured: &Measured| Some(format!("{} {:.0} MB", measured.tool, measured.pushed_bytes? as f64 / 1e6));
        let pushed: Vec<String> = self.measured.iter().filter_map(pushed).collect();
        let sent = if pushed.is_empty() { String::new() } else { format!("; sent: {}", pushed.join(", ")) };
        self.held() + &sent
    }

    fn held(&self) -> String {
        let proofs = || self.measured.iter().filter_map(|measured| Some((measured.tool, measured.proof.as_ref()?)));
        let Some((_, first)) = proofs().next() else { return "not seen".into() };
        let other: Vec<String> = proofs()
            .filter(|(_, listing)| *listing != first)
            .map(|(tool, listing)| format!("{tool}: {} files, {} bytes", listing.files, listing.bytes))
            .collect();
        if other.is_empty() {
            format!("{} files, {:.1} MB", first.files, first.bytes as f64 / 1e6)
        } else {
            format!("{} files, {} bytes; not {}", first.files, first.bytes, other.join("; not "))
        }
    }
}

impl Report {
    pub(crate) fn of(lab: &Lab) -> Report {
        let tools = lab.tools.iter().map(|tool| (tool.name, tool.version.clone(), tool.daemon.is_some())).collect();
        Report { tools, absent: lab.absent.clone(), rows: Vec::new(), curves: Vec::new() }
    }

    /// Writes what there is so far, so that a call that is stopped has not been in vain.
    pub(crate) fn write(&self, json: Option<&Path>, markdown: Option<&Path>) -> Result<()> {
        if let Some(path) = json {
            fs::write(path, serde_json::to_string_pretty(&self.json())? + "\n")?;
        }
        if let Some(path) = markdown {
            fs::write(path, self.markdown())?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let tools: Vec<_> = self
            .tools
            .iter()
            .map(|(name, version, daemon)| json!({"name": name, "version": version, "daemon_counted": daemon}))
            .collect();
        let summary: Vec<_> = self.rows.iter().map(summary).collect();
        json!({
            "date": jiff::Timestamp::now().to_string(),
            "machine": machine(),
            "tools": tools,
            "absent": self.absent,
            "summary": summary,
            "rows": self.rows,
            "curves": self.curves,
        })
    }

    fn peers(&self) -> impl Iterator<Item = &'static str> {
        self.tools.iter().map(|(name, ..)| *name).skip(1)
    }

    fn head(&self) -> Vec<String> {
        let own = ["work", "kiln", "CPU", "peak", "floor", "kiln/floor"].map(str::to_owned);
        let peers = self.peers().flat_map(|name| [name.to_owned(), format!("kiln/{name}")]);
        own.into_iter().chain(peers).chain(["equal work".into()]).collect()
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let ratio = |tool: &str| match (row.wall("kiln"), row.wall(tool)) {
            (Some(kiln), Some(other)) => number(kiln / other),
            _ => "–".into(),
        };
        let wall = |tool: &str| match row.of(tool) {
            Some(Measured { failure: Some(_), costs, .. }) if costs.is_empty() => "failed".into(),
            _ => row.wall(tool).map_or("–".into(), duration),
        };
        let kiln = row.of("kiln").map(|measured| Cost::median(&measured.costs)).unwrap_or_default();
        let mut cells = vec![row.name.to_owned(), wall("kiln"), duration(kiln.cpu_s)];
        cells.extend([mebibytes(kiln.peak_bytes), wall("floor"), ratio("floor")]);
        for peer in self.peers() {
            cells.extend([wall(peer), ratio(peer)]);
        }
        cells.push(row.equal());
        cells
    }

    /// CPU time and memory of all, in a table of their own: one would be too wide.
    fn resources(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let names: Vec<&str> = self.tools.iter().map(|(name, ..)| *name).collect();
        let head = ["work".to_owned()].into_iter().chain(names.iter().map(|name| (*name).to_owned())).collect();
        let cell = |row: &Row, name: &&str| match row.of(name).filter(|measured| !measured.costs.is_empty()) {
            Some(measured) => {
                let cost = Cost::median(&measured.costs);
                format!("{}, {}", duration(cost.cpu_s), mebibytes(cost.peak_bytes))
            }
            None => "–".into(),
        };
        let line = |row: &Row| -> Vec<String> {
            [row.name.to_owned()].into_iter().chain(names.iter().map(|name| cell(row, name))).collect()
        };
        (head, self.rows.iter().map(line).collect())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        if !self.rows.is_empty() {
            let rows: Vec<_> = self.rows.iter().map(|row| self.cells(row)).collect();
            out += &markdown_table(&self.head(), &rows);
            let (head, rows) = self.resources();
            out += &format!("\n{}", markdown_table(&head, &rows));
        }
        if !self.curves.is_empty() {
            out += &format!("\n{}", markdown_table(&CURVE_HEAD.map(str::to_owned), &self.curve_rows()));
        }
        out
    }

    /// Everything for people at a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n", machine());
        for (name, version, daemon) in &self.tools {
            let note = if *daemon { ", CPU and memory with the daemon's" } else { "" };
            out += &format!("{name} {version}{note}\n");
        }
        for absent in &self.absent {
            out += &format!("not compared: {absent}\n");
        }
        if !self.rows.is_empty() {
            let rows: Vec<_> = self.rows.iter().map(|row| self.cells(row)).collect();
            out += &format!("\n{}", text_table(&self.head(), &rows));
            let (head, rows) = self.resources();
            out += &format!("\nCPU time and peak memory\n{}", text_table(&head, &rows));
        }
        if !self.curves.is_empty() {
            out += &format!("\n{}", text_table(&CURVE_HEAD.map(str::to_owned), &self.curve_rows()));
        }
        for (row, measured) in self.rows.iter().flat_map(|row| row.measured.iter().map(move |other| (row, other))) {
            if let Some(failure) = &measured.failure {
                out += &format!("{} {}: {failure}\n", row.name, measured.tool);
            }
        }
        out
    }

    fn curve_rows(&self) -> Vec<Vec<String>> {
        let slope = |slope: Option<f64>| slope.map_or("–".into(), number);
        let row = |curve: &Series| {
            let (first, last) = (curve.points.first()?, curve.points.last()?);
            let peak = curve.points.iter().map(|point| point.first.peak_bytes.max(point.again.peak_bytes)).max()?;
            Some(vec![
                curve.name.to_owned(),
                format!("{} to {} {}", first.size, last.size, curve.unit),
                format!("{} to {}", duration(first.first.wall_s), duration(last.first.wall_s)),
                slope(curve.slope(|point| point.first)),
                format!("{} to {}", duration(first.again.wall_s), duration(last.again.wall_s)),
                slope(curve.slope(|point| point.again)),
                mebibytes(peak),
            ])
        };
        self.curves.iter().filter_map(row).collect()
    }
}

const CURVE_HEAD: [&str; 7] = ["curve", "sizes", "first", "slope", "again", "slope", "peak"];

/// Medians and ratios, which is what a later call is compared with.
fn summary(row: &Row) -> serde_json::Value {
    let tools: serde_json::Map<String, serde_json::Value> = row
        .measured
        .iter()
        .filter(|measured| !measured.costs.is_empty())
        .map(|measured| {
            let median = Cost::median(&measured.costs);
            let ratio = row.wall("kiln").map(|kiln| kiln / median.wall_s);
            (measured.tool.to_owned(), json!({"median": median, "kiln_ratio": ratio}))
        })
        .collect();
    json!({"name": row.name, "equal_work": row.equal(), "tools": tools})
}

/// Processors, memory and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).trim().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20;
    let model = field(&read("/proc/cpuinfo"), "model name");
    format!("{processors} × {model}, {memory} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

fn number(value: f64) -> String {
    match value {
        value if value >= 10.0 => format!("{value:.0}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn markdown_table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(head) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

fn text_table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    line(head) + &rows.iter().map(|row| line(row)).collect::<String>()
}
