use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Image, User};

/// A build context and a store of its own, removed when the test ends.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
    user: User,
}

/// A finished command.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A build that failed.
#[derive(Debug)]
pub struct Failure {
    pub code: Option<i32>,
    /// What people read.
    pub text: String,
}

impl Ran {
    /// Returns stdout of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Returns stderr of a command that must have failed with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// An image that holds busybox and its applets.
const BUSYBOX: &str =
    "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

impl Sandbox {
    /// Returns an empty context for whoever runs the tests.
    pub fn new() -> Sandbox {
        Sandbox::of(User::Current)
    }

    /// Returns an empty context that belongs to `user`, who also runs kiln.
    pub fn of(user: User) -> Sandbox {
        let directory = tempfile::Builder::new().prefix("kiln-test-").tempdir().unwrap();
        let sandbox = Sandbox { directory, user };
        fs::set_permissions(sandbox.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["", "context", "root"] {
            fs::create_dir_all(sandbox.path(name)).unwrap();
            user.own(&sandbox.path(name));
        }
        sandbox
    }

    /// Returns a path beside the context.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a path in the context.
    pub fn context(&self, name: &str) -> PathBuf {
        self.path("context").join(name)
    }

    /// Writes a file of mode 0644 into the context, and the directories above it.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Sandbox {
        self.write(name, content);
        self
    }

    /// Writes an executable file into the context.
    pub fn program(self, name: &str, content: impl AsRef<[u8]>) -> Sandbox {
        self.write(name, content);
        fs::set_permissions(self.context(name), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Makes a symbolic link in the context.
    pub fn symlink(self, name: &str, target: &str) -> Sandbox {
        std::os::unix::fs::symlink(target, self.context(name)).unwrap();
        self.user.own(&self.context(name));
        self
    }

    /// Writes the Dockerfile.
    pub fn dockerfile(self, text: &str) -> Sandbox {
        self.file("Dockerfile", text)
    }

    /// Writes a Dockerfile whose first stage holds busybox, named `base` if `text` begins with a stage of its own.
    pub fn busybox(self, text: &str) -> Sandbox {
        let base = if text.starts_with("FROM") {
            BUSYBOX.replacen("FROM scratch", "FROM scratch AS base", 1)
        } else {
            BUSYBOX.to_owned()
        };
        fs::copy("/bin/busybox", self.context("busybox")).unwrap();
        self.user.own(&self.context("busybox"));
        self.dockerfile(&(base + text))
    }

    /// Changes a file of the context.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.context(name);
        let parents: Vec<&Path> = path.parent().unwrap().ancestors().take_while(|parent| !parent.exists()).collect();
        for parent in parents.into_iter().rev() {
            fs::create_dir(parent).unwrap();
            self.user.own(parent);
        }
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self.user.own(&path);
    }

    /// Returns a command that runs kiln over the sandbox's store, beside the context.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.user.kiln();
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("KILN_ROOT", self.path("root")).env("KILN_CONFIG", self.path("config.toml"));
        // What these hold would change what tests see.
        for variable in [
            "GITHUB_ACTIONS",
            "BUILDKITE",
            "BUILDKIT_PROGRESS",
            "DOCKER_DEFAULT_PLATFORM",
            "SOURCE_DATE_EPOCH",
            "KILN_LOG",
            "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY",
        ] {
            command.env_remove(variable);
        }
        command.env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    /// Runs kiln to its end.
    pub fn kiln(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// Starts kiln and returns at once.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Builds the context as `test:latest`.
    pub fn build(&self) -> Result<Image, Failure> {
        self.build_with(&[])
    }

    /// Builds the context as `test:latest` with more flags.
    pub fn build_with(&self, flags: &[&str]) -> Result<Image, Failure> {
        let fixed = ["build", "--progress=json", "-t", "test"];
        let ran = self.kiln(&[&fixed, flags, &["context"]].concat());
        let events: Vec<Value> = ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if ran.code != Some(0) {
            let error = events.iter().find(|event| event["type"] == "error");
            let text = error.and_then(|error| error["text"].as_str()).map_or(ran.stderr.clone(), str::to_owned);
            return Err(Failure { code: ran.code, text });
        }
        Ok(self.image("test").with_events(events))
    }

    /// Reads an image of the store back through an archive.
    pub fn image(&self, name: &str) -> Image {
        let archive = self.path("image.tar");
        let _ = fs::remove_file(&archive);
        self.kiln(&["save", "--format=oci", "-o", archive.to_str().unwrap(), name]).ok();
        Image::from_archive(&archive)
    }
}

/// Runs any command to its end.
#[track_caller]
pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
