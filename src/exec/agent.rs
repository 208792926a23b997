//! ssh agents for steps: a socket of the step's own, whose every connection goes on to the agent of the user.
//!
//! The user's socket itself is not mounted, because its owner and mode are not those the step asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::graph::Ownership;

/// Where an agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// Its socket.
    Socket(PathBuf),
    /// An agent of the build's own, which holds these private keys.
    Keys(Vec<PathBuf>),
}

/// The agents of one build, by their ids.
#[derive(Debug, Clone, Default)]
pub struct Agents(BTreeMap<String, AgentSource>);

/// Why an agent could not be given.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The build has none of this name.
    #[error("no SSH key {id:?} forwarded from the client")]
    NotGiven {
        /// What the step asked for.
        id: String,
    },
    /// The socket of the step could not be made.
    #[error("cannot make a socket for the ssh agent of a step")]
    Socket(#[source] io::Error),
    /// A program of OpenSSH could not be started.
    #[error("cannot start `{program}`, which holds the keys of `--ssh`")]
    Program {
        /// The program.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A key could not be given to the agent.
    #[error("cannot use the private key {}: {said}", key.display())]
    Key {
        /// The file.
        key: PathBuf,
        /// What `ssh-add` said.
        said: String,
    },
}

/// How long an agent of the build's own may take to open its socket.
const START: Duration = Duration::from_secs(10);

/// How often a forwarder looks whether it is over.
const TICK: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Agents {
    /// Returns these agents.
    pub fn new(sources: BTreeMap<String, AgentSource>) -> Agents {
        Agents(sources)
    }

    /// Makes a socket for a step; none where there is no such agent and the step can do without.
    ///
    /// # Errors
    /// [`AgentError`].
    pub(super) fn forward(&self, id: &str, required: bool, owner: Ownership) -> Result<Option<Forwarder>, AgentError> {
        match self.0.get(id) {
            None if required => Err(AgentError::NotGiven { id: id.to_owned() }),
            None => Ok(None),
            Some(source) => Forwarder::start(source, owner).map(Some),
        }
    }
}

/// A socket while a step runs.
#[derive(Debug)]
pub(super) struct Forwarder {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    keys: Option<KeyAgent>,
    directory: tempfile::TempDir,
}

impl Forwarder {
    fn start(source: &AgentSource, owner: Ownership) -> Result<Forwarder, AgentError> {
        let directory = tempfile::Builder::new().prefix("kiln-ssh-").tempdir().map_err(AgentError::Socket)?;
        let (agent, keys) = match source {
            AgentSource::Socket(socket) => (socket.clone(), None),
            AgentSource::Keys(keys) => {
                let agent = KeyAgent::start(&directory.path().join("keys"), keys)?;
                (agent.socket.clone(), Some(agent))
            }
        };
        let listener = listen(&directory.path().join(SOCKET), owner).map_err(AgentError::Socket)?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || serve(&listener, &agent, &seen));
        Ok(Forwarder { over, thread: Some(thread), keys, directory })
    }

    /// Returns where the socket is.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that a connection broke.
            let _ = thread.join();
        }
        self.keys.take();
    }
}

const SOCKET: &str = "agent";

fn listen(path: &Path, owner: Ownership) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    if (owner.uid, owner.gid) != (0, 0) {
        std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(owner.mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, agent: &Path, over: &AtomicBool) {
    use rustix::event::{PollFd, PollFlags, poll};
    while !over.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&TICK)), Ok(1..)) {
            continue;
        }
        let Ok((connection, _)) = listener.accept() else { continue };
        let agent = agent.to_owned();
        // It ends with the step, whose end of the connection is then closed.
        std::thread::spawn(move || {
            if let Err(error) = connect(&connection, &agent) {
                tracing::debug!(%error, "a connection to the ssh agent ended");
            }
        });
    }
}

/// Hands everything on in both directions until one side has closed.
fn connect(step: &UnixStream, agent: &Path) -> io::Result<()> {
    step.set_nonblocking(false)?;
    let agent = UnixStream::connect(agent)?;
    let pass = |mut from: &UnixStream, mut to: &UnixStream| {
        let passed = io::copy(&mut from, &mut to);
        // What is closed already cannot be closed again, and need not be.
        let _ = to.shutdown(Shutdown::Write);
        passed
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(&agent, step));
        pass(step, &agent).map(drop)
    })
}

/// OpenSSH's own agent with keys from files.
#[derive(Debug)]
struct KeyAgent {
    child: Child,
    socket: PathBuf,
}

impl KeyAgent {
    fn start(socket: &Path, keys: &[PathBuf]) -> Result<KeyAgent, AgentError> {
        let failed = |program| move |source| AgentError::Program { program, source };
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = agent.spawn().map_err(failed("ssh-agent"))?;
        let agent = KeyAgent { child, socket: socket.to_owned() };
        agent.wait_for_socket().map_err(failed("ssh-agent"))?;
        for key in keys {
            let mut add = Command::new("ssh-add");
            // A key with a passphrase is refused instead of asked about.
            add.arg("-q").arg(key).env("SSH_AUTH_SOCK", socket).env("SSH_ASKPASS_REQUIRE", "never");
            let done = add.stdin(Stdio::null()).output().map_err(failed("ssh-add"))?;
            if !done.status.success() {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(AgentError::Key { key: key.clone(), said });
            }
        }
        Ok(agent)
    }

    fn wait_for_socket(&self) -> io::Result<()> {
        let begun = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            if begun.elapsed() > START {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_step_talks_to_the_agent_through_a_socket_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let agent = UnixListener::bind(&path).unwrap();
        let answer = std::thread::spawn(move || {
            let (mut connection, _) = agent.accept().unwrap();
            let mut question = [0; 4];
            connection.read_exact(&mut question).unwrap();
            connection.write_all(b"pong").unwrap();
            question
        });
        let agents = Agents::new(BTreeMap::from([("default".to_owned(), AgentSource::Socket(path))]));
        let owner = Ownership { mode: 0o640, uid: 0, gid: 0 };
        let forwarder = agents.forward("default", true, owner).unwrap().unwrap();
        assert_eq!(std::fs::metadata(forwarder.socket()).unwrap().permissions().mode() & 0o7777, 0o640);
        let mut step = UnixStream::connect(forwarder.socket()).unwrap();
        step.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        step.read_exact(&mut heard).unwrap();
        assert_eq!((answer.join().unwrap(), heard), (*b"ping", *b"pong"));
        drop(step);
        let socket = forwarder.socket();
        drop(forwarder);
        assert!(!socket.exists());
    }

    #[test]
    fn a_missing_agent_matters_only_where_it_is_required() {
        let owner = Ownership { mode: 0o600, uid: 0, gid: 0 };
        assert!(Agents::default().forward("x", false, owner).unwrap().is_none());
        let error = Agents::default().forward("x", true, owner).unwrap_err();
        assert_eq!(error.to_string(), "no SSH key \"x\" forwarded from the client");
    }
}
