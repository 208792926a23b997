//! Pushing while the build goes on.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::fault_server::{Asked, End, FaultServer, Reply};
use crate::support::registry::Registry;
use crate::support::{Need, Ran, Sandbox, require};

/// Longer than any build here takes. A step that has to wait for so long fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often something has happened, for those who wait for it.
#[derive(Clone, Default)]
struct Count(Arc<(Mutex<usize>, Condvar)>);

impl Count {
    fn add(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    /// Waits until it has happened so often, and tells whether it has.
    fn reaches(&self, wanted: usize) -> bool {
        let (count, changed) = &*self.0;
        let (count, _) = changed.wait_timeout_while(count.lock().unwrap(), PATIENCE, |count| *count < wanted).unwrap();
        *count >= wanted
    }
}

/// A registry that takes everything, at which steps can wait for `/after/N`: for the Nth blob to have come.
fn registry() -> FaultServer {
    let uploads = Count::default();
    FaultServer::start(move |asked| {
        let reply = answer(asked);
        if asked.is("PUT", "/uploads/") {
            uploads.add();
        }
        match asked.path.strip_prefix("/after/") {
            Some(number) if uploads.reaches(number.parse().unwrap()) => Reply::ok("come"),
            Some(_) => Reply::status(504),
            None => reply,
        }
    })
}

fn answer(asked: &Asked) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("HEAD", _) => Reply::status(404),
        ("POST", path) => Reply::status(202).header("Location", format!("{path}1")),
        ("PUT", _) => Reply::status(201),
        _ => Reply::ok("{}"),
    }
}

/// Waits at the server in a step.
fn wait(server: &FaultServer, what: &str) -> String {
    format!("RUN [\"/bin/wget\", \"-q\", \"-O\", \"/waited\", \"http://{}/{what}\"]\n", server.host())
}

fn push(sandbox: &Sandbox, server: &FaultServer, flags: &[&str]) -> Ran {
    let name = format!("{}/app:1", server.host());
    sandbox.kiln(&[&["build", "--progress=json", "--push", "-t", &name], flags, &["context"]].concat())
}

