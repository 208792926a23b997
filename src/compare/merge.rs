//! The merge of all layers of both sides, path by path.
//!
//! Where the merge stands, a [`Frame`] for the path and for every directory above it says what each side has there, and
//! from which layer on (`floor`) entries below it count: what is deeper in the stack was deleted or replaced.

use std::collections::HashMap;

use crate::layer::{Entry, EntryPath, Kind};

use super::change::State;
use super::links::{self, Resolved};
use super::side::{Owner, Sides};
use super::stream::{Step, Stream, in_tree_order};
use super::{Change, Comparison, Error, File, Options};

/// Why a merge did not come to its end.
pub(super) enum Halt {
    /// The layer at this place among those that are read has its entries in another order.
    Unsorted(usize),
    /// What an entry means depends on what was applied before it.
    Odd,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

/// How often a merge asks whether it shall stop.
const ENTRIES_BETWEEN_QUESTIONS: u32 = 4096;

/// Merges all layers; those at the places in `sorted` are sorted first.
pub(super) fn merge(sides: &Sides<'_>, sorted: &[usize], options: &Options<'_>) -> Result<Comparison, Halt> {
    let opened = sides.layers().enumerate();
    let streams = opened.map(|(place, (owner, slot, layer))| Stream::open(owner, slot, layer, sorted.contains(&place)));
    let mut merge = Merge {
        streams: streams.collect::<Result<_, _>>()?,
        queue: Vec::new(),
        here: Vec::new(),
        path: Vec::new(),
        frames: Vec::new(),
        spare: Vec::new(),
        blind: sides.is_blind(),
        options,
        comparison: Comparison::default(),
        linked: Vec::new(),
    };
    merge.run()?;
    let Merge { mut comparison, linked, .. } = merge;
    if !linked.is_empty() {
        let links = links::resolve(sides, linked.iter().flat_map(|(_, before, after)| [before, after]))?;
        for (path, before, after) in linked {
            if let Some(change) = Change::between(&path, before.resolved(&links)?, after.resolved(&links)?) {
                comparison.take(change, options);
            }
        }
    }
    Ok(comparison)
}

struct Merge<'a> {
    streams: Vec<Stream>,
    /// The streams that have not ended, the one with the next path last.
    queue: Vec<usize>,
    /// Those of them that are at the current path, while their entries are taken.
    here: Vec<usize>,
    /// Where the last frame is.
    path: EntryPath,
    frames: Vec<Frame>,
    /// Frames that are done with, for their memory.
    spare: Vec<Frame>,
    blind: bool,
    options: &'a Options<'a>,
    comparison: Comparison,
    /// Paths where a side has a hard link, whose files are looked up at the end.
    linked: Vec<(EntryPath, Found, Found)>,
}

/// An entry at the path where the merge stands.
#[derive(Debug, Clone)]
struct Mark {
    owner: Owner,
    slot: u32,
    /// Deletions stand before all entries of their layer, wherever they are written (image-spec, "Whiteouts").
    place: u32,
    what: What,
    /// Which of the entries that are held is this one.
    held: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Whiteout,
    Opaque,
    Directory,
    Other,
}

impl What {
    fn of(kind: &Kind) -> What {
        match kind {
            Kind::Whiteout => What::Whiteout,
            Kind::Opaque => What::Opaque,
            Kind::Directory => What::Directory,
            _ => What::Other,
        }
    }
}

/// What a side has at a path, before hard links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    /// The shared layers would tell.
    Unknown,
    /// The same entry on both sides, whatever it is.
    Same,
    Entry(Owner, u32, Box<Entry>),
    /// A directory without an entry.
    Implied,
}

impl Found {
    fn is_link(&self) -> bool {
        matches!(self, Found::Entry(_, _, entry) if matches!(entry.kind, Kind::Hardlink { .. }))
    }

    fn state(self) -> State {
        match self {
            Found::Absent => State::Absent,
            Found::Unknown | Found::Same => State::Unknown,
            Found::Implied => State::Present(File::implied()),
            Found::Entry(_, slot, entry) => {
                State::Present(File { kind: entry.kind, metadata: entry.metadata, layer: Some(slot) })
            }
        }
    }

