//! A text that was changed on its way to the server.

use std::ops::Range;

/// Where a text was changed on its way to the server.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    text: Vec<u8>,
    /// The client's name, where the text is one of ours.
    name: Option<Box<[u8]>>,
    /// Characters of the original before the edit, and in its place.
    before: usize,
    replaced: usize,
}

impl Edits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `text` in the place of a range that has the client's `name`. Edits come in the order of their places.
    pub(super) fn replace(&mut self, range: Range<usize>, text: Vec<u8>, name: &[u8]) {
        self.0.push(Edit { range, text, name: Some(name.into()), before: 0, replaced: 0 });
    }

    /// Puts `text` behind what ends at `at`.
    pub(super) fn insert(&mut self, at: usize, text: Vec<u8>) {
        self.0.push(Edit { range: at..at, text, name: None, before: 0, replaced: 0 });
    }

    /// Appends the changed text.
    pub(super) fn apply(&mut self, original: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        for edit in &mut self.0 {
            edit.before = characters(original.get(..edit.range.start).unwrap_or_default());
            edit.replaced = characters(original.get(edit.range.clone()).unwrap_or_default());
            out.extend_from_slice(original.get(at..edit.range.start).unwrap_or_default());
            out.extend_from_slice(&edit.text);
            at = edit.range.end;
        }
        out.extend_from_slice(original.get(at..).unwrap_or_default());
    }

    /// Where the server's `position` (characters, from one) is in the client's text.
    pub(super) fn position(&self, position: usize) -> usize {
        let mut moved = position;
        for edit in self.0.iter().take_while(|edit| edit.before < position) {
            let is = characters(&edit.text);
            moved = match moved.checked_sub(edit.before + is) {
                Some(behind @ 1..) => edit.before + edit.replaced + behind,
                _ if moved > edit.before => edit.before + 1,
                _ => moved,
            };
        }
        moved
    }

    /// The client's name behind one of ours.
    pub(super) fn name_behind(&self, ours: &[u8]) -> Option<&[u8]> {
        let is_it = |edit: &&Edit| {
            let text = &*edit.text;
            text == ours || text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")) == Some(ours)
        };
        self.0.iter().find(is_it).and_then(|edit| edit.name.as_deref())
    }
}

/// In UTF-8; other encodings that the scanner trusts count the same for ASCII.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_changed_and_positions_lead_back() {
        let original = b"DEALLOCATE a; RESET ALL; selec";
        let mut edits = Edits::default();
        edits.replace(11..12, b"_p12".to_vec(), b"a");
        edits.insert(23, b";SELECT 1".to_vec());
        let mut out = Vec::new();
        edits.apply(original, &mut out);
        assert_eq!(out, b"DEALLOCATE _p12; RESET ALL;SELECT 1; selec");
        assert_eq!(edits.position(1), 1);
        assert_eq!(edits.position(12), 12);
        assert_eq!(edits.position(18), 15, "RESET");
        assert_eq!(edits.position(38), 26, "selec");
        assert_eq!(edits.name_behind(b"_p12"), Some(&b"a"[..]));
        let mut quoted = Edits::default();
        quoted.replace(11..14, b"\"_p1 \"".to_vec(), b"_p1");
        assert_eq!(quoted.name_behind(b"_p1 "), Some(&b"_p1"[..]));
    }
}