/// Returns how the step with this in its title ended; nothing if it did not.
fn outcome(ran: &Ran, title: &str) -> Option<String> {
    let events: Vec<Value> = ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let planned = events.iter().find(|event| event["type"] == "planned").unwrap();
    let steps = planned["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["title"].as_str().unwrap().contains(title)).unwrap();
    let ended = events.iter().find(|event| event["type"] == "finished" && event["step"] == step["step"])?;
    Some(ended["outcome"].as_str().unwrap().to_owned())
}

/// Tells whether the step that waits for nothing was left to wait.
fn reached_its_end(ran: &Ran) -> bool {
    !matches!(outcome(ran, "wget").as_deref(), None | Some("cancelled"))
}

/// Returns the digests of the blobs that came.
fn uploaded(server: &FaultServer) -> Vec<String> {
    let uploads = server.asked("PUT", "/uploads/");
    let mut digests: Vec<String> =
        uploads.iter().map(|asked| asked.path.split_once("digest=").unwrap().1.to_owned()).collect();
    digests.sort();
    digests
}

#[test]
fn layers_are_uploaded_while_later_steps_run() {
    if !require(Need::Busybox) {
        return;
    }
    let server = registry();
    // All layers but its own, of two COPY and a RUN: the last step ends only when they have come.
    let text = format!("COPY a /a\n{}", wait(&server, "after/3"));
    let sandbox = Sandbox::new().file("a", "1").busybox(&text);
    let ran = push(&sandbox, &server, &[]);
    assert_eq!((ran.code, outcome(&ran, "wget").as_deref()), (Some(0), Some("done")), "{}", ran.stderr);
    // Each blob once, the last layer and the config too, and then the manifest.
    let uploaded = uploaded(&server);
    let mut once = uploaded.clone();
    once.dedup();
    assert_eq!((uploaded.len(), &once), (5, &uploaded));
    assert_eq!(server.asked("PUT", "/manifests/1").len(), 1);
}

#[test]
fn layers_of_every_platform_are_uploaded_while_later_steps_run() {
    if !require(Need::Busybox) {
        return;
    }
    let server = registry();
    let slow = wait(&server, "after/2");
    let text = format!(
        "FROM --platform=$BUILDPLATFORM base AS slow\n{slow}FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /a\n\
         COPY --from=slow /waited /b\n"
    );
    let sandbox = Sandbox::new().file("amd64", "1").file("arm64", "2").busybox(&text);
    let ran = push(&sandbox, &server, &["--platform=linux/amd64,linux/arm64"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(server.asked("PUT", "/manifests/").len(), 3);
}

#[test]
fn layers_of_the_base_and_linked_ones_are_uploaded_too() {
    if !require(Need::Busybox) {
        return;
    }
    let server = registry();
    let sandbox = Sandbox::new().file("a", "1").busybox("");
    sandbox.kiln(&["build", "-t", "base:1", "context"]).ok();
    // Two of the base, and one that lies beside them.
    sandbox.write("Dockerfile", format!("FROM base:1\nCOPY --link a /a\n{}", wait(&server, "after/3")));
    // Its time is that of the epoch before it is sent.
    let ran = push(&sandbox, &server, &["--build-arg=SOURCE_DATE_EPOCH=1", "-o=type=image,rewrite-timestamp=true"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!((uploaded(&server).len(), server.asked("PUT", "/manifests/1").len()), (5, 1));
}

#[test]
fn a_build_that_fails_leaves_blobs_and_no_manifest() {
    if !require(Need::Busybox) {
        return;
    }
    let server = registry();
    let text = format!("COPY a /a\n{}RUN [\"/bin/false\"]\n", wait(&server, "after/3"));
    let ran = push(&Sandbox::new().file("a", "1").busybox(&text), &server, &[]);
    assert_eq!((ran.code, outcome(&ran, "false").as_deref()), (Some(1), Some("failed")), "{}", ran.stderr);
    assert!(uploaded(&server).len() >= 3 && server.asked("PUT", "/manifests/").is_empty());
}

#[test]
fn who_may_not_push_learns_it_before_the_steps_are_done() {
    if !require(Need::Busybox) {
        return;
    }
    let refusals = Count::default();
    let server = FaultServer::start(move |asked| match asked.path.as_str() {
        // Nothing has come, and nothing will: the step would fail here, were it not stopped before.
        "/never" if refusals.reaches(usize::MAX) => Reply::ok(""),
        "/never" => Reply::status(504),
        _ => {
            refusals.add();
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}"#.to_vec();
            Reply { body, ..Reply::status(401) }.header("WWW-Authenticate", "Basic realm=\"test\"")
        }
    });
    let ran = push(&Sandbox::new().busybox(&wait(&server, "never")), &server, &[]);
    assert_eq!((ran.code, reached_its_end(&ran)), (Some(1), false), "{}", ran.stderr);
    assert!(ran.stderr.contains("who are you?"), "{}", ran.stderr);
}

#[test]
fn an_upload_that_fails_ends_the_build_at_once() {
    if !require(Need::Busybox) {
        return;
    }
    let nothing = Count::default();
    let server = FaultServer::start(move |asked| match asked.path.as_str() {
        "/never" if nothing.reaches(1) => Reply::ok(""),
        "/never" => Reply::status(504),
        _ if asked.is("PUT", "/uploads/") => Reply {
            body: br#"{"errors":[{"code":"SIZE_INVALID","message":"there is no room"}]}"#.to_vec(),
            ..Reply::status(413)
        },
        _ => answer(asked),
    });
    let ran = push(&Sandbox::new().busybox(&wait(&server, "never")), &server, &[]);
    assert_eq!((ran.code, reached_its_end(&ran)), (Some(1), false), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no room"), "{}", ran.stderr);
    assert!(server.asked("PUT", "/manifests/").is_empty());
}

#[test]
fn images_that_are_pushed_meanwhile_are_whole() {
    if !(require(Need::Busybox) && require(Need::Registry)) {
        return;
    }
    let registry = Registry::start();
    let name = |path: &str| format!("{}/{path}", registry.host());
    let base = name("base");
    let build = |sandbox: &Sandbox, flags: &[&str]| {
        sandbox.kiln(&[&["build", "--push"], flags, &["context"]].concat()).ok();
    };
    build(&Sandbox::new().busybox("RUN [\"/bin/mkdir\", \"/d\"]\n"), &["-t", &base]);
    let text = format!("FROM {base}\nCOPY --link a /a\nRUN [\"/bin/rm\", \"/a\"]\nCOPY a /b\nENV c=d\n");
    let (from, to) = (Sandbox::new().file("a", "1").dockerfile(&text), Sandbox::new());
    build(&from, &["-t", &name("x:1"), "-t", &name("x:2"), "-t", &name("y")]);
    build(&from, &["-t", &name("z"), "--compression=zstd", "--reproducible"]);
    for path in ["x:1", "x:2", "y", "z"] {
        to.kiln(&["pull", "-q", &name(path)]).ok();
        let image = to.image(&name(path));
        assert_eq!((image.id(), image.file("/b")), (from.image(&name(path)).id(), "1".to_owned()), "{path}");
        image.validate();
    }
}

#[test]
fn an_interrupt_ends_uploads_too() {
    if !require(Need::Busybox) {
        return;
    }
    let (uploads, nothing) = (Count::default(), Count::default());
    let begun = uploads.clone();
    let server = FaultServer::start(move |asked| match asked.path.as_str() {
        "/never" if nothing.reaches(1) => Reply::ok(""),
        _ if asked.is("PUT", "/uploads/") => {
            uploads.add();
            Reply::status(201).end(End::Silent)
        }
        _ => answer(asked),
    });
    let sandbox = Sandbox::new().busybox(&wait(&server, "never"));
    let name = format!("{}/app:1", server.host());
    let build = sandbox.start(&["build", "--push", "-t", &name, "context"]);
    assert!(begun.reaches(1));
    rustix::process::kill_process(rustix::process::Pid::from_child(&build), rustix::process::Signal::INT).unwrap();
    assert_eq!(build.wait_with_output().unwrap().status.code(), Some(130));
}
