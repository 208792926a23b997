//! Secrets and agents that open what is elsewhere (semantics reference, sections 9.9 and 9.10).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::fault_server::{Asked, FaultServer, Reply};
use crate::support::git::{self, Repository};
use crate::support::{Image, Need, Ran, Sandbox, User, planted, ran, require};

/// What a server of repositories wants to hear of the token `t0ken/Value+Of-Git`.
const BASIC: &str = "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4vVmFsdWUrT2YtR2l0";
const TOKEN: &str = "t0ken/Value+Of-Git";

/// Serves `files` to whoever says this.
fn guarded(said: &'static str) -> FaultServer {
    FaultServer::start(move |asked| match asked.header("authorization") == said {
        true if asked.header("if-none-match") == "\"1\"" => Reply::status(304),
        true => Reply::ok("FROM scratch\nLABEL opened=yes\n").header("ETag", "\"1\""),
        false => Reply::status(401),
    })
}

/// Writes a secret, and returns the flag that gives it.
fn secret(sandbox: &Sandbox, id: &str, value: &str) -> String {
    let path = sandbox.path(&format!("secret-{id}"));
    fs::write(&path, value).unwrap();
    format!("--secret=id={id},src={}", path.display())
}

fn built(sandbox: &Sandbox, flags: &[&str]) -> Image {
    let image = sandbox.build_with(flags).unwrap_or_else(|failure| panic!("{}", failure.text));
    image.validate();
    image
}

fn add(source: &str) -> Sandbox {
    Sandbox::new().dockerfile(&format!("FROM scratch\nADD {source} /got\n"))
}

/// Returns what a server heard of credentials.
fn heard(server: &FaultServer) -> Vec<String> {
    let said = |asked: Asked| asked.header("authorization").to_owned();
    server.asked("", "").into_iter().map(said).filter(|said| !said.is_empty()).collect()
}

