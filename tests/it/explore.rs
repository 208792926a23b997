//! `kiln explore`, on a terminal and with `--ci`.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::{Need, Ran, Sandbox, User, ran, require};

const FILE: &str = "FROM scratch\nCOPY one /data/\nCOPY two /data/\n";

/// An image whose second layer replaces a file of the first.
fn sandbox() -> Sandbox {
    sandbox_of(User::Current)
}

fn sandbox_of(user: User) -> Sandbox {
    let sandbox = Sandbox::of(user)
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
    fn open(sandbox: &'a Sandbox, columns: &str, image: &str) -> Pane<'a> {
        let pane = Pane { sandbox };
        // What kiln leaves behind is seen as well.
        let script = format!("{} explore {image}; echo \"left with $?\"; stty -a; cat", env!("CARGO_BIN_EXE_kiln"));
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
    let pane = Pane::open(&sandbox, "120", "test");
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

/// Writes `test` in every form that an image is handed around in; returns the names of these.
fn forms(sandbox: &Sandbox) -> Vec<String> {
    sandbox.kiln(&["save", "-o", "docker.tar", "test"]).ok();
    sandbox.kiln(&["save", "--format=oci", "-o", "oci.tar", "test"]).ok();
    fs::create_dir(sandbox.path("layout")).unwrap();
    tar::Archive::new(fs::File::open(sandbox.path("oci.tar")).unwrap()).unpack(sandbox.path("layout")).unwrap();
    sandbox.kiln(&["build", "-q", "-o", "tree", "context"]).ok();
    let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let mut forms = ["docker.tar", "oci.tar", "layout"].map(path).to_vec();
    forms.extend([format!("docker-archive:{}", path("docker.tar")), format!("oci:{}:latest", path("layout"))]);
    forms
}

#[test]
fn every_side_of_a_diff_can_be_explored() {
    let mut users = vec![User::Current];
    // Only root can become another user.
    if require(Need::Root) && require(Need::UserNamespaces) {
        users.push(User::Single);
    }
    for user in users {
        explore_every_side(user);
    }
}

fn explore_every_side(user: User) {
    let from = sandbox_of(user);
    let rules = ["--max-user-wasted-percent=1", "--format=json"];
    let figures = |sandbox: &Sandbox, image: &str| -> Value {
        serde_json::from_str(&sandbox.kiln(&[&["explore", "--ci", image], &rules[..]].concat()).ok()).unwrap()
    };
    let own = figures(&from, "test");
    for form in forms(&from) {
        let fresh = Sandbox::of(user);
        let found = figures(&fresh, &form);
        assert_eq!((&found["bytes"], &found["wasted"]), (&own["bytes"], &own["wasted"]), "{form}");
        assert_eq!(fresh.kiln(&["images", "-q"]).ok(), "", "{form}");
    }
    assert_eq!(figures(&from, "test@1")["wasted_bytes"], 0);
    let tree = figures(&from, "dir:tree");
    assert_eq!((&tree["bytes"], &tree["image_id"]), (&90_014.into(), &Value::Null));
    assert!(from.kiln(&["explore", "--ci", "docker-daemon:x"]).fails(1).contains("cannot compare"));
    assert!(from.kiln(&["explore", "--ci", "./none.tar"]).fails(1).contains("none.tar"));
}

#[test]
fn of_a_registry_only_unknown_layers_are_fetched() {
    if !(require(Need::Registry) && require(Need::Tmux)) {
        return;
    }
    let registry = Registry::start();
    let (from, to) = (sandbox(), Sandbox::new());
    let name = format!("{}/app:1", registry.host());
    from.kiln(&["tag", "test", &name]).ok();
    from.kiln(&["push", &name]).ok();
    let layers = from.image("test").manifest().layers.clone();
    let blob = |layer: usize| to.path("root/blobs/sha256").join(layers[layer].digest.hex());
    let pane = Pane::open(&to, "120", &name);
    pane.shows("COPY two /data/");
    assert!(blob(0).exists() && blob(1).exists());
    pane.keys(&["Tab", "/", "conf$", "Enter", "d"]);
    pane.shows("+port 2");
    pane.keys(&["q", "q"]);
    pane.shows("left with 0");
    drop(pane);
    assert_eq!(to.kiln(&["images", "-q"]).ok(), "");
    // What is in them is known by now; contents are fetched again when somebody looks at one.
    fs::remove_file(blob(0)).unwrap();
    fs::remove_file(blob(1)).unwrap();
    let pane = Pane::open(&to, "120", &name);
    pane.shows("COPY two /data/");
    assert!(!blob(0).exists() && !blob(1).exists());
    pane.keys(&["Tab", "/", "big$", "Enter", "p"]);
    pane.shows("xxxxxxxx");
    assert!(blob(0).exists() && !blob(1).exists());
    pane.keys(&["q", "q"]);
    pane.shows("left with 0");
}

#[test]
fn a_broken_layer_leaves_the_others() {
    if !require(Need::Tmux) {
        return;
    }
    let sandbox = sandbox();
    forms(&sandbox);
    let layers = sandbox.image("test").manifest().layers.clone();
    let blob = sandbox.path("layout/blobs/sha256").join(layers[0].digest.hex());
    let bytes = fs::read(&blob).unwrap();
    fs::write(&blob, &bytes[..bytes.len() - 3]).unwrap();
    let fresh = Sandbox::new();
    let layout = sandbox.path("layout").to_str().unwrap().to_owned();
    assert!(fresh.kiln(&["explore", "--ci", &layout]).fails(1).contains("error: "));
    let pane = Pane::open(&fresh, "120", &layout);
    let screen = pane.shows("unreadable: 1");
    assert!(screen.contains("unreadable  COPY one /data/") && screen.contains("14B ▸ data/"), "{screen}");
    pane.keys(&["Up"]);
    pane.shows("│error: ");
    pane.keys(&["q"]);
    pane.shows("left with 0");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    if !require(Need::Tmux) {
        return;
    }
    let sandbox = sandbox();
    let pane = Pane::open(&sandbox, "60", "test");
    pane.shows("COPY two");
    let shell = pane.tmux(&["display-message", "-p", "#{pane_pid}"]).ok();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
    let kiln = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(kiln, rustix::process::Signal::TERM).unwrap();
    pane.shows("left with 130");
    pane.shows(" icanon");
}
