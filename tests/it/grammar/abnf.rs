//! Just enough of RFC 5234 to read `grammar/*.abnf`, and to make sentences from it.

use std::collections::BTreeMap;

/// What a rule is made of.
enum Element {
    Alternatives(Vec<Element>),
    Sequence(Vec<Element>),
    /// At least, at most.
    Repeated(usize, Option<usize>, Box<Element>),
    Rule(String),
    /// The text, and whether case matters.
    Literal(String, bool),
    Range(u32, u32),
    Prose,
}

struct Rule {
    element: Element,
    /// Names characters; has no function.
    lexical: bool,
    examples: Vec<(bool, String)>,
}

/// The rules of one file.
pub(super) struct Grammar(BTreeMap<String, Rule>);

impl Grammar {
    pub(super) fn read(text: &str) -> Grammar {
        let mut rules = BTreeMap::new();
        for lines in paragraphs(text) {
            let (name, rule) = read_rule(&lines);
            assert!(rules.insert(name.clone(), rule).is_none(), "{name} is defined twice");
        }
        Grammar(rules)
    }

    /// The names of the rules that are functions.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, rule)| !rule.lexical).map(|(name, _)| name.as_str())
    }

    pub(super) fn examples(&self, rule: &str) -> &[(bool, String)] {
        &self.0[rule].examples
    }

    /// Whether a rule says something in words, which no sentence can be made from.
    pub(super) fn needs_prose(&self, rule: &str) -> bool {
        self.0.get(rule).is_some_and(|rule| self.holds_prose(&rule.element))
    }

    fn holds_prose(&self, element: &Element) -> bool {
        match element {
            Element::Alternatives(inner) | Element::Sequence(inner) => inner.iter().any(|it| self.holds_prose(it)),
            Element::Repeated(_, _, inner) => self.holds_prose(inner),
            Element::Rule(name) => self.needs_prose(name),
            Element::Literal(..) | Element::Range(..) => false,
            Element::Prose => true,
        }
    }
}

/// The lines of each rule: the one that names it, and those below that are indented.
fn paragraphs(text: &str) -> Vec<Vec<&str>> {
    let mut rules: Vec<Vec<&str>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')) {
        match rules.last_mut() {
            Some(rule) if line.starts_with(' ') => rule.push(line),
            _ => rules.push(vec![line]),
        }
    }
    rules
}

fn read_rule(lines: &[&str]) -> (String, Rule) {
    let mut definition = String::new();
    let mut comments = String::new();
    for line in lines {
        let (text, comment) = split_comment(line);
        definition.push_str(text);
        comments.push_str(comment);
    }
    let (name, body) = definition.split_once('=').unwrap();
    let mut reader = Reader { rest: body.trim() };
    let element = reader.alternatives();
    assert!(reader.rest.is_empty(), "{name}: cannot read {:?}", reader.rest);
    let lexical = comments.trim() == "; lexical";
    (name.trim().to_owned(), Rule { element, lexical, examples: examples(&comments) })
}

/// Splits at the semicolon that is in no literal.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quoted = false;
    let start = line.find(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    line.split_at(start.unwrap_or(line.len()))
}

fn examples(comments: &str) -> Vec<(bool, String)> {
    let mut examples = Vec::new();
    for (marker, accepted) in [("; accepts \"", true), ("; rejects \"", false)] {
        examples.extend(comments.split(marker).skip(1).map(|rest| (accepted, unescape(rest))));
    }
    examples
}

/// Reads a string up to its closing quote, escaped as in Rust.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next().expect("an example ends with a quote") {
            '"' => return plain,
            '\\' => plain.push(match rest.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
                }
                other => other,
            }),
            other => plain.push(other),
        }
    }
}

