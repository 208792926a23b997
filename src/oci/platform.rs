use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system and CPU an image is for, normalised as the ecosystem spells it (image-spec, "Image Index").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, in Go's words.
    pub architecture: String,
    /// Operating system, in Go's words.
    pub os: String,
    /// Version of the operating system (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// CPU variant, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform. Worded as containerd does, which people look up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A lone word that is neither an operating system nor an architecture.
    #[error("\"{0}\": unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// Too many parts.
    #[error("\"{0}\": cannot parse platform specifier: invalid argument")]
    Shape(String),
    /// A part is empty, or has characters that no part has.
    #[error("\"{part}\" is an invalid component of \"{platform}\": invalid argument")]
    Component {
        /// The part.
        part: String,
        /// The whole text.
        platform: String,
    },
}

const SYSTEMS: &[&str] = &[
    "linux",
    "windows",
    "darwin",
    "freebsd",
    "openbsd",
    "netbsd",
    "solaris",
    "illumos",
    "plan9",
    "android",
    "aix",
    "dragonfly",
    "js",
    "wasip1",
];
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

impl Platform {
    /// Returns the normalised platform of three words as people write them.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = os.to_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let variant = variant.map(str::to_lowercase).filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.to_lowercase().as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".to_owned(), None),
            ("x86_64" | "x86-64", Some(other)) => ("amd64".to_owned(), Some(other.to_owned())),
            ("i386", _) => ("386".to_owned(), None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), None),
            ("aarch64", Some(other)) => ("arm64".to_owned(), Some(other.to_owned())),
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", None) => ("arm".to_owned(), Some("v7".to_owned())),
            ("arm", Some(digit @ ("5" | "6" | "7" | "8"))) => ("arm".to_owned(), Some(format!("v{digit}"))),
            (architecture, variant) => (architecture.to_owned(), variant.map(str::to_owned)),
        };
        Platform { architecture, os, os_version: None, variant }
    }

    /// Returns the platform kiln was compiled for.
    pub fn host() -> Platform {
        Platform::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// Returns the words that alone are a platform: operating systems and architectures.
    pub fn words() -> impl Iterator<Item = &'static str> {
        SYSTEMS.iter().chain(ARCHITECTURES).copied()
    }

    /// Returns this platform with its spelling normalised.
    pub fn normalized(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            ..Platform::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// Returns how well an image for `candidate` suits this platform: 0 is exact, larger is worse, `None` not at all.
    ///
    /// An older variant of the same family runs on a newer CPU; `amd64` also runs `386`, and `arm64` also `arm`.
    pub fn preference(&self, candidate: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), candidate.normalized());
        if wanted.os != offered.os {
            return None;
        }
        let level = |platform: &Platform, default: u32| match platform.variant.as_deref() {
            None => Some(default),
            Some(variant) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
        };
        match (wanted.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => Some(100 + 8u32.checked_sub(level(&offered, 7)?)?),
            (a, b) if a == b => {
                let default = match a {
                    "arm64" => 8,
                    "arm" => 7,
                    _ => 1,
                };
                if wanted.variant == offered.variant {
                    return Some(0);
                }
                level(&wanted, default)?.checked_sub(level(&offered, default)?)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let (os, os_version) = match first.split_once('(') {
            Some((os, version)) => (os, version.strip_suffix(')')),
            None => (first, None),
        };
        let is_word = |part: &str, more: &[u8]| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b) || more.contains(&b))
        };
        let wrong = |part: &str| PlatformError::Component { part: part.to_owned(), platform: text.to_owned() };
        if !is_word(os, b"") || first.contains('(') && !os_version.is_some_and(|version| is_word(version, b".%+")) {
            return Err(wrong(first));
        }
        let parts: Vec<&str> = rest.map(|rest| rest.split('/').collect()).unwrap_or_default();
        if let Some(part) = parts.iter().find(|part| !is_word(part, b".")) {
            return Err(wrong(part));
        }
        let os_version = os_version.map(str::to_owned);
        match parts[..] {
            [architecture] => Ok(Platform { os_version, ..Platform::new(os, architecture, None) }),
            [architecture, variant] => Ok(Platform { os_version, ..Platform::new(os, architecture, Some(variant)) }),
            [] => {
                let host = Platform::host();
                let as_architecture = Platform::new("linux", first, None);
                if SYSTEMS.contains(&Platform::new(os, "", None).os.as_str()) {
                    Ok(Platform { os_version, ..Platform::new(os, &host.architecture, host.variant.as_deref()) })
                } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    Ok(Platform { os: host.os, ..as_architecture })
                } else {
                    Err(PlatformError::Unknown(text.to_owned()))
                }
            }
            _ => Err(PlatformError::Shape(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_normalised() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("riscv64", "linux/riscv64"),
            ("i386", "linux/386"),
            ("linux/armel", "linux/arm/v6"),
            ("Linux/ARM64", "linux/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for (text, expected) in [
            ("foo", "\"foo\": unknown operating system or architecture: invalid argument"),
            ("a/b/c/d", "\"a/b/c/d\": cannot parse platform specifier: invalid argument"),
            ("linux//v1", "\"\" is an invalid component of \"linux//v1\": invalid argument"),
            ("linux/*", "\"*\" is an invalid component of \"linux/*\": invalid argument"),
            ("win(", "\"win(\" is an invalid component of \"win(\": invalid argument"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn older_variants_suit_newer_cpus_and_never_the_reverse() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let rank = |wanted: &str, offered: &str| platform(wanted).preference(&platform(offered));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert!(rank("linux/arm64", "linux/arm/v7") > rank("linux/arm64", "linux/arm64"));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
    }
}
