use super::evaluate::MOST_BYTES;
use super::grammar::Extent;

/// A pattern of `${name#pattern}`: `*` is any text, `?` any character, and there are no classes.
///
/// Matching keeps the set of places a text so far may have reached, so its time is at most the product of both lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// `*`.
    Text,
    /// `?`.
    One,
    Character(char),
}

impl Glob {
    /// Reads a pattern; fails with the character that has no escape.
    pub(super) fn parse(text: &str) -> Result<Glob, Option<char>> {
        let mut characters = text.chars();
        let mut tokens = Vec::new();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Text,
                '?' => Token::One,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Character(escaped),
                    other => return Err(other),
                },
                other => Token::Character(other),
            });
        }
        tokens.dedup_by(|second, first| *second == Token::Text && *first == Token::Text);
        Ok(Glob { tokens })
    }

    /// Returns `text` without the prefix that matches.
    pub(super) fn without_prefix(&self, text: &str, extent: Extent) -> String {
        let characters: Vec<char> = text.chars().collect();
        let end = self.match_end(&characters, extent).end.unwrap_or(0);
        characters[end..].iter().collect()
    }

    /// Returns `text` without the suffix that matches.
    pub(super) fn without_suffix(&self, text: &str, extent: Extent) -> String {
        let characters: Vec<char> = text.chars().rev().collect();
        let reversed = Glob { tokens: self.tokens.iter().rev().copied().collect() };
        let end = reversed.match_end(&characters, extent).end.unwrap_or(0);
        characters[end..].iter().rev().collect()
    }

    /// Returns `text` with `by` in the place of its first `most` matches, each as long as possible; nothing where that
    /// grows beyond all measure.
    pub(super) fn replace(&self, text: &str, by: &str, most: usize) -> Option<String> {
        let characters: Vec<char> = text.chars().collect();
        let mut result = String::new();
        let (mut start, mut last_end, mut count) = (0, None, 0);
        while start <= characters.len() && count < most && result.len() <= MOST_BYTES {
            let found = self.match_end(&characters[start..], Extent::Longest);
            let end = found.end.map(|length| start + length);
            // An empty match directly behind another is none.
            if let Some(end) = end.filter(|&end| end > start || last_end != Some(start)) {
                result.push_str(by);
                count += 1;
                last_end = Some(end);
                if end > start {
                    start = end;
                    continue;
                }
            }
            if end.is_none() && found.passed_star {
                // What follows the star was sought everywhere behind this place; a later start finds no more.
                break;
            }
            result.extend(characters.get(start));
            start += 1;
        }
        result.extend(characters.get(start..).unwrap_or_default());
        (result.len() <= MOST_BYTES).then_some(result)
    }

    /// Looks for a match that begins where `characters` do.
    fn match_end(&self, characters: &[char], extent: Extent) -> Found {
        let mut places = vec![false; self.tokens.len() + 1];
        places[0] = true;
        let mut found = Found { end: None, passed_star: false };
        for read in 0..=characters.len() {
            self.pass_stars(&mut places, &mut found);
            if places[self.tokens.len()] {
                found.end = Some(read);
                if extent == Extent::Shortest {
                    break;
                }
            }
            let Some(&character) = characters.get(read) else { break };
            if !self.advance(&mut places, character) {
                break;
            }
        }
        found
    }

    /// A star may be nothing.
    fn pass_stars(&self, places: &mut [bool], found: &mut Found) {
        for (place, token) in self.tokens.iter().enumerate() {
            if places[place] && *token == Token::Text {
                places[place + 1] = true;
                found.passed_star = true;
            }
        }
    }

    /// Reads one character from every place; returns whether any is left.
    fn advance(&self, places: &mut [bool], character: char) -> bool {
        let mut any = false;
        for place in (0..=self.tokens.len()).rev() {
            let stays = self.tokens.get(place) == Some(&Token::Text) && places[place];
            let arrives = place > 0
                && places[place - 1]
                && match self.tokens[place - 1] {
                    Token::Text => false,
                    Token::One => true,
                    Token::Character(wanted) => wanted == character,
                };
            places[place] = stays || arrives;
            any |= places[place];
        }
        any
    }
}

/// The outcome of one attempt.
struct Found {
    end: Option<usize>,
    passed_star: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_shortest_or_longest() {
        for (pattern, text, shortest, longest) in [
            ("*a", "banana", "nana", ""),
            ("*", "banana", "banana", ""),
            ("b?n", "banana", "ana", "ana"),
            ("", "banana", "banana", "banana"),
            ("n", "banana", "banana", "banana"),
            ("*n*n", "banana", "a", "a"),
            ("**", "é", "é", ""),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.without_prefix(text, Extent::Shortest), shortest, "{pattern}");
            assert_eq!(glob.without_prefix(text, Extent::Longest), longest, "{pattern}");
        }
    }

    #[test]
    fn replacing_takes_the_longest_match_from_the_left() {
        for (pattern, text, first, all) in [
            ("a", "banana", "b-nana", "b-n-n-"),
            ("a*", "banana", "b-", "b-"),
            ("a*n", "banana", "b-a", "b-a"),
            ("", "ab", "-ab", "-a-b-"),
            ("*", "ab", "-", "-"),
            ("a?", "banana", "b-ana", "b--a"),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.replace(text, "-", 1).unwrap(), first, "{pattern}");
            assert_eq!(glob.replace(text, "-", usize::MAX).unwrap(), all, "{pattern}");
        }
    }

    #[test]
    fn only_what_has_a_meaning_is_escaped() {
        assert_eq!(Glob::parse("a\\n"), Err(Some('n')));
        assert_eq!(Glob::parse("a\\"), Err(None));
        assert_eq!(Glob::parse("\\*\\?\\\\\\/\\}").unwrap().replace("*?\\/}", "", 1).unwrap(), "");
    }
}
