//! Sorted lists of words, split when the crate is built and searched in place.

/// How many words a text has.
pub(super) const fn count(text: &[u8]) -> usize {
    let (mut at, mut words) = (0, 0);
    while at < text.len() {
        if !text[at].is_ascii_whitespace() && (at == 0 || text[at - 1].is_ascii_whitespace()) {
            words += 1;
        }
        at += 1;
    }
    words
}

/// The `N` words of a text, in its order.
pub(super) const fn split<const N: usize>(text: &'static [u8]) -> [&'static [u8]; N] {
    let mut words: [&[u8]; N] = [b""; N];
    let (mut at, mut word) = (0, 0);
    while at < text.len() {
        let start = at;
        while at < text.len() && !text[at].is_ascii_whitespace() {
            at += 1;
        }
        if at > start {
            words[word] = text.split_at(start).1.split_at(at - start).0;
            word += 1;
        }
        at += 1;
    }
    words
}

/// Whether a sorted list has a word.
pub(super) fn has(list: &[&[u8]], word: &[u8]) -> bool {
    list.binary_search(&word).is_ok()
}
