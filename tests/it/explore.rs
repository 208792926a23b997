//! `kiln explore`, on a terminal and with `--ci`.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Need, Ran, Sandbox, ran, require};

const FILE: &str = "FROM scratch\nCOPY one /data/\nCOPY two /data/\n";

/// An image whose second layer replaces a file of the first.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .file("one/big", "x".repeat(90_000))
        .file("one/conf", "port 1\nhost a\n")
        .file("one/a\u{1b}[31mred", "")
        .file("two/conf", "port 2\nhost a\n")
        .dockerfile(FILE);
    sandbox.build().unwrap();
    sandbox
}

#[test]
fn rules_pass_and_are_broken() {
    let sandbox = sandbox();
    let ci = |rules: &[&str]| sandbox.kiln(&[&["explore", "--ci", "test"], rules].concat());
    let text = ci(&["--max-user-wasted-percent=1"]).ok();
    assert!(text.contains("  efficiency         99.98%\n") && text.contains("14B    1×  /data/conf\n"), "{text}");
    let broken: [(&[&str], &str); 3] = [
        (&[], "max-user-wasted-percent  1.0000"),
        (&["--highestUserWastedPercent=1", "--lowestEfficiency=0.9999"], "min-efficiency           0.9998"),
        (&["--max-user-wasted-percent=1", "--max-wasted=13B"], "max-wasted               14B (allowed 13B)"),
    ];
    for (rules, expected) in broken {
        let Ran { code, stdout, stderr } = ci(rules);
        assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
        let failed: Vec<&str> = stdout.lines().filter(|line| line.contains("FAIL")).collect();
        assert!(failed.len() == 1 && failed[0].contains(expected), "{stdout}");
    }
    let found: Value = serde_json::from_str(&ci(&["--format=json"]).stdout).unwrap();
    assert_eq!(
        (&found["passed"], &found["wasted_bytes"], &found["user_bytes"]),
        (&false.into(), &14.into(), &14.into())
    );
    assert_eq!(found["wasted"][0]["path"], "data/conf");
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let error = sandbox().kiln(&["explore", "test"]).fails(2);
    assert!(error.contains("needs a terminal") && error.contains("--ci"), "{error}");
    let error = Sandbox::new().kiln(&["explore", "--min-efficiency=0.5", "test"]).fails(2);
    assert!(error.contains("--ci"), "{error}");
}

/// A terminal with kiln in it, gone with the test.
struct Pane<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Pane<'a> {
    fn open(sandbox: &'a Sandbox, columns: &str) -> Pane<'a> {
        let pane = Pane { sandbox };
        // What kiln leaves behind is seen as well.
        let script = format!("{} explore test; echo \"left with $?\"; stty -a; cat", env!("CARGO_BIN_EXE_kiln"));
        pane.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", "24", "sh", "-c", &script]).ok();
        pane
    }

    fn tmux(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.sandbox.path("tmux")).args(arguments).current_dir(self.sandbox.path(""));
        command.env("KILN_ROOT", self.sandbox.path("root")).env("KILN_CONFIG", self.sandbox.path("config.toml"));
        ran(command.env_remove("TMUX").env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8"))
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat()).ok();
    }

    /// Waits until the screen has a text.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]).ok();
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {text:?} in\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pane<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn an_image_is_looked_around_in_on_a_terminal() {
    if !require(Need::Tmux) {
        return;
    }
    let sandbox = sandbox();
    let pane = Pane::open(&sandbox, "120");
    pane.shows("COPY two /data/");
    pane.keys(&["Tab", "Enter"]);
    let screen = pane.shows("red");
    assert!(screen.contains("a\\u{1b}[31mred"), "{screen}");
    pane.keys(&["/", "conf$", "Enter", "d"]);
    let screen = pane.shows("+port 2");
    assert!(screen.contains("-port 1") && screen.contains(" host a"), "{screen}");

    // Files go while somebody looks at them.
    pane.keys(&["q"]);
    let blobs = sandbox.path("root/blobs/sha256");
    fs::remove_dir_all(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    pane.keys(&["p"]);
    pane.shows("error: the bytes of layer");

    pane.keys(&["q", "q"]);
    let screen = pane.shows("left with 0");
    assert!(!screen.contains("layers") && pane.shows("speed").contains(" icanon"), "the terminal is as it was");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    if !require(Need::Tmux) {
        return;
    }
    let sandbox = sandbox();
    let pane = Pane::open(&sandbox, "60");
    pane.shows("COPY two");
    let shell = pane.tmux(&["display-message", "-p", "#{pane_pid}"]).ok();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
    let kiln = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(kiln, rustix::process::Signal::TERM).unwrap();
    pane.shows("left with 130");
    pane.shows(" icanon");
}
