//! Who may begin to log in: limits for connections that have not proven who they are, in all and per address.
//!
//! ```text
//! admit --> Go -----------------.
//!   |-----> GoAt(instant) ------+--> leave(Outcome)
//!   |         the address fails |
//!   |         too often         '--> evicted: there were too many, and its address had the most
//!   '-----> None: so often that as many wait already as may
//! ```
//!
//! What is never done: refusing an address because many come from it. A fleet behind one node's address starts at once,
//! and is as welcome as one that comes from a thousand. Where room is short, the address that has the most connections
//! which have not logged in loses its oldest: who floods us loses to itself, and whoever logs in at once is gone before
//! its turn comes. Only logins that fail count against an address, since each costs CPU, and only while they are many.
//!
//! Memory is bounded by [`Limits::open`] and [`MOST_QUIET`].

mod notes;
mod origin;
mod pace;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

pub use self::notes::{Note, Notes};
pub use self::origin::Origin;
use self::pace::Pace;

/// How many connections may not have logged in yet, and how many may fail to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most that have not logged in.
    pub open: u32,
    /// Most of one address; 0: no limit but the one above.
    pub open_per_origin: u32,
    /// Failed logins of one address in a second, beyond which it is slowed down; 0: never.
    pub failures_per_second: u32,
}

/// Addresses without a connection here whose failures are remembered; those of more are not.
pub const MOST_QUIET: usize = 10_000;

/// How often it is looked which addresses need not be remembered any more.
const TIDY: Duration = Duration::from_secs(1);

/// One connection that has not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    origin: Origin,
    number: u64,
}

/// When a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Go,
    /// Not before: its address has failed too often.
    GoAt(Instant),
}

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client is who it says, or was no client.
    Fair,
    /// The proof was wrong, or what was sent no login.
    Failed,
}

/// A connection that was let begin.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is evicted must be closed"]
pub struct Admitted<T> {
    /// To leave with.
    pub ticket: Ticket,
    /// When it is served.
    pub turn: Turn,
    /// Who has to go for it.
    pub evicted: Option<Evicted<T>>,
}

/// A connection that goes because there are too many.
#[derive(Debug, PartialEq, Eq)]
pub struct Evicted<T> {
    /// Whose it is.
    pub origin: Origin,
    /// What it was admitted with.
    pub handle: T,
}

/// Connections that have not logged in, each with a handle by which it can be closed.
#[derive(Debug)]
pub struct Admission<T> {
    limits: Limits,
    open: BTreeMap<Ticket, T>,
    /// Addresses by how many they have open; of those that have as many, the one with the oldest is last.
    crowds: BTreeSet<(u32, Reverse<u64>, Origin)>,
    origins: HashMap<Origin, Record>,
    last: u64,
    tidied: Option<Instant>,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Record {
    open: u32,
    /// The number of its oldest, while there is one.
    oldest: u64,
    pace: Pace,
}

impl Ticket {
    /// All of one address.
    fn of(origin: Origin) -> RangeInclusive<Self> {
        Self { origin, number: 0 }..=Self { origin, number: u64::MAX }
    }
}

impl<T> Admission<T> {
    /// Nobody is there.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            crowds: BTreeSet::new(),
            origins: HashMap::new(),
            last: 0,
            tidied: None,
        }
    }

    /// Other limits, for those who come from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many have not logged in.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Lets a connection begin; `None`: its address has failed so often that too many wait already.
    pub fn admit(&mut self, origin: Origin, handle: T, now: Instant) -> Option<Admitted<T>> {
        self.tidy(now);
        let record = self.origins.entry(origin).or_default();
        let Some(turn) = record.pace.turn(self.limits.failures_per_second, now) else {
            self.forget_if_blank(origin, now);
            return None;
        };
        let own = record.open;
        let evicted = self.make_room(origin, own);
        self.last += 1;
        let ticket = Ticket { origin, number: self.last };
        self.open.insert(ticket, handle);
        self.count(origin, |open| open + 1);
        Some(Admitted { ticket, turn, evicted })
    }

    /// A connection has logged in, or has gone. Whether its address is slowed down from now on, and was not before.
    pub fn leave(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> bool {
        let origin = ticket.origin;
        if self.open.remove(&ticket).is_some() {
            self.count(origin, |open| open.saturating_sub(1));
        }
        let mut slowed = false;
        if outcome == Outcome::Failed && self.remembers(origin) {
            let record = self.origins.entry(origin).or_default();
            slowed = record.pace.fail(self.limits.failures_per_second, now);
        }
        self.forget_if_blank(origin, now);
        slowed
    }

    /// Takes the oldest connection of the address that has the most: there is no room for any, for whatever reason.
    pub fn evict(&mut self) -> Option<Evicted<T>> {
        let (_, _, crowd) = self.crowds.last().copied()?;
        self.evict_of(crowd)
    }

    /// Takes all of them.
    pub fn evict_all(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.evict()).map(|evicted| evicted.handle).collect()
    }

    fn make_room(&mut self, origin: Origin, own: u32) -> Option<Evicted<T>> {
        let most = self.limits.open_per_origin;
        if most > 0 && own >= most {
            return self.evict_of(origin);
        }
        if self.open.len() >= self.limits.open as usize { self.evict() } else { None }
    }

    fn evict_of(&mut self, origin: Origin) -> Option<Evicted<T>> {
        let ticket = self.open.range(Ticket::of(origin)).next().map(|(ticket, _)| *ticket)?;
        let handle = self.open.remove(&ticket)?;
        self.count(origin, |open| open.saturating_sub(1));
        Some(Evicted { origin, handle })
    }

    fn count(&mut self, origin: Origin, change: impl FnOnce(u32) -> u32) {
        let oldest = self.open.range(Ticket::of(origin)).next().map(|(ticket, _)| ticket.number);
        let record = self.origins.entry(origin).or_default();
        self.crowds.remove(&(record.open, Reverse(record.oldest), origin));
        record.open = change(record.open);
        if let Some(oldest) = oldest {
            record.oldest = oldest;
            self.crowds.insert((record.open, Reverse(oldest), origin));
        }
    }

    /// There is room to remember a failure of this address.
    fn remembers(&self, origin: Origin) -> bool {
        self.origins.contains_key(&origin) || self.quiet() < MOST_QUIET
    }

    /// Addresses that have nothing open.
    fn quiet(&self) -> usize {
        self.origins.len().saturating_sub(self.crowds.len())
    }

    fn forget_if_blank(&mut self, origin: Origin, now: Instant) {
        let full = self.quiet() > MOST_QUIET;
        if self
            .origins
            .get(&origin)
            .is_some_and(|record| record.open == 0 && (full || record.pace.is_blank(now)))
        {
            self.origins.remove(&origin);
        }
    }

    fn tidy(&mut self, now: Instant) {
        let due = self.tidied.is_none_or(|at| now.saturating_duration_since(at) >= TIDY);
        if due && self.quiet() > 0 {
            self.tidied = Some(now);
            self.origins.retain(|_, record| record.open > 0 || !record.pace.is_blank(now));
        }
    }
}

#[cfg(test)]
mod tests;
