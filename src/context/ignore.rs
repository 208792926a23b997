use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use super::index::Index;
use super::pattern::{BadPattern, PathPattern};
use crate::diagnostic::{Diagnostic, Source, Span};

/// The rules of an ignore file: which paths of a directory a build does not see.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    source: Option<Source>,
    rules: Vec<Rule>,
    index: Index,
    exceptions: Exceptions,
}

#[derive(Debug, Clone)]
struct Rule {
    /// Whether what matches is seen again.
    exception: bool,
    /// The cleaned pattern, without the `!`.
    text: String,
    /// As written.
    span: Span,
    /// From 1.
    line: usize,
}

/// What exceptions may reach.
#[derive(Debug, Clone, Default)]
enum Exceptions {
    #[default]
    None,
    /// Literal paths, without the `/*` or `/**` that may stand behind them.
    Plain(BTreeSet<Vec<u8>>),
    /// Anything.
    Wild,
}

/// What the rules say about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the context.
    Seen,
    /// It is not; the rule of this number decided.
    Ignored(usize),
}

impl Verdict {
    /// Tells whether the path is not part of the context.
    pub fn is_ignored(self) -> bool {
        self != Verdict::Seen
    }
}

/// Which rules had a say in a directory or one above it: what paths below it need to know.
///
/// A directory adds those that are new in it to those of the one above, which are shared: where many rules match one
/// directory, each of the many below it would else have a copy of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(Option<Arc<Level>>);

#[derive(Debug, PartialEq, Eq)]
struct Level {
    above: Scope,
    /// In ascending order, never empty, and none that is above.
    own: Vec<usize>,
    /// The highest number here and above.
    last: usize,
}

impl Scope {
    fn last(&self) -> Option<usize> {
        self.0.as_ref().map(|level| level.last)
    }

    /// Returns the highest number up to `number`.
    fn up_to(&self, number: usize) -> Option<usize> {
        let levels = iter::successors(self.0.as_ref(), |level| level.above.0.as_ref());
        levels.filter_map(|level| level.own[..level.own.partition_point(|&own| own <= number)].last().copied()).max()
    }
}

impl Ignore {
    /// Returns rules that ignore nothing.
    pub fn none() -> Ignore {
        Ignore::default()
    }

    /// Tells whether there are no rules.
    pub fn sees_all(&self) -> bool {
        self.rules.is_empty()
    }

    /// Reads an ignore file.
    ///
    /// # Errors
    /// At the first pattern that is not one.
    pub fn parse(source: &Source) -> Result<Ignore, Diagnostic> {
        let mut rules = Vec::new();
        let mut start = 0;
        for (number, line) in (1..).zip(source.text().split_inclusive('\n')) {
            let text = if start == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
            if !text.starts_with('#') && !text.trim().is_empty() {
                let begin = start + line.len() - text.trim_start().len();
                let span = Span::new(begin, begin + text.trim().len());
                let (exception, text) = rule(text.trim(), span)?;
                rules.push((pattern(&text, span)?, Rule { exception, text, span, line: number }));
            }
            start += line.len();
        }
        Ok(Ignore::of_rules(Some(source.clone()), rules))
    }

    /// Returns the rules of patterns that stand in no file: nothing in them is a comment, and a slash at their beginning
    /// is part of them, so that such a pattern matches nothing.
    ///
    /// # Errors
    /// At the first pattern that is not one.
    pub fn of_patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Ignore, BadPattern> {
        let written = patterns.iter().map(|pattern| pattern.as_ref().trim()).filter(|pattern| !pattern.is_empty());
        let rule = |written: &str| {
            let (exception, text) = cleaned(written).ok_or(BadPattern)?;
            let pattern = PathPattern::parse(&text)?;
            Ok((pattern, Rule { exception, text, span: Span::default(), line: 0 }))
        };
        Ok(Ignore::of_rules(None, written.map(rule).collect::<Result<_, _>>()?))
    }

    fn of_rules(source: Option<Source>, rules: Vec<(PathPattern, Rule)>) -> Ignore {
        let mut exceptions = Exceptions::None;
        rules.iter().filter(|(_, rule)| rule.exception).for_each(|(_, rule)| exceptions.add(&rule.text));
        let (patterns, rules): (Vec<_>, Vec<Rule>) =
            rules.into_iter().map(|(pattern, rule)| ((pattern, rule.exception), rule)).unzip();
        Ignore { source, rules, index: Index::new(patterns), exceptions }
    }

    /// Returns the name of the file that has the rules, where there is one.
    pub fn file(&self) -> Option<&str> {
        self.source.as_ref().map(Source::name)
    }

    /// Returns the name of the file, the line (from 1) and the text of the rule of this number.
    pub fn rule(&self, number: usize) -> Option<(&str, usize, &str)> {
        let (source, rule) = (self.source.as_ref()?, self.rules.get(number)?);
        Some((source.name(), rule.line, source.slice(rule.span)))
    }

