//! Containers: run in the foreground, entered, listed, run again and removed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::support::{Need, Ran, Sandbox, User, ran, require};

/// Returns a sandbox whose image `test` holds busybox.
pub(crate) fn sandbox(user: User) -> Sandbox {
    let sandbox =
        Sandbox::of(user).busybox("ENV FROM_IMAGE=1\nWORKDIR /work\nCMD [\"echo\", \"the image's command\"]\n");
    sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    sandbox
}

pub(crate) fn users() -> Vec<User> {
    if !require(Need::Busybox) {
        return Vec::new();
    }
    let mut users = vec![User::Current];
    // Only root can become other users.
    if require(Need::Root) && require(Need::UserNamespaces) {
        users.extend(if require(Need::SubordinateIds) {
            vec![User::Subordinate, User::Single]
        } else {
            vec![User::Single]
        });
    }
    users
}

impl Sandbox {
    pub(crate) fn sh(&self, flags: &[&str], script: &str) -> Ran {
        self.kiln(&[&["run"], flags, &["test", "sh", "-c", script]].concat())
    }

    /// Returns what `ps -a` tells of all containers.
    pub(crate) fn containers(&self) -> Vec<Value> {
        let text = self.kiln(&["ps", "-a", "--no-trunc", "--format=json"]).ok();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts a container whose process writes `ready` and then does nothing until it is told to end, which it does
    /// with code 9.
    pub(crate) fn waiting(&self, name: &str) -> Foreground {
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let mut child = self.start(&["run", "--name", name, "test", "sh", "-c", script]);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Foreground(child)
    }
}

/// A kiln that runs a container; killed with the test.
pub(crate) struct Foreground(pub(crate) Child);

impl Foreground {
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A terminal to type at, and a kiln at its other end.
pub(crate) struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
    kiln: Foreground,
    seen: String,
}

impl Terminal {
    pub(crate) fn start(sandbox: &Sandbox, arguments: &[&str]) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize { ws_row: 33, ws_col: 123, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let end = || Stdio::from(theirs.try_clone().unwrap());
        let kiln = sandbox.command(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Terminal { ours, theirs, kiln: Foreground(kiln), seen: String::new() }
    }

    pub(crate) fn write(&self, text: &str) {
        File::from(self.ours.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has been seen; returns all that was.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {text:?} in {:?}", self.seen);
            let mut fds = [rustix::event::PollFd::new(&self.ours, rustix::event::PollFlags::IN)];
            let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut fds, Some(&tick)).unwrap() > 0 {
                let length = rustix::io::read(&self.ours, &mut buffer).unwrap();
                self.seen += &String::from_utf8_lossy(&buffer[..length]);
            }
        }
        std::mem::take(&mut self.seen)
    }

    /// Waits for the end of kiln.
    pub(crate) fn code(self) -> Option<i32> {
        self.kiln.code()
    }

    /// Tells whether the terminal waits for whole lines and shows what is typed, as outside of programs.
    fn is_cooked(&self) -> bool {
        tcgetattr(self.theirs.as_fd()).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

#[test]
fn a_command_runs_over_the_image_and_its_code_is_kilns() {
    for user in users() {
        let sandbox = sandbox(user);
        assert_eq!(sandbox.kiln(&["run", "--rm", "test"]).ok(), "the image's command\n", "{user:?}");
        let ran = sandbox.sh(&["--rm"], "echo out; echo err >&2; exit 3");
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(3), "out\n", "err\n"), "{user:?}");
        assert_eq!(sandbox.sh(&["--rm"], "sh -c 'kill -9 $$'; exit $?").code, Some(137), "{user:?}");
        assert_eq!(sandbox.containers(), Vec::<Value>::new(), "{user:?}");
    }
}

#[test]
fn what_cannot_be_run_has_dockers_codes() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    for (arguments, code, word) in [
        (&["run", "--rm", "test", "nonesuch"][..], 127, "not found"),
        (&["run", "--rm", "test", "/etc"], 126, "permission denied"),
        (&["run", "--rm", "--pull=never", "nonesuch"], 125, "no such image"),
        (&["run", "--rm", "-u", "nobody-there", "test", "true"], 125, "unable to find user"),
        (&["run", "-d", "test"], 125, "come later"),
        (&["exec", "nonesuch", "true"], 1, "no such container"),
    ] {
        let error = sandbox.kiln(arguments).fails(code);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    assert_eq!(sandbox.containers(), Vec::<Value>::new());
}

#[test]
fn streams_are_pipes_that_carry_everything() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(sandbox.path("input"), &bytes).unwrap();
    let mut command = sandbox.command(&["run", "--rm", "-i", "test", "sh", "-c", "tee /dev/stderr"]);
    let output = command.stdin(File::open(sandbox.path("input")).unwrap()).output().unwrap();
    assert!(output.stdout == bytes && output.stderr == bytes);
    // Without -i there is nothing to read.
    let mut command = sandbox.command(&["run", "--rm", "test", "cat"]);
    assert_eq!(ran(command.stdin(File::open(sandbox.path("input")).unwrap())).ok(), "");
    // A reader who leaves ends a command that would write for ever.
    let mut child = Foreground(sandbox.start(&["run", "--rm", "test", "yes"]));
    child.0.stdout.take().unwrap().read_exact(&mut [0; 4096]).unwrap();
    assert_ne!(child.code(), Some(0));
}

