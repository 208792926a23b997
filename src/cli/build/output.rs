use std::path::PathBuf;

use super::Error;
use crate::cli::compression::{Asked, Kind};
use crate::engine::{BuildOptions, Output, OutputKind, Packing};
use crate::oci::Reference;

/// Adds what one `--output` asks for; `flags` say what it leaves open about compression.
///
/// Names of images become tags, `push=true` and `type=registry` a push, all else an [`Output`].
pub(super) fn add(text: &str, flags: Asked, options: &mut BuildOptions) -> Result<(), Error> {
    let wrong = |why: &str| Error::Usage(format!("`--output {text}`: {why}"));
    let fields = if text.contains('=') { fields(text).map_err(&wrong)? } else { shorthand(text) };
    let (mut kind, mut destination, mut names, mut rewrite) = (None, None, Vec::new(), false);
    let (mut asked, mut pushes) = (Asked::default(), false);
    for (key, value) in fields {
        match key.as_str() {
            "type" => kind = Some(kind_of(&value).ok_or_else(|| wrong(&format!("there is no type `{value}`")))?),
            "dest" => destination = Some(value),
            "name" => names.extend(references(&value).map_err(&wrong)?),
            "push" if value == "true" => pushes = true,
            "rewrite-timestamp" if value == "true" => rewrite = true,
            "compression" => asked.kind = Some(value.parse().map_err(|why: String| wrong(&why))?),
            "compression-level" => {
                let level = value.parse().map_err(|_| wrong(&format!("`{value}` is no level of compression")))?;
                asked.level = Some(level);
            }
            "force-compression" => {
                let force = value.parse().map_err(|_| wrong("force-compression is `true` or `false`"))?;
                asked.force = Some(force);
            }
            "push" | "rewrite-timestamp" | "store" | "unpack" | "oci-mediatypes" | "tar"
                if is_default(&key, &value) => {}
            _ => return Err(Error::NotSupported { flag: format!("{key}={value} of --output") }),
        }
    }
    let kind = kind.ok_or_else(|| wrong("it has no type"))?;
    if rewrite && matches!(kind, OutputKind::Local | OutputKind::Tar) {
        return Err(wrong("only the layers of an image can be rewritten"));
    }
    if asked != Asked::default() && matches!(kind, OutputKind::Local | OutputKind::Tar) {
        return Err(wrong("only the layers of an image can be compressed"));
    }
    options.rewrite_timestamp |= rewrite;
    pushes |= kind == OutputKind::Registry;
    options.push |= pushes;
    let packing = asked.or(flags).packing().map_err(|why| wrong(&why))?;
    let output = match (kind, destination.as_deref()) {
        (OutputKind::Local, None | Some("-")) => return Err(wrong("a directory of files needs `dest=`")),
        (OutputKind::Image | OutputKind::Registry, Some(_)) => return Err(wrong("this type has no destination")),
        // That it is kept here as well is the way of every build.
        (OutputKind::Image | OutputKind::Registry, None) if pushes => None,
        // Where docker loads such a result into its store, this is kiln's.
        (OutputKind::Image | OutputKind::Docker, None) => Some((OutputKind::Image, None)),
        (OutputKind::Docker, Some(_)) if asked.or(flags).kind == Some(Kind::Zstd) => {
            return Err(wrong("archives for docker cannot hold zstd; `type=oci` can, or `compression=gzip`"));
        }
        (kind, None | Some("-")) => Some((kind, None)),
        (kind, Some(path)) => Some((kind, Some(PathBuf::from(path)))),
    };
    let archive_name = names.first().filter(|_| matches!(kind, OutputKind::Oci | OutputKind::Docker)).cloned();
    let is_archive = matches!(output, Some((OutputKind::Oci | OutputKind::Docker, _)));
    let own = packing.filter(|_| is_archive);
    if asked != Asked::default() && !is_archive {
        image_packing(packing, options).map_err(&wrong)?;
    }
    let output =
        output.map(|(kind, destination)| Output { kind, destination, name: archive_name.clone(), packing: own });
    options.outputs.extend(output);
    if archive_name.is_none() {
        options.tags.extend(names);
    }
    Ok(())
}

/// There is one image in the store, which is also what is pushed.
fn image_packing(packing: Option<Packing>, options: &mut BuildOptions) -> Result<(), &'static str> {
    match options.packing {
        Some(other) if Some(other) != packing => Err("another output wants the image compressed in another way"),
        _ => {
            options.packing = packing;
            Ok(())
        }
    }
}

