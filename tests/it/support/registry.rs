use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Debian's docker-registry on a free loopback port, stopped when dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Registry {
    /// Starts a registry that anybody may use.
    pub fn start() -> Registry {
        Registry::with("")
    }

    /// Starts a registry that wants a user and a password.
    pub fn with_password(user: &str, password: &str) -> Registry {
        let hashed = Command::new("htpasswd").args(["-nbB", user, password]).output().unwrap();
        assert!(hashed.status.success());
        Registry::with(&String::from_utf8(hashed.stdout).unwrap())
    }

    fn with(passwords: &str) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        // Free now; whoever else takes it before the registry does makes this test fail loudly.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(path("htpasswd"), passwords).unwrap();
        let auth = if passwords.is_empty() {
            String::new()
        } else {
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd").display())
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            path("data").display()
        );
        fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Registry { process: command.spawn().unwrap(), port, _directory: directory };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
