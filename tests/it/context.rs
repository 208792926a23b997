//! `kiln context`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::Value;

use crate::support::{Sandbox, ran};

fn sandbox() -> Sandbox {
    Sandbox::new()
        .file(".dockerignore", "# what is made\nnode_modules\n*.log\n!keep.log\ndocs\n!docs/api\n")
        .file("Dockerfile", "FROM scratch\nCOPY . /\n")
        .file("docs/api/index", "x".repeat(1500))
        .file("docs/readme", "1")
        .file("debug.log", "12")
        .file("keep.log", "123")
        .file("node_modules/a/b", "1234")
        .symlink("link", "docs")
}

/// Returns the objects that are printed, but for the last, and the last.
fn objects(sandbox: &Sandbox, arguments: &[&str]) -> (Vec<Value>, Value) {
    let text = sandbox.kiln(&[&["context", "--format=json"], arguments].concat()).ok();
    let mut objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let total = objects.pop().unwrap();
    (objects, total)
}

fn paths(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["path"].as_str().unwrap()).collect()
}

#[test]
fn what_a_build_could_copy_is_listed() {
    let sandbox = sandbox();
    let shown = sandbox.kiln(&["context", "context"]);
    assert_eq!(shown.stderr, "");
    let expected = "\
SIZE      PATH
59B       .dockerignore
22B       Dockerfile
          docs/
          docs/api/
1.5kB     docs/api/index
3B        keep.log
0B        link -> docs

in the context: 4 files (1.58kB), 2 directories, 1 other; 1584 bytes in all
";
    assert_eq!(shown.ok(), expected);
    // It is what `COPY . /` copies.
    let image = sandbox.build().unwrap();
    let (listed, total) = objects(&sandbox, &["context"]);
    assert_eq!(paths(&listed), image.layer(0).paths());
    assert_eq!((&total["kept"]["size_bytes"], &total["ignore_file"]), (&1584.into(), &".dockerignore".into()));
}

#[test]
fn each_path_has_its_reason() {
    let expected = "\
STATE     SIZE      PATH                                    WHY
kept      59B       .dockerignore                           no rule
kept      22B       Dockerfile                              no rule
dropped   2B        debug.log                               .dockerignore:3: *.log
kept                docs/                                   for what is kept below it, despite .dockerignore:5: docs
kept                docs/api/                               .dockerignore:6: !docs/api
kept      1.5kB     docs/api/index                          .dockerignore:6: !docs/api (matches docs/api/)
dropped   1B        docs/readme                             .dockerignore:5: docs (matches docs/)
kept      3B        keep.log                                .dockerignore:4: !keep.log
kept      0B        link -> docs                            no rule
dropped             node_modules/                           .dockerignore:2: node_modules; not looked into

in the context: 4 files (1.58kB), 2 directories, 1 other; 1584 bytes in all
dropped: 2 files (3B), 1 directory (not looked into)
";
    assert_eq!(sandbox().kiln(&["context", "--why", "context"]).ok(), expected);
}

#[test]
fn reasons_are_objects_too() {
    let sandbox = sandbox();
    let (listed, total) = objects(&sandbox, &["--why", "context"]);
    let of = |path: &str| listed.iter().find(|object| object["path"] == path).unwrap();
    let rule = &of("docs/readme")["rule"];
    assert_eq!(
        (&rule["file"], &rule["line"], &rule["pattern"], &rule["matches"]),
        (&".dockerignore".into(), &5.into(), &"docs".into(), &"docs".into())
    );
    assert_eq!((&of("docs")["reason"], &of("docs")["kept"]), (&"kept-below".into(), &true.into()));
    assert_eq!((&of("Dockerfile")["reason"], &of("Dockerfile")["rule"]), (&"no-rule".into(), &Value::Null));
    assert_eq!(of("node_modules")["below"]["unknown_directories"], 1);
    assert_eq!((&total["type"], &total["dropped"]["files"]), (&"total".into(), &2.into()));
}

