use super::pattern::{BadPattern, PathPattern};
use crate::diagnostic::{Diagnostic, Source, Span};

/// The rules of an ignore file: which paths of a directory a build does not see.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    source: Option<Source>,
    rules: Vec<Rule>,
    /// Whether every exception is a literal path, perhaps with `/*` or `/**` behind it.
    plain_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    /// Whether what matches is seen again.
    exception: bool,
    pattern: PathPattern,
    /// The cleaned pattern, without the `!`.
    text: String,
    /// As written.
    span: Span,
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

/// Which rules match a directory or one above it: what paths below it need to know.
#[derive(Debug, Clone)]
pub struct Scope(Vec<bool>);

impl Ignore {
    /// Returns rules that ignore nothing.
    pub fn none() -> Ignore {
        Ignore::default()
    }

    /// Reads an ignore file.
    ///
    /// # Errors
    /// At the first pattern that is not one.
    pub fn parse(source: &Source) -> Result<Ignore, Diagnostic> {
        let mut rules = Vec::new();
        let mut start = 0;
        for line in source.text().split_inclusive('\n') {
            let text = if start == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
            if !text.starts_with('#') && !text.trim().is_empty() {
                let begin = start + line.len() - text.trim_start().len();
                rules.push(rule(text.trim(), Span::new(begin, begin + text.trim().len()))?);
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
            let body = written.strip_prefix('!');
            if body == Some("") {
                return Err(BadPattern);
            }
            let text = clean(body.unwrap_or(written));
            let pattern = PathPattern::parse(&text)?;
            Ok(Rule { exception: body.is_some(), pattern, text, span: Span::default() })
        };
        Ok(Ignore::of_rules(None, written.map(rule).collect::<Result<_, _>>()?))
    }

    fn of_rules(source: Option<Source>, rules: Vec<Rule>) -> Ignore {
        let plain_exceptions = rules.iter().filter(|rule| rule.exception).all(|rule| {
            let literal = without_trailing_glob(&rule.text);
            !literal.contains(['*', '[', ']', '?', '^', '\\'])
        });
        Ignore { source, rules, plain_exceptions }
    }

    /// Returns the name of the file, the line (from 1) and the text of the rule of this number.
    pub fn rule(&self, number: usize) -> Option<(&str, usize, &str)> {
        let (source, rule) = (self.source.as_ref()?, self.rules.get(number)?);
        Some((source.name(), source.line(rule.span.start), source.slice(rule.span)))
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
        if self.rules.iter().any(|rule| rule.exception) {
            return false;
        }
        match path {
            "" => self.rules.iter().any(|rule| matches!(rule.text.as_str(), "*" | "**" | "**/*")),
            path => self.verdict(path.as_bytes()).is_ignored(),
        }
    }

    /// Returns the scope of what lies in the root.
    pub fn root(&self) -> Scope {
        Scope(vec![false; self.rules.len()])
    }

    /// Returns the scope of what lies in `directory`, which itself lies in `scope`.
    pub fn enter(&self, scope: &Scope, directory: &[u8]) -> Scope {
        let matched = scope.0.iter().zip(&self.rules);
        Scope(matched.map(|(&above, rule)| above || rule.pattern.matches(directory)).collect())
    }

    /// Returns what the rules say about a path in a directory whose scope is known.
    pub fn verdict_in(&self, scope: &Scope, path: &[u8]) -> Verdict {
        let mut verdict = Verdict::Seen;
        for (number, rule) in self.rules.iter().enumerate() {
            // Rules that would not change the verdict are not even tried.
            if rule.exception == verdict.is_ignored() && (scope.0[number] || rule.pattern.matches(path)) {
                verdict = if rule.exception { Verdict::Seen } else { Verdict::Ignored(number) };
            }
        }
        verdict
    }

    /// Tells whether nothing below an ignored directory can be seen again, so that it need not be entered.
    pub fn can_prune(&self, directory: &[u8]) -> bool {
        let reaches = |rule: &Rule| {
            let literal = without_trailing_glob(&rule.text).as_bytes();
            directory.is_empty()
                || literal == directory
                || literal.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
        };
        let mut exceptions = self.rules.iter().filter(|rule| rule.exception).peekable();
        exceptions.peek().is_none() || (self.plain_exceptions && !exceptions.any(reaches))
    }
}

fn rule(written: &str, span: Span) -> Result<Rule, Diagnostic> {
    let illegal = |message: &str| Diagnostic::error("illegal-ignore-pattern", message, span);
    let body = written.strip_prefix('!');
    let mut text = clean(body.unwrap_or(written).trim());
    if text.len() > 1 && text.starts_with('/') {
        text.remove(0);
    }
    if body.is_some_and(|body| matches!(body.trim(), "") || text == "/") {
        return Err(illegal("illegal exclusion pattern: `!`").with_help("name what to keep after the `!`"));
    }
    let pattern = PathPattern::parse(&text)
        .map_err(|_| illegal("syntax error in pattern").with_help("close the `[`, or write `\\[` for a bracket"))?;
    Ok(Rule { exception: body.is_some(), pattern, text, span })
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

    proptest! {
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
