use std::net::IpAddr;

/// What is wrong with a word of EXPOSE; the texts are those of Docker's parser (semantics reference, section 11.4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    #[error("invalid containerPort: {0}")]
    Container(String),
    #[error("invalid port: \"{spec}\": invalid proto: {protocol}")]
    Protocol { spec: String, protocol: String },
    #[error("invalid hostPort: {0}")]
    Host(String),
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
    #[error("invalid IP address: {0}")]
    Address(String),
}

/// Returns the ports of `[ip:][hostport:]port[-end][/proto]` as a config names them, such as `80/tcp`. Address and host
/// ports mean nothing to an image, and must be right all the same.
pub(super) fn parse(spec: &str) -> Result<Vec<String>, PortError> {
    let (rest, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    let (rest, container) = rest.rsplit_once(':').map_or(("", rest), |(rest, container)| (rest, container));
    let (address, host) = rest.rsplit_once(':').map_or(("", rest), |(address, host)| (address, host));
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(PortError::Address(address.to_owned()));
    }
    let ports = range(container).ok_or_else(|| PortError::Container(container.to_owned()))?;
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(PortError::Protocol { spec: spec.to_owned(), protocol });
    }
    if !host.is_empty() {
        let hosts = range(host).ok_or_else(|| PortError::Host(host.to_owned()))?;
        // One port may take any of a range of the host.
        if hosts.clone().count() != ports.clone().count() && ports.start() != ports.end() {
            return Err(PortError::Ranges { container: container.to_owned(), host: host.to_owned() });
        }
    }
    Ok(ports.map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let unsigned = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    // As Go reads numbers.
    let number = |text: &str| unsigned(text.strip_prefix('+').unwrap_or(text));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_many_forms() {
        for (spec, expected) in [
            ("80", "80/tcp"),
            ("53/UDP", "53/udp"),
            ("8000-8002/sctp", "8000/sctp 8001/sctp 8002/sctp"),
            ("127.0.0.1:8080:80", "80/tcp"),
            ("[::1]:8080:80", "80/tcp"),
            ("8080-8090:80", "80/tcp"),
            ("80/", "80/tcp"),
            ("+80", "80/tcp"),
            ("abc", "invalid containerPort: abc"),
            ("65536", "invalid containerPort: 65536"),
            ("9-8", "invalid containerPort: 9-8"),
            ("", "invalid containerPort: "),
            ("80/foo", "invalid port: \"80/foo\": invalid proto: foo"),
            ("x:80", "invalid hostPort: x"),
            ("1-2:3-5", "invalid ranges specified for container and host Ports: 3-5 and 1-2"),
            ("1.2.3:4:5", "invalid IP address: 1.2.3"),
        ] {
            let found = parse(spec).map_or_else(|error| error.to_string(), |ports| ports.join(" "));
            assert_eq!(found, expected, "{spec}");
        }
    }
}
