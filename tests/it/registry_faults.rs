//! Registries that fail, lie, hang and want to know who asks.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln::image::{Image, Layer};
use kiln::oci::{Descriptor, Digest, media_type};
use kiln::store::{LayerBlob, Store};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Sandbox;
use crate::support::fault_server::{Asked, End, FaultServer, Published, Reply};

/// Returns a server that has an image, but for the requests that `fault` answers. It is told how many it has answered.
fn server(fault: impl Fn(&Asked, usize) -> Option<Reply> + Send + Sync + 'static) -> (FaultServer, Published) {
    let published = Published::new();
    let (image, answered) = (published.clone(), AtomicUsize::new(0));
    let server = FaultServer::start(move |asked| match fault(asked, answered.load(Ordering::SeqCst)) {
        Some(reply) => {
            answered.fetch_add(1, Ordering::SeqCst);
            reply
        }
        None => image.answer(asked),
    });
    (server, published)
}

fn is_layer(asked: &Asked, published: &Published) -> bool {
    asked.is("GET", &format!("/blobs/{}", published.layer))
}

/// Returns a server whose replies with the layer go through `fault`, as long as that returns any.
fn layer_server(fault: impl Fn(Reply, usize) -> Option<Reply> + Send + Sync + 'static) -> (FaultServer, Published) {
    let published = Published::new();
    let image = published.clone();
    server(move |asked, answered| match is_layer(asked, &image) {
        true => fault(image.answer(asked), answered),
        false => None,
    })
}

fn name(server: &FaultServer) -> String {
    format!("{}/team/app:1", server.host())
}

fn layer_requests(server: &FaultServer, published: &Published) -> Vec<Asked> {
    server.asked("GET", &published.layer.to_string())
}

/// Pulls and checks that the layer came through.
#[track_caller]
fn pull(sandbox: &Sandbox, server: &FaultServer, published: &Published) {
    sandbox.kiln(&["pull", &name(server)]).ok();
    assert!(fs::read(blob_path(sandbox, published)).unwrap() == published.layer());
}

fn blob_path(sandbox: &Sandbox, published: &Published) -> std::path::PathBuf {
    sandbox.path("root/blobs/sha256").join(published.layer.hex())
}

/// Pulls what cannot be had, checks that nothing of it stays, and returns what kiln says.
#[track_caller]
fn pull_fails(server: &FaultServer, published: &Published) -> String {
    let sandbox = Sandbox::new();
    let stderr = sandbox.kiln(&["pull", &name(server)]).fails(1);
    assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "");
    assert!(!blob_path(&sandbox, published).exists());
    let partial = sandbox.path("root/ingest").join(format!("{}.partial", published.layer.hex()));
    assert_eq!(fs::metadata(partial).map_or(0, |metadata| metadata.len()), 0);
    stderr
}

/// Makes the published image in a sandbox's store.
fn put(sandbox: &Sandbox, names: &[&str]) -> Image {
    let store = Store::open(&sandbox.path("root")).unwrap();
    let image = Published::put(&store);
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    image.commit(&store, &names).unwrap();
    image
}

