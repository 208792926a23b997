use std::io;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::session::Session;
use super::table::{self, Format};
use super::{Error, human};
use crate::engine::ImageSummary;
use crate::oci::Platform;

/// List images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print the digests of manifests as well
    #[arg(long)]
    digests: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Only images of this repository, or with this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<(), Error> {
    let mut images = session.engine()?.images()?;
    images.retain(|image| args.name.as_deref().is_none_or(|name| is_named(image, name)));
    images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.reference.cmp(&b.reference)));
    Ok(print(args, &images, Timestamp::now(), &mut io::stdout().lock())?)
}

fn print(args: &Args, images: &[ImageSummary], now: Timestamp, out: &mut impl io::Write) -> io::Result<()> {
    if args.quiet {
        let mut seen = std::collections::BTreeSet::new();
        let mut unseen = images.iter().filter(|image| seen.insert(image.image_id));
        return unseen.try_for_each(|image| writeln!(out, "{}", id(args, image)));
    }
    if args.format == Format::Json {
        return table::print_json(out, images.iter().map(|image| object(args, image, now)));
    }
    let cells = |image: &ImageSummary| {
        let (repository, tag) = name(image);
        let age = image.created.map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now));
        [repository, tag, id(args, image), age, human::size(image.size_bytes)]
    };
    if !args.digests {
        let rows: Vec<_> = images.iter().map(cells).collect();
        return table::print(out, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows);
    }
    let with_digest = |image: &ImageSummary| {
        let [repository, tag, id, age, size] = cells(image);
        [repository, tag, image.manifest.to_string(), id, age, size]
    };
    let rows: Vec<_> = images.iter().map(with_digest).collect();
    table::print(out, ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"], &rows)
}

fn is_named(image: &ImageSummary, name: &str) -> bool {
    let Some(reference) = &image.reference else { return false };
    [reference.familiar(), reference.familiar_repository(), reference.to_string(), reference.repository()]
        .iter()
        .any(|known| known == name)
}

/// Returns docker's two columns of a name.
fn name(image: &ImageSummary) -> (String, String) {
    let none = || "<none>".to_owned();
    match &image.reference {
        Some(reference) => (reference.familiar_repository(), reference.tag().map_or_else(none, str::to_owned)),
        None => (none(), none()),
    }
}

fn id(args: &Args, image: &ImageSummary) -> String {
    if args.no_trunc { image.image_id.to_string() } else { image.image_id.short() }
}

/// Docker's members, and sizes and platforms that need no parsing.
fn object(args: &Args, image: &ImageSummary, now: Timestamp) -> Value {
    let (repository, tag) = name(image);
    let platforms: Vec<String> = image.platforms.iter().map(Platform::to_string).collect();
    json!({
        "Repository": repository,
        "Tag": tag,
        "ID": id(args, image),
        "Digest": image.manifest,
        "CreatedAt": human::created(image.created),
        "CreatedSince": image.created.map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now)),
        "Size": human::size(image.size_bytes),
        "SizeBytes": image.size_bytes,
        "Platform": platforms.join(","),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::oci::Digest;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn printed(flags: &[&str]) -> String {
        let args = Line::parse_from([&["images"], flags].concat()).args;
        let image = |name: Option<&str>| ImageSummary {
            reference: name.map(|name| name.parse().unwrap()),
            image_id: Digest::from_bytes([0xab; 32]),
            manifest: Digest::from_bytes([0xcd; 32]),
            created: Some(Timestamp::from_second(1_700_000_000).unwrap()),
            size_bytes: 7_800_000,
            platforms: vec![Platform::new("linux", "amd64", None)],
        };
        let now = Timestamp::from_second(1_700_000_000 + 7200).unwrap();
        let mut out = Vec::new();
        print(&args, &[image(Some("hello:1")), image(None)], now, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        let expected = "\
REPOSITORY   TAG       IMAGE ID       CREATED       SIZE
hello        1         abababababab   2 hours ago   7.8MB
<none>       <none>    abababababab   2 hours ago   7.8MB
";
        assert_eq!(printed(&[]), expected);
    }

    #[test]
    fn quiet_prints_each_id_once() {
        assert_eq!(printed(&["-q"]), "abababababab\n");
        assert_eq!(printed(&["-q", "--no-trunc"]), format!("sha256:{}\n", "ab".repeat(32)));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = printed(&["--format", "json"]);
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows[0]["Repository"], "hello");
        assert_eq!((&rows[1]["Tag"], &rows[1]["SizeBytes"]), (&json!("<none>"), &json!(7_800_000)));
    }
}
