//! `kiln build --resume`: going on with a build that failed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::containers::users;
use crate::support::{Need, Ran, Sandbox, User, planted, ran, require};

/// Counts in caches how often its steps have run.
const COUNTING: &str = "RUN --mount=type=cache,target=/c echo x >> /c/first; cat /proc/sys/kernel/random/uuid > /random\n\
    RUN --mount=type=cache,target=/c --mount=type=bind,target=/ctx echo x >> /c/second; test -e /ctx/wanted\n\
    RUN --mount=type=cache,target=/c echo x >> /c/third; echo done > /done\n";

impl Sandbox {
    fn resume(&self, flags: &[&str]) -> Ran {
        self.kiln(&[&["build", "--resume"], flags].concat())
    }

    /// Returns how often each step of [`COUNTING`] has run.
    fn counts(&self) -> Vec<usize> {
        let script = "for n in first second third; do cat /c/$n 2> /dev/null | wc -l; done";
        let text = self.kiln(&["shell", "test@7", "--", "sh", "-c", script]).ok();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

fn counting(user: User) -> Sandbox {
    Sandbox::of(user).busybox(&format!("ARG WORD=no\nENV WORD=$WORD\n{COUNTING}"))
}

#[test]
fn a_failed_build_goes_on_where_it_failed() {
    for user in users() {
        let sandbox = counting(user);
        let flags =
            ["build", "-q", "-t", "test", "-t", "other:1", "--build-arg", "WORD=yes", "--label", "a=b", "context"];
        sandbox.kiln(&flags).fails(1);
        let ran = sandbox.resume(&[]);
        assert!(ran.stderr.contains("resuming build") && ran.stderr.contains("-t other:1"), "{}", ran.stderr);
        ran.fails(1);
        sandbox.write("wanted", "");
        // What is said besides is added.
        sandbox.resume(&["-t", "third"]).ok();
        let image = sandbox.image("test");
        image.validate();
        assert_eq!(image.config().config.labels["a"], "b", "{user:?}");
        assert!(image.config().config.env.contains(&"WORD=yes".to_owned()), "{user:?}");
        assert_eq!(sandbox.image("other:1").id(), image.id(), "{user:?}");
        assert_eq!(sandbox.image("third").id(), image.id(), "{user:?}");
        assert!(sandbox.resume(&[]).fails(1).contains("nothing to resume"), "{user:?}");
    }
}

#[test]
fn a_build_that_ignores_the_cache_goes_on_with_what_it_has_made() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = counting(User::Current).file("wanted", "");
    sandbox.build().unwrap();
    let old = sandbox.image("test").file("/random");
    fs::remove_file(sandbox.context("wanted")).unwrap();
    sandbox.kiln(&["build", "-q", "--no-cache", "-t", "test", "context"]).fails(1);
    sandbox.write("wanted", "");
    sandbox.resume(&[]).ok();
    // The first step ran once more in the build that failed, and no more in the one that went on.
    let seen = sandbox.kiln(&["run", "--rm", "test", "cat", "/random"]).ok();
    assert_ne!(seen, old);
    assert_eq!(sandbox.counts(), [2, 3, 2]);
}

#[test]
fn a_build_that_was_killed_goes_on() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "RUN cat /proc/sys/kernel/random/uuid > /random\nRUN --mount=type=bind,target=/ctx cat /random; test -e /ctx/wanted || sleep 600\n",
    );
    let mut build = sandbox.start(&["build", "--progress=plain", "-t", "test", "context"]);
    let mut seen = BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap);
    // `#5 0.123 UUID`: then the layer before is written, or soon.
    let line = seen.find(|line| line.split(' ').nth(2).is_some_and(|word| word.len() == 36)).unwrap();
    let known = || sandbox.kiln(&["plan", "--format=json", "context"]).stdout.contains("\"would_run\":1");
    let begun = Instant::now();
    while !known() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first layer is not written");
        std::thread::sleep(Duration::from_millis(50));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    sandbox.write("wanted", "");
    sandbox.resume(&[]).ok();
    assert!(line.ends_with(sandbox.image("test").file("/random").trim()), "{line}");
}

#[test]
fn only_what_failed_in_this_directory_is_resumed() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = counting(User::Current);
    assert!(sandbox.resume(&[]).fails(1).contains("nothing to resume"));
    sandbox.kiln(&["build", "-q", "context"]).fails(1);
    let mut elsewhere = sandbox.command(&["build", "--resume"]);
    assert!(ran(elsewhere.current_dir(sandbox.path("context"))).fails(1).contains("nothing to resume"));
    assert!(sandbox.resume(&["context"]).fails(2).contains("cannot be used with"));
    assert!(sandbox.kiln(&["plan", "--resume"]).fails(2).contains("`--resume` builds"));
    // What came from stdin is gone.
    let mut command = sandbox.command(&["build", "-q", "-f", "-", "context"]);
    let file = fs::File::open(sandbox.context("Dockerfile")).unwrap();
    ran(command.stdin(file)).fails(1);
    assert!(sandbox.resume(&[]).fails(1).contains("from stdin"));
}

#[test]
fn values_that_may_be_secret_are_given_again() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "RUN --mount=type=secret,id=token test $(wc -c < /run/secrets/token) = 14\n\
         RUN --mount=type=bind,target=/ctx test -e /ctx/wanted\nARG API_TOKEN\nRUN test ${#API_TOKEN} = 16\n",
    );
    let build = |flags: &[&str]| {
        let mut command =
            sandbox.command(&[&["build", "-q", "-t", "test", "--secret", "id=token,env=TOKEN"], flags].concat());
        ran(command.env("TOKEN", "planted-secret"))
    };
    build(&["--build-arg", "API_TOKEN=planted-argument", "context"]).fails(1);
    planted::assert_absent(&["planted-secret", "planted-argument"], &planted::kept(&sandbox));
    sandbox.write("wanted", "");
    let with = |name: &str, value: &str, flags: &[&str]| {
        let mut command = sandbox.command(&[&["build", "--resume"], flags].concat());
        ran(command.env("TOKEN", "planted-secret").env(name, value))
    };
    assert!(with("A", "", &[]).fails(2).contains("`--build-arg API_TOKEN=VALUE`"));
    with("A", "", &["--build-arg=API_TOKEN=wrong"]).fails(1);
    with("API_TOKEN", "planted-argument", &[]).ok();
}