#[test]
fn a_terminal_is_real_and_the_users_own_is_as_before() {
    for user in users() {
        let sandbox = sandbox(user);
        let mut terminal = Terminal::start(&sandbox, &["run", "-it", "--rm", "test", "sh"]);
        terminal.expect("# ");
        assert!(!terminal.is_cooked(), "{user:?}");
        terminal.write("tty; stty size; echo $TERM; readlink /proc/self/fd/0; test -c /dev/console && echo console\r");
        terminal.expect("/dev/pts/0\r\n33 123\r\nxterm\r\n/dev/pts/0\r\nconsole\r\n");
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal.ours, size).unwrap();
        // The kernel tells the session of a terminal, and this one has none.
        terminal.kiln.signal(nix::sys::signal::Signal::SIGWINCH);
        std::thread::sleep(Duration::from_millis(300));
        terminal.write("stty size\r");
        terminal.expect("40 100\r\n");
        // Ctrl-C is for what runs inside.
        terminal.write("sleep 60; echo status $?\r");
        std::thread::sleep(Duration::from_millis(300));
        terminal.write("\x03");
        terminal.expect("^C");
        terminal.write("echo alive $((40 + 2))\r");
        terminal.expect("alive 42");
        terminal.write("exit 7\r");
        terminal.expect("exit 7");
        let Terminal { theirs, kiln, ours, .. } = terminal;
        assert_eq!(kiln.code(), Some(7), "{user:?}");
        let after = tcgetattr(theirs.as_fd()).unwrap().local_modes;
        assert!(after.contains(LocalModes::ICANON | LocalModes::ECHO), "{user:?}");
        drop(ours);
    }
}

#[test]
fn a_terminal_is_as_before_when_kiln_is_told_to_end() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&sandbox, &["run", "-it", "--rm", "test", "sh", "-c", script]);
    terminal.expect("ready");
    assert!(!terminal.is_cooked());
    terminal.kiln.signal(nix::sys::signal::Signal::SIGTERM);
    let begun = Instant::now();
    while !terminal.is_cooked() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(terminal.kiln.code(), Some(9));
}

#[test]
fn signals_to_kiln_are_the_commands() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let kiln = sandbox.waiting("told");
    kiln.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(kiln.code(), Some(9));
    // As docker's, the first process of a container that has no handler is not ended by a polite signal; after three
    // kiln takes it for a wish.
    let child = Foreground(sandbox.start(&["run", "--rm", "test", "sleep", "60"]));
    let begun = Instant::now();
    while sandbox.kiln(&["ps", "-q"]).ok().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        child.signal(nix::sys::signal::Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(child.code(), Some(137));
}

