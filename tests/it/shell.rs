//! `kiln shell`: looking into a step, above all one that failed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::containers::{Terminal, users};
use crate::support::registry::Registry;
use crate::support::{Image, Need, Sandbox, User, planted, ran, require};

/// A file whose last step, of the user `$USER`, fails after it has changed files.
const FAILING: &str = "FROM base AS other\nRUN echo other > /o\n\
    FROM base\nARG VERSION=7\nENV A=1\nRUN mkdir -m 777 /d && echo 1 > /first\nWORKDIR /w\nUSER $USER\n\
    RUN --mount=type=bind,from=other,source=/o,target=/mnt/o --mount=type=bind,target=/ctx --mount=type=cache,target=/c,mode=777 \
    --mount=type=secret,id=token,mode=444 --mount=type=secret,id=value,env=VALUE --mount=type=tmpfs,target=/t \
    echo x >> /c/x && echo partial > /d/partial && test ! -e /d/partial\n";

/// Returns the user that the steps of a user's builds can be.
fn id(user: User) -> &'static str {
    if user == User::Single { "0" } else { "7" }
}

fn failing(user: User) -> Sandbox {
    let sandbox = Sandbox::of(user).busybox(&FAILING.replace("$USER", id(user))).file("ctx-file", "in the context\n");
    let failure = sandbox.fails_to_build(&[]);
    assert!(failure.contains("look into it with `kiln shell`"), "{failure}");
    sandbox
}

impl Sandbox {
    /// Builds, with both secrets, what fails; returns what is said about it.
    #[track_caller]
    fn fails_to_build(&self, flags: &[&str]) -> String {
        fs::write(self.path("token"), "planted-token").unwrap();
        let token = format!("id=token,src={}", self.path("token").display());
        let fixed = ["build", "-q", "-t", "test", "--secret", &token, "--secret", "id=value,env=PLANTED"];
        let mut command = self.command(&[&fixed, flags, &["context"]].concat());
        ran(command.env("PLANTED", "planted-value")).fails(1)
    }

