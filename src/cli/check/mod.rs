//! `kiln check`.

pub(super) mod buildkit;
mod sarif;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::session::{self, Session};
use super::{Error, build, table};
use crate::diagnostic::{Style, render};
use crate::dockerfile::lint::Rule;
use crate::engine::{self, Ask, BuildOptions, ContextSource, Finding, Report};
use crate::solve::{Event, Observe};

/// Check a Dockerfile without building it
///
/// Reads the Dockerfile, evaluates every stage (or the one of --target), and prints errors and what the lint rules find.
/// Nothing is executed or downloaded; what is known of a base image comes from the store. The exit code is 1 if
/// anything is found.
///
/// Silence a rule with `# check=skip=RULE` at the top of the file, or in a comment above one instruction.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Dockerfile, or `-` for stdin (default: Dockerfile in the context)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Mend what can be mended mechanically, in the file, and print the rest
    #[arg(long)]
    fix: bool,
    /// The stage to check (default: all)
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Value of an ARG; without a value, that of the environment variable (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    #[command(flatten)]
    platform: build::platform::Args,
    /// List the rules and exit
    #[arg(long)]
    rules: bool,
    /// The directory of the build context
    #[arg(value_name = "PATH", default_value = ".")]
    context: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// With the lines of the file, for people
    Text,
    /// As BuildKit prints it
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    if args.rules {
        return rules();
    }
    let options = args.options(session)?;
    if args.fix {
        let fixed = engine::fix(&options)?;
        let plural = if fixed.edits == 1 { "" } else { "s" };
        writeln!(io::stderr(), "{}: {} place{plural} mended", fixed.path.display(), fixed.edits)?;
    }
    let report = examine(&options, session)?;
    let text = match args.format {
        Format::Text => text(&report, if colours() { Style::Coloured } else { Style::Plain }),
        Format::Json => buildkit::json(&report),
        Format::Sarif => sarif::document(&report),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    if report.findings.is_empty() { Ok(()) } else { Err(Error::Reported) }
}

/// Checks with what the store knows; a check works where there can be no store, too.
fn examine(options: &BuildOptions, session: &Session) -> Result<Report, Error> {
    let observer: Arc<dyn Observe> = Arc::new(|_: Event| {});
    Ok(match session.engine() {
        Ok(engine) => engine.check(options, Ask::Store, &observer, &session.cancel)?,
        Err(error) => {
            tracing::debug!(%error, "no store, so nothing is known of base images");
            engine::check(options)?
        }
    })
}

impl Args {
    fn options(&self, session: &Session) -> Result<BuildOptions, Error> {
        Ok(BuildOptions {
            context: ContextSource::Directory(self.context.clone()),
            file: self.file.as_deref().map(|path| build::dockerfile(path, session.input())).transpose()?,
            build_args: build::build_args(&self.build_arg, |name| std::env::var(name).ok())?,
            target: self.target.clone(),
            platforms: self.platform.platforms()?,
            ..BuildOptions::default()
        })
    }
}

/// Tells whether stdout shows colours.
fn colours() -> bool {
    io::stdout().is_terminal() && session::colours_wanted()
}

fn text(report: &Report, style: Style) -> String {
    let shown = |finding: &Finding| {
        let page = finding.rule.and_then(Rule::url).map(|url| format!("\nsee: {url}")).unwrap_or_default();
        format!("{}{page}\n\n", render(&report.source, &finding.diagnostic, style))
    };
    let findings: String = report.findings.iter().map(shown).collect();
    findings + &format!("{}: {}\n", report.source.name(), summary(report))
}

/// Returns how much is found, such as `1 error, 2 warnings`.
fn summary(report: &Report) -> String {
    let errors = report.findings.iter().filter(|finding| finding.is_error()).count();
    let count = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    };
    let parts = [count(errors, "error"), count(report.findings.len() - errors, "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") }
}

fn rules() -> Result<(), Error> {
    let row = |rule: &Rule| {
        let fix = if rule.is_fixable() { "--fix" } else { "" };
        [rule.name(), rule.group().as_str(), rule.level().as_str(), fix, rule.description()].map(str::to_owned)
    };
    let rows: Vec<_> = Rule::ALL.iter().map(row).collect();
    Ok(table::print(&mut io::stdout().lock(), ["RULE", "GROUP", "WHEN", "FIX", "ASKS FOR"], &rows)?)
}
