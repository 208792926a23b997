use super::*;
use crate::oci::Digest;

fn policy(rules: &str) -> Policy {
    Policy::parse("p.json", &format!("{{\"rules\": [{rules}]}}")).unwrap()
}

fn rule(action: &str, selector: &str) -> String {
    format!(r#"{{"action": "{action}", "selector": {{"identifier": "{selector}"}}}}"#)
}

fn convert(selector: &str, updates: &str) -> String {
    format!(r#"{{"action": "CONVERT", "selector": {selector}, "updates": {updates}}}"#)
}

/// Returns what becomes of a source: `denied` and the number of the rule, or its identifier and checksum.
fn judged(policy: &Policy, source: &str) -> String {
    let subject = match Git::parse(source) {
        _ if source.starts_with("docker-image://") || source.starts_with("local://") => {
            Subject { identifier: source.to_owned(), attributes: std::collections::BTreeMap::new() }
        }
        Some(git) => Subject::of_git(&git.unwrap()),
        None => Subject::of_http(&Http::of_url(source)),
    };
    match policy.judge(&subject) {
        Ok(judged) => match judged.attributes.get("http.checksum") {
            Some(checksum) => format!("{} {checksum}", judged.identifier),
            None => judged.identifier,
        },
        Err(PolicyError::Denied { rule, .. }) => format!("denied by {rule}"),
        Err(error) => error.to_string(),
    }
}

const ALPINE: &str = "docker-image://docker.io/library/alpine:latest";
const BUSYBOX: &str = "docker-image://docker.io/library/busybox:latest";

#[test]
fn the_last_rule_about_a_source_decides() {
    let all = rule("DENY", "*");
    for (rules, source, expected) in [
        (vec![], ALPINE, ALPINE),
        (vec![all.clone()], ALPINE, "denied by 1"),
        (vec![all.clone()], "local://context", "denied by 1"),
        (vec![all.clone(), rule("ALLOW", ALPINE)], ALPINE, ALPINE),
        (vec![all.clone(), rule("ALLOW", ALPINE)], BUSYBOX, "denied by 1"),
        (vec![rule("ALLOW", ALPINE), all.clone()], ALPINE, "denied by 2"),
        (vec![rule("DENY", ALPINE), rule("ALLOW", "*"), rule("DENY", ALPINE)], ALPINE, "denied by 3"),
        // A name that is allowed may have a digest.
        (vec![all.clone(), rule("ALLOW", ALPINE)], &format!("{ALPINE}@sha256:1"), &format!("{ALPINE}@sha256:1")),
        (vec![rule("DENY", "*@sha256:1")], &format!("{ALPINE}@sha256:1"), "denied by 1"),
        (vec![rule("DENY", "https://*")], "http://x.example/a", "http://x.example/a"),
        (vec![rule("DENY", "git://x.example/*")], "https://x.example/a.git#v1:d", "denied by 1"),
        (vec![rule("DENY", "git://x.example/a#main")], "git@x.example:a#main", "denied by 1"),
        (vec![rule("DENY", "https://x.example/*")], "https://x.example/a.git#v1", "git://x.example/a.git#v1"),
    ] {
        assert_eq!(judged(&policy(&rules.join(",")), source), expected, "{rules:?} {source}");
    }
}

#[test]
fn no_spelling_of_a_source_is_another_one() {
    let evil = policy(&format!("{},{}", rule("DENY", "*://evil.example/*"), rule("DENY", "*://x.example/private/*")));
    let friends = policy(&format!("{},{}", rule("DENY", "*"), rule("ALLOW", "*://x.example/public/*")));
    for source in [
        "http://EVIL.example/a",
        "http://me:pw@evil.example:80/a",
        "https://evil.example:443/a.git",
        "git@Evil.example:a",
        "ssh://me@EVIL.example/a",
        "http://x.example/public/../private/a",
        "http://x.example/public/%2E%2e/private/a",
        "https://x.example/public/../private/a.git",
    ] {
        assert_eq!(judged(&friends, source), "denied by 1", "{source}");
        assert!(judged(&evil, source).starts_with("denied by"), "{source}");
    }
    assert!(evil.image(&"EVIL.example/a".parse().unwrap(), false).is_err());
    // Who asks is no part of the source, and still asks.
    let pinned = convert(r#"{"identifier":"http://x.example/a"}"#, r#"{"attrs":{"git.checksum":"1"}}"#);
    let http = Http::of_url("http://me:pw@x.example/a");
    assert_eq!(policy(&pinned).http(&http).unwrap().url, http.url);
}

#[test]
fn sources_are_matched_as_their_selectors_say() {
    let deny = |identifier: &str, kind: &str| {
        let identifier = serde_json::to_string(identifier).unwrap();
        policy(&format!(r#"{{"action":"DENY","selector":{{"identifier":{identifier},{kind}}}}}"#))
    };
    for (identifier, kind, expected) in [
        ("docker-image://docker.io/library/alp*", "\"matchType\":\"WILDCARD\"", true),
        ("docker-image://docker.io/library/alp", "\"matchType\":\"WILDCARD\"", false),
        ("docker-image://docker.io/*/alpine:*", "\"match_type\":\"WILDCARD\"", true),
        ("docker-image://docker.io/library/alpine:lates.", "\"constraints\":[]", false),
        ("docker-image://docker.io/library/alp*", "\"matchType\":\"EXACT\"", false),
        (ALPINE, "\"matchType\":\"EXACT\"", true),
        ("library/(alpine|debian):", "\"matchType\":\"REGEX\"", true),
        ("^library", "\"matchType\":\"REGEX\"", false),
    ] {
        let found = judged(&deny(identifier, kind), ALPINE).starts_with("denied");
        assert_eq!(found, expected, "{identifier} {kind}");
    }
}

#[test]
fn attributes_are_conditions() {
    let digest = Digest::of(b"x");
    let http = Http { checksum: Some(digest), ..Http::of_url("https://x.example/a") };
    let attribute = |constraint: &str| {
        let text = format!(
            r#"{{"action":"DENY","selector":{{"identifier":"*","constraints":[{{"key":"http.checksum",{constraint}}}]}}}}"#
        );
        policy(&text).http(&http).is_err()
    };
    for (constraint, expected) in [
        (format!(r#""value":"{digest}""#), true),
        (r#""value":"other""#.to_owned(), false),
        (r#""condition":"NOTEQUAL""#.to_owned(), true),
        (r#""condition":"MATCHES","value":"^sha256:""#.to_owned(), true),
        (r#""condition":"MATCHES","value":"^$""#.to_owned(), false),
    ] {
        assert_eq!(attribute(&constraint), expected, "{constraint}");
    }
}

#[test]
fn sources_become_others() {
    let sum = Digest::of(b"x");
    let wild = r#"{"identifier":"docker-image://docker.io/library/*:1.*"}"#;
    let regex = r#"{"identifier":"docker\\.io/library/(?P<name>\\w+)","matchType":"REGEX"}"#;
    let exact = |identifier: &str| format!(r#"{{"identifier":"{identifier}","matchType":"EXACT"}}"#);
    let to = |identifier: &str| format!(r#"{{"identifier":"{identifier}"}}"#);
    let checksum = format!(r#"{{"attrs":{{"http.checksum":"{sum}"}}}}"#);
    for (rules, source, expected) in [
        (
            vec![convert(wild, &to("docker-image://x.example/${1}:2.$2"))],
            "docker-image://docker.io/library/a:1.9",
            "docker-image://x.example/a:2.9".to_owned(),
        ),
        (
            vec![convert(regex, &to("x.example/${name}er"))],
            ALPINE,
            "docker-image://x.example/alpineer:latest".to_owned(),
        ),
        (vec![convert(&exact(ALPINE), &to(&format!("{ALPINE}@sha256:1")))], ALPINE, format!("{ALPINE}@sha256:1")),
        (
            vec![convert(r#"{"identifier":"https://*"}"#, &checksum)],
            "https://x.example/a",
            format!("https://x.example/a {sum}"),
        ),
        // What a source becomes is judged as well, by all the rules.
        (vec![rule("DENY", ALPINE), convert(&exact(BUSYBOX), &to(ALPINE))], BUSYBOX, "denied by 1".to_owned()),
        (vec![convert(&exact(BUSYBOX), &to(ALPINE)), rule("DENY", BUSYBOX)], BUSYBOX, ALPINE.to_owned()),
        (
            vec![convert(&exact(BUSYBOX), &to(ALPINE)), convert(&exact(ALPINE), &to(BUSYBOX))],
            BUSYBOX,
            format!("source {BUSYBOX:?}: the CONVERT rules of p.json have no end"),
        ),
    ] {
        assert_eq!(judged(&policy(&rules.join(",")), source), expected, "{rules:?}");
    }
}

#[test]
fn what_a_source_becomes_is_of_its_kind() {
    let git = |text: &str| Git::parse(text).unwrap().unwrap();
    let to =
        |identifier: &str| policy(&convert(r#"{"identifier":"*"}"#, &format!(r#"{{"identifier":"{identifier}"}}"#)));
    let pinned = to("git://x.example/a#v2:d").git(&git("ssh://git@x.example/a#v1")).unwrap();
    assert_eq!((pinned.remote.as_str(), pinned.reference.as_deref()), ("ssh://git@x.example/a", Some("v2")));
    assert_eq!(pinned.subdirectory.as_deref(), Some("d"));
    assert_eq!(to("git://y.example/b.git").git(&git("git@x.example:a")).unwrap().remote, "https://y.example/b.git");
    let image: Reference = "alpine".parse().unwrap();
    for wrong in [
        to("https://x.example/").image(&image, false).map(drop),
        to("docker-image://alpine").http(&Http::of_url("https://me:pw@x.example/a?token")).map(drop),
        to("local://other").local("context"),
    ] {
        let message = wrong.unwrap_err().to_string();
        assert!(
            message.contains("of another kind") && !message.contains("pw") && !message.contains("token"),
            "{message}"
        );
    }
}

#[test]
fn what_is_wrong_in_a_policy_is_told_with_its_place() {
    let told = |text: &str| -> Vec<(String, String)> {
        let Err(Error::Diagnostics { file, found }) = Policy::parse("p.json", text) else { panic!("{text}") };
        found.into_iter().map(|each| (each.message, file.slice(each.labels[0].0).to_owned())).collect()
    };
    for (rule, message) in [
        (r#"{"action": "FORBID"}"#, "unknown variant `FORBID`"),
        (r#"{"action": "DENY"}"#, "missing field `selector`"),
        (r#"{"selector": {"identifer": "a"}}"#, "unknown field `identifer`"),
        ("{\"selector\": {\n\"identifier\": \"**\"\n}}", "invalid wildcard `**`"),
        (
            r#"{"selector": {"identifier": "(", "matchType": "REGEX"}}"#,
            "invalid regular expression `(`: unclosed group",
        ),
        (r#"{"action": "CONVERT", "selector": {"identifier": "é"}}"#, "a rule that is a CONVERT needs `updates`"),
        (r#"{"selector": {"identifier": "a"}, "updates": {"attrs": {"http.uid": "0"}}}"#, "`http.uid` cannot be set"),
        (r#"{"selector": {"identifier": "a"}, "updates": {"attrs": {"http.checksum": "x"}}}"#, "invalid checksum `x`"),
        ("1", "invalid type: integer `1`"),
    ] {
        // Every rule is looked at.
        let found = told(&format!("{{\"rules\": [\n  {rule},\n  {rule}\n]}}"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|(said, place)| said.contains(message) && place == rule), "{found:?}");
    }
    for (text, message, place) in [
        ("{\"ruels\": []}", "unknown field `ruels`", "{\"ruels\""),
        ("{\n  \"rules\": x}", "expected value", "  \"rules\": x"),
        ("", "EOF while parsing", ""),
        ("{\n\n", "EOF while parsing", ""),
        ("[é", "expected value", "[é"),
    ] {
        let found = told(text);
        assert!(found[0].0.contains(message) && found[0].1 == place, "{text}: {found:?}");
    }
}