    /// Returns what a script writes that looks into something.
    #[track_caller]
    fn look(&self, flags: &[&str], script: &str) -> String {
        self.kiln(&[&["shell"], flags, &["--", "sh", "-c", script]].concat()).ok()
    }
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    sandbox.containers().iter().map(|each| each["Names"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_failed_step_is_looked_into_as_it_was() {
    for user in users() {
        let sandbox = failing(user);
        let script = "pwd; echo $A $VERSION; cat /d/partial /mnt/o /ctx/ctx-file /c/x; mount | grep -c ' /t '; \
                      echo ${VALUE-unset}; ls /run/secrets 2> /dev/null; ls -A /w /d";
        let expected = "/w\n1 7\npartial\nother\nin the context\nx\n1\nunset\n/d:\npartial\n\n/w:\n";
        assert_eq!(
            sandbox.look(&[], script).replace("/w:\n\n/d:\npartial\n", "/d:\npartial\n\n/w:\n"),
            expected,
            "{user:?}"
        );
        assert_eq!(sandbox.look(&[], "id -u").trim(), id(user), "{user:?}");
        // What is changed is thrown away, but in the cache.
        sandbox.look(&[], "rm /d/partial; echo > /d/mine; echo y >> /c/x");
        assert_eq!(sandbox.look(&[], "ls /d; cat /c/x"), "partial\nx\ny\n", "{user:?}");
        assert_eq!(sandbox.look(&["--before"], "ls /d; cat /first; cat /mnt/o"), "1\nother\n", "{user:?}");
        // Secrets are there when somebody gives them again.
        let ran = sandbox.kiln(&["shell", "--", "true"]);
        assert!(ran.stderr.contains("the secret `token` is not here"), "{}", ran.stderr);
        let token = format!("id=token,src={}", sandbox.path("token").display());
        let mut command = sandbox.command(&[
            "shell",
            "--secret",
            &token,
            "--secret",
            "id=value,env=V",
            "--",
            "sh",
            "-c",
            "cat /run/secrets/token; echo $VALUE",
        ]);
        assert_eq!(crate::support::ran(command.env("V", "again")).ok(), "planted-tokenagain\n", "{user:?}");
        // The exit code is the program's.
        assert_eq!(sandbox.kiln(&["shell", "--", "sh", "-c", "exit 5"]).code, Some(5), "{user:?}");
        assert_eq!(sandbox.kiln(&["shell", "--", "nonesuch"]).code, Some(127), "{user:?}");
    }
}

#[test]
fn of_a_copy_that_failed_what_it_copies_from_or_to_is_looked_into() {
    for user in users() {
        let from = "FROM base AS made\nENV A=1\nARG API_TOKEN\nWORKDIR /out\nRUN echo here > it\nFROM scratch\nCOPY --from=made /out/other /\n";
        let sandbox = Sandbox::of(user).busybox(from).file("ctx-file", "x");
        let failed =
            |flags: &[&str]| sandbox.kiln(&[&["build", "-q", "-t", "test"], flags, &["context"]].concat()).fails(1);
        let said = failed(&["--build-arg=API_TOKEN=planted-argument", "--on-failure=bundle=failed.tar"]);
        assert!(
            said.contains("/out/other") && said.contains("`kiln shell` looks into the files that it had"),
            "{said}"
        );
        assert_eq!(sandbox.look(&[], "pwd; echo $A; cat /out/it; ls"), "/out\n1\nhere\nit\n", "{user:?}");
        assert_eq!(sandbox.look(&["--before"], "ls"), "it\n", "{user:?}");
        assert_eq!(sandbox.kiln(&["diff", "failed"]).ok(), "", "{user:?}");
        let other = Sandbox::of(user);
        fs::copy(sandbox.path("failed.tar"), other.path("failed.tar")).unwrap();
        let script = "cat /out/it; echo ${API_TOKEN-none}";
        assert_eq!(other.look(&["failed.tar"], script), "here\nnone\n", "{user:?}");

        // Of a context there is nothing to look into that is not there to see.
        let to = "FROM base\nWORKDIR /w\nRUN echo file > no-directory\nCOPY ctx-file /w/no-directory/\n";
        let text = fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
        sandbox.write("Dockerfile", text.replace(from, to));
        assert!(failed(&[]).contains("no-directory"));
        assert_eq!(sandbox.look(&[], "cat no-directory"), "file\n", "{user:?}");
        sandbox.write("Dockerfile", "FROM scratch\nCOPY nothing /\n");
        assert!(!failed(&[]).contains("kiln shell"));
    }
}

#[test]
fn what_a_failed_step_has_left_is_a_container() {
    for user in users() {
        let sandbox = failing(user);
        let [record] = &sandbox.containers()[..] else { panic!("{:?}", sandbox.containers()) };
        assert!(record["Names"].as_str().unwrap().starts_with("failed-"), "{record}");
        assert_eq!((&record["State"], &record["ExitCode"]), (&"exited".into(), &1.into()), "{user:?}");
        assert_eq!(sandbox.kiln(&["ps"]).ok().lines().count(), 1, "{user:?}");
        assert_eq!(sandbox.kiln(&["diff", "failed"]).ok(), "C /d\nA /d/partial\n", "{user:?}");
        assert_eq!(sandbox.kiln(&["cp", "failed:/d/partial", "-"]).ok().matches("partial").count(), 2, "{user:?}");
        assert!(sandbox.kiln(&["start", "-a", "failed"]).fails(125).contains("kiln shell"), "{user:?}");
        sandbox.kiln(&["commit", "failed", "saved:1"]).ok();
        let image = sandbox.image("saved:1");
        image.validate();
        assert_eq!(image.last().paths(), ["d", "d/partial"], "{user:?}");
        assert_eq!((&*image.config().config.user, &*image.config().config.working_dir), (id(user), "/w"));
        // It goes on over the layer, and is as before for who looks into it.
        assert_eq!(sandbox.look(&[], "cat /d/partial; pwd"), "partial\n/w\n", "{user:?}");
        assert_eq!(sandbox.look(&["--before"], "ls /d"), "", "{user:?}");
        sandbox.kiln(&["rm", "failed"]).ok();
        assert!(sandbox.kiln(&["shell"]).fails(125).contains("no failed step"), "{user:?}");
    }
}

#[test]
fn keeping_copies_nothing_and_few_are_kept() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("ARG N\nRUN head -c 3000000 /dev/zero > /big$N; false\n");
    for number in 1..=4 {
        sandbox.fails_to_build(&[&format!("--build-arg=N={number}")]);
        assert_eq!(sandbox.look(&[], "ls / | grep big"), format!("big{number}\n"));
    }
    assert_eq!(names(&sandbox).len(), 2);
    // What is kept no more is no longer on the disk, and what is kept is there once.
    sandbox.kiln(&["ps"]).ok();
    let files = walkdir::WalkDir::new(sandbox.path("root")).into_iter().map(Result::unwrap);
    let mut big: Vec<_> = files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("big"))
        .collect();
    big.sort();
    assert_eq!(big, ["big3", "big4"]);
    // A build elsewhere has its own.
    fs::create_dir(sandbox.path("second")).unwrap();
    for name in ["Dockerfile", "busybox"] {
        fs::copy(sandbox.context(name), sandbox.path("second").join(name)).unwrap();
    }
    sandbox.kiln(&["build", "-q", "--build-arg=N=other", "second"]).fails(1);
    assert_eq!(names(&sandbox).len(), 3);
    let in_directory = |name: &str| {
        let mut command = sandbox.command(&["shell", "--", "sh", "-c", "ls / | grep big"]);
        ran(command.current_dir(sandbox.path(name))).ok()
    };
    assert_eq!((&*in_directory("context"), &*in_directory("second")), ("big4\n", "bigother\n"));
    // From above both, and from elsewhere, it is the last.
    assert_eq!((&*in_directory(""), &*in_directory("root")), ("bigother\n", "bigother\n"));
}

#[test]
fn what_nobody_wants_is_not_kept() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo x > /x; false\n");
    let failure = sandbox.fails_to_build(&["--on-failure=discard"]);
    assert!(!failure.contains("kiln shell"), "{failure}");
    assert_eq!(names(&sandbox), Vec::<String>::new());
    // A step that ends well leaves nothing.
    sandbox.busybox("RUN echo x > /x\n").build().unwrap();
}

