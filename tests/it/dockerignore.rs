//! .dockerignore.

use crate::support::Sandbox;

#[test]
fn ignored_files_are_not_in_the_context() {
    let sandbox = Sandbox::new()
        .file(".dockerignore", "# comment\n*.log\n!keep.log\n**/target\n")
        .file("a", "")
        .file("a.log", "")
        .file("keep.log", "")
        .file("deep/target/x", "")
        .file("deep/b", "")
        .file("deep/c.log", "")
        .dockerfile("FROM scratch\nCOPY . /\n");
    let image = sandbox.build().unwrap();
    let paths = image.layer(0).paths();
    for (path, expected) in [
        ("a", true),
        ("a.log", false),
        ("keep.log", true),
        ("deep/b", true),
        ("deep/c.log", true),
        ("deep/target", false),
    ] {
        assert_eq!(paths.contains(&path), expected, "{path} in {paths:?}");
    }
}

#[test]
fn a_file_of_the_dockerfile_comes_first() {
    let sandbox = Sandbox::new()
        .file(".dockerignore", "a\n")
        .file("My.Dockerfile", "FROM scratch\nCOPY . /\n")
        .file("My.Dockerfile.dockerignore", "b\n")
        .file("a", "")
        .file("b", "");
    let image = sandbox.build_with(&["-f", "context/My.Dockerfile"]).unwrap();
    assert!(image.layer(0).has("a") && !image.layer(0).has("b"));
}

#[test]
fn a_missing_source_names_the_line_that_hid_it() {
    let sandbox = Sandbox::new()
        .file(".dockerignore", "*.md\n\n*.sh\n")
        .file("run.sh", "")
        .dockerfile("FROM scratch\nCOPY run.sh /\n");
    let failure = sandbox.build().unwrap_err();
    assert!(failure.text.contains(".dockerignore") && failure.text.contains("*.sh"), "{}", failure.text);
    assert!(failure.text.contains("Dockerfile:2:"), "{}", failure.text);
}
