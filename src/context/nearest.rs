/// More edits than this turn a name into another name, not into a typing mistake.
const MOST_EDITS: usize = 2;

/// Returns the candidate that `name` was likely meant to be: the same letters in another case, or few edits away.
pub fn nearest(name: &[u8], candidates: impl IntoIterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
    let near = candidates.into_iter().filter_map(|candidate| {
        let edits = edits(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase())?;
        (edits <= MOST_EDITS && edits < name.len().min(candidate.len())).then_some((edits, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

/// Returns the Levenshtein distance, where the lengths allow it to be small.
fn edits(a: &[u8], b: &[u8]) -> Option<usize> {
    if a.len().abs_diff(b.len()) > MOST_EDITS {
        return None;
    }
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, left) in a.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, right) in b.iter().enumerate() {
            let replaced = above[column] + usize::from(left != right);
            line.push(replaced.min(above[column + 1] + 1).min(line[column] + 1));
        }
        above = line;
    }
    above.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_typing_mistake_away() {
        let names = || ["main.c", "Makefile", "src", "a"].map(|name| name.as_bytes().to_vec());
        for (name, expected) in [
            ("mian.c", Some("main.c")),
            ("makefile", Some("Makefile")),
            ("scr", Some("src")),
            ("b", None),
            ("something", None),
        ] {
            assert_eq!(nearest(name.as_bytes(), names()).as_deref(), expected.map(str::as_bytes), "{name}");
        }
    }
}
