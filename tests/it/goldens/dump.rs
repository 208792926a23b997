//! Values of the language as short, readable text: every place is `line:column-column`.

use std::fmt::Write;

use kiln::diagnostic::{Source, Span, Spanned};
use kiln::dockerfile::ast::{Arguments, Declaration, Dockerfile, Flag, Heredoc, Instruction, Pair};
use kiln::dockerfile::instruction;
use kiln::frontend::Plan;
use kiln::oci::Digest;

/// Returns a place: columns are characters, from 1, and the end is one past the last.
pub(super) fn place(source: &Source, span: Span) -> String {
    let (line, column) = line_column(source, span.start);
    let (last, end) = line_column(source, span.end);
    if line == last { format!("{line}:{column}-{end}") } else { format!("{line}:{column}-{last}:{end}") }
}

fn line_column(source: &Source, offset: usize) -> (usize, usize) {
    let before = &source.text()[..offset];
    let start = before.rfind('\n').map_or(0, |feed| feed + 1);
    (source.line(offset), before[start..].chars().count() + 1)
}

/// Returns what was written, a paragraph for each instruction.
pub(super) fn ast(file: &Dockerfile, source: &Source) -> String {
    let mut text = format!("escape {}\n", file.escape);
    for directive in &file.directives {
        let key = Spanned::new(directive.key.value.as_str().to_owned(), directive.key.span);
        writeln!(text, "directive {} = {}", quoted(&key, source), quoted(&directive.value, source)).unwrap();
    }
    for instruction in &file.instructions {
        text.push('\n');
        text.push_str(&block(instruction, source));
    }
    text
}

fn block(instruction: &Instruction, source: &Source) -> String {
    let keyword = instruction.keyword.map_or("?", |keyword| keyword.as_str());
    let mut text =
        format!("{keyword} {} name {}\n", place(source, instruction.span), quoted(&instruction.name, source));
    for comment in &instruction.comments {
        writeln!(text, "  comment {}", quoted(comment, source)).unwrap();
    }
    for flag in &instruction.flags {
        writeln!(text, "  flag {}", flag_line(flag, source)).unwrap();
    }
    for line in arguments(&instruction.arguments, source).lines() {
        writeln!(text, "  {line}").unwrap();
    }
    for heredoc in &instruction.heredocs {
        writeln!(text, "  heredoc {}", heredoc_line(heredoc, source)).unwrap();
    }
    text
}

fn quoted(word: &Spanned<String>, source: &Source) -> String {
    format!("{:?}@{}", word.value, place(source, word.span))
}

fn flag_line(flag: &Flag, source: &Source) -> String {
    let value = flag.value.as_ref().map(|value| Spanned::new(value.as_str().to_owned(), value.span()));
    let value = value.map_or(String::new(), |value| format!(" = {}", quoted(&value, source)));
    format!("{}{value}", quoted(&flag.name, source))
}

fn heredoc_line(heredoc: &Heredoc, source: &Source) -> String {
    let expand = if heredoc.expand { "expanded" } else { "literal" };
    let chomp = if heredoc.chomp { " chomped" } else { "" };
    let (marker, body) = (place(source, heredoc.marker), quoted(&heredoc.body, source));
    format!("{:?}@{marker} descriptor {} {expand}{chomp} {body}", heredoc.name, heredoc.descriptor)
}

fn arguments(arguments: &Arguments, source: &Source) -> String {
    match arguments {
        Arguments::Pairs(pairs) => pairs.iter().map(|it| pair("pair", it, source)).collect(),
        Arguments::LegacyPair(it) => pair("legacy pair", it, source),
        Arguments::Declarations(declared) => declared.iter().map(|it| declaration(it, source)).collect(),
        Arguments::Words(words) => words.iter().map(|word| format!("word {}\n", quoted(word, source))).collect(),
        Arguments::Json(json) => {
            let strings = json.value.iter().map(|string| format!("  string {}\n", quoted(string, source)));
            format!("json {}\n{}", place(source, json.span), strings.collect::<String>())
        }
        Arguments::Text(text) => format!("text {}\n", quoted(text, source)),
        Arguments::Health(kind, command) => {
            format!("type {}\n{}", quoted(kind, source), self::arguments(command, source))
        }
        Arguments::Trigger(trigger) => block(trigger, source),
        Arguments::Broken => "broken\n".to_owned(),
    }
}

fn pair(kind: &str, pair: &Pair, source: &Source) -> String {
    format!("{kind} {} = {}\n", quoted(&pair.key, source), quoted(&pair.value, source))
}

fn declaration(declared: &Declaration, source: &Source) -> String {
    let default = declared.value.as_ref().map_or(String::new(), |value| format!(" = {}", quoted(value, source)));
    format!("declare {}{default}\n", quoted(&declared.name, source))
}

