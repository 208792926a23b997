mod parse;

use std::str;

#[doc(hidden)]
pub use parse::RULES;
use parse::{Stars, tokens};

/// A text that is not a pattern: a class is empty or not closed, or nothing follows a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// A wildcard pattern of a source path, as Go's `filepath.Match` reads it: `*` and `?` stop at slashes, `\` escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a class is empty or not closed, or nothing follows a backslash.
    pub fn parse(pattern: &str) -> Result<Glob, BadPattern> {
        tokens(pattern, Stars::Single).map(Glob)
    }

    /// Tells whether the whole of `name` matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        tokens_match(&self.0, name)
    }
}

/// A pattern that chooses files by their whole path, as ignore files write them: `**` is any number of directories, and
/// what names a directory chooses all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob(PathPattern);

impl PathGlob {
    /// Reads a pattern; slashes at its ends do not matter.
    ///
    /// # Errors
    /// When a class is empty or not closed, or nothing follows a backslash.
    pub fn parse(pattern: &str) -> Result<PathGlob, BadPattern> {
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        PathPattern::parse(if pattern.is_empty() { "**" } else { pattern }).map(PathGlob)
    }

    /// Tells whether it chooses the file at `path`, which has no slash in front.
    pub fn chooses(&self, path: &[u8]) -> bool {
        let above = (0..path.len()).filter(|&place| path[place] == b'/');
        self.0.matches(path) || above.into_iter().any(|place| self.0.matches(&path[..place]))
    }
}

/// Tells whether a source path is a pattern: it has an unescaped `*`, `?` or `[`.
pub fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern of an ignore file: over the whole path, with `**` for any number of directories.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PathPattern {
    /// No metacharacter: the path itself.
    Exact(Vec<u8>),
    /// `literal**`: what begins so. `dir/**` is everything below the directory, not the directory.
    Prefix(Vec<u8>),
    /// `**literal`: what ends so, and for `**/name` the bare name too.
    Suffix(Vec<u8>),
    /// The rest.
    Tokens(Vec<Token>),
}

impl PathPattern {
    /// Reads a cleaned pattern.
    pub(super) fn parse(pattern: &str) -> Result<PathPattern, BadPattern> {
        let literal = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        let bytes = |text: &str| text.as_bytes().to_vec();
        if literal(pattern) {
            return Ok(PathPattern::Exact(bytes(pattern)));
        }
        if let Some(rest) = pattern.strip_prefix("**").filter(|rest| literal(rest)) {
            return Ok(PathPattern::Suffix(bytes(rest)));
        }
        if let Some(rest) = pattern.strip_suffix("**").filter(|rest| literal(rest)) {
            return Ok(PathPattern::Prefix(bytes(rest)));
        }
        tokens(pattern, Stars::Double).map(PathPattern::Tokens)
    }

