//! Keys and tokens in the text, known by their form.

use super::Rule;
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::dockerfile::ast::Dockerfile;

/// Forms that services gave their tokens so that they can be found: what they begin with, and how many letters follow
/// at least.
const TOKENS: [(&str, usize, &str); 20] = [
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghu_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("ghr_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xoxa-", 20, "a Slack token"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("AIza", 35, "a Google API key"),
    ("npm_", 36, "an npm token"),
    ("pypi-AgEI", 40, "a PyPI token"),
    ("dckr_pat_", 20, "a Docker Hub token"),
    ("hf_", 34, "a Hugging Face token"),
    ("dop_v1_", 40, "a DigitalOcean token"),
];

const HELP: &str = "give it to the step that needs it with `RUN --mount=type=secret`";

pub(super) fn check(file: &Dockerfile, source: &Source, found: &mut Vec<Diagnostic>) {
    for instruction in &file.instructions {
        let text = source.slice(instruction.span);
        let hits = private_keys(text).into_iter().chain(tokens(text)).chain(passwords(text));
        found.extend(hits.map(|(range, what)| {
            let span = Span::new(instruction.span.start + range.start, instruction.span.start + range.end);
            let message = format!("what looks like {what} stands in the Dockerfile");
            Rule::SecretValue.at(span, message).with_help(HELP)
        }));
    }
}

type Hits<'a> = Vec<(std::ops::Range<usize>, &'a str)>;

fn private_keys(text: &str) -> Hits<'static> {
    let begins = text.match_indices("-----BEGIN ");
    let ends = begins.filter_map(|(start, _)| {
        let line = text[start..].lines().next()?;
        // Longer than any kind of key is called.
        let line = line.char_indices().nth(64).map_or(line, |(end, _)| &line[..end]);
        let end = line.find("PRIVATE KEY")? + "PRIVATE KEY".len();
        Some((start..start + end, "a private key"))
    });
    ends.collect()
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

fn tokens(text: &str) -> Hits<'static> {
    let mut hits = Vec::new();
    let mut start = 0;
    for run in text.split_inclusive(|c| !is_token(c)) {
        let word = run.trim_end_matches(|c| !is_token(c));
        let known = TOKENS.iter().find(|(prefix, least, _)| {
            word.strip_prefix(prefix).is_some_and(|rest| {
                rest.len() >= *least
                    && rest.chars().all(|c| c != '.')
                    && rest.chars().any(|c| c.is_ascii_alphanumeric())
            })
        });
        let what = known.map(|(_, _, what)| *what).or_else(|| is_web_token(word).then_some("a JSON web token"));
        hits.extend(what.map(|what| (start..start + word.len(), what)));
        start += run.len();
    }
    hits
}

/// Tells whether a word is three parts of base64 of which the first two are JSON objects.
fn is_web_token(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    matches!(parts[..], [head, body, signature]
        if head.starts_with("eyJ") && body.starts_with("eyJ") && head.len() > 12 && body.len() > 12 && signature.len() > 12)
}

/// Finds `scheme://user:password@host`.
fn passwords(text: &str) -> Hits<'static> {
    let authorities = text.match_indices("://").filter_map(|(place, colon)| {
        let start = place + colon.len();
        let end = text[start..].find(['/', ' ', '\t', '\n', '"', '\'', '\\', '?', '#']).unwrap_or(text.len() - start);
        let (user, _) = text[start..start + end].rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        let is_written = password.len() > 2 && !password.contains(['$', '<', '{', '*']);
        is_written.then(|| (start + name.len() + 1..start + user.len(), "the password of a URL"))
    });
    authorities.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_form() {
        let token = "a1B2".repeat(10);
        for (text, expected) in [
            (format!("ENV T=ghp_{token}"), Some("a GitHub token")),
            ("ENV T=ghp_short".to_owned(), None),
            (format!("ENV T=xghp_{token}"), None),
            ("ENV K=AKIAIOSFODNN7EXAMPLE".to_owned(), Some("an AWS access key")),
            ("RUN echo '-----BEGIN OPENSSH PRIVATE KEY-----'".to_owned(), Some("a private key")),
            ("RUN echo '-----BEGIN CERTIFICATE-----'".to_owned(), None),
            ("ARG U=https://me:hunter2@x.example/a".to_owned(), Some("the password of a URL")),
            ("ARG U=https://me:$PASSWORD@x.example/a".to_owned(), None),
            ("ARG U=https://x.example:80/a@b".to_owned(), None),
            (format!("ENV J=eyJ{token}.eyJ{token}.{token}"), Some("a JSON web token")),
        ] {
            let hits = [private_keys(&text), tokens(&text), passwords(&text)].concat();
            assert_eq!(hits.first().map(|(_, what)| *what), expected, "{text}");
            assert!(hits.iter().all(|(range, _)| text.get(range.clone()).is_some()), "{text}");
        }
    }
}