/// A store that is nearly full needs the space for the next build.
#[test]
fn a_disk_that_is_nearly_full_keeps_nothing() {
    if !(require(Need::Root) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("ARG SIZE\nRUN head -c $SIZE /dev/zero > /x; false\n");
    let script = "mount -t tmpfs -o size=100m tmpfs root && set -x
        $K build -q --build-arg=SIZE=1000 context; $K ps -aq | wc -l
        $K build --progress=plain --build-arg=SIZE=200m context; $K ps -aq | wc -l; du -sm root";
    let program = sandbox.command(&[]).get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).env("K", program).current_dir(sandbox.path(""));
    let done = ran(command.env("KILN_ROOT", sandbox.path("root")));
    let [first, second, size] = done.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{done:?}") };
    assert_eq!((first, second), ("1", "0"), "{}", done.stderr);
    assert!(done.stderr.contains("the disk is nearly full"), "{}", done.stderr);
    let megabytes: u32 = size.split_whitespace().next().unwrap().parse().unwrap();
    assert!(megabytes < 50, "{size}");
}

/// The results of the other steps are there for the next build, however soon another one fails.
#[test]
fn what_had_ended_well_is_known_to_the_next_build() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN head -c 200000000 /dev/urandom > /big\nRUN test -e /nonesuch\n");
    sandbox.fails_to_build(&[]);
    // Whether what the failed step has left is still there or not.
    sandbox.kiln(&["rm", "failed"]).ok();
    sandbox.kiln(&["ps"]).ok();
    sandbox
        .write("Dockerfile", fs::read_to_string(sandbox.context("Dockerfile")).unwrap().replace("/nonesuch", "/big"));
    let image = sandbox.build().unwrap();
    assert_eq!(image.executed().len(), 1, "{:?}", image.executed());
}