    /// Returns texts that every path it matches holds.
    pub(super) fn literals(&self) -> Vec<&[u8]> {
        match self {
            PathPattern::Exact(literal) | PathPattern::Prefix(literal) => vec![literal],
            PathPattern::Suffix(suffix) => vec![suffix.strip_prefix(b"/").unwrap_or(suffix)],
            PathPattern::Tokens(tokens) => {
                let literals = tokens.iter().filter_map(|token| match token {
                    Token::Literal(literal) => Some(&literal[..]),
                    _ => None,
                });
                literals.collect()
            }
        }
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            PathPattern::Exact(exact) => path == exact,
            PathPattern::Prefix(prefix) => path.starts_with(prefix),
            PathPattern::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
            PathPattern::Tokens(tokens) => tokens_match(tokens, path),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Literal(Vec<u8>),
    /// `?`: one character but a slash.
    One,
    /// `[…]`: one character, even a slash, as the class says.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`: anything without a slash.
    Star,
    /// `**`, and the slash behind it: nothing, or anything that ends in a slash.
    Directories,
    /// `**` at the end: anything.
    Rest,
}

/// Patterns with more stars than this remember where they failed, so that none takes more than quadratic time.
const FREE_STARS: usize = 2;

fn tokens_match(tokens: &[Token], path: &[u8]) -> bool {
    // Most patterns and paths differ at one of their ends, which costs nothing to see.
    let differs = |end: Option<&Token>, has: fn(&[u8], &[u8]) -> bool| match end {
        Some(Token::Literal(literal)) => !has(path, literal),
        _ => false,
    };
    if differs(tokens.first(), <[u8]>::starts_with) || differs(tokens.last(), <[u8]>::ends_with) {
        return false;
    }
    let stars = tokens.iter().filter(|token| matches!(token, Token::Star | Token::Directories)).count();
    let mut tried = if stars > FREE_STARS { vec![false; tokens.len() * (path.len() + 1)] } else { Vec::new() };
    let mut open = Vec::new();
    let (mut token, mut at) = (0, 0);
    loop {
        match advance(tokens, path, token, at, &mut tried, &mut open) {
            Step::To(next, place) => (token, at) = (next, place),
            Step::Matched => return true,
            Step::Failed => match open.pop() {
                Some(alternative) => (token, at) = alternative,
                None => return false,
            },
        }
    }
}

enum Step {
    To(usize, usize),
    Matched,
    Failed,
}

/// Matches one token at one place; a star leaves its longer reading in `open`.
fn advance(
    tokens: &[Token],
    path: &[u8],
    token: usize,
    at: usize,
    tried: &mut [bool],
    open: &mut Vec<(usize, usize)>,
) -> Step {
    let rest = &path[at..];
    let Some(current) = tokens.get(token) else {
        return if rest.is_empty() { Step::Matched } else { Step::Failed };
    };
    match current {
        Token::Literal(literal) if rest.starts_with(literal) => Step::To(token + 1, at + literal.len()),
        Token::One if !rest.is_empty() && rest[0] != b'/' => Step::To(token + 1, at + first(rest).1),
        Token::Class { negated, ranges } if !rest.is_empty() => {
            let (character, length) = first(rest);
            let inside = ranges.iter().any(|&(low, high)| low <= character && character <= high);
            if inside == *negated { Step::Failed } else { Step::To(token + 1, at + length) }
        }
        Token::Star | Token::Directories => {
            if let Some(tried) = tried.get_mut(token * (path.len() + 1) + at)
                && std::mem::replace(tried, true)
            {
                return Step::Failed;
            }
            let longer = match current {
                Token::Star => (!rest.is_empty() && rest[0] != b'/').then_some(1),
                _ => rest.iter().position(|&byte| byte == b'/').map(|slash| slash + 1),
            };
            open.extend(longer.map(|longer| (token, at + longer)));
            Step::To(token + 1, at)
        }
        Token::Rest => Step::Matched,
        _ => Step::Failed,
    }
}

/// Returns the first character and its length; a byte that is not UTF-8 counts as one replacement character.
fn first(bytes: &[u8]) -> (char, usize) {
    let window = &bytes[..bytes.len().min(4)];
    let valid = match str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_chooses_what_is_in_a_directory_it_names() {
        for (pattern, path, expected) in [
            ("etc", "etc", true),
            ("/etc/", "etc/passwd", true),
            ("etc", "etcetera", false),
            ("./usr/*/doc", "usr/share/doc/a/b", true),
            ("usr/*/doc", "usr/share/local/doc", false),
            ("**/*.so", "usr/lib/a.so", true),
            ("*.so", "usr/lib/a.so", false),
            ("/", "etc/passwd", true),
            ("**", "", true),
        ] {
            assert_eq!(PathGlob::parse(pattern).unwrap().chooses(path.as_bytes()), expected, "{pattern} {path}");
        }
        assert_eq!(PathGlob::parse("a["), Err(BadPattern));
    }

    #[test]
    fn globs_match_as_filepath_match_does() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "x", true),
            ("[x\\-]", "z", false),
            ("[\\-x]", "a", false),
            ("*x", "xxx", true),
            ("[[]", "[", true),
            ("*", ".hidden", true),
            ("**", "a", true),
            ("**", "a/b", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[a-", "[\\", "x[]"] {
            assert_eq!(Glob::parse(bad), Err(BadPattern), "{bad}");
            assert_eq!(PathPattern::parse(bad), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn a_backslash_hides_a_wildcard() {
        for (path, expected) in
            [("a", false), ("a*", true), ("a?/b", true), ("[a]", true), ("a\\*", false), ("\\\\*", true), ("a]", false)]
        {
            assert_eq!(has_wildcards(path), expected, "{path}");
        }
    }

    #[test]
    fn ignore_patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "b/a", false),
            ("a.b", "axb", false),
            ("a(b)+", "a(b)+", true),
            ("*.go", "x.go", true),
            ("*.go", "d/x.go", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a**", "abc/d", true),
            ("**", "a/b", true),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "a/barfoo", false),
            ("**foo", "a/barfoo", true),
            ("**foo*", "barfoo", false),
            ("**foo*", "bar/foot", true),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "a/b.txt", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a**/b", "ab", true),
            ("a**b", "ab", true),
            ("a**b", "axb", false),
            ("a**b", "ax/b", true),
            ("*a**b", "aab", true),
            ("**/x/**", "x/y", true),
            ("**/x/**", "a/x/y/z", true),
            ("**/x/**", "a/x", false),
            ("**/**", "a", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[a-c]x", "bx", true),
            ("a[^b]c", "a/c", true),
            ("?", "é", true),
            ("?", "ab", false),
            ("a]", "a]", true),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().matches(path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_little_time() {
        let pattern = PathPattern::parse(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(&[b"a".repeat(4000), b"b".to_vec()].concat()));
    }

    proptest! {
        #[test]
        fn matching_never_panics(pattern in r"[a-c*?\[\]^\\/!é-]{0,12}", path in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(&path);
            }
            if let Ok(pattern) = PathPattern::parse(&pattern) {
                pattern.matches(&path);
            }
        }

        #[test]
        fn a_path_matches_itself_escaped(path in "[a-c*?\\[\\]/é-]{1,12}") {
            let escaped: String = path.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Glob::parse(&escaped).unwrap().matches(path.as_bytes()));
            prop_assert!(PathPattern::parse(&escaped).unwrap().matches(path.as_bytes()));
        }

        #[test]
        fn stars_give_the_same_answer_with_and_without_memory(
            pattern in "(a|b|\\*|\\*\\*/|\\?|/){0,4}", path in "[ab/]{0,8}",
        ) {
            let plain = tokens(&pattern, Stars::Double).unwrap();
            // An empty literal between stars changes nothing but their number.
            let mut long = vec![Token::Star, Token::Literal(Vec::new()), Token::Star, Token::Literal(Vec::new())];
            long.extend(plain.clone());
            let mut short = vec![Token::Star];
            short.extend(plain);
            prop_assert_eq!(tokens_match(&long, path.as_bytes()), tokens_match(&short, path.as_bytes()));
        }
    }
}
