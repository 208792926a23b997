use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::session::Session;
use super::table::{self, Format};
use super::{Error, human, progress};
use crate::engine::{ContainerState, ContainerSummary};

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only the last container that was made, whatever it does
    #[arg(short, long)]
    latest: bool,
    /// Only those with this name, id, status, ancestor (image), exited (code) or label (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let mut containers = session.engine()?.containers()?;
    if args.latest {
        containers.truncate(1);
    }
    let asks_for_state = filters.iter().any(|filter| matches!(filter.key, "status" | "exited"));
    let all = args.all || args.latest || asks_for_state;
    containers.retain(|each| all || each.state == ContainerState::Running);
    // Of one key any value will do, and every key must be met, as docker has it.
    containers
        .retain(|each| filters.iter().all(|one| filters.iter().any(|other| other.key == one.key && other.fits(each))));
    Ok(print(args, &containers, Timestamp::now(), &mut io::stdout().lock())?)
}

struct Filter<'a> {
    key: &'a str,
    value: &'a str,
}

fn filter(text: &str) -> Result<Filter<'_>, Error> {
    const KEYS: [&str; 6] = ["name", "id", "status", "ancestor", "exited", "label"];
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !KEYS.contains(&key) {
        return Err(Error::Usage(format!("`--filter {text}`: there are {}", KEYS.join(", "))));
    }
    Ok(Filter { key, value })
}

impl Filter<'_> {
    fn fits(&self, container: &ContainerSummary) -> bool {
        let (record, value) = (&container.record, self.value);
        match self.key {
            "name" => record.name.contains(value.trim_start_matches('/')),
            "id" => record.id.to_string().starts_with(value),
            "status" => state(container) == value,
            "ancestor" => is_image(&record.image, value) || record.manifest.hex().starts_with(value),
            "exited" => matches!(container.state, ContainerState::Exited(code) if code.to_string() == value),
            _ => {
                let (name, wanted) = value.split_once('=').map_or((value, None), |(name, value)| (name, Some(value)));
                container.labels.get(name).is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
            }
        }
    }
}

fn is_image(image: &str, value: &str) -> bool {
    let familiar = |name: &str| name.parse().ok().map(|reference: crate::oci::Reference| reference.to_string());
    image == value || familiar(image).is_some_and(|image| familiar(value) == Some(image))
}

fn print(args: &Args, containers: &[ContainerSummary], now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let id = |each: &ContainerSummary| {
        if args.no_trunc { each.record.id.to_string() } else { each.record.id.short() }
    };
    if args.quiet {
        return containers.iter().try_for_each(|each| writeln!(out, "{}", id(each)));
    }
    let command = |each: &ContainerSummary| command(each, args.no_trunc);
    if args.format == Format::Json {
        return table::print_json(out, containers.iter().map(|each| object(each, &id(each), &command(each), now)));
    }
    let rows: Vec<[String; 6]> = containers
        .iter()
        .map(|each| {
            let record = &each.record;
            let created = human::ago(record.created, now);
            [id(each), record.image.clone(), command(each), created, status(each, now), record.name.clone()]
        })
        .collect();
    table::print(out, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"], &rows)
}

fn command(container: &ContainerSummary, whole: bool) -> String {
    const WIDTH: usize = 20;
    let command = progress::without_controls(&container.argv.join(" ")).to_string();
    if whole || command.chars().count() <= WIDTH {
        return format!("\"{command}\"");
    }
    format!("\"{}…\"", command.chars().take(WIDTH - 1).collect::<String>())
}

fn state(container: &ContainerSummary) -> &'static str {
    match container.state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited(_) => "exited",
    }
}

fn status(container: &ContainerSummary, now: Timestamp) -> String {
    let record = &container.record;
    match container.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running => {
            let since = record.started.map_or_else(String::new, |started| human::ago(started, now));
            format!("Up {}", since.trim_end_matches(" ago"))
        }
        ContainerState::Exited(code) => match record.finished {
            Some(finished) => format!("Exited ({code}) {}", human::ago(finished, now)),
            // Nobody was left to see when.
            None => format!("Exited ({code})"),
        },
    }
}

/// Docker's members, and times that need no parsing.
fn object(container: &ContainerSummary, id: &str, command: &str, now: Timestamp) -> Value {
    let record = &container.record;
    let labels: Vec<String> = container.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "ID": id,
        "Image": record.image,
        "Command": command,
        "CreatedAt": human::created(Some(record.created)),
        "RunningFor": human::ago(record.created, now),
        "State": state(container),
        "Status": status(container, now),
        "Names": record.name,
        "Labels": labels.join(","),
        "ExitCode": match container.state {
            ContainerState::Exited(code) => json!(code),
            ContainerState::Created | ContainerState::Running => Value::Null,
        },
        "Pid": record.process.as_ref().filter(|_| container.state == ContainerState::Running).map(|process| process.pid()),
    })
}
