use rustix::process::{Resource, Rlimit, setrlimit};

use super::spec::Limit;
use super::wire::{Failure, Step};

/// Limits by their names in `ulimit` and docker.
const LIMITS: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Tells whether there is a resource limit of this name.
pub fn is_limit(name: &str) -> bool {
    LIMITS.iter().any(|(known, _)| *known == name)
}

/// Sets the limits of this process.
pub(super) fn set(limits: &[Limit]) -> Result<(), Failure> {
    for limit in limits {
        let Some((_, resource)) = LIMITS.iter().find(|(known, _)| *known == limit.name) else { continue };
        let value = Rlimit { current: limit.soft, maximum: limit.hard };
        setrlimit(*resource, value).step(format!("set the limit {}", limit.name))?;
    }
    Ok(())
}