#[test]
fn a_file_is_fetched_with_the_token_or_the_header_of_its_host() {
    for (name, value, said) in [
        ("HTTP_AUTH_TOKEN_127.0.0.1", "t0ken\n", "Bearer t0ken"),
        ("HTTP_AUTH_HEADER_127.0.0.1", "Custom a b", "Custom a b"),
    ] {
        let server = guarded(said);
        let sandbox = add(&format!("http://{}/a", server.host()));
        let flag = secret(&sandbox, name, value);
        let refused = sandbox.build().unwrap_err().text;
        assert!(refused.contains("invalid response status 401"), "{refused}");
        assert!(refused.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1,env=VARIABLE"), "{refused}");
        let image = built(&sandbox, &[&flag]);
        assert!(image.file("/got").contains("opened"));
        // What is here already is asked about with the same words.
        assert_eq!(built(&sandbox, &[&flag]).id(), image.id());
        assert_eq!((server.asked("HEAD", "").len(), server.asked("GET", "").len()), (1, 2));
        let other = secret(&sandbox, "HTTP_AUTH_TOKEN_other.example", "t0ken");
        assert!(sandbox.build_with(&["--no-cache", &other]).is_err());
    }
}

#[test]
fn contexts_are_fetched_with_the_token_of_their_host() {
    let server = guarded("Bearer t0ken");
    let (sandbox, url) = (add("--chmod=644 f /"), format!("http://{}/Dockerfile", server.host()));
    let flag = secret(&sandbox, "HTTP_AUTH_TOKEN_127.0.0.1", "t0ken");
    sandbox.kiln(&["build", "-q", "-t", "test", &flag, &url]).ok();
    assert_eq!(sandbox.image("test").config().config.labels["opened"], "yes");
    let refused = sandbox.kiln(&["build", "--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,env=PATH", &url]).fails(1);
    assert!(refused.contains("status 401") && refused.contains("hint: give it a token"), "{refused}");
    sandbox.write("Dockerfile", "FROM scratch\nCOPY --from=named context /got\n");
    let image = built(&sandbox, &[&flag, &format!("--build-context=named={url}")]);
    assert!(image.file("/got").contains("opened"));
}

#[test]
fn a_redirect_takes_credentials_to_nobody_else() {
    let other = FaultServer::start(|_| Reply::ok("public"));
    let elsewhere = format!("http://{}/b", other.host());
    let server = FaultServer::start(move |asked| match asked.path.as_str() {
        "/here" => Reply::status(302).header("Location", "/there"),
        "/there" if asked.header("authorization") == "Bearer t0ken" => Reply::ok("private"),
        "/away" => Reply::status(302).header("Location", elsewhere.clone()),
        _ => Reply::status(401),
    });
    for (path, content) in [("here", "private"), ("away", "public")] {
        let sandbox = add(&format!("http://{}/{path}", server.host()));
        let flag = secret(&sandbox, "HTTP_AUTH_TOKEN_127.0.0.1", "t0ken");
        assert_eq!(built(&sandbox, &[&flag]).file("/got"), content);
    }
    assert_eq!((heard(&other).len(), other.asked("GET", "/b").len()), (0, 1));
}

#[test]
fn a_value_that_is_no_header_is_told_without_it() {
    let sandbox = add("http://127.0.0.1:1/a");
    let flag = secret(&sandbox, "HTTP_AUTH_HEADER_127.0.0.1", "two\nlines");
    let text = sandbox.build_with(&[&flag]).unwrap_err().text;
    assert!(text.contains("the secret HTTP_AUTH_HEADER_127.0.0.1 cannot be a header"), "{text}");
    assert!(text.contains("Dockerfile:2:5") && !text.contains("lines\n"), "{text}");
}

/// A server of repositories that wants the token, and says what it heard to whoever has it not.
fn repositories(sandbox: &Sandbox) -> FaultServer {
    git::http(sandbox, |asked| asked.header("authorization") == BASIC)
}

#[test]
fn a_repository_is_fetched_with_its_token() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "library.git").commit("code", "1");
    let public = git::http(&sandbox, |_| true);
    let repository = Repository::new(&sandbox, "app.git");
    // One submodule on the same host, one on another.
    repository.submodule("../library.git", "private");
    repository.submodule(&format!("http://{}/library.git", public.host()), "public");
    repository.commit("Dockerfile", "FROM scratch\nCOPY a private/code /\n");
    repository.commit("a", "1");
    let server = repositories(&sandbox);
    let url = format!("http://{}/app.git", server.host());
    sandbox.write("Dockerfile", format!("FROM scratch\nADD --keep-git-dir=true {url} /got\n"));
    let refused = sandbox.build().unwrap_err().text;
    assert!(refused.contains("--secret id=GIT_AUTH_TOKEN.127.0.0.1,env=VARIABLE"), "{refused}");
    for (name, value) in [
        ("GIT_AUTH_TOKEN".to_owned(), TOKEN),
        ("GIT_AUTH_TOKEN.127.0.0.1".to_owned(), TOKEN),
        (format!("GIT_AUTH_HEADER.{}", server.host()), BASIC),
    ] {
        let flag = secret(&sandbox, &name, value);
        fs::remove_dir_all(sandbox.path("root")).unwrap();
        let image = built(&sandbox, &[&flag]);
        assert_eq!((image.file("/got/private/code"), image.file("/got/public/code")), ("1".into(), "1".into()));
        let config = image.file("/got/.git/config");
        assert!(config.contains(&url) && !config.to_lowercase().contains("header"), "{config}");
        sandbox.kiln(&["build", "-q", "-t", "test", &flag, &url]).ok();
        assert_eq!(sandbox.image("test").file("/code"), "1");
        let listed = sandbox.kiln(&["context", &flag, &url]).ok();
        assert!(listed.contains("private/code"), "{listed}");
        sandbox.write("Other", "FROM scratch\nCOPY --from=named a /named\n");
        let image = built(&sandbox, &[&flag, "-f", "context/Other", &format!("--build-context=named={url}")]);
        assert_eq!(image.file("/named"), "1");
    }
    assert_eq!(heard(&public), [""; 0]);
    assert!(!public.asked("", "library").is_empty());
}

