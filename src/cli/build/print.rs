//! `kiln build --print`: what a Dockerfile means, and what is to be done for it.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::diagnostic::Source;
use crate::dockerfile::instruction::{Dockerfile, Instruction, Stage, Step};
use crate::frontend::Plan;
use crate::graph::{Node, NodeId};

/// What to print, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) what: What,
    pub(super) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The typed instructions, before variables are expanded.
    Instructions,
    /// The build graph of the target.
    Graph,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Dot,
}

impl FromStr for Print {
    type Err = String;

    fn from_str(text: &str) -> Result<Print, String> {
        let (what, form) = text.split_once(',').unwrap_or((text, "text"));
        let what = match what {
            "ir" => What::Instructions,
            "graph" => What::Graph,
            other => return Err(format!("`{other}` is neither ir nor graph")),
        };
        let form = match form.strip_prefix("format=").unwrap_or(form) {
            "text" => Form::Text,
            "json" => Form::Json,
            "dot" => Form::Dot,
            other => return Err(format!("`{other}` is none of text, json and dot")),
        };
        Ok(Print { what, form })
    }
}

/// Returns the typed instructions of a file.
pub(super) fn instructions(file: &Dockerfile, source: &Source, form: Form) -> String {
    match form {
        Form::Json => pretty(&serde_json::to_value(file).expect("keys are strings")),
        Form::Text => instructions_text(file, source),
        Form::Dot => instructions_dot(file),
    }
}

/// Returns the graph of a plan.
pub(super) fn graph(plan: &Plan, form: Form) -> String {
    let targets: Vec<NodeId> = plan.images.iter().filter_map(|image| image.target).collect();
    let needed = plan.graph.needed(&targets);
    let nodes: Vec<(NodeId, &Node)> = needed.into_iter().map(|id| (id, plan.graph.node(id))).collect();
    match form {
        Form::Json => graph_json(plan, &nodes),
        Form::Text => nodes.iter().map(|(id, node)| node_text(*id, node, &targets)).collect(),
        Form::Dot => graph_dot(&nodes, &targets),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("keys are strings") + "\n"
}

fn instructions_text(file: &Dockerfile, source: &Source) -> String {
    let mut text = String::new();
    for argument in &file.global_args {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "global line {}", source.line(argument.span.start));
        text += &indented(&value(&argument.value), 1);
    }
    for (index, stage) in file.stages.iter().enumerate() {
        let name = stage.name.as_ref().map(|name| format!(" {}", name.value)).unwrap_or_default();
        let platform = stage.platform.as_ref().map(|word| format!(" platform {}", word.value)).unwrap_or_default();
        let line = source.line(stage.span.start);
        let _ = writeln!(text, "stage {index}{name} from {}{platform} line {line}", stage.base.value);
        for step in &stage.steps {
            let _ = writeln!(text, "  step line {}", source.line(step.span.start));
            text += &indented(&value(&step.instruction), 2);
        }
    }
    text
}

/// Returns what serialises to JSON without places and without what is absent.
fn value(of: &impl serde::Serialize) -> Value {
    pruned(serde_json::to_value(of).expect("keys are strings"))
}

