//! A keyed permutation of the numbers that fit into a cancel key of protocol 3.0.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Four would do against somebody who chooses what is sealed and what is opened; these cost a quarter microsecond.
const ROUNDS: u8 = 10;

/// The process id of a key is positive: clients take it for a signed number, and some send no request for one that is
/// not.
const LEFT: u32 = u32::MAX >> 1;

/// Two halves of 31 and 32 bits, the left one never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Halves {
    pub(super) left: u32,
    pub(super) right: u32,
}

impl Halves {
    /// `None` when the left half is zero or too large.
    pub(super) const fn new(left: u32, right: u32) -> Option<Self> {
        if left == 0 || left > LEFT { None } else { Some(Self { left, right }) }
    }
}

/// A Feistel network over `SipHash`. Halves whose image has no left half are sealed again, until it has one.
#[derive(Clone)]
pub(super) struct Permutation {
    key: [u8; 16],
}

impl Permutation {
    pub(super) const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    pub(super) fn seal(&self, halves: Halves) -> Halves {
        self.walk(halves, |permutation, halves| {
            (0..ROUNDS).fold(halves, |halves, n| permutation.round(n, halves))
        })
    }

    pub(super) fn open(&self, halves: Halves) -> Halves {
        self.walk(halves, |permutation, halves| {
            (0..ROUNDS).rev().fold(halves, |halves, n| permutation.round(n, halves))
        })
    }

    /// Ends: it comes back to where it began at the latest, which has a left half.
    fn walk(&self, mut halves: Halves, step: impl Fn(&Self, Halves) -> Halves) -> Halves {
        loop {
            halves = step(self, halves);
            if halves.left != 0 {
                return halves;
            }
        }
    }

    /// Its own inverse.
    fn round(&self, n: u8, Halves { left, right }: Halves) -> Halves {
        if n.is_multiple_of(2) {
            Halves { left: left ^ self.mix(n, right) & LEFT, right }
        } else {
            Halves { left, right: right ^ self.mix(n, left) }
        }
    }

    fn mix(&self, n: u8, half: u32) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[n]);
        hasher.write(&half.to_be_bytes());
        hasher.finish() as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_sealed_opens(key: [u8; 16], left in 1..=LEFT, right: u32) {
            let permutation = Permutation::new(key);
            let halves = Halves { left, right };
            let sealed = permutation.seal(halves);
            prop_assert!(Halves::new(sealed.left, sealed.right).is_some());
            prop_assert_eq!(permutation.open(sealed), halves);
            prop_assert_eq!(permutation.seal(permutation.open(halves)), halves);
        }

        #[test]
        fn one_bit_changes_about_half_of_all_bits(key: [u8; 16], left in 1..=LEFT, right: u32, bit in 0..32_u32) {
            let permutation = Permutation::new(key);
            let one = permutation.seal(Halves { left, right });
            let two = permutation.seal(Halves { left, right: right ^ 1 << bit });
            let differing = (one.left ^ two.left).count_ones() + (one.right ^ two.right).count_ones();
            prop_assert!((8..=55).contains(&differing), "{differing}");
        }
    }

    #[test]
    fn halves_without_a_left_one_are_walked_past() {
        // a permutation that maps to a left half of zero: the inverse image of (0, 7), taken by hand
        let permutation = Permutation::new([3; 16]);
        let start =
            (0..ROUNDS).rev().fold(Halves { left: 0, right: 7 }, |halves, n| permutation.round(n, halves));
        assert_ne!(start.left, 0);
        let sealed = permutation.seal(start);
        assert_ne!(sealed.left, 0);
        assert_eq!(permutation.open(sealed), start);
    }
}
