//! How an image ran in the middle of its making. Its config tells only how it runs in the end; the instructions of its
//! history tell the rest.

use std::collections::BTreeSet;

use crate::oci::{ContainerConfig, ImageConfig};

/// What instructions stand behind that classic builders ran no process for.
const CLASSIC: &str = "/bin/sh -c #(nop) ";

/// Returns how an image ran after its first `step` instructions: environment, user, directory and shell.
pub(super) fn config_at(config: &ImageConfig, step: usize) -> ContainerConfig {
    let said: Vec<&str> = config.history.iter().map(|item| instruction(item.created_by.as_deref())).collect();
    let (before, after) = said.split_at(step.min(said.len()));
    let whole = &config.config;
    let last = |word: &str, items: &[&str]| {
        items.iter().rev().find_map(|item| item.strip_prefix(word)).map(|rest| rest.trim().to_owned())
    };
    // What no instruction tells of has been there from the beginning.
    let then = |word: &str, now: &str| match (last(word, before), last(word, after)) {
        (Some(then), _) => then,
        (None, Some(_)) => String::new(),
        (None, None) => now.to_owned(),
    };
    ContainerConfig {
        env: environment(&whole.env, before, after),
        working_dir: then("WORKDIR ", &whole.working_dir),
        user: then("USER ", &whole.user),
        ..whole.clone()
    }
}

fn instruction(created_by: Option<&str>) -> &str {
    let text = created_by.unwrap_or_default();
    text.strip_prefix(CLASSIC).unwrap_or(text).trim_start()
}

/// Returns the variables after the instructions `before`. A value that holds to the end is read there, as a history
/// does not tell where one of several values ends.
fn environment(last: &[String], before: &[&str], after: &[&str]) -> Vec<String> {
    let later: BTreeSet<&str> = variables(after).into_iter().map(|(name, _)| name).collect();
    let mut then: Vec<(String, String)> = Vec::new();
    for item in last {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        if !later.contains(name) {
            then.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in variables(before).into_iter().filter(|(name, _)| later.contains(name)) {
        match then.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => then.push((name.to_owned(), value)),
        }
    }
    then.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Returns what instructions set.
fn variables<'a>(instructions: &[&'a str]) -> Vec<(&'a str, String)> {
    instructions.iter().filter_map(|item| item.strip_prefix("ENV ")).flat_map(pairs).collect()
}

/// Splits `A=1 B=x y`: a name begins after a blank and ends before `=`.
fn pairs(text: &str) -> Vec<(&str, String)> {
    let is_name = |word: &&str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let mut found: Vec<(&str, String)> = Vec::new();
    for word in text.split(' ') {
        match (word.split_once('=').filter(|_| is_name(&word)), found.last_mut()) {
            (Some((name, value)), _) => found.push((name, value.to_owned())),
            (None, Some((_, value))) => *value += &format!(" {word}"),
            (None, None) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::History;

    fn config() -> ImageConfig {
        let item = |text: &str| History { created_by: Some(text.to_owned()), ..History::default() };
        let history = [
            "/bin/sh -c #(nop) ADD file:1 in / ",
            "/bin/sh -c #(nop)  ENV PATH=/bin LANG=a b",
            "WORKDIR /first",
            "RUN /bin/sh -c a # buildkit",
            "ENV LANG=c",
            "USER me",
            "WORKDIR /second",
        ];
        let run = ContainerConfig {
            env: ["PATH=/bin", "LANG=c", "HIDDEN=1"].map(str::to_owned).to_vec(),
            working_dir: "/second".into(),
            user: "me".into(),
            ..ContainerConfig::default()
        };
        ImageConfig { config: run, history: history.map(item).to_vec(), ..ImageConfig::default() }
    }

    #[test]
    fn what_held_in_the_middle_is_told_from_what_holds_in_the_end() {
        let config = config();
        let at = |step: usize| {
            let then = config_at(&config, step);
            (then.env.join(" "), then.working_dir, then.user)
        };
        let of = |env: &str, directory: &str, user: &str| (env.to_owned(), directory.to_owned(), user.to_owned());
        assert_eq!(at(1), of("HIDDEN=1", "", ""));
        assert_eq!(at(2), of("PATH=/bin HIDDEN=1 LANG=a b", "", ""));
        assert_eq!(at(4), of("PATH=/bin HIDDEN=1 LANG=a b", "/first", ""));
        assert_eq!(at(5), of("PATH=/bin LANG=c HIDDEN=1", "/first", ""));
        assert_eq!(at(7), of("PATH=/bin LANG=c HIDDEN=1", "/second", "me"));
        assert_eq!(config_at(&config, 99), config.config);
    }

    #[test]
    fn an_image_without_a_history_runs_as_it_says() {
        let config = ImageConfig { history: Vec::new(), ..config() };
        assert_eq!(config_at(&config, 0), config.config);
    }
}
