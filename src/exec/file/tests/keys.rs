use super::*;

fn recipe(directory: &TempDir, action: FileAction) -> String {
    let context = context(directory.path(), "");
    let op = graph::File { base: Some(BASE), actions: vec![action] };
    select(&op, &[None, Some(Source::Context(&context))]).unwrap().recipe().to_string()
}

fn of(files: &str, action: FileAction) -> String {
    recipe(&on_disk(files), action)
}

#[test]
fn content_mode_and_names_matter() {
    let same = of(FILES, copy("dir", "/d"));
    for (before, after) in [
        ("dir/a a", "dir/a b"),
        ("640 0:0 dir/a", "644 0:0 dir/a"),
        ("700 0:0 dir/sub", "755 0:0 dir/sub"),
        ("link ../a", "link ../b"),
        ("dir/sub/b b", "dir/sub/c b"),
    ] {
        assert_ne!(of(&FILES.replace(before, after), copy("dir", "/d")), same, "{before}");
    }
    assert_ne!(of(FILES, copy("dir", "/e")), same);
    assert_ne!(of(FILES, copy_with("dir", "/d", owned("7"))), same);
    assert_ne!(of(FILES, copy("f1.txt", "/d/")), of(&FILES.replace("f1.txt one", "f3.txt one"), copy("f3.txt", "/d/")));
}

#[test]
fn times_places_and_the_directory_itself_do_not() {
    let directory = on_disk(FILES);
    let before = recipe(&directory, copy("dir", "/d"));
    fs::write(directory.path().join("dir/a"), "a").unwrap();
    fs::set_permissions(directory.path().join("dir"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(recipe(&directory, copy("dir", "/d")), before);
    fs::rename(directory.path().join("dir"), directory.path().join("moved")).unwrap();
    assert_eq!(recipe(&directory, copy("moved/", "/d")), before);
    assert_eq!(of(FILES, copy("dir", "/d")), before);
}

#[test]
fn hard_links_matter() {
    let linked = of("d 755 0:0 d\nf 644 0:0 d/a x\nh d/b d/a", copy("d", "/d"));
    assert_ne!(of("d 755 0:0 d\nf 644 0:0 d/a x\nf 644 0:0 d/b x", copy("d", "/d")), linked);
}

#[test]
fn inputs_are_listed_in_order_wherever_they_are_copied() {
    let directory = on_disk(FILES);
    let context = context(directory.path(), "");
    let op = graph::File { base: None, actions: vec![copy("f1.txt", "/d/"), copy("dir", "/d"), copy("dir/a", "/")] };
    let selection = select(&op, &[None, Some(Source::Context(&context))]).unwrap();
    let paths: Vec<String> = selection.inputs().map(|input| String::from_utf8(input.path).unwrap()).collect();
    assert_eq!(paths, ["dir/a", "dir/a", "dir/sub", "dir/sub/b", "dir/sub/link", "f1.txt"]);
}
