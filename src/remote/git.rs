use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};

use super::http::key;
use super::{Access, Authorization, Error, Remotes};
use crate::graph::Git;
use crate::sys::Cancel;

/// A commit of a repository, with the name it was found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub(super) id: String,
    /// The full name of the branch or tag, where there was one.
    pub(super) name: Option<String>,
}

impl Remotes {
    /// Returns the commit that is meant now. A full commit id is that commit, and nobody is asked.
    ///
    /// # Errors
    /// [`Error::NoReference`], [`Error::Commit`], [`Error::Git`], [`Error::NoGit`], [`Error::Cancelled`].
    pub fn resolve(&self, git: &Git, access: &Access, cancel: &Cancel) -> Result<Commit, Error> {
        // Without a name, the demand says which commit.
        let meant = git.reference.as_ref().or(git.checksum.as_ref().filter(|checksum| is_commit_id(checksum)));
        let (commit, tag) = match meant.map(String::as_str) {
            Some(id) if is_commit_id(id) => (Commit { id: id.to_owned(), name: None }, None),
            reference => self.look_up(git, reference, access, cancel)?,
        };
        match &git.checksum {
            // The id of an annotated tag vouches for its commit.
            Some(expected) if !commit.id.starts_with(expected) && tag.is_none_or(|tag| !tag.starts_with(expected)) => {
                Err(Error::Commit { expected: expected.clone(), actual: commit.id })
            }
            _ => Ok(commit),
        }
    }

    /// Returns the commit, and the id of the annotated tag that names it.
    fn look_up(
        &self,
        git: &Git,
        reference: Option<&str>,
        access: &Access,
        cancel: &Cancel,
    ) -> Result<(Commit, Option<String>), Error> {
        let call = Call::new("list the references of", git, self.store.root(), cancel).with(access);
        let wanted = reference.unwrap_or("HEAD");
        let listed = self.ask_server(&call, &["ls-remote", "--", &git.remote, wanted, &format!("{wanted}^{{}}")])?;
        let listed = String::from_utf8_lossy(&listed);
        let lines: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |name: &str| lines.iter().find(|(_, listed)| *listed == name).map(|(id, _)| (*id).to_owned());
        // Branches come first where names are ambiguous, as for git-checkout(1).
        let partial = wanted.strip_prefix("refs/").unwrap_or(wanted);
        let names = match reference {
            None => vec![wanted.to_owned()],
            Some(_) => vec![format!("refs/heads/{wanted}"), format!("refs/tags/{wanted}"), format!("refs/{partial}")],
        };
        for name in names {
            if let Some(id) = find(&name) {
                let name = Some(name);
                return Ok(match find(&format!("{}^{{}}", name.as_deref().unwrap_or_default())) {
                    Some(commit) => (Commit { id: commit, name }, Some(id)),
                    None => (Commit { id, name: name.filter(|name| name != "HEAD") }, None),
                });
            }
        }
        Err(Error::NoReference { remote: git.shown(), reference: wanted.to_owned() })
    }

    /// Runs git, and once more where the server has moved the repository: git itself, which would show other servers what
    /// opens the first one, may not follow.
    fn ask_server(&self, call: &Call<'_>, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, Error> {
        match (call.run(arguments), call.authorization()) {
            (Err(error), Some(authorization)) if error.is_redirect() => {
                match self.moved(&call.git.remote, authorization, call.cancel)? {
                    Some(place) => Call { place: Some(&place), ..*call }.run(arguments),
                    None => Err(error),
                }
            }
            (result, _) => result,
        }
    }

    /// Returns a bare repository that has the commit, fetching it if need be.
    pub(super) fn objects(
        &self,
        git: &Git,
        commit: &Commit,
        access: &Access,
        cancel: &Cancel,
    ) -> Result<PathBuf, Error> {
        let key = key("objects", &[git.remote.as_bytes()]);
        let directory = match self.store.remote(key)? {
            Some(directory) => directory,
            None => {
                let new = self.store.new_remote()?;
                // An empty directory would give way to that of a build that has the same idea, and then be gone below this one.
                lock(&new.path().join("lock"), cancel)?;
                self.store.keep_remote(new, key)?
            }
        };
        let _lock = lock(&directory.join("lock"), cancel)?;
        let bare = directory.join("objects.git");
        let call = |action| Call::new(action, git, &directory, cancel);
        if !bare.join("HEAD").exists() {
            call("make a place for").run(&["init", "-q", "--bare", "objects.git"])?;
        }
        let call = |action| Call::new(action, git, &bare, cancel);
        let is_here =
            || call("look for a commit of").succeeds(&["cat-file", "-e", &format!("{}^{{commit}}", commit.id)]);
        if is_here()? {
            return Ok(bare);
        }
        let fetch = |what: &[&str]| {
            let call = call("fetch from").with(access);
            self.ask_server(&call, &[&["fetch", "-q", "--no-tags", "--force"][..], what].concat())
        };
        let one = fetch(&["--depth=1", "--", &git.remote, &commit.id]);
        let Err(refused) = one else { return Ok(bare) };
        if refused.is_cancellation() {
            return Err(refused);
        }
        // Old servers give what has a name, and what such a thing leads to.
        if let Some(name) = &commit.name {
            fetch(&["--depth=1", "--", &git.remote, name])?;
        } else {
            let whole: &[&str] = if bare.join("shallow").exists() { &["--unshallow"] } else { &[] };
            let all = ["--", &git.remote, "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"];
            fetch(&[whole, &all].concat()).map_err(|_| refused)?;
        }
        let missing = || Error::NoReference { remote: git.shown(), reference: commit.id.clone() };
        if is_here()? { Ok(bare) } else { Err(missing()) }
    }
}

fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Two builds must not fetch into one repository at once.
fn lock(path: &Path, cancel: &Cancel) -> Result<File, Error> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = opened.map_err(Error::file("open", path))?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                cancel.check()?;
                std::thread::sleep(POLL);
            }
            Err(error) => return Err(Error::file("lock", path)(error.into())),
        }
    }
}

/// How often a waiting call looks whether it is done or was cancelled.
const POLL: Duration = Duration::from_millis(10);

/// The last words of git that a message has room for.
const MAX_SAID_BYTES: usize = 600;

/// Settings that are nobody's but kiln's: no hook runs, nothing is cleaned up in between, silence ends a transfer.
const CONFIG: [(&str, &str); 10] = [
    ("advice.detachedHead", "false"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "30"),
    ("init.defaultBranch", "master"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("safe.directory", "*"),
];

/// A call of git.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// What it is to do, for errors.
    pub(super) action: &'static str,
    pub(super) git: &'a Git,
    /// Where it runs.
    pub(super) directory: &'a Path,
    /// Whether repositories on this machine may be read, which no repository may refer to.
    pub(super) files: bool,
    /// What opens the repository, where others are asked for it.
    pub(super) access: Option<&'a Access>,
    /// Where it is now, if not where it says.
    pub(super) place: Option<&'a str>,
    pub(super) cancel: &'a Cancel,
}

impl<'a> Call<'a> {
    /// Returns a call that nothing is opened to.
    pub(super) fn new(action: &'static str, git: &'a Git, directory: &'a Path, cancel: &'a Cancel) -> Call<'a> {
        Call { action, git, directory, files: false, access: None, place: None, cancel }
    }

    /// Returns the call with what opens the repository.
    pub(super) fn with(self, access: &'a Access) -> Call<'a> {
        Call { access: Some(access), ..self }
    }

    /// Runs git to its end and returns what it printed.
    pub(super) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, Error> {
        let (status, printed, said) = self.finish(arguments)?;
        if status.success() {
            return Ok(printed);
        }
        Err(Error::Git { action: self.action, remote: self.git.shown(), said: self.last_words(&said) })
    }

    /// Runs git to its end and tells whether it succeeded.
    fn succeeds(&self, arguments: &[&str]) -> Result<bool, Error> {
        Ok(self.finish(arguments)?.0.success())
    }

    fn finish(&self, arguments: &[impl AsRef<OsStr>]) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), Error> {
        self.cancel.check()?;
        let mut child = self.command(arguments).spawn().map_err(Error::NoGit)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let said = scope.spawn(|| drain(stderr));
            let printed = scope.spawn(|| drain(stdout));
            let status = wait(&mut child, self.cancel);
            let (printed, said) = (printed.join().unwrap_or_default(), said.join().unwrap_or_default());
            self.cancel.check()?;
            Ok((status.map_err(Error::NoGit)?, printed, said))
        })
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("git");
        // Whatever it starts dies with it.
        command.process_group(0).args(arguments).current_dir(self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        let protocols = if self.files { "http:https:git:ssh:file" } else { "http:https:git:ssh" };
        command.env("LC_ALL", "C").env("GIT_ALLOW_PROTOCOL", protocols);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        // Nobody is there to be asked.
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "").env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        command.envs(self.access.and_then(|access| access.agent.as_ref()).map(|agent| ("SSH_AUTH_SOCK", agent)));
        let secret = self.authorization().and_then(|authorization| authorization.settings(&self.git.remote));
        let known = CONFIG.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let place = self.place.map(|place| (format!("url.{place}.insteadOf"), self.git.remote.clone()));
        let settings: Vec<_> = known.chain(secret.into_iter().flatten()).chain(place).collect();
        // Not as arguments, which everybody on the machine can read.
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command
    }

    fn authorization(&self) -> Option<&Authorization> {
        self.access?.authorization.as_ref()
    }

    /// Returns what git said last, in one line, without what may be secret in the repository's URL.
    fn last_words(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said).replace(&self.git.remote, &self.git.shown());
        let said = self.authorization().map_or_else(|| said.clone(), |authorization| authorization.without(&said));
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut words = lines.collect::<Vec<_>>().join("; ");
        if words.len() > MAX_SAID_BYTES {
            let start =
                (words.len() - MAX_SAID_BYTES..).find(|&start| words.is_char_boundary(start)).unwrap_or_default();
            words.drain(..start);
        }
        words
    }
}

/// Reads a stream to its end. What an error cuts off is told by git's own status.
fn drain(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
    bytes
}

/// Waits for a program, and ends it with all it has started once `cancel` is raised.
fn wait(child: &mut Child, cancel: &Cancel) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            // It may have ended just now.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            return child.wait();
        }
        std::thread::sleep(POLL);
    }
}

/// Returns when a commit was made, in seconds since the epoch.
pub(super) fn time_of(bare: &Path, git: &Git, commit: &Commit, cancel: &Cancel) -> Result<i64, Error> {
    let call = Call::new("read a commit of", git, bare, cancel);
    let printed = call.run(&["log", "-1", "--format=%ct", &commit.id])?;
    Ok(String::from_utf8_lossy(&printed).trim().parse().unwrap_or_default())
}

/// Copies the list of commits whose parents are not here.
pub(super) fn copy_shallow(bare: &Path, git_directory: &Path) -> Result<(), Error> {
    let from = bare.join("shallow");
    if !from.exists() {
        return Ok(());
    }
    fs::copy(&from, git_directory.join("shallow")).map(drop).map_err(Error::file("copy", from))
}
