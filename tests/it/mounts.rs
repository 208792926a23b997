//! `RUN --mount`, `--security` and what the command line gives to steps (semantics reference, section 10.5).

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::{Image, Need, Sandbox, User, planted, require};

fn can_run() -> bool {
    require(Need::Busybox) && require(Need::UserNamespaces)
}

/// Builds `text` over busybox and validates the image.
fn built(sandbox: &Sandbox, flags: &[&str]) -> Image {
    let image = sandbox.build_with(flags).unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

#[test]
fn a_bind_mount_shows_the_context_without_what_is_ignored() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new()
        .file("d/a", "a")
        .file("d/no", "no")
        .file(".dockerignore", "d/no\n")
        .busybox("RUN --mount=target=/c,source=d ls /c > /list && stat -c %u:%g /c/a >> /list && ! touch /c/x\n");
    let image = built(&sandbox, &[]);
    assert_eq!(image.file("/list"), "a\n0:0\n");
    // The mount point is gone, with everything above it that was made for it.
    assert_eq!(image.last().paths(), ["list"]);
}

#[test]
fn a_bind_mount_is_identified_by_the_content_it_shows() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new()
        .file("d/a", "1")
        .file("other", "1")
        .busybox("RUN --mount=type=bind,source=d,target=/c cat /c/a > /a\n");
    assert_eq!(built(&sandbox, &[]).file("/a"), "1");
    sandbox.write("other", "2");
    let again = built(&sandbox, &[]);
    assert!(!again.executed().iter().any(|step| step.contains("RUN --mount")), "{:?}", again.executed());
    sandbox.write("d/a", "2");
    assert_eq!(built(&sandbox, &[]).file("/a"), "2");
}

#[test]
fn a_bind_mount_of_a_stage_is_read_only_or_thrown_away() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "FROM base AS made\nRUN mkdir -p /d/e && echo one > /d/f && chown 7:8 /d/f && ln -s d /link\nFROM base\n\
         RUN --mount=from=made,source=/d,target=/m ! touch /m/x && cp -a /m/f /f\n\
         RUN --mount=from=made,source=link,target=m/deep,rw touch /m/deep/x && ls /m/deep > /list\n\
         RUN --mount=from=made,source=d/f,target=/one cat /one > /one-file\n\
         RUN --mount=from=made,target=/all test -f /all/d/f && test ! -e /all/d/x && touch /ok\n",
    );
    let image = built(&sandbox, &[]);
    assert_eq!((image.find("/f").unwrap().owner(), image.file("/list")), ((7, 8), "e\nf\nx\n".to_owned()));
    assert_eq!(image.file("/one-file"), "one\n");
    assert!(image.find("/ok").is_some());
    for path in ["/m", "/one", "/all"] {
        assert!(image.find(path).is_none(), "{path}");
    }
}

#[test]
fn a_variable_may_say_what_a_mount_is() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().file("a", "1").busybox(
        "ARG KIND=tmpfs SHARING=locked RO=false\nRUN --mount=type=$KIND,target=/m touch /m/a\n\
         RUN --mount=type=cache,sharing=${SHARING},target=/m touch /m/a\nRUN --mount=target=/m,ro=$RO touch /m/a\n\
         RUN --mount=type=bind,from=scratch,target=/m test -z \"$(ls /m)\"\n",
    );
    built(&sandbox, &[]);
    for (argument, place, message) in [
        ("KIND=cach", "Dockerfile:5:18", "unsupported mount type `cach`"),
        ("RO=perhaps", "Dockerfile:7:26", "invalid value for ro: `perhaps`"),
    ] {
        let text = sandbox.build_with(&["--build-arg", argument]).unwrap_err().text;
        assert!(text.contains(place) && text.contains(message), "{text}");
    }
}

