//! Sets of words, hashed when the crate is built and searched in place.

/// The words of a text, each at the first free slot from its hash on; an empty one ends a search.
#[derive(Debug)]
pub(super) struct Words<const SLOTS: usize>([&'static [u8]; SLOTS]);

impl<const SLOTS: usize> Words<SLOTS> {
    /// Of a text with one word a line, which leaves at least one slot free.
    pub(super) const fn new(text: &'static [u8]) -> Self {
        let mut slots: [&[u8]; SLOTS] = [b""; SLOTS];
        let mut rest = text;
        while !rest.is_empty() {
            let mut length = 0;
            while length < rest.len() && rest[length] != b'\n' {
                length += 1;
            }
            let (word, tail) = rest.split_at(length);
            let mut slot = Self::slot(word);
            while !slots[slot].is_empty() {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = word;
            rest = if tail.is_empty() { tail } else { tail.split_at(1).1 };
        }
        Self(slots)
    }

    /// Whether it has a word.
    pub(super) fn has(&self, word: &[u8]) -> bool {
        let (before, from) = self.0.split_at(Self::slot(word));
        from.iter().chain(before).take_while(|slot| !slot.is_empty()).any(|slot| *slot == word)
    }

    /// Where to look first.
    const fn slot(word: &[u8]) -> usize {
        let mut hash = word.len() as u32;
        let mut at = 0;
        while at < word.len() {
            hash = hash.wrapping_mul(31).wrapping_add(word[at] as u32);
            at += 1;
        }
        (hash.wrapping_mul(0x9e37_79b9) >> 16) as usize % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_and_no_other() {
        static FULL: Words<8> = Words::new(b"one\ntwo\nthree\nfour\nfive\nsix\nseven");
        for word in ["one", "two", "three", "four", "five", "six", "seven"] {
            assert!(FULL.has(word.as_bytes()), "{word}");
        }
        for word in ["", "on", "ones", "eight", "ONE", "nine", "ten", "eleven"] {
            assert!(!FULL.has(word.as_bytes()), "{word}");
        }
    }
}
