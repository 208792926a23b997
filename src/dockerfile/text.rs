use std::ops::Range;

use crate::diagnostic::{Span, Spanned};

/// Text put together from pieces of the source: a logical line without its continuations, a flag without its quotes.
///
/// A table leads every byte back to the place it was written at, so that a caret can stand under the exact word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    value: String,
    /// Where each piece begins: in `value`, and in the source. Never empty; the first is at 0.
    pieces: Vec<(usize, usize)>,
}

impl Text {
    /// Returns an empty text that stands at byte `offset` of the source.
    pub fn at(offset: usize) -> Text {
        Text { value: String::new(), pieces: vec![(0, offset)] }
    }

    /// Returns the assembled text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Returns where the whole text was written.
    pub fn span(&self) -> Span {
        self.span_of(0..self.value.len())
    }

    /// Returns where the bytes of `range` were written. What the assembly left out in between is covered.
    pub fn span_of(&self, range: Range<usize>) -> Span {
        let start = self.offset(range.start);
        // The byte after the range may belong to another piece, so the end is found from the last byte inside.
        let end = if range.is_empty() { start } else { self.offset(range.end - 1) + 1 };
        Span::new(start, end)
    }

    /// Returns the bytes of `range` and where they were written.
    pub fn spanned(&self, range: Range<usize>) -> Spanned<String> {
        Spanned::new(self.value[range.clone()].to_owned(), self.span_of(range))
    }

    /// Returns the bytes of `range` with their table.
    pub fn slice(&self, range: Range<usize>) -> Text {
        let mut slice = Text::at(self.offset(range.start));
        slice.append(self, range);
        slice
    }

    /// Adds `piece`, which the source holds at byte `offset`.
    pub fn push(&mut self, piece: &str, offset: usize) {
        if piece.is_empty() {
            return;
        }
        let (start, source) = self.pieces[self.pieces.len() - 1];
        if self.value.is_empty() {
            self.pieces[0] = (0, offset);
        } else if source + (self.value.len() - start) != offset {
            self.pieces.push((self.value.len(), offset));
        }
        self.value.push_str(piece);
    }

    /// Adds the bytes of `range` of `other`.
    pub fn append(&mut self, other: &Text, range: Range<usize>) {
        let mut start = range.start;
        let first = other.piece(start);
        for place in first..other.pieces.len() {
            let end = other.pieces.get(place + 1).map_or(other.value.len(), |&(next, _)| next).min(range.end);
            if start >= end {
                break;
            }
            self.push(&other.value[start..end], other.offset(start));
            start = end;
        }
    }

    fn offset(&self, at: usize) -> usize {
        let (start, source) = self.pieces[self.piece(at)];
        source + (at - start)
    }

    fn piece(&self, at: usize) -> usize {
        self.pieces.partition_point(|&(start, _)| start <= at) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lead_back_over_what_was_left_out() {
        // `ab\⏎cd` is assembled without the continuation.
        let mut text = Text::at(10);
        text.push("ab", 10);
        text.push("cd", 14);
        for (range, expected) in
            [(0..2, (10, 12)), (2..4, (14, 16)), (1..3, (11, 15)), (2..2, (14, 14)), (4..4, (16, 16))]
        {
            assert_eq!(text.span_of(range.clone()), Span::new(expected.0, expected.1), "{range:?}");
        }
        assert_eq!(text.slice(1..3).as_str(), "bc");
        assert_eq!(text.slice(1..3).span_of(1..2), Span::new(14, 15));
    }

    #[test]
    fn an_empty_text_stands_somewhere() {
        assert_eq!(Text::at(7).span(), Span::new(7, 7));
    }
}