#[test]
fn a_repository_that_moved_takes_credentials_to_nobody_else() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "app.git").commit("a", "1");
    let other = git::http(&sandbox, |_| true);
    let elsewhere = format!("http://{}", other.host());
    let moved = move |asked: &Asked| Reply::status(302).header("Location", format!("{elsewhere}{}", asked.path));
    let server = FaultServer::start(moved);
    sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{}/app.git /got\n", server.host()));
    assert_eq!(built(&sandbox, &[]).file("/got/a"), "1");
    let flag = secret(&sandbox, "GIT_AUTH_TOKEN", TOKEN);
    let refused = sandbox.build_with(&["--no-cache", &flag]).unwrap_err().text;
    assert!(refused.contains("git cannot list the references of") && refused.contains("it has moved"), "{refused}");
    assert_eq!(heard(&other), [""; 0]);
}

#[test]
fn a_repository_that_moved_on_its_server_is_found() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    let first = Repository::new(&sandbox, "new.git").commit("a", "1");
    let base = sandbox.path("repositories");
    let server = FaultServer::start(move |asked| match asked.path.strip_prefix("/old.git/") {
        _ if asked.header("authorization") != BASIC => Reply::status(401),
        Some("info/refs?service=git-upload-pack") => {
            Reply::status(301).header("Location", "/new.git/info/refs?service=git-upload-pack")
        }
        Some(_) => Reply::status(404),
        None => git::backend(&base, asked),
    });
    let flag = secret(&sandbox, "GIT_AUTH_TOKEN", TOKEN);
    for reference in ["main", &first] {
        sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{}/old.git#{reference} /got\n", server.host()));
        assert_eq!(built(&sandbox, &[&flag]).file("/got/a"), "1");
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
}

#[test]
fn credentials_are_nowhere_in_what_is_kept_or_said() {
    if !require(Need::Git) {
        return;
    }
    let values = ["s3cret-Value/With+Signs", TOKEN, &BASIC["Basic ".len()..]];
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "library.git").commit("code", "1");
    let repository = Repository::new(&sandbox, "app.git");
    repository.submodule("../library.git", "vendor");
    repository.commit("a", "1");
    let server = repositories(&sandbox);
    let files = guarded("Bearer s3cret-Value/With+Signs");
    // A server that says what it heard.
    let mirror = FaultServer::start(|asked| {
        let heard = format!("you said {}, which is {TOKEN}\n", asked.header("authorization"));
        Reply { body: heard.into_bytes(), ..Reply::status(403).header("Content-Type", "text/plain") }
    });
    let flags = [
        secret(&sandbox, "HTTP_AUTH_TOKEN_127.0.0.1", values[0]),
        secret(&sandbox, "GIT_AUTH_TOKEN", values[1]),
        format!("--build-context=named=http://{}/app.git", server.host()),
    ];
    let arguments = sandbox.path("arguments");
    let path = program(&sandbox, "git", &format!("echo \"$@\" >> {}\nexec {}", arguments.display(), real_git()));
    let run = |context: &str, progress: &str, more: &[&str]| -> Ran {
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let progress = format!("--progress={progress}");
        let all = [&["build", &progress, "-t", "test"], &flags[..], &[context]].concat();
        ran(sandbox.command(&all).env("KILN_LOG", "trace").env("PATH", &path))
    };
    let good = format!(
        "FROM scratch\nADD http://{}/f /f\nADD --keep-git-dir=true http://{}/app.git /g\nCOPY --from=named a /n\n",
        files.host(),
        server.host()
    );
    let mut said = Vec::new();
    let mut take = |ran: Ran, code: i32| {
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        said.extend([ran.stdout.into_bytes(), ran.stderr.into_bytes()]);
    };
    for progress in ["plain", "json"] {
        sandbox.write("Dockerfile", &good);
        take(run("context", progress, &[]), 0);
        take(run(&format!("http://{}/app.git", server.host()), progress, &["-f", "context/Dockerfile"]), 1);
        for source in [format!("http://{}/x.git", mirror.host()), format!("http://{}/x", mirror.host())] {
            sandbox.write("Dockerfile", format!("FROM scratch\nADD {source} /f\n"));
            take(run("context", progress, &[]), 1);
            take(run(&source, progress, &[]), 1);
        }
    }
    assert!(!heard(&mirror).is_empty() && said.iter().any(|text| text.windows(8).any(|part| part == b"you said")));
    let image = sandbox.image("test");
    assert!(image.file("/f").contains("opened") && image.file("/g/vendor/code") == "1");
    said.extend(planted::kept(&sandbox));
    said.push(fs::read(arguments).unwrap());
    planted::assert_absent(&values, &said);
}

