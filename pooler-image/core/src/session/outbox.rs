//! What is to be written to one side, in order, without copying what can be passed on as it is.

use std::io::IoSlice;

/// Bytes for one socket: ranges of the input that was just read, and bytes of our own between them.
///
/// One outbox per direction belongs to a loop, not to a connection; it is emptied after every write.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: Vec<Piece>,
    own: Vec<u8>,
    len: usize,
}

/// Memory of its own that an empty outbox keeps.
const KEPT_BYTES: usize = 64 * 1024;

/// The same, in pieces.
const KEPT_PIECES: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum Piece {
    Input { start: usize, end: usize },
    Own { start: usize, end: usize },
}

impl Outbox {
    /// Passes on `input[start..end]`; adjoining ranges become one.
    pub fn forward(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        self.len += end - start;
        if let Some(Piece::Input { end: last, .. }) = self.pieces.last_mut()
            && *last == start
        {
            *last = end;
            return;
        }
        self.pieces.push(Piece::Input { start, end });
    }

    /// Adds bytes of our own; `write` appends them to the buffer it is given.
    pub fn own(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.own.len();
        write(&mut self.own);
        let end = self.own.len();
        if start == end {
            return;
        }
        self.len += end - start;
        if let Some(Piece::Own { end: last, .. }) = self.pieces.last_mut()
            && *last == start
        {
            *last = end;
            return;
        }
        self.pieces.push(Piece::Own { start, end });
    }

    /// All of it, when it is in one piece.
    pub fn only<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match self.pieces.as_slice() {
            [Piece::Input { start, end }] => input.get(*start..*end),
            [Piece::Own { start, end }] => self.own.get(*start..*end),
            _ => None,
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything, keeps the memory of ordinary messages.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_PIECES);
        self.own.clear();
        self.own.shrink_to(KEPT_BYTES);
        self.len = 0;
    }

    /// Fills `slices` with what is left after `skip` bytes; returns how many slices were used.
    /// Fewer than all when `slices` is short: write, then call again with a larger `skip`.
    pub fn slices<'a>(&'a self, input: &'a [u8], skip: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (piece, slice) in self.remaining(input, skip).zip(slices.iter_mut()) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    /// Appends what is left after `skip` bytes to `spill`.
    pub fn copy_remaining(&self, input: &[u8], skip: usize, spill: &mut Vec<u8>) {
        for piece in self.remaining(input, skip) {
            spill.extend_from_slice(piece);
        }
    }

    fn remaining<'a>(&'a self, input: &'a [u8], skip: usize) -> impl Iterator<Item = &'a [u8]> {
        let mut skip = skip;
        self.pieces.iter().filter_map(move |piece| {
            let bytes = match *piece {
                Piece::Input { start, end } => input.get(start..end),
                Piece::Own { start, end } => self.own.get(start..end),
            }?;
            let dropped = skip.min(bytes.len());
            skip -= dropped;
            bytes.get(dropped..).filter(|rest| !rest.is_empty())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_order_and_adjoining_ranges_are_one() {
        let input = b"abcdef";
        let mut out = Outbox::default();
        out.forward(0, 2);
        out.forward(2, 3);
        assert_eq!(out.only(input), Some(&b"abc"[..]));
        out.own(|own| own.extend_from_slice(b"XY"));
        out.forward(4, 6);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(out.slices(input, 0, &mut slices), 3);
        assert_eq!(out.only(input), None);
        let mut all = Vec::new();
        out.copy_remaining(input, 0, &mut all);
        assert_eq!(all, b"abcXYef");
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn a_partial_write_leaves_exactly_the_rest() {
        let input = b"abcdef";
        let mut out = Outbox::default();
        out.forward(0, 3);
        out.own(|own| own.extend_from_slice(b"12"));
        out.forward(3, 6);
        for skip in 0..=out.len() {
            let mut rest = Vec::new();
            out.copy_remaining(input, skip, &mut rest);
            assert_eq!(rest, &b"abc12def"[skip..]);
        }
    }
}
