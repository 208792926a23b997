/// More edits than this turn a word into another word, not into a typing mistake.
const MOST_EDITS: usize = 2;

/// Returns the candidate that `word` was likely meant to be, comparing without case; the first of equals.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(64).collect();
    let near = candidates.into_iter().filter_map(|candidate| Some((edits(&word, candidate)?, candidate)));
    near.min_by_key(|&(edits, _)| edits).map(|(_, candidate)| candidate)
}

/// Returns the help line for [`nearest`], with the candidate written after `prefix`.
pub(super) fn did_you_mean(nearest: Option<&str>, prefix: &str) -> Option<String> {
    nearest.map(|nearest| format!("did you mean `{prefix}{nearest}`?"))
}

/// Returns how many letters to add, remove, replace or swap, where that is few and less than the whole word.
fn edits(word: &[char], candidate: &str) -> Option<usize> {
    let candidate: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    if word.len().abs_diff(candidate.len()) > MOST_EDITS {
        return None;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=candidate.len()).collect()];
    for line in 1..=word.len() {
        let mut row = vec![line];
        for column in 1..=candidate.len() {
            let same = word[line - 1] == candidate[column - 1];
            let replaced = rows[line - 1][column - 1] + usize::from(!same);
            let removed = rows[line - 1][column].min(row[column - 1]) + 1;
            let swaps = line > 1
                && column > 1
                && word[line - 1] == candidate[column - 2]
                && word[line - 2] == candidate[column - 1];
            let swapped = if swaps { rows[line - 2][column - 2] + 1 } else { usize::MAX };
            row.push(replaced.min(removed).min(swapped));
        }
        rows.push(row);
    }
    let distance = rows[word.len()][candidate.len()];
    (distance <= MOST_EDITS && distance < candidate.len().min(word.len())).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_within_two_edits_is_meant() {
        let names = ["ENV", "CMD", "RUN", "FROM", "COPY", "ENTRYPOINT"];
        for (word, expected) in [
            ("RNU", Some("RUN")),
            ("form", Some("FROM")),
            ("CPY", Some("COPY")),
            ("ENTRYPIONT", Some("ENTRYPOINT")),
            ("ENTRY", None),
            ("MAKE", None),
            ("C", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
