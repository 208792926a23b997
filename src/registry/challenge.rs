use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be told who asks (RFC 9110, "WWW-Authenticate"; distribution, "Token Authentication").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from the server at `realm`.
    Bearer {
        /// A URL.
        realm: String,
        /// Which of the registries that the server serves this is.
        service: Option<String>,
        /// What the token must allow, separated by spaces.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Returns the strongest challenge among all in all headers that kiln can answer.
    pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<Challenge> = texts.flat_map(parse).collect();
        all.iter().find(|challenge| **challenge != Challenge::Basic).or(all.first()).cloned()
    }
}

/// One scheme with its parameters, in lower case except the values.
struct Raw<'a> {
    scheme: &'a str,
    parameters: Vec<(String, String)>,
}

fn parse(text: &str) -> Vec<Challenge> {
    let known = |raw: Raw<'_>| {
        let get = |name: &str| raw.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match raw.scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
            _ => None,
        }
    };
    raw(text).into_iter().filter_map(known).collect()
}

/// Splits a header. A word that `=` does not follow begins the next challenge; what is no challenge ends the reading.
fn raw(mut rest: &str) -> Vec<Raw<'_>> {
    let mut found: Vec<Raw<'_>> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| " \t,=".contains(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            found.push(Raw { scheme: word, parameters: Vec::new() });
            rest = after;
            continue;
        };
        let (value, after) = parameter_value(value.trim_start());
        if let Some(raw) = found.last_mut() {
            raw.parameters.push((word.to_ascii_lowercase(), value));
        }
        rest = after;
    }
}

/// Returns a quoted string without quotes and backslashes, or a token, and what follows.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| " \t,".contains(c)).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[place + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read() {
        let hub = bearer("https://a/token", Some("registry.docker.io"), Some("repository:l/a:pull,push"));
        for (text, expected) in [
            (
                r#"Bearer realm="https://a/token",service="registry.docker.io",scope="repository:l/a:pull,push""#,
                vec![hub.clone()],
            ),
            (r#"bearer Realm = "https://a" , error="invalid_token""#, vec![bearer("https://a", None, None)]),
            (r#"Bearer realm=https://a,service="a \"b\", c""#, vec![bearer("https://a", Some(r#"a "b", c"#), None)]),
            (r#"Basic realm="r", Bearer realm="https://a""#, vec![Challenge::Basic, bearer("https://a", None, None)]),
            ("Basic", vec![Challenge::Basic]),
            (r#"Negotiate abc==, Basic realm="x""#, vec![Challenge::Basic]),
            (r#"Bearer service="x""#, vec![]),
            (r#"Bearer realm="unfinished"#, vec![bearer("unfinished", None, None)]),
            ("", vec![]),
            ("=,=", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn tokens_are_preferred_to_passwords() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"r\"".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        assert_eq!(Challenge::of(&headers), Some(bearer("https://a", None, None)));
    }
}