fn log_in(sandbox: &Sandbox, host: &str, entry: &str) {
    fs::create_dir_all(sandbox.path("docker")).unwrap();
    fs::write(sandbox.path("docker/config.json"), format!(r#"{{"auths":{{"{host}":{entry}}}}}"#)).unwrap();
}

/// "me:secret" in base64.
const PASSWORD: &str = "bWU6c2VjcmV0";

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let (server, published) = layer_server(|reply, cuts| (cuts < 2).then(|| reply.end(End::CutAfter(300_000))));
    pull(&Sandbox::new(), &server, &published);
    let ranges: Vec<_> =
        layer_requests(&server, &published).iter().map(|asked| asked.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=300000-", "bytes=600000-"]);
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let published = Published::new();
    let whole = published.layer().to_vec();
    let (server, published) = layer_server(move |reply, cuts| match cuts {
        0 => Some(reply.end(End::CutAfter(300_000))),
        _ => Some(Reply::ok(whole.clone())),
    });
    pull(&Sandbox::new(), &server, &published);
    assert_eq!(layer_requests(&server, &published).len(), 2);
}

#[test]
fn an_interrupt_is_heard_while_a_server_hangs_and_the_next_pull_resumes() {
    let (server, published) = layer_server(|reply, hung| (hung < 1).then(|| reply.end(End::SilentAfter(300_000))));
    let sandbox = Sandbox::new();
    let child = sandbox.start(&["pull", "--progress=plain", &name(&server)]);
    let partial = sandbox.path("root/ingest").join(format!("{}.partial", published.layer.hex()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < 300_000 {
        assert!(Instant::now() < deadline, "the download does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupted = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(interrupted.elapsed() < Duration::from_millis(500), "{:?}", interrupted.elapsed());
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    pull(&sandbox, &server, &published);
    assert_eq!(layer_requests(&server, &published)[1].header("range"), "bytes=300000-");
}

#[test]
fn an_interrupt_is_heard_before_the_first_answer() {
    let (server, _) = server(|asked, _| asked.is("GET", "/manifests/").then(|| Reply::status(200).end(End::Silent)));
    let sandbox = Sandbox::new();
    let child = sandbox.start(&["pull", &name(&server)]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.asked("GET", "/manifests/").is_empty() {
        assert!(Instant::now() < deadline, "nobody asks");
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupted = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(interrupted.elapsed() < Duration::from_millis(500), "{:?}", interrupted.elapsed());
}

#[test]
fn wrong_bytes_are_refused_and_thrown_away() {
    let (server, published) = layer_server(|mut reply, _| {
        reply.body[5] ^= 1;
        Some(reply)
    });
    let stderr = pull_fails(&server, &published);
    assert!(stderr.contains(&server.host()) && stderr.contains(&published.layer.to_string()), "{stderr}");
    assert_eq!(layer_requests(&server, &published).len(), 1);
}

#[test]
fn wrong_bytes_of_an_earlier_download_are_fetched_again() {
    let (server, published) = layer_server(|_, _| None);
    let sandbox = Sandbox::new();
    sandbox.kiln(&["images"]).ok();
    fs::write(sandbox.path("root/ingest").join(format!("{}.partial", published.layer.hex())), "wrong").unwrap();
    pull(&sandbox, &server, &published);
    assert_eq!(layer_requests(&server, &published).len(), 2);
}

#[test]
fn wrong_sizes_are_refused() {
    let faults: [fn(Reply) -> Reply; 4] = [
        |reply| Reply { body: [&reply.body[..], b"more"].concat(), ..reply },
        |reply| Reply { body: reply.body[1..].to_vec(), ..reply },
        |reply| Reply { body: [&reply.body[..], b"more"].concat(), ..reply }.end(End::Unframed),
        |reply| Reply { body: reply.body[1..].to_vec(), ..reply }.end(End::Unframed),
    ];
    for fault in faults {
        let (server, published) = layer_server(move |reply, _| Some(fault(reply)));
        let stderr = pull_fails(&server, &published);
        let size = published.layer().len().to_string();
        assert!(stderr.contains("bytes of") && stderr.contains(&size) && stderr.contains(&server.host()), "{stderr}");
    }
}

#[test]
fn a_manifest_must_have_the_digest_that_was_asked_for_or_announced() {
    let other = format!("sha256:{}", "0".repeat(64));
    let announced = other.clone();
    let (server, published) = server(move |asked, _| {
        let published = Published::new();
        asked.is("GET", "/manifests/1").then(|| published.answer(asked).header("Docker-Content-Digest", &announced))
    });
    assert!(pull_fails(&server, &published).contains(&other));
    let stderr = Sandbox::new().kiln(&["pull", &format!("{}/team/app@{other}", server.host())]).fails(1);
    assert!(stderr.contains(&format!("instead of {other}")), "{stderr}");
}

#[test]
fn a_manifest_without_end_is_not_read_to_its_end() {
    let (server, published) =
        server(|asked, _| asked.is("GET", "/manifests/").then(|| Reply::ok(vec![b' '; 6_000_000]).end(End::Unframed)));
    assert!(pull_fails(&server, &published).contains("more than 4194304 bytes"));
}

#[test]
fn what_fails_for_a_moment_is_tried_again() {
    for status in [429, 500, 502, 503, 504] {
        let (server, published) =
            server(move |asked, failed| (failed < 1 && !asked.path.ends_with("/v2/")).then(|| Reply::status(status)));
        pull(&Sandbox::new(), &server, &published);
        assert_eq!(server.asked("GET", "/manifests/").len(), 2, "{status}");
        let (server, published) = layer_server(move |_, failed| (failed < 1).then(|| Reply::status(status)));
        pull(&Sandbox::new(), &server, &published);
        assert_eq!(layer_requests(&server, &published).len(), 2, "{status}");
    }
}

#[test]
fn a_registry_says_how_long_to_wait() {
    let (server, published) =
        layer_server(|_, failed| (failed < 1).then(|| Reply::status(429).header("Retry-After", "2")));
    let started = Instant::now();
    pull(&Sandbox::new(), &server, &published);
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[test]
fn what_fails_for_good_is_not_tried_again_and_told_in_the_registrys_words() {
    let (server, published) = server(|asked, _| {
        let body = br#"{"errors":[{"code":"OWN","message":"the disk is\u001b[2J full"}]}"#.to_vec();
        asked.is("GET", "/manifests/").then(|| Reply { body, ..Reply::status(507) })
    });
    let stderr = pull_fails(&server, &published);
    assert!(stderr.contains("answered 507") && stderr.contains("the disk is [2J full (OWN)"), "{stderr}");
    assert_eq!(server.asked("GET", "/manifests/").len(), 1);
}

#[test]
fn patience_has_an_end() {
    let (server, published) = server(|asked, _| asked.is("GET", "/manifests/").then(|| Reply::status(503)));
    assert!(pull_fails(&server, &published).contains("answered 503"));
    assert_eq!(server.asked("GET", "/manifests/").len(), 5);
}

#[test]
fn a_registry_that_is_not_there_is_named_at_once() {
    let started = Instant::now();
    let stderr = Sandbox::new().kiln(&["pull", "127.0.0.1:1/app"]).fails(1);
    assert!(stderr.contains("cannot reach 127.0.0.1:1") && stderr.contains("refused"), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// Returns what a registry with a token server answers to somebody who has no token, and what the token server does.
fn with_tokens(asked: &Asked) -> Option<Reply> {
    if asked.path.starts_with("/token") {
        return Some(Reply::ok(r#"{"token":"granted","expires_in":300}"#));
    }
    (asked.header("authorization") != "Bearer granted").then(|| {
        let challenge = format!(r#"Bearer realm="http://{}/token",service="the \"registry\"""#, asked.header("host"));
        Reply::status(401).header("WWW-Authenticate", challenge)
    })
}

#[test]
fn tokens_are_asked_for_once_and_with_their_scope() {
    let (server, published) = server(|asked, _| with_tokens(asked));
    let sandbox = Sandbox::new();
    pull(&sandbox, &server, &published);
    let asked = server.asked("GET", "/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/token?service=the+%22registry%22&scope=repository%3Ateam%2Fapp%3Apull&client_id=kiln");
    assert_eq!(asked[0].header("authorization"), "");
    let sandbox = Sandbox::new();
    log_in(&sandbox, &server.host(), &format!(r#"{{"auth":"{PASSWORD}"}}"#));
    pull(&sandbox, &server, &published);
    let asked = server.asked("GET", "/token");
    assert_eq!((asked.len(), asked[1].header("authorization")), (2, "Basic bWU6c2VjcmV0"));
    assert!(asked[1].path.contains("account=me"));
}

#[test]
fn identity_tokens_are_posted() {
    let (server, published) = server(|asked, _| with_tokens(asked));
    let sandbox = Sandbox::new();
    log_in(&sandbox, &server.host(), r#"{"identitytoken":"i d"}"#);
    pull(&sandbox, &server, &published);
    let asked = server.asked("POST", "/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/token");
    assert_eq!(
        String::from_utf8_lossy(&asked[0].body),
        "grant_type=refresh_token&refresh_token=i+d&service=the+%22registry%22&scope=repository%3Ateam%2Fapp%3Apull&client_id=kiln"
    );
}

#[test]
fn an_expired_token_is_replaced() {
    let (server, published) = server(|asked, answered| match asked.path.starts_with("/token") {
        true => Some(Reply::ok(format!(r#"{{"access_token":"t{answered}"}}"#))),
        // The first token does for the manifest alone.
        false => {
            let given = asked.header("authorization");
            let accepted =
                given.starts_with("Bearer t") && (given == "Bearer t1") == asked.path.contains("/manifests/");
            let challenge = format!(r#"Bearer realm="http://{}/token""#, asked.header("host"));
            (!accepted).then(|| Reply::status(401).header("WWW-Authenticate", challenge))
        }
    });
    pull(&Sandbox::new(), &server, &published);
    assert_eq!(server.asked("GET", "/token").len(), 2);
}

#[test]
fn who_is_not_let_in_learns_where_and_no_secret_is_told() {
    let (server, published) = server(|asked, _| match asked.path.starts_with("/token") {
        true => Some(Reply { body: br#"{"details":"incorrect username or password"}"#.to_vec(), ..Reply::status(401) }),
        false => with_tokens(asked),
    });
    let stderr = pull_fails(&server, &published);
    assert!(stderr.contains(&format!("docker login {}", server.host())), "{stderr}");
    let sandbox = Sandbox::new();
    log_in(&sandbox, &server.host(), &format!(r#"{{"auth":"{PASSWORD}"}}"#));
    let mut command = sandbox.command(&["pull", &name(&server)]);
    let stderr = crate::support::ran(command.env("KILN_LOG", "trace")).fails(1);
    assert!(stderr.contains("denies access") && stderr.contains("incorrect username or password"), "{stderr}");
    assert!(!stderr.contains("secret") && !stderr.contains(PASSWORD), "{stderr}");
}

#[test]
fn who_a_registry_refers_to_learns_no_credential() {
    let published = Published::new();
    let image = published.clone();
    let storage = FaultServer::start(move |asked| {
        let path = asked.path.replace("?signature=s", "");
        image.answer(&Asked { path, ..asked.clone() })
    });
    let (elsewhere, image) = (storage.host(), published.clone());
    let (server, published) = server(move |asked, _| {
        if asked.header("authorization") != format!("Basic {PASSWORD}") {
            return Some(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""));
        }
        let location = format!("http://{elsewhere}{}?signature=s", asked.path);
        is_layer(asked, &image).then(|| Reply::status(307).header("Location", location))
    });
    let sandbox = Sandbox::new();
    log_in(&sandbox, &server.host(), &format!(r#"{{"auth":"{PASSWORD}"}}"#));
    pull(&sandbox, &server, &published);
    let asked = layer_requests(&storage, &published);
    assert_eq!((asked.len(), asked[0].header("authorization")), (1, ""));
    assert_eq!(layer_requests(&server, &published)[0].header("authorization"), format!("Basic {PASSWORD}"));
}

#[test]
fn a_pulled_image_is_whole_even_if_its_layers_are_here_in_another_form() {
    let sandbox = Sandbox::new();
    let image = put(&sandbox, &["plain"]);
    let here = image.layers()[0].clone();
    let plain = LayerBlob { digest: here.blob.digest, media_type: here.blob.media_type, size: here.blob.size };
    Store::open(&sandbox.path("root")).unwrap().link_blob(here.diff_id, &plain).unwrap();
    let mut published = Published::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, published.layer()).unwrap();
    let packed = encoder.finish().unwrap();
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, &packed);
    published.layer = blob.digest;
    published.blobs.insert(blob.digest, packed);
    published.manifest = image.with_blobs(&[Layer { blob, ..image.layers()[0].clone() }]).manifest().bytes().to_vec();
    let served = published.clone();
    let server = FaultServer::start(move |asked| served.answer(asked));
    pull(&sandbox, &server, &published);
    assert_eq!(sandbox.image(&name(&server)).layers().len(), 1);
}

#[test]
fn mirrors_that_are_down_or_poor_or_liars_do_not_matter() {
    let poor = FaultServer::start(|_| Reply::status(404));
    let lost = Published::new();
    let manifest_only = FaultServer::start(move |asked| match asked.path.contains("/blobs/") {
        true => Reply::status(503),
        false => lost.answer(asked),
    });
    let (liar, _) = layer_server(|mut reply, _| {
        reply.body[5] ^= 1;
        Some(reply)
    });
    let (server, published) = server(|_, _| None);
    let sandbox = Sandbox::new();
    let mirrors = ["127.0.0.1:1".to_owned(), poor.host(), manifest_only.host() + "/hub", liar.host()];
    let config = format!("[registry.\"{}\"]\nmirrors = {mirrors:?}\n", server.host());
    fs::write(sandbox.path("config.toml"), config).unwrap();
    let started = Instant::now();
    pull(&sandbox, &server, &published);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(poor.asked("GET", "/manifests/1").len(), 1);
    assert_eq!(manifest_only.asked("GET", "/v2/hub/team/app/manifests/1").len(), 1);
    assert_eq!(server.asked("GET", "/manifests/").len(), 0);
    assert_eq!((layer_requests(&liar, &published).len(), layer_requests(&server, &published).len()), (1, 1));
}

#[test]
fn a_wrong_configuration_is_told_with_its_line() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("config.toml"), "\n[registry.\"docker.io\"]\nmirror = []\n").unwrap();
    let stderr = sandbox.kiln(&["pull", "127.0.0.1:1/app"]).fails(1);
    assert!(stderr.contains("config.toml:3: unknown field `mirror`"), "{stderr}");
}

/// Answers as a registry that has nothing and takes everything.
fn taking(asked: &Asked) -> Reply {
    match asked.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" if asked.path.contains("mount=") => Reply::status(201),
        "POST" => Reply::status(202).header("Location", format!("{}u/1?_state=x%3Dy", asked.path)),
        "PUT" => Reply::status(201),
        _ => Reply::ok("{}"),
    }
}

#[test]
fn a_push_sends_blobs_whole_to_where_it_is_told() {
    let server = FaultServer::start(taking);
    let sandbox = Sandbox::new();
    let image = put(&sandbox, &[&name(&server)]);
    let printed = sandbox.kiln(&["push", &name(&server)]).ok();
    let uploads = server.asked("PUT", "/v2/team/app/blobs/uploads/u/1?_state=x%3Dy&digest=sha256:");
    assert_eq!(uploads.len(), 2);
    for upload in &uploads {
        let digest = upload.path.rsplit('=').next().unwrap();
        assert_eq!(Digest::of(&upload.body).to_string(), digest);
    }
    assert!(uploads.iter().any(|upload| upload.body == image.config().bytes()));
    let manifests = server.asked("PUT", "/v2/team/app/manifests/1");
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].header("content-type"), media_type::OCI_MANIFEST);
    assert!(printed.contains(&Digest::of(&manifests[0].body).to_string()), "{printed}");
}

/// Pushes an image twice to a server that answers, when asked whether it has the manifest, with this status and the digest
/// of what it was sent or of something else, and returns what each push asked for.
fn pushed_twice(status: u16, something_else: bool) -> [Vec<Asked>; 2] {
    let sandbox = Sandbox::new();
    let digest = Mutex::new(String::new());
    let server = FaultServer::start(move |asked| {
        if asked.is("HEAD", "/manifests/") {
            return Reply::status(status).header("Docker-Content-Digest", digest.lock().unwrap().clone());
        }
        if asked.is("PUT", "/manifests/") {
            let body = if something_else { b"another" } else { &asked.body[..] };
            *digest.lock().unwrap() = Digest::of(body).to_string();
        }
        taking(asked)
    });
    put(&sandbox, &[&name(&server)]);
    let first = sandbox.kiln(&["push", &name(&server)]).ok();
    let asked_first = server.asked("", "");
    assert_eq!(sandbox.kiln(&["push", &name(&server)]).ok(), first);
    let asked_again = server.asked("", "").split_off(asked_first.len());
    [asked_first, asked_again]
}

#[test]
fn a_push_of_what_is_there_asks_for_the_manifest_alone() {
    let [first, again] = pushed_twice(200, false);
    assert!(!first.iter().any(|asked| asked.is("HEAD", "/manifests/")), "whoever sends it first knows: {first:?}");
    let again: Vec<_> = again.iter().map(|asked| (asked.method.as_str(), asked.path.as_str())).collect();
    // The first finds out whether this machine's registry speaks TLS.
    assert_eq!(again, [("GET", "/v2/"), ("HEAD", "/v2/team/app/manifests/1")]);
}

#[test]
fn a_push_of_what_is_not_there_or_is_something_else_goes_on() {
    for (status, something_else) in [(404, false), (401, false), (503, false), (200, true)] {
        let [_, again] = pushed_twice(status, something_else);
        let count = |method, part| again.iter().filter(|asked| asked.is(method, part)).count();
        assert_eq!((count("PUT", "/blobs/"), count("PUT", "/manifests/1")), (2, 1), "{status} {something_else}");
    }
}

#[test]
fn a_push_that_fails_for_a_moment_is_tried_again() {
    let failures = AtomicUsize::new(0);
    let server = FaultServer::start(move |asked| match asked.method.as_str() {
        "PUT" if failures.fetch_add(1, Ordering::SeqCst) < 2 => Reply::status(503),
        _ => taking(asked),
    });
    let sandbox = Sandbox::new();
    put(&sandbox, &[&name(&server)]);
    sandbox.kiln(&["push", &name(&server)]).ok();
    assert_eq!(server.asked("PUT", "/manifests/").len(), 1);
    assert_eq!(server.asked("PUT", "/blobs/").len(), 4);
}

#[test]
fn a_registry_lends_blobs_among_its_repositories_under_one_token() {
    let server = FaultServer::start(|asked| with_tokens(asked).unwrap_or_else(|| taking(asked)));
    let sandbox = Sandbox::new();
    let other = format!("{}/other:1", server.host());
    put(&sandbox, &[&name(&server)]);
    sandbox.kiln(&["push", &name(&server)]).ok();
    sandbox.kiln(&["tag", &name(&server), &other]).ok();
    sandbox.kiln(&["push", &other]).ok();
    assert_eq!(server.asked("PUT", "/v2/team/app/blobs/").len(), 2);
    assert_eq!(server.asked("PUT", "/v2/other/blobs/").len(), 0);
    let mounts = server.asked("POST", "/v2/other/blobs/uploads/?mount=sha256:");
    assert!(mounts.iter().all(|mount| mount.path.ends_with("&from=team/app")), "{mounts:?}");
    let scopes = "scope=repository%3Aother%3Apull%2Cpush&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(server.asked("GET", scopes).len(), 1);
}

#[test]
fn what_a_registry_does_not_lend_is_sent() {
    let server = FaultServer::start(|asked| match asked.path.contains("mount=") {
        true => Reply::status(403),
        false => taking(asked),
    });
    let sandbox = Sandbox::new();
    let other = format!("{}/other:1", server.host());
    put(&sandbox, &[&name(&server), &other]);
    sandbox.kiln(&["push", &name(&server), &other]).ok();
    assert_eq!(server.asked("PUT", "/v2/other/blobs/").len(), 2);
}

#[test]
fn an_interrupt_ends_a_push() {
    let server = FaultServer::start(|asked| match asked.method.as_str() {
        "PUT" => Reply::status(200).end(End::Silent),
        _ => taking(asked),
    });
    let sandbox = Sandbox::new();
    put(&sandbox, &[&name(&server)]);
    let child = sandbox.start(&["push", &name(&server)]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.asked("PUT", "").is_empty() {
        assert!(Instant::now() < deadline, "nothing is sent");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    let interrupted = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(interrupted.elapsed() < Duration::from_millis(500), "{:?}", interrupted.elapsed());
}