/// Reads a definition.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn alternatives(&mut self) -> Element {
        let mut all = vec![self.sequence()];
        while self.eat("/") {
            all.push(self.sequence());
        }
        Element::Alternatives(all)
    }

    fn sequence(&mut self) -> Element {
        let mut all = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['/', ')', ']']) {
            all.push(self.repeated());
        }
        Element::Sequence(all)
    }

    fn repeated(&mut self) -> Element {
        let least = self.take(|c| c.is_ascii_digit());
        let star = self.rest.starts_with('*');
        if !star && least.is_empty() {
            return self.element();
        }
        let least = least.parse().unwrap_or(0);
        let most = if star {
            self.rest = &self.rest[1..];
            self.take(|c| c.is_ascii_digit()).parse().ok()
        } else {
            Some(least)
        };
        Element::Repeated(least, most, Box::new(self.element()))
    }

    fn element(&mut self) -> Element {
        let element = match self.rest.as_bytes()[0] {
            b'(' => self.group("(", ")"),
            b'[' => Element::Repeated(0, Some(1), Box::new(self.group("[", "]"))),
            b'"' => self.literal(false),
            b'<' => self.until('>', Element::Prose),
            b'%' if self.rest.starts_with("%s") => {
                self.rest = &self.rest[2..];
                self.literal(true)
            }
            b'%' => self.range(),
            _ => Element::Rule(self.take(|c| c.is_ascii_alphanumeric() || c == '-').to_owned()),
        };
        self.rest = self.rest.trim_start();
        element
    }

    fn group(&mut self, open: &str, close: &str) -> Element {
        assert!(self.eat(open));
        let inner = self.alternatives();
        assert!(self.eat(close), "{close} is missing before {:?}", self.rest);
        inner
    }

    fn literal(&mut self, exact: bool) -> Element {
        let end = self.rest[1..].find('"').unwrap() + 1;
        let text = self.rest[1..end].to_owned();
        self.rest = &self.rest[end + 1..];
        Element::Literal(text, exact)
    }

    fn range(&mut self) -> Element {
        self.rest = &self.rest[2..];
        let first = self.hexadecimal();
        let last = if self.rest.starts_with('-') {
            self.rest = &self.rest[1..];
            self.hexadecimal()
        } else {
            first
        };
        Element::Range(first, last)
    }

    fn hexadecimal(&mut self) -> u32 {
        u32::from_str_radix(self.take(|c| c.is_ascii_hexdigit()), 16).unwrap()
    }

    fn until(&mut self, end: char, element: Element) -> Element {
        self.rest = self.rest.split_once(end).unwrap().1;
        element
    }

    fn take(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|c| !of(c)).unwrap_or(self.rest.len()));
        assert!(rest.len() < self.rest.len() || taken.is_empty());
        self.rest = rest;
        taken
    }

    fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }
}

/// Makes sentences, the same ones in every run.
pub(super) struct Sentences<'a> {
    grammar: &'a Grammar,
    state: u64,
}

impl<'a> Sentences<'a> {
    pub(super) fn new(grammar: &'a Grammar) -> Sentences<'a> {
        Sentences { grammar, state: 0x9e37_79b9_7f4a_7c15 }
    }

    pub(super) fn make(&mut self, rule: &str) -> String {
        let mut text = String::new();
        self.rule(rule, &mut text);
        text
    }

    /// A number below `end`; xorshift, for its seven lines.
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % end
    }

    fn rule(&mut self, name: &str, text: &mut String) {
        let core = match name {
            "ALPHA" => "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "DIGIT" => "0123456789",
            "HEXDIG" => "0123456789abcdefABCDEF",
            "WSP" => " \t",
            "SP" => " ",
            "DQUOTE" => "\"",
            "LF" => "\n",
            _ => {
                let grammar = self.grammar;
                let rule = grammar.0.get(name).unwrap_or_else(|| panic!("no rule {name}"));
                return self.element(&rule.element, text);
            }
        };
        text.extend(core.chars().nth(self.below(core.len())));
    }

    fn element(&mut self, element: &Element, text: &mut String) {
        match element {
            Element::Alternatives(all) => {
                let choice = self.below(all.len());
                self.element(&all[choice], text);
            }
            Element::Sequence(all) => all.iter().for_each(|it| self.element(it, text)),
            Element::Repeated(least, most, inner) => {
                let times = least + self.below(most.unwrap_or(least + 3) - least + 1);
                (0..times).for_each(|_| self.element(inner, text));
            }
            Element::Rule(name) => self.rule(name, text),
            Element::Literal(literal, exact) => {
                let lower = !exact && self.below(2) == 0;
                text.push_str(&if lower { literal.to_lowercase() } else { literal.clone() });
            }
            Element::Range(first, last) => {
                let offset = u32::try_from(self.below((last - first + 1) as usize)).unwrap();
                text.push(char::from_u32(first + offset).expect("ranges hold characters"));
            }
            Element::Prose => unreachable!("rules with prose make no sentences"),
        }
    }
}
