use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::engine::{AgentSource, BuildOptions, SecretSource};

/// What steps are let into, and what opens sources elsewhere.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct Args {
    /// A secret for `RUN --mount=type=secret`: id=NAME[,src=FILE|,env=VARIABLE]; GIT_AUTH_TOKEN[.HOST] and
    /// HTTP_AUTH_TOKEN_HOST open sources (repeatable)
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// An ssh agent for `RUN --mount=type=ssh`, and the default one for repositories: default, ID, ID=SOCKET or ID=KEY,KEY…
    /// (repeatable)
    #[arg(long, value_name = "AGENT", num_args = 0..=1, default_missing_value = "default")]
    ssh: Vec<String>,
}

impl Args {
    /// # Errors
    /// [`Error::Usage`] for what cannot be meant, and for secrets and keys that are not there.
    pub(in crate::cli) fn add_to(&self, options: &mut BuildOptions) -> Result<(), Error> {
        options.secrets = self.secret.iter().map(|text| secret(text)).collect::<Result<_, _>>()?;
        options.agents = self.ssh.iter().map(|text| agent(text)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn usage(message: String) -> Error {
    Error::Usage(message)
}

/// Reads `id=NAME,src=FILE` and its variations. A bare id is a variable of that name, or else a file.
fn secret(text: &str) -> Result<(String, SecretSource), Error> {
    let fields: BTreeMap<String, &str> = text
        .split(',')
        .map(|field| {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| usage(format!("`--secret {text}`: invalid field `{field}` must be a key=value pair")))?;
            Ok((key.to_ascii_lowercase(), value))
        })
        .collect::<Result<_, Error>>()?;
    if let Some(key) = fields.keys().find(|key| !matches!(key.as_str(), "id" | "src" | "source" | "env" | "type")) {
        return Err(usage(format!("`--secret {text}`: unexpected key `{key}`; there are id, src, env and type")));
    }
    let kind = fields.get("type").copied().unwrap_or_default();
    let source = fields.get("src").or(fields.get("source")).filter(|source| !source.is_empty());
    let (file, variable) = match (kind, source, fields.get("env")) {
        ("", file, variable) => (file, variable),
        ("file", file, None) => (file, None),
        ("env", variable, None) | ("env", None, variable) => (None, variable),
        (other, ..) => return Err(usage(format!("`--secret {text}`: unsupported secret type `{other}`"))),
    };
    let id = fields.get("id").or(file).or(variable).filter(|id| !id.is_empty());
    let Some(&id) = id else { return Err(usage(format!("`--secret {text}` has no id"))) };
    let source = match (file, variable) {
        (Some(_), Some(_)) => return Err(usage(format!("`--secret {text}` is either a file or a variable"))),
        (_, Some(variable)) => SecretSource::Variable((*variable).to_owned()),
        (Some(file), None) => SecretSource::File(PathBuf::from(file)),
        (None, None) if kind == "env" || (kind.is_empty() && std::env::var_os(id).is_some()) => {
            SecretSource::Variable(id.to_owned())
        }
        (None, None) => SecretSource::File(PathBuf::from(id)),
    };
    if let SecretSource::File(path) = &source {
        std::fs::metadata(path).map_err(|error| usage(format!("`--secret {text}`: {}: {error}", path.display())))?;
    }
    Ok((id.to_owned(), source))
}

/// Reads `default`, `id`, `id=socket` and `id=key,key`.
fn agent(text: &str) -> Result<(String, AgentSource), Error> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let paths: Vec<PathBuf> = paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    let kind = |path: &Path| {
        let metadata = std::fs::metadata(path);
        let metadata = metadata.map_err(|error| usage(format!("`--ssh {text}`: {}: {error}", path.display())))?;
        Ok::<_, Error>(metadata.file_type().is_socket())
    };
    let sockets = paths.iter().map(|path| kind(path)).collect::<Result<Vec<bool>, Error>>()?;
    match (paths.as_slice(), sockets.as_slice()) {
        ([], _) => match std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) {
            Some(socket) => Ok((id.to_owned(), AgentSource::Socket(socket.into()))),
            None => Err(usage(format!("`--ssh {text}`: no ssh agent is running (SSH_AUTH_SOCK is not set)"))),
        },
        ([socket], [true]) => Ok((id.to_owned(), AgentSource::Socket(socket.clone()))),
        (_, sockets) if sockets.contains(&true) => {
            Err(usage(format!("`--ssh {text}`: either one socket or private keys")))
        }
        (keys, _) => Ok((id.to_owned(), AgentSource::Keys(keys.to_vec()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("value");
        std::fs::write(&path, "x").unwrap();
        let file = |id: &str| (id.to_owned(), SecretSource::File(path.clone()));
        let variable = |id: &str, name: &str| (id.to_owned(), SecretSource::Variable(name.to_owned()));
        let path = path.to_str().unwrap();
        for (text, expected) in [
            (format!("id=a,src={path}"), file("a")),
            (format!("ID=a,source={path},type=file"), file("a")),
            (format!("src={path}"), file(path)),
            ("id=a,env=B".to_owned(), variable("a", "B")),
            ("id=a,type=env".to_owned(), variable("a", "a")),
            ("type=env,id=a,src=B".to_owned(), variable("a", "B")),
            ("id=PATH".to_owned(), variable("PATH", "PATH")),
        ] {
            assert_eq!(secret(&text).unwrap(), expected, "{text}");
        }
        for text in ["id", "src=", "id=a,src=/nowhere/at/all", "id=a,x=y", "id=a,type=x", "id=a,src=/,env=B"] {
            assert!(matches!(secret(text), Err(Error::Usage(_))), "{text}");
        }
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let directory = tempfile::tempdir().unwrap();
        let (key, socket) = (directory.path().join("key"), directory.path().join("socket"));
        std::fs::write(&key, "").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let text = format!("a={}", key.display());
        assert_eq!(agent(&text).unwrap(), ("a".to_owned(), AgentSource::Keys(vec![key.clone()])));
        let text = format!("default={}", socket.display());
        assert_eq!(agent(&text).unwrap(), ("default".to_owned(), AgentSource::Socket(socket.clone())));
        assert!(agent(&format!("a={},{}", key.display(), socket.display())).is_err());
        assert!(agent("a=/nowhere/at/all").is_err());
    }
}
