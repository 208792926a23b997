//! `grammar/*.abnf` defines each language kiln reads. A rule is a parser function of the same name, accepts and rejects
//! the examples behind it, and its function accepts every sentence the rule makes.

mod abnf;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use abnf::{Grammar, Sentences};
use kiln::{context, dockerfile, oci};

/// A rule's name, and the function that accepts its sentences.
type Rule = (&'static str, fn(&str) -> bool);

/// A language: its grammar, the source of its parser, and the table of its rules.
struct Language {
    grammar: &'static str,
    sources: &'static str,
    rules: &'static [Rule],
}

const LANGUAGES: &[Language] = &[
    Language { grammar: "dockerfile.abnf", sources: "src/dockerfile/parse", rules: dockerfile::RULES },
    Language { grammar: "dockerignore.abnf", sources: "src/context/pattern", rules: context::RULES },
    Language { grammar: "reference.abnf", sources: "src/oci/reference", rules: oci::RULES },
    Language { grammar: "shell-word.abnf", sources: "src/dockerfile/shell", rules: dockerfile::shell::RULES },
];

/// How many sentences are made from each rule.
const SENTENCES: usize = 400;

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

impl Language {
    fn read(&self) -> Grammar {
        Grammar::read(&fs::read_to_string(path("grammar").join(self.grammar)).unwrap())
    }

    /// The parser's source, without its tests.
    fn source(&self) -> String {
        let files =
            fs::read_dir(path(self.sources)).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        files.map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned()).collect()
    }

    fn accepts(&self, rule: &str, text: &str) -> bool {
        let (_, accepts) = self.rules.iter().find(|(name, _)| *name == rule).unwrap();
        accepts(text)
    }
}

#[test]
fn every_grammar_is_tested() {
    let present = fs::read_dir(path("grammar")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let tested: BTreeSet<String> = LANGUAGES.iter().map(|language| language.grammar.to_owned()).collect();
    assert_eq!(present.collect::<BTreeSet<_>>(), tested);
}

#[test]
fn every_rule_is_a_function_and_every_function_a_rule() {
    for language in LANGUAGES {
        let grammar = language.read();
        let rules: BTreeSet<&str> = grammar.rules().collect();
        let table: BTreeSet<&str> = language.rules.iter().map(|(name, _)| *name).collect();
        assert_eq!(rules, table, "{}: the rules, and the table beside the parser", language.grammar);

        let functions = functions(&language.source());
        for rule in &rules {
            assert!(functions.contains_key(&rule.replace('-', "_")), "{}: no function {rule}", language.grammar);
        }
        for (function, _) in functions.iter().filter(|(_, accepts)| **accepts) {
            assert!(rules.contains(&*function.replace('_', "-")), "{}: no rule {function}", language.grammar);
        }
    }
}

/// The functions of a source, each with whether it is a nom parser.
fn functions(source: &str) -> BTreeMap<String, bool> {
    let heads = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = heads.collect::<Vec<_>>().join("\n");
    let bodies = text.split("fn ").skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    let named = bodies.map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let head = rest.split('{').next().unwrap();
        (name, head.rsplit("-> ").next().unwrap().starts_with("IResult"))
    });
    named.collect()
}

#[test]
fn examples_hold() {
    for language in LANGUAGES {
        let grammar = language.read();
        for rule in grammar.rules() {
            let examples = grammar.examples(rule);
            assert!(examples.iter().any(|(accepted, _)| *accepted), "{rule} shows nothing it accepts");
            for (accepted, text) in examples {
                assert_eq!(language.accepts(rule, text), *accepted, "{rule}: {text:?}");
            }
        }
    }
}

#[test]
fn sentences_made_from_a_rule_are_accepted() {
    for language in LANGUAGES {
        let grammar = language.read();
        for rule in grammar.rules().filter(|rule| !grammar.needs_prose(rule)) {
            let mut sentences = Sentences::new(&grammar);
            let made: Vec<String> =
                (0..SENTENCES).map(|_| sentences.make(rule)).filter(|it| stands_alone(rule, it)).collect();
            assert!(made.len() > SENTENCES / 10, "{rule}: only {} sentences", made.len());
            for sentence in made {
                assert!(language.accepts(rule, &sentence), "{rule}: {sentence:?}");
            }
        }
    }
}

/// Two things join lines in a way the notation cannot say: an escape at the end, and the marker of a heredoc.
fn stands_alone(rule: &str, sentence: &str) -> bool {
    let joins = sentence.lines().any(|line| line.trim_end().ends_with('\\') || line.contains("<<"));
    rule != "dockerfile" || !joins
}