#[test]
fn flags_are_dockers() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    fs::write(sandbox.path("vars"), "# a comment\nIN_FILE=a b\n").unwrap();
    fs::create_dir(sandbox.path("shared")).unwrap();
    let file = sandbox.path("vars").display().to_string();
    let shared = sandbox.path("shared").display().to_string();
    let (read_only, writable) = (format!("{shared}:/ro:ro"), format!("{shared}:/rw"));
    for (flags, script, expected) in [
        (&["-e", "FROM_IMAGE=2", "-e", "B=x=y"][..], "echo $FROM_IMAGE $B", "2 x=y\n"),
        (&["--env-file", &file], "echo $IN_FILE", "a b\n"),
        (&["-h", "host-name"], "hostname; grep host-name /etc/hosts | wc -l", "host-name\n1\n"),
        (&[], "pwd", "/work\n"),
        (&["-w", "/tmp/new"], "pwd", "/tmp/new\n"),
        (&["-u", "5:6"], "id -u; id -g", "5\n6\n"),
        (&["--network=none"], "ls /sys/class/net", "lo\n"),
        (&["--add-host", "db:10.1.2.3"], "grep db /etc/hosts", "10.1.2.3\tdb\n"),
        (&["--ulimit", "nofile=77"], "ulimit -n", "77\n"),
        (&["--shm-size", "1m"], "df -k /dev/shm | tail -1 | awk '{print $2}'", "1024\n"),
        (&["--tmpfs", "/t:size=1m"], "df -k /t | tail -1 | awk '{print $2}'", "1024\n"),
        (&["--read-only", "--tmpfs", "/t"], "touch /x 2>/dev/null || echo no; touch /t/x && echo yes", "no\nyes\n"),
        (&["-v", &writable], "echo 1 > /rw/made; cat /rw/made", "1\n"),
        (&["-v", &read_only], "touch /ro/x 2>/dev/null || echo no; cat /ro/made", "no\n1\n"),
        (&["--entrypoint", "/bin/sh"], "", ""),
    ] {
        let expected = expected.to_owned();
        if script.is_empty() {
            let ran = sandbox.kiln(&[&["run", "--rm"], flags, &["test", "-c", "echo $0"]].concat());
            assert_eq!(ran.ok(), "/bin/sh\n");
            continue;
        }
        assert_eq!(sandbox.sh(&[&["--rm"], flags].concat(), script).ok(), expected, "{flags:?}");
    }
    for name in ["a", "-a", "a/b"] {
        let error = sandbox.kiln(&["run", "--name", name, "test"]).fails(125);
        assert!(error.contains("two characters at least, letters and digits"), "{error}");
    }
    let cid = sandbox.path("cid").display().to_string();
    sandbox.sh(&["--cidfile", &cid, "-l", "a=b"], "true").ok();
    assert_eq!(fs::read_to_string(&cid).unwrap(), sandbox.containers()[0]["ID"].as_str().unwrap());
    assert!(sandbox.sh(&["--rm", "--cidfile", &cid], "true").fails(125).contains("cannot create"));
}

#[test]
fn containers_are_listed_found_and_removed() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.sh(&["--name", "first", "-l", "a=b"], "exit 4").fails(4);
    let running = sandbox.waiting("second");
    let all = sandbox.containers();
    assert_eq!((&all[0]["Names"], &all[0]["State"]), (&"second".into(), &"running".into()));
    assert_eq!(
        (&all[1]["Names"], &all[1]["State"], &all[1]["ExitCode"]),
        (&"first".into(), &"exited".into(), &4.into())
    );
    let names = |flags: &[&str]| {
        let text = sandbox.kiln(&[&["ps", "--format=json"], flags].concat()).ok();
        let name = |line| serde_json::from_str::<Value>(line).unwrap()["Names"].as_str().unwrap().to_owned();
        text.lines().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["second"]);
    for (flags, expected) in [
        (&["-a", "--filter", "name=fir"][..], &["first"][..]),
        (&["--filter", "status=exited"], &["first"]),
        (&["-a", "--filter", "ancestor=test:latest"], &["second", "first"]),
        (&["-a", "--filter", "ancestor=other"], &[]),
        (&["-a", "--filter", "label=a=b"], &["first"]),
        (&["--filter", "exited=4"], &["first"]),
        (&["-l"], &["second"]),
    ] {
        assert_eq!(names(flags), expected, "{flags:?}");
    }
    let table = sandbox.kiln(&["ps", "-a"]).ok();
    assert!(table.contains("Exited (4)") && table.contains("Up ") && table.contains("\"sh -c exit 4\""), "{table}");
    assert!(sandbox.sh(&["--name", "first"], "true").fails(125).contains("already in use"));
    assert!(sandbox.kiln(&["rm", "second"]).fails(1).contains("is running"));
    assert!(sandbox.kiln(&["start", "-a", "second"]).fails(125).contains("is running"));
    let id = all[1]["ID"].as_str().unwrap();
    assert_eq!(sandbox.kiln(&["rm", &id[..6]]).ok(), format!("{}\n", &id[..6]));
    assert_eq!(sandbox.kiln(&["stop", "second"]).ok(), "second\n");
    assert_eq!(running.code(), Some(9));
    let killed = sandbox.waiting("third");
    assert_eq!(sandbox.kiln(&["rm", "-f", "third", "never-there"]).ok(), "third\n");
    assert_eq!(killed.code(), Some(137));
    sandbox.kiln(&["rm", "second"]).ok();
    assert!(sandbox.kiln(&["rm", "second"]).fails(1).contains("no such container"));
    assert_eq!(sandbox.containers(), Vec::<Value>::new());
}

