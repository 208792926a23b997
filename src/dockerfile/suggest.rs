/// More edits than this turn a word into another word, not into a typing mistake.
const MOST_EDITS: usize = 2;

/// Returns the candidate that `word` was likely meant to be, comparing without case; the first of equals.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(64).collect();
    let near = candidates.into_iter().filter_map(|candidate| Some((edits(&word, candidate)?, candidate)));
    near.min_by_key(|&(edits, _)| edits).map(|(_, candidate)| candidate)
}

/// Returns the help line for [`nearest`], with the candidate written after `prefix`.
pub(super) fn did_you_mean(nearest: Option<&str>, prefix: &str) -> Option<String> {
    nearest.map(|nearest| format!("did you mean `{prefix}{nearest}`?"))
}

/// Returns the Levenshtein distance where it is small, and less than the whole word.
fn edits(word: &[char], candidate: &str) -> Option<usize> {
    let candidate: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    if word.len().abs_diff(candidate.len()) > MOST_EDITS {
        return None;
    }
    let mut row: Vec<usize> = (0..=candidate.len()).collect();
    for (line, &left) in word.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, &right) in candidate.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    let distance = row[candidate.len()];
    (distance <= MOST_EDITS && distance < candidate.len()).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_within_two_edits_is_meant() {
        let names = ["RUN", "FROM", "COPY", "ENTRYPOINT"];
        for (word, expected) in [
            ("RNU", Some("RUN")),
            ("form", Some("FROM")),
            ("CPY", Some("COPY")),
            ("ENTRYPIONT", Some("ENTRYPOINT")),
            ("ENTRY", None),
            ("MAKE", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
