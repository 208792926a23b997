use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::oci::{DiffId, History, ImageConfig};

use super::ChangeKind;

/// One instruction of either image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// Whether one image alone has it: [`ChangeKind::Added`] or [`ChangeKind::Removed`], or [`ChangeKind::Modified`]
    /// where both have it and it made other layers; none where all is equal.
    pub kind: Option<ChangeKind>,
    /// The instruction, as the image that has it last tells it.
    pub created_by: String,
    /// Which layer it made, from 0, of the image before.
    pub before: Option<usize>,
    /// The same of the image after.
    pub after: Option<usize>,
}

/// An instruction with what it made.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    history: &'a History,
    layer: Option<(usize, DiffId)>,
}

/// Compares how two images were made, oldest instruction first: as a text whose lines are instructions.
pub fn histories(before: &ImageConfig, after: &ImageConfig) -> Vec<HistoryLine> {
    let (before, after) = (items(before), items(after));
    let text = |items: &[Item<'_>]| items.iter().map(|item| item.text().to_owned()).collect::<Vec<_>>();
    let mut lines = Vec::new();
    for operation in capture_diff_slices(Algorithm::Myers, &text(&before), &text(&after)) {
        let (tag, old, new) = operation.as_tag_tuple();
        if tag == DiffTag::Equal {
            lines.extend(before[old].iter().zip(&after[new]).map(|(old, new)| HistoryLine::of(Some(old), Some(new))));
        } else {
            lines.extend(before[old].iter().map(|old| HistoryLine::of(Some(old), None)));
            lines.extend(after[new].iter().map(|new| HistoryLine::of(None, Some(new))));
        }
    }
    lines
}

fn items(config: &ImageConfig) -> Vec<Item<'_>> {
    let mut layers = config.rootfs.diff_ids.iter().copied().enumerate();
    let item = |history: &'_ History| if history.empty_layer { None } else { layers.next() };
    let made: Vec<_> = config.history.iter().map(item).collect();
    config.history.iter().zip(made).map(|(history, layer)| Item { history, layer }).collect()
}

impl Item<'_> {
    fn text(&self) -> &str {
        self.history.created_by.as_deref().unwrap_or_default()
    }
}

impl HistoryLine {
    fn of(before: Option<&Item<'_>>, after: Option<&Item<'_>>) -> HistoryLine {
        let layer = |item: Option<&Item<'_>>| item.and_then(|item| item.layer);
        let (old, new) = (layer(before), layer(after));
        let kind = match (before, after) {
            (Some(_), None) => Some(ChangeKind::Removed),
            (None, _) => Some(ChangeKind::Added),
            _ if old.map(|(_, id)| id) != new.map(|(_, id)| id) => Some(ChangeKind::Modified),
            _ => None,
        };
        let created_by = after.or(before).map_or(String::new(), |item| item.text().to_owned());
        HistoryLine { kind, created_by, before: old.map(|(place, _)| place), after: new.map(|(place, _)| place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn config(items: &[(&str, Option<u8>)]) -> ImageConfig {
        let mut config = ImageConfig::default();
        for (created_by, layer) in items {
            let created_by = Some((*created_by).to_owned());
            config.history.push(History { created_by, empty_layer: layer.is_none(), ..History::default() });
            config.rootfs.diff_ids.extend(layer.map(|byte| DiffId::new(Digest::from_bytes([byte; 32]))));
        }
        config
    }

    #[test]
    fn instructions_are_compared_as_lines_and_by_what_they_made() {
        let before = config(&[("FROM", Some(1)), ("ENV A", None), ("RUN x", Some(2)), ("COPY", Some(3))]);
        let after = config(&[("FROM", Some(1)), ("ENV B", None), ("COPY", Some(4)), ("CMD", None)]);
        let told: Vec<_> = histories(&before, &after)
            .into_iter()
            .map(|line| (line.kind, line.created_by, line.before, line.after))
            .collect();
        let line = |kind, text: &str, before, after| (kind, text.to_owned(), before, after);
        let expected = [
            line(None, "FROM", Some(0), Some(0)),
            line(Some(ChangeKind::Removed), "ENV A", None, None),
            line(Some(ChangeKind::Removed), "RUN x", Some(1), None),
            line(Some(ChangeKind::Added), "ENV B", None, None),
            line(Some(ChangeKind::Modified), "COPY", Some(2), Some(1)),
            line(Some(ChangeKind::Added), "CMD", None, None),
        ];
        assert_eq!(told, expected);
    }
}