/// `-` is a tar on stdout, anything else a directory.
fn shorthand(text: &str) -> Vec<(String, String)> {
    let kind = if text == "-" { "tar" } else { "local" };
    [("type", kind), ("dest", text)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn kind_of(word: &str) -> Option<OutputKind> {
    Some(match word {
        "oci" => OutputKind::Oci,
        "docker" => OutputKind::Docker,
        "local" => OutputKind::Local,
        "tar" => OutputKind::Tar,
        "image" => OutputKind::Image,
        "registry" => OutputKind::Registry,
        _ => return None,
    })
}

/// Tells whether a field asks for what kiln does anyway.
fn is_default(key: &str, value: &str) -> bool {
    matches!(
        (key, value),
        ("push" | "rewrite-timestamp", "false")
            | ("store" | "oci-mediatypes" | "tar", "true")
            | ("unpack", "true" | "false")
    )
}

fn references(text: &str) -> Result<Vec<Reference>, &'static str> {
    text.split(',').map(|name| name.parse().map_err(|_| "its name is not an image name")).collect()
}

/// Splits one line of comma-separated values, where a field in double quotes may hold commas, into pairs.
fn fields(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(character),
        }
    }
    if quoted {
        return Err("a quote is not closed");
    }
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.to_owned())),
        None => Err("every field has the form key=value"),
    };
    fields.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Form;
    use crate::layer::Method;

    fn added(text: &str) -> Result<BuildOptions, Error> {
        let mut options = BuildOptions::default();
        add(text, Asked::default(), &mut options).map(|()| options)
    }

    #[test]
    fn outputs_have_a_kind_and_a_destination() {
        for (text, kind, destination) in [
            ("out", OutputKind::Local, Some("out")),
            ("-", OutputKind::Tar, None),
            ("type=local,dest=out", OutputKind::Local, Some("out")),
            ("type=tar,dest=-", OutputKind::Tar, None),
            ("type=oci", OutputKind::Oci, None),
            ("type=docker,dest=x.tar", OutputKind::Docker, Some("x.tar")),
            ("type=docker", OutputKind::Image, None),
            ("type=oci,\"dest=a,b\"", OutputKind::Oci, Some("a,b")),
        ] {
            let expected = Output { kind, destination: destination.map(PathBuf::from), name: None, packing: None };
            assert_eq!(added(text).unwrap().outputs, [expected], "{text}");
        }
    }

    #[test]
    fn names_and_pushes_become_those_of_the_build() {
        let options = added("type=image,\"name=x.io/a:1,x.io/b\",push=true").unwrap();
        let tags: Vec<String> = options.tags.iter().map(Reference::familiar).collect();
        assert_eq!((tags, options.push), (vec!["x.io/a:1".to_owned(), "x.io/b:latest".to_owned()], true));
        assert!(options.outputs.is_empty() && !added("type=image,name=a").unwrap().outputs.is_empty());
        let registry = added("type=registry,name=x.io/a").unwrap();
        assert!(registry.push && registry.outputs.is_empty());
        assert!(added("type=oci,dest=x,name=a").unwrap().outputs[0].name.is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "dest=x",
            "type=floppy",
            "type=local",
            "type=image,dest=x",
            "type=oci,dest",
            "\"type=oci",
            "type=image,name=A",
            "type=oci,compression=rar",
            "type=oci,compression=estargz",
            "type=oci,compression=gzip,compression-level=10",
            "type=oci,compression=zstd,compression-level=23",
            "type=oci,compression-level=many",
            "type=oci,compression=uncompressed,compression-level=1",
            "type=oci,force-compression=perhaps",
            "type=tar,dest=x,compression=gzip",
            "type=docker,dest=x,compression=zstd",
        ] {
            assert!(matches!(added(text), Err(Error::Usage(_))), "{text}");
        }
        assert!(matches!(added("type=oci,oci-mediatypes=false"), Err(Error::NotSupported { .. })));
    }

    #[test]
    fn outputs_are_compressed_each_in_its_way() {
        let forms = |options: &BuildOptions| {
            let own = options.outputs.iter().find_map(|output| output.packing);
            (own.map(|packing| packing.form), options.packing.map(|packing| packing.form))
        };
        let (zstd, best) = (Form::Packed(Method::Zstd), Form::Exact(Method::Gzip.at(9).unwrap()));
        for (text, expected) in [
            ("type=oci,dest=x,compression=zstd", (Some(zstd), None)),
            ("type=oci,dest=x,compression-level=9", (Some(best), None)),
            ("type=docker,dest=x,compression=gzip,compression-level=9", (Some(best), None)),
            ("type=oci,dest=x,compression=none", (Some(Form::Plain), None)),
            ("type=image,name=a,compression=zstd", (None, Some(zstd))),
            ("type=registry,name=x.io/a,compression=zstd", (None, Some(zstd))),
            ("type=docker,compression=uncompressed", (None, Some(Form::Plain))),
        ] {
            assert_eq!(forms(&added(text).unwrap()), expected, "{text}");
        }
        let forced = added("type=oci,dest=x,force-compression=true").unwrap().outputs[0].packing.unwrap();
        assert_eq!((forced.form, forced.force), (Form::Packed(Method::Gzip), true));
        let mut both = added("type=image,name=a,compression=zstd").unwrap();
        assert!(add("type=registry,compression=gzip", Asked::default(), &mut both).is_err());
    }
}
