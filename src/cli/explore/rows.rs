use std::collections::HashSet;

use regex::bytes::{Regex, RegexBuilder};

use crate::layer::{Change, Changes, PlaceId, ROOT, Strata};

/// The rows of the tree: which places are shown, and in what order.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// From the top.
    pub(super) rows: Vec<Row>,
    open: HashSet<PlaceId>,
    /// Kinds of change that are not shown.
    pub(super) hidden: HashSet<Shown>,
    /// Which paths are shown; none is all.
    pub(super) filter: Option<Pattern>,
    pub(super) order: Order,
    /// Whether a place, or something below it, is to be shown.
    wanted: Vec<bool>,
}

/// A row of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) place: PlaceId,
    /// How many directories it is in, but for the root.
    pub(super) depth: usize,
    pub(super) is_open: bool,
    /// Whether there is anything to open.
    pub(super) has_children: bool,
}

/// What of a tree can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shown {
    Added,
    Modified,
    Removed,
    Unchanged,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Name,
    /// The largest first.
    Size,
}

/// What paths are looked for by.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) text: String,
    regex: Regex,
}

impl Pattern {
    /// Reads a regular expression; without capitals in it, capitals do not matter.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let folded = !text.chars().any(char::is_uppercase);
        let built = RegexBuilder::new(text).case_insensitive(folded).build();
        let said = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
        Ok(Pattern { text: text.to_owned(), regex: built.map_err(said)? })
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }
}

impl Shown {
    fn of(change: Change) -> Option<Shown> {
        match change {
            Change::Absent => None,
            Change::Unchanged => Some(Shown::Unchanged),
            Change::Added => Some(Shown::Added),
            Change::Modified | Change::Rewritten => Some(Shown::Modified),
            Change::Removed => Some(Shown::Removed),
        }
    }
}

impl Rows {
    /// Decides again what is shown, after another choice of layers or filters.
    pub(super) fn choose(&mut self, strata: &Strata, changes: &Changes) {
        let matching = self.filter.as_ref().map(|pattern| {
            let mut matching = vec![false; strata.places()];
            each_path(strata, |place, path| matching[place] = pattern.matches(path));
            matching
        });
        self.wanted = vec![false; strata.places()];
        for place in (1..strata.places()).rev() {
            let Some(shown) = Shown::of(changes.change[place]) else { continue };
            let matches = matching.as_ref().is_none_or(|matching| matching[place]);
            self.wanted[place] |= matches && !self.hidden.contains(&shown);
            if let Some(parent) = strata.parent(place).filter(|_| self.wanted[place]) {
                self.wanted[parent] = true;
            }
        }
        self.list(strata, changes);
    }

    /// Lists the rows again, after something was opened or closed.
    pub(super) fn list(&mut self, strata: &Strata, changes: &Changes) {
        let mut rows = Vec::new();
        let mut levels = vec![self.level(ROOT, strata, changes)];
        while let Some(level) = levels.last_mut() {
            let Some(place) = level.next() else {
                levels.pop();
                continue;
            };
            let has_children = strata.children(place).any(|child| self.wanted[child]);
            let is_open = has_children && self.is_open(place);
            rows.push(Row { place, depth: levels.len() - 1, is_open, has_children });
            if is_open {
                levels.push(self.level(place, strata, changes));
            }
        }
        self.rows = rows;
    }

    fn level(&self, directory: PlaceId, strata: &Strata, changes: &Changes) -> std::vec::IntoIter<PlaceId> {
        let mut places: Vec<PlaceId> = strata.children(directory).filter(|&place| self.wanted[place]).collect();
        if self.order == Order::Size {
            places.sort_by_key(|&place| std::cmp::Reverse(changes.bytes[place]));
        }
        places.into_iter()
    }

    /// With a filter, what it found is shown whatever is open.
    fn is_open(&self, place: PlaceId) -> bool {
        self.open.contains(&place) != self.filter.is_some()
    }

    pub(super) fn toggle(&mut self, place: PlaceId) {
        if !self.open.remove(&place) {
            self.open.insert(place);
        }
    }

    /// Opens every directory, or closes all if all are open.
    pub(super) fn toggle_all(&mut self, strata: &Strata) {
        let all = self.rows.iter().filter(|row| row.has_children);
        let closes = all.clone().next().is_some() && all.clone().all(|row| row.is_open);
        let inside: Vec<PlaceId> = (1..strata.places()).filter(|&place| strata.end(place) > place + 1).collect();
        // A filter turns the meaning of `open` around.
        self.open = if closes == self.filter.is_some() { inside.into_iter().collect() } else { HashSet::new() };
    }

    /// Opens everything above a place.
    pub(super) fn reveal(&mut self, place: PlaceId, strata: &Strata) {
        let parents = std::iter::successors(strata.parent(place), |&at| strata.parent(at));
        for parent in parents.filter(|&parent| parent != ROOT).collect::<Vec<_>>() {
            if !self.is_open(parent) {
                self.toggle(parent);
            }
        }
    }

    /// Begins a filter, or ends it; what was open stays so only without one.
    pub(super) fn set_filter(&mut self, filter: Option<Pattern>) {
        if self.filter.is_some() != filter.is_some() {
            self.open.clear();
        }
        self.filter = filter;
    }

    /// Returns the row of a place, if it is shown.
    pub(super) fn find(&self, place: PlaceId) -> Option<usize> {
        self.rows.iter().position(|row| row.place == place)
    }

    /// Tells whether a place may be shown.
    pub(super) fn is_wanted(&self, place: PlaceId) -> bool {
        self.wanted.get(place).is_some_and(|&wanted| wanted)
    }
}

/// Visits every place but the root with its path.
pub(super) fn each_path(strata: &Strata, mut visit: impl FnMut(PlaceId, &[u8])) {
    let mut path = Vec::new();
    // The ends of the directories above, each with the length of its path.
    let mut above: Vec<(PlaceId, usize)> = Vec::new();
    for place in 1..strata.places() {
        while above.last().is_some_and(|&(end, _)| end <= place) {
            above.pop();
        }
        path.truncate(above.last().map_or(0, |&(_, length)| length));
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(strata.name(place));
        visit(place, &path);
        above.push((strata.end(place), path.len()));
    }
}