#[test]
fn a_container_is_run_again_over_its_changes() {
    for user in users() {
        let sandbox = sandbox(user);
        let script = "echo x >> /lines; wc -l < /lines; rm -f /bin/vi; ls /bin/vi 2>/dev/null";
        assert_eq!(sandbox.sh(&["--name", "again"], script).stdout, "1\n", "{user:?}");
        assert_eq!(sandbox.kiln(&["start", "-a", "again"]).stdout, "2\n", "{user:?}");
        assert_eq!(sandbox.kiln(&["start", "-ai", "again"]).stdout, "3\n", "{user:?}");
        assert_eq!(sandbox.sh(&["--rm"], "ls /bin/vi").ok(), "/bin/vi\n", "{user:?}");
    }
}

#[test]
fn other_commands_run_in_a_running_container() {
    for user in users() {
        let sandbox = sandbox(user);
        let running = sandbox.waiting("here");
        let exec = |arguments: &[&str]| sandbox.kiln(&[&["exec"], arguments].concat());
        let sees = exec(&["here", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; echo $FROM_IMAGE; pwd; hostname"]).ok();
        let id = sandbox.containers()[0]["ID"].as_str().unwrap()[..12].to_owned();
        assert!(sees.starts_with("sh -c trap") && sees.ends_with(&format!("1\n/work\n{id}\n")), "{user:?}: {sees}");
        exec(&["here", "sh", "-c", "exit 5"]).fails(5);
        assert_eq!(exec(&["here", "sh", "-c", "kill -9 $$"]).code, Some(137), "{user:?}");
        assert!(exec(&["here", "nonesuch"]).fails(127).contains("not found"));
        exec(&["here", "/etc"]).fails(126);
        assert_eq!(
            exec(&["-e", "A=2", "-w", "/bin", "here", "sh", "-c", "echo $A; pwd"]).ok(),
            "2\n/bin\n",
            "{user:?}"
        );
        // It is confined like the first process.
        let facts =
            "grep -E '^(CapBnd|Seccomp):' /proc/$pid/status; readlink /proc/$pid/ns/mnt; readlink /proc/$pid/ns/pid";
        let of = |pid: &str| exec(&["here", "sh", "-c", &format!("pid={pid}; {facts}")]).ok();
        assert_eq!(of("1"), of("self"), "{user:?}");
        let mut input = sandbox.command(&["exec", "-i", "here", "cat"]);
        let mut child = input.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"through\n").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"through\n", "{user:?}");
        let mut terminal = Terminal::start(&sandbox, &["exec", "-it", "here", "sh"]);
        terminal.expect("# ");
        terminal.write("tty; exit 6\r");
        terminal.expect("/dev/pts/0\r\n");
        assert_eq!(terminal.kiln.code(), Some(6), "{user:?}");
        if user != User::Single {
            assert_eq!(exec(&["-u", "7", "here", "id", "-u"]).ok(), "7\n", "{user:?}");
        }
        sandbox.kiln(&["stop", "here"]).ok();
        assert_eq!(running.code(), Some(9), "{user:?}");
        assert!(exec(&["here", "true"]).fails(1).contains("is not running"), "{user:?}");
    }
}