#[test]
fn one_path_can_be_asked_about() {
    let sandbox = sandbox();
    let (listed, _) = objects(&sandbox, &["context", "node_modules/a/b", "/docs/"]);
    assert_eq!(paths(&listed), ["node_modules/a/b", "docs", "docs/api", "docs/api/index", "docs/readme"]);
    assert_eq!((&listed[0]["kept"], &listed[0]["rule"]["matches"]), (&false.into(), &"node_modules".into()));
    for (path, hint) in
        [("keep.lgo", "did you mean keep.log?"), ("link/api", "link is a link to docs; ask for what it leads to")]
    {
        let stderr = sandbox.kiln(&["context", "context", path]).fails(1);
        assert!(stderr.contains(&format!("there is no {path} in")) && stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn what_makes_it_large_comes_first() {
    let sandbox = Sandbox::new()
        .file("a/b/c", "x".repeat(2000))
        .file("a/d", "x".repeat(1000))
        .file("e", "x".repeat(2500))
        .file("f/g", "");
    let shown = sandbox.kiln(&["context", "--depth=1", "--sort=size", "context"]).ok();
    let expected = "\
SIZE      FILES     PATH
3kB       2         a/
2.5kB               e
0B        1         f/

in the context: 4 files (5.5kB), 3 directories; 5500 bytes in all
";
    assert_eq!(shown, expected);
    let (listed, _) = objects(&sandbox, &["--depth=2", "--sort=size", "context"]);
    assert_eq!(paths(&listed), ["e", "a/b", "a/d", "a", "f", "f/g"]);
    assert_eq!(listed[1]["below"]["size_bytes"], 2000);
}

#[test]
fn the_ignore_file_is_that_of_a_build() {
    let sandbox = sandbox().file("Other", "FROM scratch\n").file("Other.dockerignore", "*\n!Other\n");
    let (listed, total) = objects(&sandbox, &["-f", "context/Other", "context"]);
    assert_eq!((paths(&listed), &total["ignore_file"]), (vec!["Other"], &"Other.dockerignore".into()));
    let stderr = sandbox.kiln(&["context", "-f", "context/none", "context"]).fails(1);
    assert!(stderr.contains("cannot read context/none"), "{stderr}");
    // What is in the Dockerfile does not matter, nor whether there is one.
    for text in ["RNU x\n", ""] {
        sandbox.write("Dockerfile", text);
        assert_eq!(objects(&sandbox, &["context"]).0.len(), 9);
    }
    fs::remove_file(sandbox.context("Dockerfile")).unwrap();
    assert_eq!(objects(&sandbox, &["context"]).0.len(), 8);
    let none = Sandbox::new().file("a", "").kiln(&["context", "--why", "context"]);
    assert!(none.stderr.contains("note: there is no ignore file"), "{}", none.stderr);
}

#[test]
fn a_broken_ignore_file_is_pointed_at() {
    let sandbox = Sandbox::new().file(".dockerignore", "*.log\n  src/[a-\n").file("a", "");
    let stderr = sandbox.kiln(&["context", "context"]).fails(1);
    for part in ["error[illegal-ignore-pattern]", ".dockerignore:2:3", "src/[a-", "help: close the `[`"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn archives_are_whole_and_a_dockerfile_is_alone() {
    let sandbox = sandbox();
    let archive = sandbox.path("context.tar");
    ran(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(sandbox.context("")).args(["debug.log", "docs"]))
        .ok();
    for source in ["context.tar", "-"] {
        let mut command = sandbox.command(&["context", "--format=json", source]);
        let shown = ran(command.stdin(fs::File::open(&archive).unwrap()));
        assert!(shown.stderr.contains("note: ignore files do not apply to this context"), "{}", shown.stderr);
        assert_eq!(shown.ok().lines().count(), 6, "{source}");
    }
    let mut command = sandbox.command(&["context", "-"]);
    let shown = ran(command.stdin(fs::File::open(sandbox.context("Dockerfile")).unwrap()));
    assert!(shown.stderr.contains("a Dockerfile alone"), "{}", shown.stderr);
    assert!(shown.ok().contains("in the context: 0 files"));
    assert_eq!(fs::read_dir(sandbox.path("root/trees")).unwrap().count(), 0);
}

#[test]
fn names_are_shown_whatever_they_are() {
    let sandbox = Sandbox::new().file("a\nb\u{1b}[31m", "").file("back\\slash", "");
    fs::write(sandbox.context("").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    let shown = sandbox.kiln(&["context", "context"]).ok();
    assert_eq!(
        shown.lines().skip(1).take(3).collect::<Vec<_>>(),
        ["0B        a\\nb\\u{1b}[31m", "0B        back\\\\slash", "0B        \\xff",]
    );
    let (listed, _) = objects(&sandbox, &["context"]);
    assert_eq!(paths(&listed), ["a\nb\u{1b}[31m", "back\\slash", "\\xff"]);
    assert_eq!((&listed[2]["path_hex"], &listed[1]["path_hex"]), (&"ff".into(), &Value::Null));
}

#[test]
fn contents_are_not_read_and_no_store_is_needed() {
    let sandbox = Sandbox::new();
    fs::File::create(sandbox.context("sparse")).unwrap().set_len(1 << 40).unwrap();
    fs::write(sandbox.path("store"), "a file").unwrap();
    let shown = ran(sandbox.command(&["context", "context"]).env("KILN_ROOT", sandbox.path("store"))).ok();
    assert!(shown.contains("1.1TB     sparse\n"), "{shown}");
}