#[test]
fn what_is_not_there_cannot_be_mounted() {
    if !can_run() {
        return;
    }
    let missing = Sandbox::new().busybox("RUN --mount=source=no/where,target=/c true\n").build().unwrap_err();
    assert!(missing.text.contains("/no/where"), "{}", missing.text);
    let later = "FROM base AS one\nRUN --mount=from=two,target=/c true\nFROM base AS two\nFROM one\n";
    let later = Sandbox::new().busybox(later).build().unwrap_err();
    let expected = "cannot mount from stage \"two\" to \"/c\", stage needs to be defined before current command";
    assert!(later.text.contains(expected), "{}", later.text);
}

#[test]
fn a_cache_lasts_and_is_in_no_layer() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "ARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/log && cp /c/log /log\n\
         RUN --mount=type=cache,id=/c,target=/other,ro cp /other/log /again && ! touch /other/x\n",
    );
    assert_eq!(built(&sandbox, &["--build-arg=N=1"]).file("/log"), "1\n");
    let image = built(&sandbox, &["--build-arg=N=2", "--no-cache"]);
    assert_eq!((image.file("/log"), image.file("/again")), ("1\n2\n".to_owned(), "1\n2\n".to_owned()));
    assert!(image.find("/c").is_none());
}

#[test]
fn a_cache_begins_as_it_is_asked_to() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().file("seed/a", "a").busybox(
        "FROM base AS seed\nCOPY seed /seed\nFROM base\n\
         RUN --mount=type=cache,target=/c,mode=0700,uid=5,gid=6 stat -c '%a %u %g' /c > /stat\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/seed cat /c/a > /a && touch /c/b && ls /c > /list\n\
         RUN --mount=type=cache,target=/c ls /c > /fresh\n",
    );
    let image = built(&sandbox, &[]);
    assert_eq!(image.file("/stat"), "700 5 6\n");
    assert_eq!((image.file("/a"), image.file("/list"), image.file("/fresh")), ("a".into(), "a\nb\n".into(), "".into()));
}

#[test]
fn locked_caches_are_used_one_after_the_other_and_private_ones_are_different() {
    if !can_run() {
        return;
    }
    let step = |sharing: &str| format!("RUN --mount=type=cache,id={sharing},target=/c,sharing={sharing}");
    let locked = format!("{} mkdir /c/here && sleep 0.3 && rmdir /c/here && touch /ok\n", step("locked"));
    let private = format!("{} mkdir /c/here && sleep 0.3 && rmdir /c/here\n", step("private"));
    let stage = |name: &str| format!("FROM base AS {name}\n{}{}", locked.replace("/ok", &format!("/{name}")), private);
    let text = format!("{}{}FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n", stage("a"), stage("b"));
    built(&Sandbox::new().busybox(&text), &["-j2"]);
}

#[test]
fn memory_has_a_size() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "RUN --mount=type=tmpfs,target=/t,size=1m ! dd if=/dev/zero of=/t/x bs=1k count=2000 2>/dev/null && \
         stat -c %s /t/x > /size && df -P /dev/shm | tail -n1 | awk '{ print $2 }' > /shm\n",
    );
    let image = built(&sandbox, &["--shm-size=2m"]);
    assert_eq!((image.file("/size"), image.file("/shm")), ("1048576\n".to_owned(), "2048\n".to_owned()));
    assert!(image.find("/t").is_none());
}

