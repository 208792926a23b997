//! A private docker-registry on loopback, and what was pushed to it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    process: Child,
    port: u16,
    data: PathBuf,
}

impl Registry {
    /// Starts `REGISTRY` of the environment, or `docker-registry`, with its data in `directory`.
    pub(crate) fn start(directory: &Path) -> Result<Registry> {
        let program = std::env::var("REGISTRY").unwrap_or_else(|_| "docker-registry".into());
        let data = directory.join("registry");
        fs::create_dir_all(&data)?;
        // Free now; if another takes it before the registry does, nothing below works.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = directory.join("registry.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
                 rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                data.display()
            ),
        )?;
        let mut command = Command::new(&program);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|error| format!("no registry ({program}): {error}"))?;
        let registry = Registry { process, port, data };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{program} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The layer blobs of `repository:1` as they lie on the registry's disk, lowest first.
    pub(crate) fn layers(&self, repository: &str) -> Result<Vec<PathBuf>> {
        let root = self.data.join("docker/registry/v2");
        let link = root.join("repositories").join(repository).join("_manifests/tags/1/current/link");
        let mut digest = fs::read_to_string(&link)?;
        loop {
            let document: Value = serde_json::from_slice(&fs::read(blob(&root, &digest)?)?)?;
            if let Some(first) = document["manifests"][0]["digest"].as_str() {
                digest = first.to_owned();
                continue;
            }
            let layers = document["layers"].as_array().ok_or("a manifest without layers")?;
            return layers.iter().map(|layer| blob(&root, layer["digest"].as_str().unwrap_or_default())).collect();
        }
    }
}

fn blob(root: &Path, digest: &str) -> Result<PathBuf> {
    let hex = digest.trim().strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or("not a sha256 digest")?;
    Ok(root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data"))
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