    fn resolved(self, links: &Resolved) -> Result<State, Halt> {
        match &self {
            Found::Entry(owner, slot, entry) => match &entry.kind {
                Kind::Hardlink { target } => {
                    let (kind, metadata) = links.file(*owner, *slot, target).ok_or(Halt::Odd)?;
                    Ok(State::Present(File { kind, metadata, layer: Some(*slot) }))
                }
                _ => Ok(self.state()),
            },
            _ => Ok(self.state()),
        }
    }
}

#[derive(Default)]
struct Frame {
    path_bytes: usize,
    sides: [Here; 2],
    /// What the layers say of this path.
    marks: Vec<Mark>,
    /// Whether something here or above is no directory in some layer.
    strange: bool,
}

/// What one side has at the path of a frame.
struct Here {
    found: Found,
    /// Entries below count from this layer on.
    floor: u32,
    /// Entries below from this layer on make a directory of what has no entry itself; what was in it may be hidden since.
    born: u32,
    /// The highest layer with an entry here that is no deletion.
    own: Option<u32>,
    /// The same, of all that is below.
    below: Option<u32>,
}

impl Default for Here {
    fn default() -> Here {
        Here { found: Found::Absent, floor: 0, born: 0, own: None, below: None }
    }
}

const SIDES: [Owner; 2] = [Owner::Before, Owner::After];