#[test]
fn an_image_is_looked_into_after_and_before_any_step() {
    for user in users() {
        let sandbox = Sandbox::of(user).busybox(
            &"ENV A=1\nRUN --mount=type=cache,target=/c,id=shell --mount=type=bind,target=/ctx echo x >> /c/x; echo one > /one\n\
             ENV A=2 B=\"x y\"\nUSER $USER\nWORKDIR /w\nENTRYPOINT [\"nothing\"]\n"
                .replace("$USER", id(user)),
        );
        sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
        let steps: BTreeMap<usize, &str> =
            (1..).zip(["COPY", "--install", "ENV A=1", "one", "ENV A=2", "USER", "WORKDIR", "ENTRYPOINT"]).collect();
        let history = sandbox.kiln(&["history", "--no-trunc", "test"]).ok();
        let rows: Vec<&str> = history.lines().skip(1).collect();
        assert!(steps.iter().all(|(step, word)| rows[rows.len() - step].contains(word)), "{history}");
        let of_user = format!("/w {} 2 x y one w", id(user));
        let script = "echo $(pwd) $(id -u) $A $B $(ls / | grep -E 'one|^c$|^w$')";
        for (flags, expected) in [
            (&["test@2"][..], "/ 0"),
            (&["test@3"], "/ 0 1"),
            (&["test@4"], "/ 0 1 c one"),
            (&["--before", "test@4"], "/ 0 1 c"),
            (&["test@5"], "/ 0 2 x y one"),
            (&["test@7"], of_user.as_str()),
            (&["--before", "test@7"], of_user.as_str()),
            (&["test"], of_user.as_str()),
        ] {
            assert_eq!(sandbox.look(flags, script).trim(), expected, "{user:?} {flags:?}");
        }
        // Of what the step had mounted, the cache is here.
        assert_eq!(sandbox.look(&["test@4"], "cat /c/x"), "x\n", "{user:?}");
        assert!(sandbox.kiln(&["shell", "test@4", "--", "true"]).stderr.contains("mounted at /ctx is not here"));
        assert!(sandbox.kiln(&["shell", "test@9", "--", "true"]).fails(125).contains("has 8 steps"), "{user:?}");
        // Nothing stays of it.
        assert_eq!(sandbox.containers().len(), 0, "{user:?}");
    }
}

#[test]
fn an_image_in_a_registry_is_looked_into_without_a_name_for_it_here() {
    if !(require(Need::Busybox) && require(Need::UserNamespaces) && require(Need::Registry)) {
        return;
    }
    let registry = Registry::start();
    let name = format!("{}/a:1", registry.host());
    let sandbox = Sandbox::new().busybox("ENV A=1\nRUN echo one > /one\n");
    sandbox.kiln(&["build", "-q", "--push", "-t", &name, "context"]).ok();
    let other = Sandbox::new();
    assert_eq!(other.look(&[&name], "cat /one; echo $A"), "one\n1\n");
    assert_eq!(other.look(&["--before", &format!("{name}@4")], "ls /one 2> /dev/null; echo $A"), "1\n");
    assert_eq!(other.kiln(&["images", "-q"]).ok(), "");
}

#[test]
fn a_shell_reads_what_is_typed_elsewhere() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo x > /x; false\n");
    sandbox.fails_to_build(&[]);
    fs::write(sandbox.path("script"), "cat /x\nexit 4\n").unwrap();
    let mut command = sandbox.command(&["shell"]);
    let ran = ran(command.stdin(fs::File::open(sandbox.path("script")).unwrap()));
    assert_eq!((ran.code, &*ran.stdout), (Some(4), "x\n"), "{}", ran.stderr);
}

#[test]
fn an_image_without_a_shell_needs_a_command() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().dockerfile("FROM scratch\nCOPY busybox /busybox\n");
    fs::copy("/bin/busybox", sandbox.context("busybox")).unwrap();
    sandbox.build().unwrap();
    assert!(sandbox.kiln(&["shell", "test"]).fails(125).contains("neither bash nor sh"));
    assert_eq!(sandbox.kiln(&["shell", "test", "--", "/busybox", "echo", "hi"]).ok(), "hi\n");
}

#[test]
fn a_shell_has_the_terminal_that_kiln_has() {
    for user in users() {
        let sandbox = failing(user);
        let mut terminal = Terminal::start(&sandbox, &["shell"]);
        let seen = terminal.expect("/w ");
        assert!(seen.contains("it ran: echo x >> /c/x"), "{seen:?}");
        terminal.write("tty; stty size; cat /d/partial\r");
        terminal.expect("/dev/pts/0\r\n33 123\r\npartial\r\n");
        // Two may look into one step.
        assert_eq!(sandbox.look(&[], "cat /d/partial"), "partial\n", "{user:?}");
        assert!(sandbox.kiln(&["rm", "failed"]).code != Some(0), "{user:?}");
        terminal.write("exit 3\r");
        assert_eq!(terminal.code(), Some(3), "{user:?}");
        sandbox.kiln(&["rm", "failed"]).ok();
    }
}