fn pruned(value: Value) -> Value {
    match value {
        Value::Object(mut members)
            if members.len() == 2 && members.contains_key("span") && members.contains_key("value") =>
        {
            pruned(members.remove("value").unwrap_or_default())
        }
        Value::Object(members) => {
            let kept = members.into_iter().map(|(key, value)| (key, pruned(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Returns a value as lines of `key: value`, two blanks deeper for each level.
fn indented(value: &Value, depth: usize) -> String {
    let blanks = "  ".repeat(depth);
    let lines = |key: &str, value: &Value| match value {
        Value::Object(members) if members.is_empty() => format!("{blanks}{key}:\n"),
        Value::Object(_) => format!("{blanks}{key}:\n{}", indented(value, depth + 1)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let each = items.iter().map(|item| format!("{blanks}  -\n{}", indented(item, depth + 2)));
            format!("{blanks}{key}:\n{}", each.collect::<String>())
        }
        scalar => format!("{blanks}{key}: {scalar}\n"),
    };
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| lines(key, value)).collect(),
        scalar => format!("{blanks}{scalar}\n"),
    }
}

fn instructions_dot(file: &Dockerfile) -> String {
    let mut text = "digraph dockerfile {\n  rankdir=LR\n  node [shape=box]\n".to_owned();
    for (index, stage) in file.stages.iter().enumerate() {
        let title = stage.name.as_ref().map_or_else(|| format!("stage {index}"), |name| name.value.clone());
        let _ = writeln!(text, "  subgraph cluster_{index} {{\n    label={}", quoted(&title));
        let _ = writeln!(text, "    s{index} [label={}]", quoted(&format!("FROM {}", stage.base.value)));
        for (number, step) in stage.steps.iter().enumerate() {
            let _ = writeln!(text, "    s{index}_{number} [label={}]", quoted(first_line(&step.text)));
            let before = number.checked_sub(1).map_or(format!("s{index}"), |number| format!("s{index}_{number}"));
            let _ = writeln!(text, "    {before} -> s{index}_{number}");
        }
        text += "  }\n";
    }
    for (index, stage) in file.stages.iter().enumerate() {
        let before = &file.stages[..index];
        let base = before.iter().rposition(|earlier| name(earlier) == Some(&stage.base.value));
        text.extend(base.map(|base| format!("  {} -> s{index}\n", last(file, base))));
        for (number, step) in stage.steps.iter().enumerate() {
            let sources = froms(step).filter_map(|from| meant(file, from)).filter(|other| *other < index);
            text.extend(sources.map(|other| format!("  {} -> s{index}_{number} [style=dashed]\n", last(file, other))));
        }
    }
    text + "}\n"
}

fn name(stage: &Stage) -> Option<&String> {
    stage.name.as_ref().map(|name| &name.value)
}

/// Returns the stages and images that a step reads.
fn froms(step: &Step) -> impl Iterator<Item = &str> {
    let (copied, mounts) = match &step.instruction {
        Instruction::Copy(copy) => (copy.from.as_ref(), &[][..]),
        Instruction::Run(run) => (None, &run.mounts[..]),
        _ => (None, &[][..]),
    };
    let mounted = mounts.iter().filter_map(|mount| mount.value.from.as_ref());
    copied.into_iter().chain(mounted).map(|from| from.value.as_str())
}

fn meant(file: &Dockerfile, from: &str) -> Option<usize> {
    let lower = from.to_lowercase();
    from.parse().ok().or_else(|| file.stages.iter().rposition(|stage| name(stage) == Some(&lower)))
}

/// Returns the last node of a stage.
fn last(file: &Dockerfile, stage: usize) -> String {
    match file.stages[stage].steps.len() {
        0 => format!("s{stage}"),
        steps => format!("s{stage}_{}", steps - 1),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Returns a string as dot quotes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn node_text(id: NodeId, node: &Node, targets: &[NodeId]) -> String {
    let target = if targets.contains(&id) { " (target)" } else { "" };
    let mut text = format!("#{} {}{target}\n  digest: {}\n", id.0, node.step.title, node.digest.digest());
    if let Some((source, span)) = &node.step.origin {
        let _ = writeln!(text, "  written: {}:{}", source.name(), source.line(span.start));
    }
    let inputs: Vec<String> = node.inputs.iter().map(|input| format!("#{}", input.0)).collect();
    if !inputs.is_empty() {
        let _ = writeln!(text, "  inputs: {}", inputs.join(" "));
    }
    text + &indented(&value(&node.op), 1)
}

fn graph_json(plan: &Plan, nodes: &[(NodeId, &Node)]) -> String {
    let node = |(id, node): &(NodeId, &Node)| {
        let origin = node.step.origin.as_ref();
        let written = origin.map(|(source, span)| json!({ "file": source.name(), "line": source.line(span.start) }));
        json!({
            "id": id,
            "digest": node.digest,
            "title": node.step.title,
            "written": written,
            "inputs": node.inputs,
            "op": node.op,
        })
    };
    let nodes: Vec<Value> = nodes.iter().map(node).collect();
    let targets: Vec<Value> = plan
        .images
        .iter()
        .map(|image| json!({ "platform": image.config.platform().to_string(), "node": image.target }))
        .collect();
    pretty(&json!({ "nodes": nodes, "targets": targets }))
}

fn graph_dot(nodes: &[(NodeId, &Node)], targets: &[NodeId]) -> String {
    let mut text = "digraph build {\n  rankdir=LR\n  node [shape=box]\n".to_owned();
    for (id, node) in nodes {
        let style = if targets.contains(id) { " style=bold" } else { "" };
        let _ = writeln!(text, "  n{} [label={}{style}]", id.0, quoted(first_line(&node.step.title)));
        for input in &node.inputs {
            let _ = writeln!(text, "  n{} -> n{}", input.0, id.0);
        }
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile;

    #[test]
    fn what_to_print_has_a_form() {
        for (text, expected) in [
            ("ir", Some((What::Instructions, Form::Text))),
            ("graph,format=dot", Some((What::Graph, Form::Dot))),
            ("graph,json", Some((What::Graph, Form::Json))),
            ("llb", None),
            ("ir,format=xml", None),
        ] {
            assert_eq!(text.parse::<Print>().ok().map(|print| (print.what, print.form)), expected, "{text}");
        }
    }

    #[test]
    fn instructions_are_text_and_dot() {
        let source = Source::new("Dockerfile", "ARG V=1\nFROM a AS b\nENV A=$V\nFROM b\nCOPY --from=b \"x\" /\n");
        let (file, _) = dockerfile::read(&source).unwrap();
        let expected = "\
global line 1
  declarations:
    -
      name: \"V\"
      default: \"1\"
stage 0 b from a line 2
  step line 3
    env:
      -
        key: \"A\"
        value: \"$V\"
stage 1 from b line 4
  step line 5
    copy:
      from: \"b\"
      sources: [\"\\\"x\\\"\"]
      destination: \"/\"
      flags:
";
        assert_eq!(instructions(&file, &source, Form::Text), expected);
        let dot = instructions(&file, &source, Form::Dot);
        for line in
            ["  s0_0 -> s1\n", "  s0_0 -> s1_0 [style=dashed]\n", "    s1_0 [label=\"COPY --from=b \\\"x\\\" /\"]\n"]
        {
            assert!(dot.contains(line), "{dot}");
        }
    }
}