impl Merge<'_> {
    fn run(&mut self) -> Result<(), Halt> {
        for place in 0..self.streams.len() {
            self.advance(place)?;
        }
        // The marks and the entries of one path, kept for their memory.
        let (mut marks, mut held) = (Vec::new(), Vec::new());
        self.push(0, &mut marks, &mut held, true)?;
        let mut left = ENTRIES_BETWEEN_QUESTIONS;
        while let Some(&first) = self.queue.last() {
            left -= 1;
            if left == 0 {
                left = ENTRIES_BETWEEN_QUESTIONS;
                if (self.options.cancelled)() {
                    return Err(Error::Cancelled.into());
                }
            }
            let path = std::mem::take(&mut self.streams[first].entry.path);
            self.enter(&path)?;
            self.streams[first].entry.path = path;
            if self.pass(first)? {
                continue;
            }
            let plain = self.gather(&mut marks, &mut held)?;
            self.push(self.path.len(), &mut marks, &mut held, plain)?;
        }
        self.leave_to(0)
    }

    /// Goes to the next entry of a stream, and puts the stream where it belongs in the queue.
    fn advance(&mut self, place: usize) -> Result<(), Halt> {
        match self.streams[place].advance()? {
            Step::Moved => self.queue(place),
            Step::Ended => {}
            Step::Unsorted => return Err(Halt::Unsorted(place)),
        }
        Ok(())
    }

    fn queue(&mut self, place: usize) {
        let path = &self.streams[place].entry.path;
        // From the end: most often the stream that was next is next again.
        let behind = |&&other: &&usize| in_tree_order(path, &self.streams[other].entry.path).is_gt();
        let ahead = self.queue.iter().rev().take_while(behind).count();
        self.queue.insert(self.queue.len() - ahead, place);
    }

    /// Makes `path` the current one: leaves directories that it is not in, and enters those above it.
    fn enter(&mut self, path: &[u8]) -> Result<(), Halt> {
        let common = self.frames.iter().rposition(|frame| {
            let bytes = frame.path_bytes;
            bytes == 0 || (path.len() > bytes && path[bytes] == b'/' && path[..bytes] == self.path[..bytes])
        });
        let common = common.unwrap_or(0);
        if path.is_empty() {
            // What is said of the root itself stands before everything else.
            self.leave_to(0)?;
            self.path.clear();
            return Ok(());
        }
        self.leave_to(common + 1)?;
        let start = self.frames[common].path_bytes;
        self.path.truncate(start);
        self.path.extend_from_slice(&path[start..]);
        for bytes in (start + 1..path.len()).filter(|&place| path[place] == b'/') {
            self.push(bytes, &mut Vec::new(), &mut Vec::new(), true)?;
        }
        Ok(())
    }

    /// Passes over a file at the current path that one shared layer alone has, and that both sides see, or neither: most
    /// entries of two images with a large base. Tells whether it did.
    fn pass(&mut self, place: usize) -> Result<bool, Halt> {
        let stream = &self.streams[place];
        let (owner, slot) = (stream.owner, stream.slot);
        let is_alone = match self.queue[..] {
            [.., other, _] => self.streams[other].entry.path != self.path,
            _ => true,
        };
        let is_candidate = owner == Owner::Shared && What::of(&stream.entry.kind) == What::Other && is_alone;
        let mark = Mark { owner, slot, place: stream.place.saturating_add(1), what: What::Other, held: None };
        let Some(above) = self.frames.last_mut().filter(|_| is_candidate) else { return Ok(false) };
        if above.strange || above.sides[0].floor != above.sides[1].floor {
            return Ok(false);
        }
        for side in &mut above.sides {
            side.below = side.below.max(Some(slot));
        }
        self.queue.pop();
        self.advance(place)?;
        let Some(&next) = self.queue.last() else { return Ok(true) };
        match self.streams[next].entry.path.strip_prefix(&self.path[..]) {
            // The layer says two things of one path.
            Some([]) => Err(Halt::Odd),
            // Something is below what is no directory.
            Some([b'/', ..]) => self.push(self.path.len(), &mut vec![mark], &mut Vec::new(), true).map(|()| true),
            _ => Ok(true),
        }
    }

    /// Takes every entry at the current path from its stream. Tells whether only shared layers have any, and both sides
    /// see the same of them; then no entry is held.
    fn gather(&mut self, marks: &mut Vec<Mark>, held: &mut Vec<Entry>) -> Result<bool, Halt> {
        let mut here = std::mem::take(&mut self.here);
        while let Some(place) = self.queue.pop_if(|&mut place| self.streams[place].entry.path == self.path) {
            here.push(place);
        }
        let floors = self.frames.last().map_or([0, 0], |above| [above.sides[0].floor, above.sides[1].floor]);
        let plain = floors[0] == floors[1] && here.iter().all(|&place| self.streams[place].owner == Owner::Shared);
        for place in here.drain(..) {
            self.take(place, plain, marks, held)?;
        }
        self.here = here;
        Ok(plain)
    }

    /// Takes the entries that one stream has at the current path.
    fn take(&mut self, place: usize, plain: bool, marks: &mut Vec<Mark>, held: &mut Vec<Entry>) -> Result<(), Halt> {
        let (mut entries, mut others) = (0, 0);
        loop {
            let stream = &self.streams[place];
            let what = What::of(&stream.entry.kind);
            let is_deletion = matches!(what, What::Whiteout | What::Opaque);
            let mut mark = Mark {
                owner: stream.owner,
                slot: stream.slot,
                place: if is_deletion { 0 } else { stream.place.saturating_add(1) },
                what,
                held: None,
            };
            if !is_deletion {
                entries += 1;
                others += u32::from(what == What::Other);
                if !plain {
                    mark.held = Some(held.len());
                    held.push(stream.entry.clone());
                }
            }
            // The later of two takes the place of the earlier, but a hard link between them names the earlier.
            if entries > 1 && others > 0 {
                return Err(Halt::Odd);
            }
            marks.push(mark);
            match self.streams[place].advance()? {
                Step::Ended => return Ok(()),
                Step::Unsorted => return Err(Halt::Unsorted(place)),
                Step::Moved if self.streams[place].entry.path == self.path => {}
                Step::Moved => {
                    self.queue(place);
                    return Ok(());
                }
            }
        }
    }

    /// Makes the frame of the path of so many bytes.
    fn push(
        &mut self,
        path_bytes: usize,
        marks: &mut Vec<Mark>,
        held: &mut Vec<Entry>,
        plain: bool,
    ) -> Result<(), Halt> {
        marks.sort_by_key(|mark| (mark.slot, mark.place, mark.what));
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.path_bytes = path_bytes;
        frame.marks.clear();
        frame.marks.append(marks);
        let above = self.frames.last();
        frame.strange = above.is_some_and(|above| above.strange);
        if frame.strange && self.is_odd(&frame.marks) {
            return Err(Halt::Odd);
        }
        if let Some(first) = frame.marks.iter().position(|mark| mark.what == What::Other) {
            frame.strange = true;
            // A directory that hides what is below may hide it somewhere else, where a link leads.
            if frame.marks[first..].iter().any(|mark| mark.what == What::Opaque) {
                return Err(Halt::Odd);
            }
        }
        for (side, owner) in SIDES.into_iter().enumerate() {
            let floor = above.map_or(0, |above| above.sides[side].floor);
            let bottom = if self.blind && floor == 0 { Found::Unknown } else { Found::Absent };
            frame.sides[side] = look(&frame.marks, owner, floor, bottom, held);
            if plain && side == 0 && frame.sides[0].found == Found::Same {
                // Both see the same, and what it is does not matter.
                let Here { floor, born, own, .. } = frame.sides[0];
                frame.sides[1] = Here { found: Found::Same, floor, born, own, below: None };
                break;
            }
        }
        held.clear();
        self.frames.push(frame);
        Ok(())
    }

    /// Tells whether an entry was applied when something above it was no directory: a symbolic link that it followed, or
    /// a file that it replaced; or was replaced by such a thing of its own layer.
    fn is_odd(&self, marks: &[Mark]) -> bool {
        let is_strange = |above: &Frame, mark: &Mark| {
            let own = |other: &&Mark| other.owner == Owner::Shared || other.owner == mark.owner;
            let replaces = |other: &Mark| other.what == What::Other && other.slot == mark.slot;
            let is_earlier =
                |other: &&Mark| other.what != What::Opaque && (other.slot, other.place) < (mark.slot, mark.place);
            let mut relevant = above.marks.iter().filter(own);
            let latest = above.marks.iter().filter(own).rfind(is_earlier);
            latest.is_some_and(|latest| latest.what == What::Other) || relevant.any(replaces)
        };
        marks.iter().any(|mark| self.frames.iter().any(|above| is_strange(above, mark)))
    }

    /// Leaves all frames but so many.
    fn leave_to(&mut self, frames: usize) -> Result<(), Halt> {
        while self.frames.len() > frames {
            let mut frame = self.frames.pop().expect("there are more");
            for side in 0..2 {
                let here = &mut frame.sides[side];
                let has_something = here.below.is_some_and(|below| below >= here.born);
                // There is a root even where there is nothing.
                if here.found == Found::Absent && (has_something || frame.path_bytes == 0) {
                    here.found = Found::Implied;
                }
                if let Some(above) = self.frames.last_mut() {
                    let above = &mut above.sides[side].below;
                    *above = (*above).max(here.own).max(here.below);
                }
            }
            self.compare(&mut frame);
            self.spare.push(frame);
        }
        Ok(())
    }

    fn compare(&mut self, frame: &mut Frame) {
        let [before, after] = &mut frame.sides;
        let is_quick = matches!(
            (&before.found, &after.found),
            (Found::Same, Found::Same)
                | (Found::Absent, Found::Absent)
                | (Found::Unknown, Found::Unknown)
                | (Found::Implied, Found::Implied)
        );
        if is_quick {
            return;
        }
        let path = &self.path[..frame.path_bytes];
        let take = |here: &mut Here| std::mem::replace(&mut here.found, Found::Absent);
        let (before, after) = (take(before), take(after));
        if before.is_link() || after.is_link() {
            // One of a layer that both have is one file.
            if before != after {
                self.linked.push((path.to_vec(), before, after));
            }
        } else if let Some(change) = Change::between(path, before.state(), after.state()) {
            self.comparison.take(change, self.options);
        }
    }
}