/// Returns a path to search for programs that has this script first.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> String {
    let directory = sandbox.path("programs");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), format!("#!/bin/sh\n{script} \"$@\"\n")).unwrap();
    fs::set_permissions(directory.join(name), Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

fn real_git() -> String {
    let directories = std::env::var("PATH").unwrap();
    let found = directories.split(':').map(|directory| PathBuf::from(directory).join("git")).find(|path| path.exists());
    found.unwrap().display().to_string()
}

#[test]
fn a_password_of_a_url_is_in_no_kept_git_directory() {
    if !require(Need::Git) {
        return;
    }
    let sandbox = Sandbox::new();
    Repository::new(&sandbox, "library.git").commit("code", "1");
    let repository = Repository::new(&sandbox, "app.git");
    repository.submodule("../library.git", "vendor");
    repository.commit("a", "1");
    let server = git::http(&sandbox, |_| true);
    let add = format!("ADD --keep-git-dir=true http://me:pass-w0rd@{}/app.git /got", server.host());
    sandbox.write("Dockerfile", format!("FROM scratch\n{add}\n"));
    let image = built(&sandbox, &[]);
    assert_eq!(image.file("/got/vendor/code"), "1");
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for layer in 0..image.config().rootfs.diff_ids.len() {
        let paths = image.layer(layer).paths().into_iter().map(str::to_owned).collect::<Vec<_>>();
        texts.extend(paths.iter().filter_map(|path| Some(image.find(path)?.content().to_vec())));
    }
    planted::assert_absent(&["pass-w0rd"], &texts);
}

#[test]
fn the_default_agent_opens_repositories_over_ssh() {
    if require(Need::Git) {
        asks_the_agent(&Sandbox::new());
    }
}

#[test]
fn sources_are_opened_for_a_user_without_privilege() {
    if !(require(Need::Git) && require(Need::Root) && require(Need::SubordinateIds)) {
        return;
    }
    let sandbox = Sandbox::of(User::Subordinate);
    asks_the_agent(&sandbox);
    Repository::new(&sandbox, "private.git").commit("a", "1");
    let server = repositories(&sandbox);
    sandbox.write("Dockerfile", format!("FROM scratch\nADD http://{}/private.git /got\n", server.host()));
    let flag = secret(&sandbox, "GIT_AUTH_TOKEN", TOKEN);
    assert_eq!(built(&sandbox, &[&flag]).file("/got/a"), "1");
}

/// Builds from a repository that only the agent of the build opens.
#[track_caller]
fn asks_the_agent(sandbox: &Sandbox) {
    Repository::new(sandbox, "app.git").commit("Dockerfile", "FROM scratch\nLABEL over=ssh\n");
    let seen = sandbox.path("root/seen");
    // ssh is called as `ssh … host command`: the agent is looked for, and then the command is run here.
    let script = format!(
        "test -S \"$SSH_AUTH_SOCK\" || exit 255\necho \"$SSH_AUTH_SOCK\" > {}\nfor last; do :; done\n\
         export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\nexec sh -c \"$last\"",
        seen.display()
    );
    let path = program(sandbox, "ssh", &script);
    let socket = sandbox.path("agent");
    let _agent = UnixListener::bind(&socket).unwrap();
    let url = format!("ssh://git@x.example{}", sandbox.path("repositories/app.git").display());
    sandbox.write("Dockerfile", format!("FROM scratch\nADD {url} /got\n"));
    for context in ["context", &url] {
        let build = ["build", "-t", "test", &format!("--ssh=default={}", socket.display()), context];
        ran(sandbox.command(&build).env("SSH_AUTH_SOCK", "/nowhere").env("PATH", &path)).ok();
        let socket = fs::read_to_string(&seen).unwrap();
        assert!(socket.trim() != "/nowhere" && !Path::new(socket.trim()).exists(), "{socket}");
        fs::remove_file(&seen).unwrap();
    }
    assert_eq!(sandbox.image("test").config().config.labels["over"], "ssh");
}