/// Returns what the file means, a line for each step. What is absent or empty is left out.
pub(super) fn instructions(file: &instruction::Dockerfile, source: &Source) -> String {
    let mut text = String::new();
    for argument in &file.global_args {
        writeln!(text, "global {}", compact(&argument.value, source)).unwrap();
    }
    for stage in &file.stages {
        let head = instruction::Stage { steps: Vec::new(), ..stage.clone() };
        writeln!(text, "{}", compact(&head, source)).unwrap();
        for step in &stage.steps {
            let place = place(source, step.span);
            writeln!(text, "  {place} {}\n    {:?}", compact(&step.instruction, source), step.text).unwrap();
        }
    }
    text
}

fn compact(value: &impl std::fmt::Debug, source: &Source) -> String {
    let text = format!("{value:?}");
    let mut rest = text.as_str();
    Tree::read(&mut rest).show(source)
}

/// What `{:?}` prints, taken apart.
#[derive(PartialEq)]
enum Tree<'a> {
    Atom(&'a str),
    Struct(&'a str, Vec<(&'a str, Tree<'a>)>),
    Tuple(&'a str, Vec<Tree<'a>>),
}

impl<'a> Tree<'a> {
    fn read(rest: &mut &'a str) -> Tree<'a> {
        let atom = take(rest, if rest.starts_with(['"', '\'']) { string_length(rest) } else { word_length(rest) });
        if rest.starts_with(" { ") {
            *rest = &rest[3..];
            Tree::Struct(atom, items(rest, " }", |rest| (key(rest), Tree::read(rest))))
        } else if rest.starts_with(['(', '[']) {
            *rest = &rest[1..];
            Tree::Tuple(atom, items(rest, if atom.is_empty() { "]" } else { ")" }, Tree::read))
        } else {
            Tree::Atom(atom)
        }
    }

    fn is_nothing(&self) -> bool {
        *self == Tree::Atom("None") || *self == Tree::Tuple("", Vec::new())
    }

    fn show(&self, source: &Source) -> String {
        match self {
            Tree::Atom(text) => (*text).to_owned(),
            Tree::Struct("Spanned", fields) => format!("{}@{}", fields[0].1.show(source), fields[1].1.show(source)),
            Tree::Struct("Span", fields) => {
                let number = |place: usize| fields[place].1.show(source).parse().unwrap();
                place(source, Span::new(number(0), number(1)))
            }
            Tree::Struct(name, fields) => {
                let fields = fields.iter().filter(|(_, value)| !value.is_nothing());
                let fields: Vec<String> = fields.map(|(key, value)| format!("{key}: {}", value.show(source))).collect();
                format!("{name} {{ {} }}", fields.join(", "))
            }
            Tree::Tuple("Some", items) => items[0].show(source),
            Tree::Tuple(name, items) => {
                let items: Vec<String> = items.iter().map(|item| item.show(source)).collect();
                if name.is_empty() {
                    format!("[{}]", items.join(", "))
                } else {
                    format!("{name}({})", items.join(", "))
                }
            }
        }
    }
}

fn items<'a, T>(rest: &mut &'a str, end: &str, read: impl Fn(&mut &'a str) -> T) -> Vec<T> {
    let mut items = Vec::new();
    while !rest.starts_with(end) {
        *rest = rest.strip_prefix(", ").unwrap_or(rest);
        items.push(read(rest));
    }
    *rest = &rest[end.len()..];
    items
}

fn key<'a>(rest: &mut &'a str) -> &'a str {
    let key = take(rest, rest.find(": ").unwrap());
    *rest = &rest[2..];
    key
}

fn take<'a>(rest: &mut &'a str, length: usize) -> &'a str {
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').unwrap_or(text.len())
}

fn string_length(text: &str) -> usize {
    let quote = text.chars().next().unwrap();
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.unwrap().0 + 1
}

/// Returns one line for each node, with its title, its inputs and its op, and then the history.
pub(super) fn graph(plan: &Plan) -> String {
    let mut text = String::new();
    for (id, node) in plan.graph.nodes() {
        let inputs: Vec<String> = node.inputs.iter().map(|input| input.0.to_string()).collect();
        // Digests of this length say nothing to a reader, and would hide what does.
        let op = serde_json::to_string(&node.op).unwrap().replace(&format!("{}", Digest::of(b"manifest")), "MANIFEST");
        let op = op.replace(&format!("{}", Digest::of(b"layer")), "LAYER");
        let title = node.step.title.replace(&format!("{}", Digest::of(b"manifest")), "MANIFEST");
        text += &format!("{} ({}) {title}\n  {op}\n", id.0, inputs.join(" "));
    }
    for item in plan.images.iter().flat_map(|image| &image.history) {
        let layer = item.layer.map_or("-".to_owned(), |layer| layer.0.to_string());
        text += &format!("history {layer} {:?}\n", item.created_by);
    }
    text
}
