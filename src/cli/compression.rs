use std::str::FromStr;

use super::Error;
use crate::engine::{Form, Packing};
use crate::layer::Method;

/// Flags that say how layers leave the store.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How layers leave: uncompressed, gzip or zstd, perhaps with a level, such as zstd:19
    #[arg(long, value_name = "TYPE[:LEVEL]", value_parser = parse)]
    compression: Option<(Kind, Option<u8>)>,
    /// Compress anew also what others have compressed, such as the layers of a base image
    #[arg(long)]
    force_compression: bool,
}

/// What was asked for in one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) kind: Option<Kind>,
    pub(super) level: Option<u8>,
    pub(super) force: Option<bool>,
}

/// A way to pack layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uncompressed,
    Gzip,
    Zstd,
}

impl Args {
    /// Returns what the flags ask for.
    pub(super) fn asked(&self) -> Asked {
        let (kind, level) = self.compression.map_or((None, None), |(kind, level)| (Some(kind), level));
        Asked { kind, level, force: self.force_compression.then_some(true) }
    }

    /// # Errors
    /// [`Error::Usage`] for a level that there is not.
    pub(super) fn packing(&self) -> Result<Option<Packing>, Error> {
        self.asked().packing().map_err(|why| Error::Usage(format!("`--compression`: {why}")))
    }
}

impl Asked {
    /// Returns this, with what it leaves open as `other` has it. A level belongs to the type it was given with.
    pub(super) fn or(self, other: Asked) -> Asked {
        let same = self.kind.is_none() || self.kind == other.kind;
        Asked {
            kind: self.kind.or(other.kind),
            level: self.level.or(other.level.filter(|_| same)),
            force: self.force.or(other.force),
        }
    }

    /// Returns the whole; none where nothing was asked for. The usual type is gzip.
    ///
    /// # Errors
    /// Why the level is none.
    pub(super) fn packing(self) -> Result<Option<Packing>, String> {
        if self == Asked::default() {
            return Ok(None);
        }
        let kind = self.kind.unwrap_or(Kind::Gzip);
        let form = match (kind.method(), self.level) {
            (None, None) => Form::Plain,
            (None, Some(_)) => return Err("what is not compressed has no level".to_owned()),
            (Some(method), None) => Form::Packed(method),
            (Some(method), Some(level)) => {
                let (name, levels) = (method.name(), method.levels());
                let wrong = || format!("{name} has levels from {} to {}, not {level}", levels.start(), levels.end());
                Form::Exact(method.at(level).ok_or_else(wrong)?)
            }
        };
        Ok(Some(Packing { form, force: self.force.unwrap_or(false) }))
    }
}

impl Kind {
    fn method(self) -> Option<Method> {
        match self {
            Kind::Uncompressed => None,
            Kind::Gzip => Some(Method::Gzip),
            Kind::Zstd => Some(Method::Zstd),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Ok(match text {
            "uncompressed" | "none" => Kind::Uncompressed,
            "gzip" => Kind::Gzip,
            "zstd" => Kind::Zstd,
            "estargz" => return Err("kiln makes no eStargz; there is uncompressed, gzip and zstd".to_owned()),
            _ => return Err(format!("`{text}` is no compression; there is uncompressed, gzip and zstd")),
        })
    }
}

fn parse(text: &str) -> Result<(Kind, Option<u8>), String> {
    let Some((kind, level)) = text.split_once(':') else { return Ok((text.parse()?, None)) };
    let number = level.parse().map_err(|_| format!("`{level}` is no level of compression"))?;
    let kind: Kind = kind.parse()?;
    Asked { kind: Some(kind), level: Some(number), force: None }.packing()?;
    Ok((kind, Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_may_have_a_level() {
        for (text, expected) in [
            ("gzip", Some((Kind::Gzip, None))),
            ("zstd:19", Some((Kind::Zstd, Some(19)))),
            ("none", Some((Kind::Uncompressed, None))),
            ("none:1", None),
            ("gzip:10", None),
            ("zstd:-1", None),
            ("zstd:", None),
            ("estargz", None),
            ("GZIP", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn an_output_overrides_the_flags() {
        let flags = Asked { kind: Some(Kind::Zstd), level: Some(19), force: Some(true) };
        let output = Asked { level: Some(3), ..Asked::default() };
        assert_eq!(output.or(flags), Asked { level: Some(3), ..flags });
        let output = Asked { kind: Some(Kind::Gzip), force: Some(false), ..Asked::default() };
        assert_eq!(output.or(flags), output);
    }
}