#[test]
fn names_of_a_failed_step_do_not_reach_the_terminal_raw() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN : \x1b]0;title\x07 ; false\n");
    sandbox.fails_to_build(&[]);
    let mut terminal = Terminal::start(&sandbox, &["shell"]);
    let seen = terminal.expect("/ # ");
    assert!(seen.contains("it ran: : ") && !seen.contains("\x1b]0;"), "{seen:?}");
    terminal.write("exit\r");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn without_overlayfs_a_failed_step_is_looked_into_as_well() {
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo first > /first\nRUN rm /first; echo x > /partial; false\n");
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(sandbox.path(name)).unwrap();
    }
    let script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
        $K build -q context 2> /dev/null
        $K shell -- sh -c 'cat /partial; ls /first; rm /partial'
        $K shell -- cat /partial
        $K shell --before -- cat /first
        $K diff failed";
    let program = sandbox.command(&[]).get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).env("K", program).current_dir(sandbox.path(""));
    command.env("KILN_ROOT", sandbox.path("merged/root")).env("KILN_LOG", "kiln::snapshot=debug");
    let done = ran(&mut command);
    assert!(done.stderr.contains("overlayfs does not work here"), "{}", done.stderr);
    assert_eq!(done.ok(), "x\nx\nfirst\nD /first\nA /partial\n");
}

#[test]
fn nothing_kept_of_a_failed_step_has_the_value_of_a_secret() {
    for user in users() {
        let sandbox = failing(user);
        planted::assert_absent(&["planted-token", "planted-value"], &planted::kept(&sandbox));
    }
}

#[test]
fn a_bundle_opens_on_another_machine() {
    for user in users() {
        let sandbox = failing(user);
        let arguments = ["--build-arg=API_TOKEN=planted-argument", "--build-arg=VERSION=8"];
        let text = fs::read_to_string(sandbox.context("Dockerfile")).unwrap();
        sandbox.write("Dockerfile", text.replace("ARG VERSION=7\n", "ARG VERSION=7\nARG API_TOKEN\n"));
        let failure = sandbox.fails_to_build(&[&arguments[..], &["--on-failure=bundle=failed.tar"]].concat());
        assert!(failure.contains("`kiln shell failed.tar` opens it"), "{failure}");
        let bundle = sandbox.path("failed.tar");
        let other = Sandbox::of(user);
        fs::copy(&bundle, other.path("failed.tar")).unwrap();
        let script = "pwd; echo $A $VERSION ${API_TOKEN-none} ${VALUE-none}; cat /d/partial; ls /c /mnt /run/secrets 2> /dev/null; true";
        let expected = "/w\n1 8 none none\npartial\n/c:\n";
        let seen = other.look(&["failed.tar"], script);
        assert_eq!(seen, expected, "{user:?}");
        assert_eq!(other.look(&["--before", "failed.tar"], "ls /d; cat /first"), "1\n", "{user:?}");
        let said = other.kiln(&["shell", "failed.tar", "--", "true"]).stderr;
        assert!(said.contains("secret `token`") && said.contains("mounted at /mnt/o"), "{said}");
        // No layer and no document of it has a secret.
        let unpacked = other.path("unpacked");
        fs::create_dir(&unpacked).unwrap();
        let source = format!("oci-archive:{}", bundle.display());
        let copied = format!("oci:{}:failed", unpacked.display());
        ran(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &source, &copied])).ok();
        planted::assert_absent(&["planted-token", "planted-value", "planted-argument"], &blobs(&unpacked));
        // Others see an image of the failed state.
        let rootfs = other.path("rootfs");
        let image = format!("{}:failed", unpacked.display());
        ran(Command::new("umoci").args(["unpack", "--rootless", "--image", &image, rootfs.to_str().unwrap()])).ok();
        assert_eq!(fs::read_to_string(rootfs.join("rootfs/d/partial")).unwrap(), "partial\n");
        assert!(!rootfs.join("rootfs/run/secrets/token").exists());
    }
}

#[test]
fn a_bundle_that_cannot_be_written_is_said_and_the_rest_is_as_ever() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN echo x > /x; false\n");
    fs::write(sandbox.path("file"), "").unwrap();
    let failure = sandbox.kiln(&["build", "--progress=plain", "--on-failure=bundle=file/f.tar", "context"]).fails(1);
    assert!(failure.contains("no archive of the failed step") && failure.contains("kiln shell"), "{failure}");
    assert_eq!(sandbox.look(&[], "cat /x"), "x\n");
    assert!(sandbox.kiln(&["build", "--on-failure=archive", "context"]).fails(2).contains("bundle=FILE"));
}