    /// Returns what the rules say about a path, relative to the root of the context; `""` is the root itself.
    pub fn verdict(&self, path: &[u8]) -> Verdict {
        if path.is_empty() {
            return Verdict::Seen;
        }
        let mut scope = self.root();
        for (slash, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            scope = self.enter(&scope, &path[..slash]);
        }
        self.verdict_in(&scope, path)
    }

    /// Tells whether a path, `""` for the root, is kept out with everything below it and no exception anywhere could
    /// bring it back.
    pub fn excludes_for_good(&self, path: &str) -> bool {
        if !matches!(self.exceptions, Exceptions::None) {
            return false;
        }
        match path {
            "" => self.rules.iter().any(|rule| matches!(rule.text.as_str(), "*" | "**" | "**/*")),
            path => self.verdict(path.as_bytes()).is_ignored(),
        }
    }

    /// Returns the scope of what lies in the root.
    pub fn root(&self) -> Scope {
        Scope::default()
    }

    /// Returns the scope of what lies in `directory`, which itself lies in `scope`.
    ///
    /// A rule that could not change the verdict on a directory is not tried on it, as in other builders, so that below
    /// it does not count as one that matched above: of `a`, `!a/b` and `a` the last has no say about `a/b`.
    pub fn enter(&self, scope: &Scope, directory: &[u8]) -> Scope {
        let mut own: Vec<usize> = Vec::new();
        for number in self.index.all(directory) {
            let before = scope.up_to(number).max(own.last().copied());
            let ignored = before.is_some_and(|before| !self.rules[before].exception);
            if self.rules[number].exception == ignored && before != Some(number) {
                own.push(number);
            }
        }
        match own.last().copied().max(scope.last()) {
            Some(last) if !own.is_empty() => Scope(Some(Arc::new(Level { above: scope.clone(), own, last }))),
            _ => scope.clone(),
        }
    }

    /// Returns what the rules say about a path in a directory whose scope is known.
    pub fn verdict_in(&self, scope: &Scope, path: &[u8]) -> Verdict {
        match scope.last().max(self.index.last(path)) {
            Some(number) if !self.rules[number].exception => Verdict::Ignored(number),
            _ => Verdict::Seen,
        }
    }

    /// Returns the exception that a path in a directory of known scope owes it to that it is seen; nothing where no rule
    /// would drop it anyway.
    pub fn kept_by(&self, scope: &Scope, path: &[u8]) -> Option<usize> {
        self.enter(scope, path).last().filter(|&number| self.rules[number].exception)
    }

    /// Returns the length of the longest path, of this one and of those above it, that the rule of this number matches:
    /// shorter than `path` where the rule decides about it by way of a directory.
    pub fn reach(&self, number: usize, path: &[u8]) -> usize {
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| slash);
        let mut ends = slashes.chain([path.len()]).rev();
        ends.find(|&end| self.index.matches(number, &path[..end])).unwrap_or(path.len())
    }

    /// Tells whether nothing below an ignored directory can be seen again, so that it need not be entered.
    pub fn can_prune(&self, directory: &[u8]) -> bool {
        match &self.exceptions {
            Exceptions::None => true,
            Exceptions::Plain(paths) => !directory.is_empty() && !reaches(paths, directory),
            Exceptions::Wild => false,
        }
    }
}

impl Exceptions {
    fn add(&mut self, pattern: &str) {
        let literal = without_trailing_glob(pattern);
        match self {
            _ if literal.contains(['*', '[', ']', '?', '^', '\\']) => *self = Exceptions::Wild,
            Exceptions::None => *self = Exceptions::Plain(BTreeSet::from([literal.into()])),
            Exceptions::Plain(paths) => drop(paths.insert(literal.into())),
            Exceptions::Wild => {}
        }
    }
}

/// Returns whether `directory` or something below it is among `paths`.
fn reaches(paths: &BTreeSet<Vec<u8>>, directory: &[u8]) -> bool {
    let below = [directory, b"/"].concat();
    let first_below = paths.range(below.clone()..).next();
    paths.contains(directory) || first_below.is_some_and(|path| path.starts_with(&below))
}

/// Returns whether a rule is an exception, and its cleaned pattern.
///
/// Other builders clean a line twice, and look for the `!` again in between: `./!a` is an exception too.
fn rule(written: &str, span: Span) -> Result<(bool, String), Diagnostic> {
    let body = written.strip_prefix('!').map(str::trim);
    let once = match body.unwrap_or(written) {
        "" => String::new(),
        text => clean(text),
    };
    let relative = if once.len() > 1 { once.strip_prefix('/').unwrap_or(&once) } else { &once };
    let marked = if body.is_some() { format!("!{relative}") } else { relative.to_owned() };
    cleaned(marked.trim()).ok_or_else(|| {
        Diagnostic::error("illegal-ignore-pattern", "illegal exclusion pattern: `!`", span)
            .with_help("name what to keep after the `!`")
    })
}

