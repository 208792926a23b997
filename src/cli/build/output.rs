use std::path::PathBuf;

use super::Error;
use crate::engine::{BuildOptions, Output, OutputKind};
use crate::oci::Reference;

/// Adds what one `--output` asks for.
///
/// Names of images become tags, `push=true` and `type=registry` a push, all else an [`Output`].
pub(super) fn add(text: &str, options: &mut BuildOptions) -> Result<(), Error> {
    let wrong = |why: &str| Error::Usage(format!("`--output {text}`: {why}"));
    let fields = if text.contains('=') { fields(text).map_err(&wrong)? } else { shorthand(text) };
    let (mut kind, mut destination, mut names, mut rewrite) = (None, None, Vec::new(), false);
    for (key, value) in fields {
        match key.as_str() {
            "type" => kind = Some(kind_of(&value).ok_or_else(|| wrong(&format!("there is no type `{value}`")))?),
            "dest" => destination = Some(value),
            "name" => names.extend(references(&value).map_err(&wrong)?),
            "push" if value == "true" => options.push = true,
            "rewrite-timestamp" if value == "true" => rewrite = true,
            "push" | "rewrite-timestamp" | "store" | "unpack" | "oci-mediatypes" | "tar"
                if is_default(&key, &value) => {}
            _ => return Err(Error::NotSupported { flag: format!("{key}={value} of --output") }),
        }
    }
    let kind = kind.ok_or_else(|| wrong("it has no type"))?;
    if rewrite && matches!(kind, OutputKind::Local | OutputKind::Tar) {
        return Err(wrong("only the layers of an image can be rewritten"));
    }
    options.rewrite_timestamp |= rewrite;
    let output = match (kind, destination.as_deref()) {
        (OutputKind::Local, None | Some("-")) => return Err(wrong("a directory of files needs `dest=`")),
        (OutputKind::Image | OutputKind::Registry, Some(_)) => return Err(wrong("this type has no destination")),
        (OutputKind::Registry, None) => {
            options.push = true;
            None
        }
        // Where docker loads such a result into its store, this is kiln's.
        (OutputKind::Image | OutputKind::Docker, None) => Some((OutputKind::Image, None)),
        (kind, None | Some("-")) => Some((kind, None)),
        (kind, Some(path)) => Some((kind, Some(PathBuf::from(path)))),
    };
    let archive_name = names.first().filter(|_| matches!(kind, OutputKind::Oci | OutputKind::Docker)).cloned();
    options.outputs.extend(output.map(|(kind, destination)| Output { kind, destination, name: archive_name.clone() }));
    if archive_name.is_none() {
        options.tags.extend(names);
    }
    Ok(())
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

    fn added(text: &str) -> Result<BuildOptions, Error> {
        let mut options = BuildOptions::default();
        add(text, &mut options).map(|()| options)
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
            let expected = Output { kind, destination: destination.map(PathBuf::from), name: None };
            assert_eq!(added(text).unwrap().outputs, [expected], "{text}");
        }
    }

    #[test]
    fn names_and_pushes_become_those_of_the_build() {
        let options = added("type=image,\"name=x.io/a:1,x.io/b\",push=true").unwrap();
        let tags: Vec<String> = options.tags.iter().map(Reference::familiar).collect();
        assert_eq!((tags, options.push), (vec!["x.io/a:1".to_owned(), "x.io/b:latest".to_owned()], true));
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
        ] {
            assert!(matches!(added(text), Err(Error::Usage(_))), "{text}");
        }
        assert!(matches!(added("type=oci,compression=zstd"), Err(Error::NotSupported { .. })));
    }
}
