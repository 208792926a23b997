use jiff::Timestamp;

use crate::oci::History;

/// Gives every item of `history` from `first_new` on its time (dockerfile semantics, "Image config and history"): items
/// with a layer have theirs already; the others take that of the layer before them, or, where the build made none
/// before, of its first; failing that, of the last item of the base. Nothing new is later than `epoch`.
pub(super) fn settle(history: &mut [History], first_new: usize, epoch: Option<Timestamp>) {
    let (base, new) = history.split_at_mut(first_new);
    let of_base = base.iter().rev().find_map(|item| item.created);
    let mut current = new.iter().find_map(|item| item.created).or(of_base);
    for item in new {
        current = item.created.or(current);
        item.created = match (current, epoch) {
            (Some(time), Some(epoch)) => Some(time.min(epoch)),
            // Without a time of their own, metadata are as old as the epoch says.
            (time, epoch) => time.or(epoch),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(times: &[Option<i64>], first_new: usize, epoch: Option<i64>) -> Vec<Option<i64>> {
        let at = |second| Timestamp::from_second(second).unwrap();
        let item = |time: &Option<i64>| History { created: time.map(at), ..History::default() };
        let mut history: Vec<History> = times.iter().map(item).collect();
        settle(&mut history, first_new, epoch.map(at));
        history.iter().map(|item| item.created.map(Timestamp::as_second)).collect()
    }

    #[test]
    fn metadata_take_the_time_of_a_layer_nearby() {
        for (times, first_new, expected) in [
            (&[Some(1), None, Some(5), None, Some(7)][..], 1, &[Some(1), Some(5), Some(5), Some(5), Some(7)][..]),
            (&[Some(1), None, None], 1, &[Some(1), Some(1), Some(1)]),
            (&[None, None], 0, &[None, None]),
            (&[None, Some(3)], 1, &[None, Some(3)]),
        ] {
            assert_eq!(settled(times, first_new, None), expected, "{times:?}");
        }
    }

    #[test]
    fn nothing_new_is_later_than_the_epoch() {
        assert_eq!(settled(&[Some(9), Some(9), None], 1, Some(4)), [Some(9), Some(4), Some(4)]);
        assert_eq!(settled(&[None], 0, Some(4)), [Some(4)]);
    }
}