#[test]
fn a_step_whose_program_is_missing_is_looked_into() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = Sandbox::new().busybox("ENV A=1\nRUN [\"nonesuch\"]\n");
    let failure = sandbox.fails_to_build(&[]);
    assert!(failure.contains("nonesuch: not found") && failure.contains("help: `kiln shell`"), "{failure}");
    assert_eq!(sandbox.look(&[], "echo $A; ls /bin/nonesuch 2> /dev/null; true"), "1\n");
    assert_eq!(sandbox.containers()[0]["ExitCode"], 127);
}

#[test]
fn the_best_shell_that_is_there_is_opened() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let shell = |name: &str| format!("RUN printf '#!/bin/sh\\necho {name}\\n' > /bin/{name} && chmod +x /bin/{name}\n");
    let sandbox = Sandbox::new().busybox(&(shell("bash") + "RUN false\n"));
    sandbox.fails_to_build(&[]);
    assert_eq!(sandbox.kiln(&["shell"]).ok(), "bash\n");
    let sandbox = sandbox.busybox(&(shell("bash") + &shell("own") + "ENV SHELL=/bin/own\nRUN false\n"));
    sandbox.fails_to_build(&[]);
    assert_eq!(sandbox.kiln(&["shell"]).ok(), "own\n");
}

#[test]
fn a_step_over_nothing_is_looked_into_with_what_it_had_mounted() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let text = "FROM scratch\nRUN --mount=from=base,target=/m [\"/m/bin/busybox\", \"false\"]\n";
    let sandbox = Sandbox::new().busybox(text);
    sandbox.fails_to_build(&["--on-failure=bundle=f.tar"]);
    let seen = sandbox.kiln(&["shell", "--", "/m/bin/busybox", "echo", "hi"]).ok();
    assert_eq!(seen, "hi\n");
    assert!(sandbox.kiln(&["shell"]).fails(125).contains("neither bash nor sh"));
    // As a RUN leaves them in a layer.
    assert_eq!(sandbox.kiln(&["diff", "failed"]).ok(), "A /dev\nA /proc\nA /sys\n");
    assert!(sandbox.kiln(&["shell", "f.tar"]).fails(125).contains("neither bash nor sh"));
}

/// Somebody else's archive gets no more of this machine than any image does.
#[test]
fn a_hostile_bundle_is_as_confined_as_an_image() {
    if !require(Need::Busybox) || !require(Need::UserNamespaces) {
        return;
    }
    let sandbox = failing(User::Current);
    sandbox.fails_to_build(&["--on-failure=bundle=failed.tar"]);
    let image = Image::from_archive(&sandbox.path("failed.tar"));
    let mut label: Value = serde_json::from_str(&image.config().config.labels["kiln.failed-step"]).unwrap();
    let run = &mut label["recipe"]["run"];
    run["security"] = "insecure".into();
    run["user"] = "".into();
    let cache = serde_json::json!({ "id": "/c", "seed": null, "owner": { "mode": 0o777, "uid": 0, "gid": 0 }, "sharing": "shared", "access": "read_write" });
    let tree = serde_json::json!({ "from": 9, "path": "/", "access": "read_only" });
    run["mounts"] = serde_json::json!([
        { "target": "/c", "kind": { "cache": cache } },
        { "target": "/tree", "kind": { "tree": tree } },
    ]);
    // It is in the store where the cache is, too.
    assert_eq!(sandbox.look(&[], "cat /c/x"), "x\nx\n");
    let text = label.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    let sandbox = sandbox.busybox(&format!("LABEL kiln.failed-step=\"{text}\"\n"));
    sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    let seen = sandbox.look(&["test"], "pwd; ls /c; grep CapEff /proc/self/status; ls / | grep -c tree; true");
    let capabilities = sandbox.sh(&["--rm"], "grep CapEff /proc/self/status").ok();
    assert_eq!(seen, format!("/w\n{capabilities}0\n"));
}

/// Returns every blob of a layout, decompressed.
fn blobs(layout: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    files
        .map(|file| {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            if !bytes.starts_with(&[0x1f, 0x8b]) {
                return bytes;
            }
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
            plain
        })
        .collect()
}
