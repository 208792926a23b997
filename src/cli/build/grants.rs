use std::net::IpAddr;

use super::Error;
use crate::dockerfile::size_bytes;
use crate::engine::{Allow, BuildOptions};
use crate::graph::{Host, Ulimit};
use crate::runtime;

/// What the steps get from who builds.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// What RUN may ask for: network.host, security.insecure (repeatable)
    #[arg(long, value_name = "PRIVILEGE")]
    allow: Vec<String>,
    /// A name that RUN can look up, as NAME:ADDRESS or NAME=ADDRESS (repeatable)
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// A resource limit of RUN, as NAME=SOFT or NAME=SOFT:HARD (repeatable)
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Size of /dev/shm in RUN, such as 256m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Stages whose steps are run even where their results are known (repeatable)
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
}

impl Args {
    /// # Errors
    /// [`Error::Usage`] for what cannot be meant.
    pub(super) fn add_to(&self, options: &mut BuildOptions) -> Result<(), Error> {
        options.allow = allow(&self.allow)?;
        options.hosts = self.add_host.iter().map(|text| host(text)).collect::<Result<_, _>>()?;
        options.ulimits = self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?;
        options.shm_size_bytes = self.shm_size.as_deref().map(shm_size).transpose()?;
        options.no_cache_stages = self.no_cache_filter.iter().map(|name| name.trim().to_lowercase()).collect();
        Ok(())
    }
}

fn usage(message: String) -> Error {
    Error::Usage(message)
}

fn allow(texts: &[String]) -> Result<Allow, Error> {
    let mut allow = Allow::default();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        match text {
            "network.host" => allow.network_host = true,
            "security.insecure" => allow.security_insecure = true,
            _ => {
                let message = format!("`--allow {text}`: there are network.host and security.insecure");
                return Err(usage(message));
            }
        }
    }
    Ok(allow)
}

pub(in crate::cli) fn host(text: &str) -> Result<Host, Error> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let bad = || usage(format!("`--add-host {text}` is not NAME:ADDRESS"));
    let (name, address) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
    // An IPv6 address may stand in brackets, as in URLs.
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    // Steps share the host's network, so that the way to the host is its loopback.
    let address = if bare == "host-gateway" { "127.0.0.1" } else { bare };
    address.parse::<IpAddr>().map_err(|_| bad())?;
    Ok(Host { name: name.to_owned(), address: address.to_owned() })
}

pub(in crate::cli) fn ulimit(text: &str) -> Result<Ulimit, Error> {
    let bad = |why: &str| usage(format!("`--ulimit {text}`: {why}"));
    let (name, values) = text.split_once('=').ok_or_else(|| bad("is not NAME=SOFT[:HARD]"))?;
    if !runtime::is_limit(name) {
        return Err(bad("there is no such limit"));
    }
    let number = |value: &str| match value {
        "unlimited" => Ok(-1),
        value => value.parse::<i64>().ok().filter(|value| *value >= -1).ok_or_else(|| bad("not a number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(bad("the soft limit is above the hard one"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

pub(in crate::cli) fn shm_size(text: &str) -> Result<u64, Error> {
    let size = size_bytes(text).filter(|size| *size > 0);
    size.ok_or_else(|| usage(format!("`--shm-size {text}` is not a size, such as 256m")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_addresses() {
        for (text, name, address) in [
            ("a:10.0.0.1", "a", "10.0.0.1"),
            ("a=::1", "a", "::1"),
            ("a:[::1]", "a", "::1"),
            ("a:host-gateway", "a", "127.0.0.1"),
        ] {
            assert_eq!(host(text).unwrap(), Host { name: name.into(), address: address.into() }, "{text}");
        }
        for text in ["a", ":1.2.3.4", "a:b", "a:"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_numbers_and_known() {
        let limit = |soft, hard| Ulimit { name: "nofile".into(), soft, hard };
        for (text, expected) in
            [("nofile=10", limit(10, 10)), ("nofile=10:20", limit(10, 20)), ("nofile=5:unlimited", limit(5, -1))]
        {
            assert_eq!(ulimit(text).unwrap(), expected, "{text}");
        }
        for text in ["nofile", "nofile=x", "nofile=20:10", "nofile=-1:5", "what=1", "nofile=-2"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }
}
