use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use super::fault_server::{Asked, FaultServer, Reply};
use super::{Sandbox, ran};

/// A repository with a working copy, beside the context of a sandbox.
pub struct Repository<'a> {
    sandbox: &'a Sandbox,
    name: &'static str,
}

impl Repository<'_> {
    pub fn new<'a>(sandbox: &'a Sandbox, name: &'static str) -> Repository<'a> {
        let repository = Repository { sandbox, name };
        fs::create_dir_all(repository.path("")).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.sandbox.path(&format!("repositories/{}/{name}", self.name))
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.path("")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "n").env(format!("GIT_{role}_EMAIL"), "n@example.com");
            command.env(format!("GIT_{role}_DATE"), "1234567890 +0000");
        }
        ran(command.env("GIT_ALLOW_PROTOCOL", "file:git:http")).ok().trim().to_owned()
    }

    /// Commits a file, and returns the commit's id.
    pub fn commit(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "m"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Adds another repository as a submodule, wherever its URL leads from here: what is fetched is its neighbour of that
    /// name.
    pub fn submodule(&self, url: &str, path: &str) {
        let neighbour = format!("../{}", url.rsplit('/').next().unwrap());
        self.git(&["submodule", "add", "-q", &neighbour, path]);
        self.git(&["config", "-f", ".gitmodules", &format!("submodule.{path}.url"), url]);
    }

    /// Makes a file executable from the next commit on.
    pub fn executable(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), "#!").unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Serves the repositories of a sandbox over `git://` on loopback, and returns the host. It ends with the tests.
pub fn daemon(sandbox: &Sandbox) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let base = sandbox.path("repositories");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let base = base.clone();
            std::thread::spawn(move || speak(&stream, &base));
        }
    });
    host
}

fn speak(stream: &TcpStream, base: &Path) {
    let mut child = Command::new("git")
        .args(["daemon", "--inetd", "--export-all"])
        .arg(format!("--base-path={}", base.display()))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone().unwrap())))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone().unwrap())))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
}

/// Serves the repositories of a sandbox over HTTP, to whoever `allow` lets in.
pub fn http(sandbox: &Sandbox, allow: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> FaultServer {
    let base = sandbox.path("repositories");
    FaultServer::start(move |asked| if allow(asked) { backend(&base, asked) } else { Reply::status(401) })
}

/// Answers by `git http-backend`, a CGI program.
pub fn backend(base: &Path, asked: &Asked) -> Reply {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", base)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_PROTOCOL", asked.header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type"))
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&asked.body).unwrap();
    let mut answer = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    child.wait().unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8_lossy(&answer[..end]).into_owned();
    let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let status =
        header("Status:").and_then(|status| status.split(' ').next()).map_or(200, |code| code.parse().unwrap());
    let mut reply = Reply { body: answer[end + 4..].to_vec(), ..Reply::status(status) };
    if let Some(kind) = header("Content-Type:") {
        reply = reply.header("Content-Type", kind);
    }
    reply
}
