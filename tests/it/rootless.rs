//! kiln as a normal user: with subordinate ids, and with none.

use crate::support::{Image, Need, Sandbox, User, require};

fn users() -> Vec<User> {
    // Only root can become other users.
    if !(require(Need::Root) && require(Need::UserNamespaces) && require(Need::Busybox)) {
        return Vec::new();
    }
    if require(Need::SubordinateIds) { vec![User::Subordinate, User::Single] } else { vec![User::Single] }
}

/// Builds `text` over busybox as every user.
fn for_each(text: &str, check: impl Fn(User, &Sandbox, &Image)) {
    for user in users() {
        let sandbox = Sandbox::of(user).file("a", "1").busybox(text);
        let image = sandbox.build().unwrap_or_else(|failure| panic!("as {user:?}: {}", failure.text));
        image.validate();
        check(user, &sandbox, &image);
    }
}

#[test]
fn steps_run_and_files_belong_to_root_of_the_image() {
    for_each("COPY a /a\nRUN id -u > /uid && rm /a && mkdir /d && touch /d/x\n", |user, _, image| {
        assert_eq!(image.file("/uid"), "0\n", "{user:?}");
        assert!(image.find("/a").is_none(), "{user:?}");
        assert_eq!(image.find("/d/x").unwrap().owner(), (0, 0), "{user:?}");
    });
}

#[test]
fn copies_have_the_owner_that_is_asked_for() {
    for_each("COPY --chown=7:8 a /owned\n", |user, _, image| {
        assert_eq!(image.find("/owned").unwrap().owner(), (7, 8), "{user:?}");
    });
}

#[test]
fn a_second_build_runs_nothing() {
    for_each("RUN echo x > /x\n", |user, sandbox, _| {
        assert_eq!(sandbox.build().unwrap().executed(), Vec::<&str>::new(), "{user:?}");
    });
}

#[test]
fn replaced_directories_are_opaque() {
    for_each("RUN mkdir /d && touch /d/old\nRUN rm -r /d && mkdir /d && touch /d/new\n", |user, _, image| {
        assert!(image.find("/d/old").is_none() && image.find("/d/new").is_some(), "{user:?}");
    });
}

#[test]
fn subordinate_ids_give_steps_other_users() {
    if !users().contains(&User::Subordinate) {
        return;
    }
    let sandbox = Sandbox::of(User::Subordinate).busybox("RUN mkdir -m 777 /out\nUSER 33:34\nRUN touch /out/x\n");
    let image = sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text));
    assert_eq!(image.find("/out/x").unwrap().owner(), (33, 34));
}

#[test]
fn the_store_is_removed_like_any_directory_of_the_user() {
    for_each("RUN mkdir -m 700 /private && touch /private/x\n", |user, sandbox, _| {
        let id = sandbox.kiln(&["images", "-q"]).ok();
        sandbox.kiln(&["rmi", "-f", id.trim()]).ok();
        assert_eq!(sandbox.kiln(&["images", "-q"]).ok(), "", "{user:?}");
    });
}

#[test]
fn a_file_that_this_user_may_not_read_is_named_and_can_be_left_out() {
    for user in users() {
        let sandbox = Sandbox::of(user).file("d/secret", "1").dockerfile("FROM scratch\nCOPY . /\n");
        let only_root = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(sandbox.context("d/secret"), only_root).unwrap();
        std::os::unix::fs::chown(sandbox.context("d/secret"), Some(0), Some(0)).unwrap();
        let text = sandbox.build().unwrap_err().text;
        assert!(text.contains("d/secret") && text.contains("`.dockerignore` keeps"), "as {user:?}: {text}");
        let sandbox = sandbox.file(".dockerignore", "d/secret\n");
        assert!(sandbox.build().unwrap_or_else(|failure| panic!("{}", failure.text)).find("/d").is_some());
    }
}