#[test]
fn secrets_are_files_and_variables_while_a_step_runs() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().busybox(
        "RUN --mount=type=secret,id=a test $(cat /run/secrets/a) = from-file && stat -c %a:%u:%g /run/secrets/a > /1\n\
         RUN --mount=type=secret,id=a,target=/x/y,mode=0444,uid=3,gid=4 stat -c %a:%u:%g /x/y > /2\n\
         RUN --mount=type=secret,id=b,env=B test -n \"$B\" && test ! -e /run/secrets/b && touch /3\n\
         RUN --mount=type=secret,id=none test ! -e /run/secrets/none && touch /4\n\
         RUN --mount=type=secret,id=none,env=N test \"${N-unset}\" = '' && touch /5\n",
    );
    std::fs::write(sandbox.path("value"), "from-file").unwrap();
    let value = format!("--secret=id=a,src={}", sandbox.path("value").display());
    let image = built(&sandbox, &[&value, "--secret=id=b,env=PATH"]);
    assert_eq!((image.file("/1"), image.file("/2")), ("400:0:0\n".to_owned(), "444:3:4\n".to_owned()));
    assert!(image.find("/5").is_some() && image.find("/run").is_none() && image.find("/x").is_none());
    let required = Sandbox::new().busybox("RUN --mount=type=secret,id=no,required true\n").build().unwrap_err();
    assert!(required.text.contains("secret no: not found"), "{}", required.text);
    assert!(required.text.contains("--secret id=no"), "{}", required.text);
}

#[test]
fn values_of_secrets_are_nowhere_in_what_is_kept() {
    if !can_run() {
        return;
    }
    let values = ["s3cret-Value/With+Signs?One", "s3cret-Value/With+Signs?Two"];
    let sandbox = Sandbox::new().busybox(
        "RUN --mount=type=secret,id=a cat /run/secrets/a | wc -c\n\
         RUN --mount=type=secret,id=b,env=B test -n \"$B\" && echo ${#B}\n\
         RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B false\n",
    );
    std::fs::write(sandbox.path("value"), values[0]).unwrap();
    let secret = format!("id=a,src={}", sandbox.path("value").display());
    let mut said = Vec::new();
    for progress in ["plain", "json"] {
        let flag = format!("--progress={progress}");
        let flags = ["build", &flag, "-t", "x", "--secret", &secret, "--secret", "id=b,env=B_VALUE", "context"];
        let ran = sandbox.command(&flags).env("B_VALUE", values[1]).env("KILN_LOG", "trace").output().unwrap();
        assert!(!ran.status.success());
        said.extend([ran.stdout, ran.stderr]);
    }
    said.extend(planted::kept(&sandbox));
    assert!(said.iter().any(|text| text.windows(12).any(|part| part == b"type=secret,")), "nothing was searched");
    planted::assert_absent(&values, &said);
}

#[test]
fn a_changed_secret_runs_nothing_again() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new().busybox("RUN --mount=type=secret,id=a cat /run/secrets/a | wc -c > /n\n");
    let flag = format!("--secret=id=a,src={}", sandbox.path("value").display());
    std::fs::write(sandbox.path("value"), "one").unwrap();
    built(&sandbox, &[&flag]);
    std::fs::write(sandbox.path("value"), "another").unwrap();
    assert_eq!(built(&sandbox, &[&flag]).file("/n"), "3\n");
}

/// Says `ping` to the agent, and what it hears to standard output: busybox knows no such sockets.
const ASK: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char heard[16];
    strcpy(at.sun_path, getenv("SSH_AUTH_SOCK"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0 || write(fd, "ping", 4) != 4) return 1;
    long length = read(fd, heard, sizeof heard);
    return length > 0 && write(1, heard, length) == length ? 0 : 2;
}
"#;