/// Applies what the layers say of a path, one after the other, as one side sees it: entries from `floor` on, over
/// whatever is at the `bottom`.
fn look(marks: &[Mark], side: Owner, floor: u32, bottom: Found, held: &[Entry]) -> Here {
    let mut here = Here { found: bottom, floor, born: floor, own: None, below: None };
    // Whether what is here now is a directory, or may be one.
    let mut is_directory = true;
    for mark in marks.iter().filter(|mark| mark.owner == Owner::Shared || mark.owner == side) {
        if matches!(mark.what, What::Directory | What::Other) {
            here.own = here.own.max(Some(mark.slot));
        }
        if mark.slot < floor {
            continue;
        }
        match mark.what {
            What::Whiteout => {
                (here.found, is_directory) = (Found::Absent, true);
                (here.floor, here.born) = (mark.slot, mark.slot);
            }
            What::Opaque => here.floor = here.floor.max(mark.slot),
            What::Directory | What::Other => {
                if mark.what == What::Other || !is_directory {
                    (here.floor, here.born) = (mark.slot, mark.slot);
                }
                is_directory = mark.what == What::Directory;
                here.found = match mark.held {
                    Some(held_at) => Found::Entry(mark.owner, mark.slot, Box::new(held[held_at].clone())),
                    None => Found::Same,
                };
            }
        }
    }
    here
}

/// Files by the layer that has them and their path there.
pub(super) type Files = HashMap<(Owner, u32), HashMap<EntryPath, Entry>>;
