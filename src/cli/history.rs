use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::session::Session;
use super::table::{self, Format};
use super::{Error, human, provenance};
use crate::engine::ImageDetails;
use crate::oci::{History, Platform};

/// Print how an image was made, newest first
///
/// With `--steps` or `--tree`, also what kiln remembers of it: the line of each instruction, how long it took, whether it
/// was cached, and how much of each layer is hidden by later ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print whole ids and instructions
    #[arg(long)]
    no_trunc: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print sizes and times for people
    #[arg(short = 'H', long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print what kiln remembers of each step as well
    #[arg(long, conflicts_with = "quiet")]
    steps: bool,
    /// Print it as a tree, in the order of the file
    #[arg(long, conflicts_with_all = ["quiet", "steps", "format"])]
    tree: bool,
    /// Which image of a multi-platform one, such as linux/arm64 (default: this machine's, or the first)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// A name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let engine = session.engine()?;
    if args.steps || args.tree {
        let found = engine.provenance(&args.image, args.platform.as_ref(), &session.cancel)?;
        let mut out = io::stdout().lock();
        match args.format {
            _ if args.tree => out.write_all(provenance::tree(&found, args.no_trunc).as_bytes())?,
            Format::Table => out.write_all(&provenance::steps(&found, args.no_trunc))?,
            Format::Json => table::print_json(&mut out, provenance::objects(&found))?,
        }
        return Ok(());
    }
    let details = engine.inspect(&args.image, args.platform.as_ref())?;
    Ok(print(args, &details, Timestamp::now(), &mut io::stdout().lock())?)
}

fn print(args: &Args, details: &ImageDetails, now: Timestamp, out: &mut impl io::Write) -> io::Result<()> {
    let rows = rows(args, details);
    if args.quiet {
        return rows.iter().try_for_each(|row| writeln!(out, "{}", row.id));
    }
    if args.format == Format::Json {
        return table::print_json(out, rows.iter().map(|row| row.object(args, now)));
    }
    let cells: Vec<_> = rows.iter().map(|row| row.cells(args, now)).collect();
    table::print(out, ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &cells)
}

struct Row<'a> {
    id: String,
    history: &'a History,
    size_bytes: u64,
}

/// Returns one row for each instruction, newest first. Only the newest is an image that has an id.
fn rows<'a>(args: &Args, details: &'a ImageDetails) -> Vec<Row<'a>> {
    let mut sizes = details.layer_sizes.iter().copied();
    let history = details.config.history.iter();
    let mut rows: Vec<Row<'a>> = history
        .map(|history| Row {
            id: "<missing>".to_owned(),
            history,
            size_bytes: if history.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
        })
        .collect();
    if let Some(newest) = rows.last_mut() {
        newest.id = if args.no_trunc { details.image_id.to_string() } else { details.image_id.short() };
    }
    rows.reverse();
    rows
}

impl Row<'_> {
    fn cells(&self, args: &Args, now: Timestamp) -> [String; 5] {
        let created = match self.history.created {
            None => "N/A".to_owned(),
            Some(created) if args.human => human::ago(created, now),
            Some(created) => created.to_string(),
        };
        let size = if args.human { human::size(self.size_bytes) } else { self.size_bytes.to_string() };
        let comment = self.history.comment.clone().unwrap_or_default();
        [self.id.clone(), created, self.created_by(args), size, comment]
    }

    fn created_by(&self, args: &Args) -> String {
        let text = self.history.created_by.as_deref().unwrap_or_default();
        let text = text.replace(['\n', '\t'], " ");
        match text.char_indices().nth(INSTRUCTION_CHARACTERS) {
            Some(_) if !args.no_trunc => {
                let kept: String = text.chars().take(INSTRUCTION_CHARACTERS - 1).collect();
                kept + "…"
            }
            _ => text,
        }
    }

    fn object(&self, args: &Args, now: Timestamp) -> Value {
        let [id, since, created_by, size, comment] = self.cells(args, now);
        json!({
            "ID": id,
            "CreatedAt": self.history.created,
            "CreatedSince": since,
            "CreatedBy": created_by,
            "Size": size,
            "SizeBytes": self.size_bytes,
            "Comment": comment,
            "EmptyLayer": self.history.empty_layer,
        })
    }
}

/// As docker cuts them.
const INSTRUCTION_CHARACTERS: usize = 45;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::oci::{Descriptor, Digest, ImageConfig, Manifest};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn printed(flags: &[&str]) -> String {
        let args = Line::parse_from([&["history"], flags, &["x"]].concat()).args;
        let created = Some(Timestamp::from_second(1_700_000_000).unwrap());
        let item = |text: &str, empty_layer| History {
            created,
            created_by: Some(text.to_owned()),
            comment: Some("kiln".to_owned()),
            empty_layer,
            ..History::default()
        };
        let history = vec![item("COPY hello /hello # kiln", false), item(&format!("CMD [{}]", "x".repeat(50)), true)];
        let id = Digest::from_bytes([0xab; 32]);
        let details = ImageDetails {
            image_id: id,
            manifest_digest: id,
            references: Vec::new(),
            manifest: Manifest {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                config: Descriptor::of("x", b""),
                layers: Vec::new(),
                subject: None,
                annotations: std::collections::BTreeMap::new(),
            },
            config: ImageConfig { history, ..ImageConfig::default() },
            config_bytes: Vec::new(),
            layer_sizes: vec![2048],
            index: None,
        };
        let mut out = Vec::new();
        print(&args, &details, Timestamp::from_second(1_700_000_000 + 7200).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        let expected = "\
IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
abababababab   2 hours ago   CMD [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…   0B        kiln
<missing>      2 hours ago   COPY hello /hello # kiln                        2.05kB    kiln
";
        assert_eq!(printed(&[]), expected);
    }

    #[test]
    fn numbers_can_be_exact() {
        let text = printed(&["--human=false", "--no-trunc"]);
        assert!(
            text.contains("2023-11-14T22:13:20Z") && text.contains(" 2048 ") && text.contains(&"x".repeat(50)),
            "{text}"
        );
    }

    #[test]
    fn json_keeps_what_is_empty_apart() {
        let newest: Value = serde_json::from_str(printed(&["--format=json"]).lines().next().unwrap()).unwrap();
        assert_eq!((&newest["EmptyLayer"], &newest["SizeBytes"]), (&json!(true), &json!(0)));
    }
}
