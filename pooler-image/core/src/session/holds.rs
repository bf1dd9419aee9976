//! Why a client cannot part from its server connection.

use std::fmt;

use crate::sql::Marks;

/// Session state that cannot be brought to another server connection: what is found of it ties its client to the
/// one that has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds(u8);

impl Holds {
    /// LISTEN.
    pub const LISTEN: Self = Self(1);
    /// Temporary tables, views, functions ...
    pub const TEMP: Self = Self(1 << 1);
    /// Cursors WITH HOLD.
    pub const CURSOR: Self = Self(1 << 2);
    /// Session-level advisory locks.
    pub const LOCK: Self = Self(1 << 3);
    /// Statements prepared by SQL.
    pub const PREPARE: Self = Self(1 << 4);
    /// SET SESSION AUTHORIZATION.
    pub const AUTHORIZATION: Self = Self(1 << 5);
    /// LOAD: nothing takes a library out again.
    pub const LOAD: Self = Self(1 << 6);

    /// Each kind with its word in `SHOW CLIENTS` and in metrics.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::LISTEN, "listen"),
        (Self::TEMP, "temp"),
        (Self::CURSOR, "cursor"),
        (Self::LOCK, "lock"),
        (Self::PREPARE, "prepare"),
        (Self::AUTHORIZATION, "authorization"),
        (Self::LOAD, "load"),
    ];

    /// Nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What a text plainly asks for.
    pub(super) fn named_by(marks: Marks) -> Self {
        let kinds = [
            (Marks::LISTENS, Self::LISTEN),
            (Marks::TEMP, Self::TEMP),
            (Marks::HOLDS, Self::CURSOR),
            (Marks::LOCKS, Self::LOCK),
            (Marks::PREPARES, Self::PREPARE),
            (Marks::AUTHORIZATION, Self::AUTHORIZATION),
            (Marks::LOAD, Self::LOAD),
        ];
        let named = kinds.into_iter().filter(|(mark, _)| marks.contains(*mark));
        named.fold(Self::default(), |all, (_, kind)| all.and(kind))
    }
}

/// The words, separated by commas.
impl fmt::Display for Holds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::ALL.into_iter().filter(|(kind, _)| self.contains(*kind)).map(|(_, word)| word);
        for (n, word) in words.enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(formatter, "{comma}{word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_words() {
        assert_eq!(Holds::default().to_string(), "");
        assert_eq!(Holds::TEMP.and(Holds::LISTEN).to_string(), "listen,temp");
    }
}
