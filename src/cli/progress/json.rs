//! `--progress=json`: one JSON object a line, on stderr.
//!
//! Every object has `type` and `at_ms`, the milliseconds since the command began. The types are those of
//! [`Event`], and three that end a build:
//!
//! | `type` | other members |
//! |---|---|
//! | `planned` | `steps`: array of `{step, title, inputs}`; `step` is an integer, `inputs` are steps |
//! | `started` | `step` |
//! | `output` | `step`, `stream` (`stdout`, `stderr`), `text` (not always whole lines) |
//! | `transfer` | `step` (or null), `what`, `done_bytes`, `total_bytes` (or null), `finished` |
//! | `finished` | `step`, `outcome` (`cached`, `done`, `failed`, `cancelled`), `duration_ms`, `message` if it failed |
//! | `warning` | `message` |
//! | `lint` | `rule`, `message`, `url` (or null), `file`, `line`, `excerpt` |
//! | `phase` | `what`, `result` (null at its beginning) |
//! | `used` | `step`, `cpu_ms`, `peak_memory_bytes` |
//! | `kept` | `step`, `layer_bytes` (uncompressed) |
//! | `critical_path` | `path_ms`, `executed_steps`, `cached_steps`, `links`: array of `{number (null for a phase), title, duration_ms, cpu_ms, peak_memory_bytes, layer_bytes}` |
//! | `built` | `image_id`, `manifest`, `tags`, `cached_steps`, `executed_steps` |
//! | `error` | `message`, `caused_by` (array), `text` (as it is printed elsewhere) |
//!
//! Members and types may be added; those here stay.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::View;
use crate::cli::{Error, report};
use crate::diagnostic::Style;
use crate::engine::BuildResult;
use crate::solve::{CriticalPath, Event};

/// Writes events as they are.
pub(super) struct Json<W> {
    out: W,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    at_ms: u128,
}

impl<W: Write> Json<W> {
    pub(super) fn new(out: W) -> Json<W> {
        Json { out }
    }
}

impl<W: Write + Send> View for Json<W> {
    fn event(&mut self, event: &Event, at: Duration) {
        let line = serde_json::to_string(&Line { event, at_ms: at.as_millis() }).expect("events have string keys");
        // In one write, so that lines of several processes on one pipe stay whole. Nobody reads a closed stderr.
        let _ = self.out.write_all((line + "\n").as_bytes());
    }
}

/// Returns the event after a build that succeeded.
pub(super) fn built(result: &BuildResult, at: Duration) -> String {
    json!({
        "type": "built",
        "image_id": result.image_id,
        "manifest": result.root.digest,
        "tags": result.tags,
        "cached_steps": result.cached_steps,
        "executed_steps": result.executed_steps,
        "at_ms": milliseconds(at),
    })
    .to_string()
}

/// Returns the event that says where the time went.
pub(super) fn critical_path(path: &CriticalPath, at: Duration) -> String {
    let mut line = serde_json::to_value(path).expect("it has string keys");
    line["type"] = json!("critical_path");
    line["at_ms"] = json!(milliseconds(at));
    format!("{line}\n")
}

/// Returns the event after an operation that failed.
pub(super) fn failed(error: &Error, at: Duration) -> String {
    json!({
        "type": "error",
        "message": error.to_string(),
        "caused_by": report::causes(error).map(ToString::to_string).collect::<Vec<_>>(),
        "text": report::text(error, Style::Plain),
        "at_ms": milliseconds(at),
    })
    .to_string()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::plain::tests::BUILD;

    #[test]
    fn every_event_is_one_line_of_the_schema() {
        let mut out = Vec::new();
        let mut view = Json::new(&mut out);
        BUILD.play(&mut view);
        let expected = r#"{"type":"planned","steps":[{"step":0,"title":"[1/3] FROM base","inputs":[]},{"step":1,"title":"[2/3] RUN make","inputs":[0]},{"step":2,"title":"[3/3] RUN test","inputs":[0]}],"at_ms":0}
{"type":"finished","step":0,"outcome":"cached","duration_ms":0,"at_ms":10}
{"type":"started","step":1,"at_ms":20}
{"type":"started","step":2,"at_ms":30}
{"type":"output","step":1,"stream":"stdout","text":"cc a.c\ncc ","at_ms":143}
{"type":"output","step":2,"stream":"stderr","text":"test 1\n","at_ms":150}
{"type":"output","step":1,"stream":"stdout","text":"b.c\n","at_ms":200}
{"type":"warning","message":"clock skew","at_ms":210}
{"type":"finished","step":1,"outcome":"done","duration_ms":1200,"at_ms":1220}
{"type":"finished","step":2,"outcome":"failed","message":"exited with code 1","duration_ms":1400,"at_ms":1430}
"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