/// Returns whether a text is an exception, and its cleaned pattern; nothing for a `!` alone.
fn cleaned(text: &str) -> Option<(bool, String)> {
    let clean = clean(text);
    match clean.strip_prefix('!') {
        Some("") => None,
        Some(exception) => Some((true, exception.to_owned())),
        None => Some((false, clean)),
    }
}

fn pattern(text: &str, span: Span) -> Result<PathPattern, Diagnostic> {
    PathPattern::parse(text).map_err(|_| {
        Diagnostic::error("illegal-ignore-pattern", "syntax error in pattern", span)
            .with_help("close the `[`, or write `\\[` for a bracket")
    })
}

/// Cleans a path lexically, as Go's `path.Clean` does.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|&last| last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn without_trailing_glob(pattern: &str) -> &str {
    let pattern = pattern.strip_suffix("/**").unwrap_or(pattern);
    pattern.strip_suffix("/*").unwrap_or(pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ignore(text: &str) -> Ignore {
        Ignore::parse(&Source::new(".dockerignore", text)).unwrap()
    }

    fn line(ignore: &Ignore, path: &str) -> Option<usize> {
        match ignore.verdict(path.as_bytes()) {
            Verdict::Seen => None,
            Verdict::Ignored(rule) => Some(ignore.rule(rule).unwrap().1),
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        for (text, path, expected) in [
            // Reading.
            ("\u{feff}a\n", "a", Some(1)),
            ("#a\n", "#a", None),
            (" #a\n", "#a", Some(1)),
            ("\n\n  a  \n", "a", Some(3)),
            ("a\r\n", "a", Some(1)),
            ("/a\n", "a", Some(1)),
            ("./a/../b/\n", "b", Some(1)),
            ("a//b\n", "a/b", Some(1)),
            ("a\n! a\n", "a", None),
            ("a\n!/a\n", "a", None),
            ("a\n!./a/\n", "a", None),
            ("a\n./!a\n", "a", None),
            ("a\n/!a\n", "a", None),
            ("!a\n!!a\n", "!a", None),
            // The root, and everything.
            (".\n", "a", None),
            ("/\n", "a", None),
            ("..\n", "a", None),
            ("*\n", "a", Some(1)),
            ("**\n", "a/b", Some(1)),
            // Ancestors count.
            ("a\n", "a/b/c", Some(1)),
            ("*/b\n", "a/b/c", Some(1)),
            ("b\n", "a/b", None),
            // Order.
            ("a\n!a/b\n", "a/b", None),
            ("a\n!a/b\n", "a/b/c", None),
            ("a\n!a/b\n", "a/c", Some(1)),
            ("!a/b\na\n", "a/b", Some(2)),
            ("*.md\n!README*.md\nREADME-secret.md\n", "README-secret.md", Some(3)),
            ("*.md\n!README*.md\nREADME-secret.md\n", "README-x.md", None),
            ("*.md\nREADME-secret.md\n!README*.md\n", "README-secret.md", None),
            ("*\n!a/b\n", "a/b/c/d", None),
            ("*\n!a/b\n", "a/x", Some(1)),
            ("*\n!a/b\na/b/c\n", "a/b/c/d", Some(3)),
            // `X/**` keeps X.
            ("x/**\n", "x", None),
            ("x/**\n", "x/y", Some(1)),
            ("A\n", "a", None),
            // A rule that has nothing to change in a directory does not count below.
            ("a\n!a/b\na\n", "a/b", None),
            ("a\n!a/b\na\n", "a/c", Some(1)),
            ("a\n!a/b\na/*\n", "a/b", Some(3)),
            // Of several the last is the one that decides.
            ("a\na*\n", "a", Some(2)),
        ] {
            assert_eq!(line(&ignore(text), path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn bare_patterns_have_neither_comments_nor_a_root() {
        for (patterns, path, expected) in [
            (&["#a"][..], "#a", true),
            (&["/a"], "a", false),
            (&["a/"], "a/b", true),
            (&["*.txt"], "d/a.txt", false),
            (&["**/*.txt"], "d/a.txt", true),
            (&["*", "!keep"], "keep", false),
            (&["*", "!keep"], "other", true),
            (&["", " "], "a", false),
            (&["."], "a", false),
        ] {
            let ignore = Ignore::of_patterns(patterns).unwrap();
            assert_eq!(ignore.verdict(path.as_bytes()).is_ignored(), expected, "{patterns:?} {path}");
        }
        assert!(Ignore::of_patterns(&["!"]).is_err() && Ignore::of_patterns(&["[a"]).is_err());
    }

    #[test]
    fn a_directory_shares_what_had_a_say_above() {
        let ignore = ignore(&"x\n!x\n".repeat(5000));
        let above = ignore.enter(&ignore.root(), b"x");
        let (Some(first), Some(second)) = (&above.0, &ignore.enter(&above, b"x/y").0) else {
            panic!("no rule had a say")
        };
        assert!(Arc::ptr_eq(first, second) && first.own.len() == 10_000);
        assert_eq!(ignore.verdict(b"x/y/z"), Verdict::Seen);
    }

    #[test]
    fn the_root_is_never_ignored() {
        for text in [".\n", "/\n", "*\n", "**\n", "**/*\n"] {
            assert_eq!(ignore(text).verdict(b""), Verdict::Seen, "{text:?}");
        }
    }

    #[test]
    fn directories_are_pruned_where_no_exception_reaches() {
        for (text, directory, expected) in [
            ("a\n", "a", true),
            ("a\n!b\n", "a", true),
            ("a\n!a/b\n", "a", false),
            ("a\n!a/b\n", "a/b", false),
            ("a\n!a/b\n", "a/b/c", true),
            ("a\n!a/b\n", "a/bc", true),
            ("a\n!a/b/**\n", "a", false),
            ("a\n!a/b/*\n", "a/c", true),
            ("a\n!ab\n", "a", true),
            ("a\n!**/keep\n", "a", false),
            ("a\n!*.md\n", "a", false),
            ("a\n!x\\y\n", "a", false),
        ] {
            assert_eq!(ignore(text).can_prune(directory.as_bytes()), expected, "{text:?} {directory}");
        }
    }

    #[test]
    fn bad_patterns_are_pointed_at() {
        for (text, expected) in
            [("a\n  !  \n", Span::new(4, 5)), ("!/\n", Span::new(0, 2)), ("ok\n[a\n", Span::new(3, 5))]
        {
            let found = Ignore::parse(&Source::new(".dockerignore", text)).unwrap_err();
            assert_eq!((found.code, found.labels[0].0), ("illegal-ignore-pattern", expected), "{text:?}");
        }
    }

    #[test]
    fn a_rule_is_quoted_as_written() {
        assert_eq!(ignore("x\n\n *.sh \n").rule(1), Some((".dockerignore", 3, "*.sh")));
    }

    /// The rules one after the other, each tried on the path and on what is above it as other builders do.
    fn one_by_one(ignore: &Ignore, patterns: &[(PathPattern, bool)], path: &[u8]) -> bool {
        let mut above = vec![false; patterns.len()];
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| slash);
        let mut ignored = false;
        for end in ends.chain([path.len()]) {
            ignored = false;
            for (number, (pattern, exception)) in patterns.iter().enumerate() {
                above[number] |= *exception == ignored && pattern.matches(&path[..end]);
                if above[number] {
                    ignored = !exception;
                }
            }
        }
        assert_eq!(patterns.len(), ignore.rules.len());
        ignored
    }

    fn patterns(text: &str) -> Vec<(PathPattern, bool)> {
        let line = |line: &str| {
            let (exception, text) = rule(line, Span::new(0, 0)).unwrap();
            (pattern(&text, Span::new(0, 0)).unwrap(), exception)
        };
        text.lines().map(line).collect()
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_every_rule_finds(
            text in r"(!?(a|b|ab|\*|\*\*/?|\?|\.|/|\[a-b\]|abcdefgh|\\b){1,5}\n){0,12}",
            path in "(a|b|ab|abcdefgh)([/.]?(a|b|abcdefgh)){0,4}",
        ) {
            let text: String = text.lines().filter(|line| !line.trim_matches(['!', '/', '.']).is_empty())
                .map(|line| format!("{line}\n")).collect();
            // Some texts come to nothing but a `!`.
            let Ok(ignore) = Ignore::parse(&Source::new("i", text.as_str())) else { return Ok(()) };
            let expected = one_by_one(&ignore, &patterns(&text), path.as_bytes());
            prop_assert_eq!(ignore.verdict(path.as_bytes()).is_ignored(), expected, "{:?} {}", text, path);
        }

        #[test]
        fn verdicts_never_panic_and_pruning_hides_nothing(
            text in "([ab*!/?.]{1,6}\n){0,5}", path in "[ab](/[ab.]){0,4}",
        ) {
            if let Ok(ignore) = Ignore::parse(&Source::new("i", text)) {
                let seen = !ignore.verdict(path.as_bytes()).is_ignored();
                for (slash, _) in path.match_indices('/') {
                    let above = &path.as_bytes()[..slash];
                    let pruned = ignore.verdict(above).is_ignored() && ignore.can_prune(above);
                    prop_assert!(!(seen && pruned), "{} prunes {}", slash, path);
                }
            }
        }
    }
}
