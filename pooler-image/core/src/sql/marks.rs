//! What a text may leave behind or need, as a small set.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of things that a SQL text may do to its session.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Marks(u16);

impl Marks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// May have changed the session in a way that only the server can tell.
    pub const PROBE: Self = Self(1);
    /// May have removed something that another statement left behind.
    pub const CLEANS: Self = Self(1 << 1);
    /// Can fire triggers (event triggers too) or rules, whose functions may do anything.
    pub const WRITES: Self = Self(1 << 2);
    /// May give `currval` and `lastval` a new value.
    pub const SEQUENCE_SET: Self = Self(1 << 3);
    /// Reads `currval` or `lastval`.
    pub const SEQUENCE_READ: Self = Self(1 << 4);
    /// Loads a library into the server process.
    pub const LOAD: Self = Self(1 << 5);
    /// Changes what a later statement may call or fire: functions, triggers, rules, views ...
    pub const DEFINES: Self = Self(1 << 6);
    /// Begins or ends a transaction inside a text of several statements.
    pub const CONTROL: Self = Self(1 << 7);
    /// LISTEN.
    pub const LISTENS: Self = Self(1 << 8);
    /// A cursor WITH HOLD.
    pub const HOLDS: Self = Self(1 << 9);
    /// A temporary object, or any mention of a temporary schema.
    pub const TEMP: Self = Self(1 << 10);
    /// A session-level advisory lock.
    pub const LOCKS: Self = Self(1 << 11);
    /// PREPARE.
    pub const PREPARES: Self = Self(1 << 12);
    /// SESSION AUTHORIZATION.
    pub const AUTHORIZATION: Self = Self(1 << 13);
    /// A `set_config` that holds for the session, or may.
    pub const CONFIG: Self = Self(1 << 14);

    /// Every mark and its name.
    const NAMED: [(Self, &str); 15] = [
        (Self::PROBE, "PROBE"),
        (Self::CLEANS, "CLEANS"),
        (Self::WRITES, "WRITES"),
        (Self::SEQUENCE_SET, "SEQUENCE_SET"),
        (Self::SEQUENCE_READ, "SEQUENCE_READ"),
        (Self::LOAD, "LOAD"),
        (Self::DEFINES, "DEFINES"),
        (Self::CONTROL, "CONTROL"),
        (Self::LISTENS, "LISTENS"),
        (Self::HOLDS, "HOLDS"),
        (Self::TEMP, "TEMP"),
        (Self::LOCKS, "LOCKS"),
        (Self::PREPARES, "PREPARES"),
        (Self::AUTHORIZATION, "AUTHORIZATION"),
        (Self::CONFIG, "CONFIG"),
    ];

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either; `|` for constants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMED.iter().filter(|(mark, _)| self.contains(*mark)).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("-"))?;
        names.try_for_each(|name| write!(f, "|{name}"))
    }
}