#[test]
fn a_guest_ends_with_its_kiln() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    let _running = sandbox.waiting("here");
    let mut guest = Foreground(sandbox.start(&["exec", "here", "sh", "-c", "echo ready; exec sleep 77"]));
    BufReader::new(guest.0.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    guest.0.kill().unwrap();
    let begun = Instant::now();
    while sandbox.kiln(&["exec", "here", "sh", "-c", "ps | grep -c '[s]leep 77'"]).stdout != "0\n" {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_killed_kiln_leaves_a_container_that_has_exited() {
    for user in users() {
        let sandbox = sandbox(user);
        let running = sandbox.waiting("victim");
        sandbox.kiln(&["exec", "victim", "sh", "-c", "echo kept > /kept"]).ok();
        let temporary = {
            let mut child =
                sandbox.start(&["run", "--rm", "--name", "temporary", "test", "sh", "-c", "echo r; sleep 60"]);
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
            Foreground(child)
        };
        let pid = sandbox.containers().iter().find(|each| each["Names"] == "victim").unwrap()["Pid"].clone();
        drop((running, temporary));
        let all = sandbox.containers();
        assert_eq!(all.len(), 1, "{user:?}: {all:?}");
        assert_eq!((&all[0]["Names"], &all[0]["Status"]), (&"victim".into(), &"Exited (137)".into()), "{user:?}");
        let begun = Instant::now();
        while fs::metadata(format!("/proc/{pid}")).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{user:?}");
        }
        // Its changes are as they were, and nothing else: no place of a mount.
        let started = Foreground(sandbox.start(&["start", "-a", "victim"]));
        let begun = Instant::now();
        let kept = || sandbox.kiln(&["exec", "victim", "cat", "/kept"]).stdout == "kept\n";
        while !kept() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{user:?}");
        }
        drop(started);
        sandbox.kiln(&["rm", "victim"]).ok();
        assert_eq!(fs::read_dir(sandbox.path("root/trees")).unwrap().count(), trees(&sandbox), "{user:?}");
    }
}

/// Returns how many trees the layers of the image have.
fn trees(sandbox: &Sandbox) -> usize {
    let diff_ids: std::collections::BTreeSet<_> =
        sandbox.image("test").config().rootfs.diff_ids.iter().map(|diff_id| diff_id.to_string()).collect();
    diff_ids.len()
}

#[test]
fn an_image_stays_as_long_as_its_containers() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.sh(&["--name", "user"], "echo $FROM_IMAGE").ok();
    let refused = sandbox.kiln(&["rmi", "test"]).fails(1);
    assert!(refused.contains("is being used by stopped container"), "{refused}");
    // Another name may go, for the image stays.
    sandbox.kiln(&["tag", "test", "other"]).ok();
    sandbox.kiln(&["rmi", "other"]).ok();
    let running = sandbox.waiting("runs");
    assert!(sandbox.kiln(&["rmi", "-f", "test"]).fails(1).contains("running container"));
    drop(running);
    sandbox.kiln(&["rm", "runs"]).ok();
    sandbox.kiln(&["rmi", "-f", "test"]).ok();
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    // The container has all it stands on.
    assert_eq!(sandbox.kiln(&["start", "-a", "user"]).ok(), "1\n");
    sandbox.kiln(&["rm", "user"]).ok();
    let left = fs::read_dir(sandbox.path("root/blobs/sha256")).unwrap().count();
    assert_eq!((left, fs::read_dir(sandbox.path("root/trees")).unwrap().count()), (0, 0));
}

#[test]
fn names_of_the_images_commands_do_not_reach_the_terminal_raw() {
    if !require(Need::Busybox) {
        return;
    }
    let sandbox = sandbox(User::Current);
    sandbox.kiln(&["run", "test", "true", "\x1b]0;title\x07\x1b[31mred"]).ok();
    let table = sandbox.kiln(&["ps", "-a", "--no-trunc"]).ok();
    assert!(!table.contains('\x1b') && table.contains("true red"), "{table:?}");
}

#[test]
fn the_help_is_there() {
    for command in ["run", "start", "exec", "ps", "stop", "kill", "rm", "cp", "commit", "export", "import"] {
        let help = ran(Command::new(env!("CARGO_BIN_EXE_kiln")).args([command, "--help"])).ok();
        assert!(help.contains("Usage: kiln "), "{help}");
    }
}
