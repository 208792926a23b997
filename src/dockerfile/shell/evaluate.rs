use super::glob::Glob;
use super::grammar::{Condition, Count, End, Extent, Flaw, Modifier, Nothing, Part, Pattern, Variable};
use super::{Cause, Use};

/// Longest expansion. An argument of a process cannot exceed 128 KiB; this leaves room for files written by heredocs,
/// and ends a chain of variables that double each other.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// One evaluation of one word.
pub(super) struct Evaluation<'a> {
    variables: &'a dyn Fn(&str) -> Option<String>,
    pub(super) uses: Vec<Use>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(variables: &'a dyn Fn(&str) -> Option<String>) -> Evaluation<'a> {
        Evaluation { variables, uses: Vec::new() }
    }

    /// Returns the text of all parts.
    pub(super) fn text(&mut self, parts: &[Part<'_>]) -> Result<String, Flaw> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Plain(plain) => text.push_str(plain),
                Part::Escaped(character) => text.push_str(character),
                Part::Quoted(inner) => text.push_str(&self.text(inner)?),
                Part::Variable(variable) => {
                    text.push_str(&self.variable(variable)?);
                    if text.len() > MOST_BYTES {
                        return Err(Flaw { cause: Cause::TooLong, range: variable.range.clone() });
                    }
                }
            }
        }
        Ok(text)
    }

    /// Returns the words that the parts are when blanks outside quotes separate.
    pub(super) fn words(&mut self, parts: &[Part<'_>]) -> Result<Vec<String>, Flaw> {
        let mut words = vec![String::new()];
        for part in parts {
            let text = self.text(std::slice::from_ref(part))?;
            if matches!(part, Part::Quoted(_) | Part::Escaped(_)) {
                words.last_mut().expect("one from the beginning").push_str(&text);
                continue;
            }
            for (place, piece) in text.split(char::is_whitespace).enumerate() {
                if place > 0 {
                    words.push(String::new());
                }
                words.last_mut().expect("one from the beginning").push_str(piece);
            }
        }
        words.retain(|word| !word.is_empty());
        Ok(words)
    }

    fn variable(&mut self, variable: &Variable<'_>) -> Result<String, Flaw> {
        let text = match &variable.modifier {
            Modifier::None => self.value(variable).unwrap_or_default(),
            Modifier::Conditional(condition, nothing, word) => {
                // Evaluated also where it is not taken: so do other builders, and its errors are errors.
                let word = self.text(word)?;
                let value = self.value(variable);
                return conditional(variable, *condition, *nothing, word, value);
            }
            Modifier::Remove(end, pattern) => {
                let text = self.text(&pattern.parts)?;
                let sign = if *end == End::Start { '#' } else { '%' };
                let (extent, text) = match text.strip_prefix(sign) {
                    Some(rest) => (Extent::Longest, rest),
                    None => (Extent::Shortest, &*text),
                };
                let glob = glob(text, pattern)?;
                let value = self.value(variable).unwrap_or_default();
                match end {
                    End::Start => glob.without_prefix(&value, extent),
                    End::End => glob.without_suffix(&value, extent),
                }
            }
            Modifier::Replace(count, pattern, word) => {
                let glob = glob(&self.text(&pattern.parts)?, pattern)?;
                let word = self.text(word)?;
                let value = self.value(variable).unwrap_or_default();
                let most = if *count == Count::All { usize::MAX } else { 1 };
                glob.replace(&value, &word, most)
                    .ok_or_else(|| Flaw { cause: Cause::TooLong, range: variable.range.clone() })?
            }
        };
        Ok(text)
    }

    fn value(&mut self, variable: &Variable<'_>) -> Option<String> {
        let value = (self.variables)(variable.name);
        self.uses.push(Use {
            name: variable.name.to_owned(),
            defined: value.is_some(),
            guarded: matches!(variable.modifier, Modifier::Conditional(..)),
            range: variable.range.clone(),
        });
        value
    }
}

/// Reads what `pattern` has become.
fn glob(text: &str, pattern: &Pattern<'_>) -> Result<Glob, Flaw> {
    Glob::parse(text).map_err(|escaped| Flaw {
        cause: Cause::Pattern { pattern: text.to_owned(), escaped: escaped.map(String::from).unwrap_or_default() },
        range: pattern.range.clone(),
    })
}

fn conditional(
    variable: &Variable<'_>,
    condition: Condition,
    nothing: Nothing,
    word: String,
    value: Option<String>,
) -> Result<String, Flaw> {
    let is_set = value.is_some();
    let value = value.filter(|value| nothing == Nothing::Unset || !value.is_empty());
    match (condition, value) {
        (Condition::Alternative, Some(_)) => Ok(word),
        (Condition::Alternative, None) => Ok(String::new()),
        (_, Some(value)) => Ok(value),
        (Condition::Default, None) => Ok(word),
        (Condition::Required, None) => {
            let usual = if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
            let message = if word.is_empty() { usual.to_owned() } else { word };
            let cause = Cause::Required { name: variable.name.to_owned(), message };
            Err(Flaw { cause, range: variable.range.clone() })
        }
    }
}
