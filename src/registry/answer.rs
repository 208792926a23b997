use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use oci_distribution::errors::OciEnvelope;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::Error;
use super::error::Said;
use super::repository::Repository;
use crate::net;

/// Silence for so long means that nothing more will come.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// Enough for every explanation.
const MAX_EXPLANATION_BYTES: usize = 64 * 1024;

/// As much of an explanation as fits on a few lines.
const MAX_MESSAGE_CHARACTERS: usize = 300;

/// Reads a whole body, or nothing if it has more than `max` bytes.
pub(super) async fn body(response: &mut Response, max: usize) -> Result<Option<Vec<u8>>, net::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = net::within(SILENCE, response.chunk()).await?? {
        if bytes.len() + chunk.len() > max {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// Returns the error that an answer means. `request` says what was asked: `GET manifests/latest`.
pub(super) async fn refusal(repository: &Repository, request: String, mut response: Response) -> Error {
    let status = response.status();
    let retry_after = retry_after(response.headers(), Timestamp::now());
    // Without an explanation the status has to do.
    let source = body(&mut response, MAX_EXPLANATION_BYTES).await.ok().flatten().and_then(|bytes| said(&bytes));
    let host = repository.host().to_owned();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let known = repository.has_credential();
        return Error::Denied { host, repository: repository.to_string(), known, source };
    }
    Error::Refused { host, request, status: status.as_u16(), retry_after, source }
}

/// Reads an explanation (distribution-spec, "Error Codes"), or what others than registries write: token servers, proxies.
pub(super) fn said(bytes: &[u8]) -> Option<Said> {
    if let Ok(OciEnvelope { errors }) = serde_json::from_slice(bytes)
        && let Some(first) = errors.into_iter().next()
    {
        let code = serde_json::to_value(first.code).ok();
        let code = code.as_ref().and_then(|code| code.as_str()).unwrap_or_default();
        return Some(Said { code: presentable(code), message: presentable(&first.message) });
    }
    let message = match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(json) => {
            let member = ["details", "error_description", "message", "error"].iter().find_map(|name| json.get(name));
            member.and_then(|text| text.as_str()).map(str::to_owned)
        }
        // A page for browsers tells nothing here.
        Err(_) => std::str::from_utf8(bytes).ok().filter(|text| !text.trim_start().starts_with('<')).map(str::to_owned),
    };
    let message = presentable(&message?);
    (!message.is_empty()).then_some(Said { code: String::new(), message })
}

/// Servers may write anything; terminals must not obey it.
fn presentable(text: &str) -> String {
    let characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    characters.take(MAX_MESSAGE_CHARACTERS).collect()
}

/// Reads seconds or a date (RFC 9110, "Retry-After").
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_found() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}},{"code":"X"}]}"#,
                Some("manifest unknown (MANIFEST_UNKNOWN)"),
            ),
            (r#"{"errors":[{"code":"OWN_CODE"}]}"#, Some("OWN_CODE")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            ("upstream\x1b[2J gone\n", Some("upstream [2J gone")),
            (r#"{"errors":[]}"#, None),
            ("<html>502</html>", None),
            ("", None),
        ] {
            assert_eq!(said(body.as_bytes()).map(|said| said.to_string()).as_deref(), expected, "{body}");
        }
        assert_eq!(said("x".repeat(1000).as_bytes()).unwrap().message.len(), MAX_MESSAGE_CHARACTERS);
    }

    #[test]
    fn patience_is_asked_for_in_seconds_or_with_a_date() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:20 GMT", Some(0)),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