#[test]
fn steps_reach_the_agent_that_is_given() {
    if !(can_run() && require(Need::Compiler)) {
        return;
    }
    let sandbox = Sandbox::new().file("ask.c", ASK).busybox(
        "COPY ask /\nRUN --mount=type=ssh,mode=0666 test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /where && \
         stat -c %a $SSH_AUTH_SOCK > /mode && /ask > /heard\n\
         RUN --mount=type=ssh,id=other test ! -e $SSH_AUTH_SOCK && touch /optional\n",
    );
    let compile = ["-static", "-o", "ask", "ask.c"];
    assert!(Command::new("cc").args(compile).current_dir(sandbox.context("")).status().unwrap().success());
    let path = sandbox.path("agent");
    let agent = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = agent.accept() {
            let mut heard = [0; 4];
            if connection.read_exact(&mut heard).is_ok() {
                connection.write_all(b"pong\n").unwrap();
            }
        }
    });
    let image = built(&sandbox, &[&format!("--ssh=default={}", path.display())]);
    assert_eq!(image.file("/where"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!((image.file("/mode"), image.file("/heard")), ("666\n".to_owned(), "pong\n".to_owned()));
    assert!(image.find("/optional").is_some() && image.find("/run").is_none());
    let required = Sandbox::new().busybox("RUN --mount=type=ssh,required true\n").build().unwrap_err();
    assert!(required.text.contains("no SSH key \"default\" forwarded"), "{}", required.text);
}

#[test]
fn names_limits_and_the_host_name_are_as_given() {
    if !can_run() {
        return;
    }
    let sandbox = Sandbox::new()
        .busybox("RUN grep other /etc/hosts > /hosts; ulimit -n > /limit; hostname > /name; ulimit -Hn >> /limit\n");
    let flags =
        ["--add-host=other:10.1.2.3", "--ulimit=nofile=100:200", "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=somewhere"];
    let image = built(&sandbox, &flags);
    assert_eq!(image.file("/hosts"), "10.1.2.3\tother\n");
    assert_eq!((image.file("/limit"), image.file("/name")), ("100\n200\n".to_owned(), "somewhere\n".to_owned()));
    // Another address is another machine's matter, another name is another step.
    let steps = built(&sandbox, &["--add-host=other:10.9.9.9", flags[1], flags[2]]);
    assert!(!steps.executed().iter().any(|step| step.contains("RUN")), "{:?}", steps.executed());
    let steps = built(&sandbox, &["--add-host=more:10.1.2.3", flags[1], flags[2]]);
    assert!(steps.executed().iter().any(|step| step.contains("RUN")), "{:?}", steps.executed());
}

#[test]
fn privileges_are_asked_for_and_granted() {
    if !can_run() {
        return;
    }
    let text = "RUN --security=insecure grep CapEff /proc/self/status > /caps && grep Seccomp: /proc/self/status \
                >> /caps && mount -t tmpfs none /mnt\nRUN grep Seccomp: /proc/self/status > /confined\n";
    let text = format!("RUN mkdir /mnt\n{text}");
    let refused = Sandbox::new().busybox(&text).build().unwrap_err();
    assert!(refused.text.contains("security.insecure is not allowed"), "{}", refused.text);
    assert!(refused.text.contains("--allow security.insecure"), "{}", refused.text);
    let image = built(&Sandbox::new().busybox(&text), &["--allow=security.insecure"]);
    let caps = image.file("/caps");
    assert!(caps.contains("Seccomp:\t0") && caps.contains("CapEff:\t000001ff"), "{caps}");
    assert_eq!(image.file("/confined"), "Seccomp:\t2\n");
}

#[test]
fn mounts_work_for_a_user_without_privilege() {
    if !(can_run() && require(Need::Root) && require(Need::SubordinateIds)) {
        return;
    }
    let sandbox = Sandbox::of(User::Subordinate).file("d/a", "a").busybox(
        "FROM base AS made\nRUN echo f > /f && chown 7:8 /f\nFROM base\n\
         RUN --mount=source=d,target=/c --mount=from=made,target=/m --mount=type=cache,target=/k,uid=9 \
         --mount=type=tmpfs,target=/t --mount=type=secret,id=s,uid=3,mode=0440 \
         stat -c %u /c/a /m/f /k /t /run/secrets/s > /owners\n",
    );
    std::fs::write(sandbox.path("value"), "x").unwrap();
    let image = built(&sandbox, &[&format!("--secret=id=s,src={}", sandbox.path("value").display())]);
    assert_eq!(image.file("/owners"), "0\n7\n9\n0\n3\n");
}
