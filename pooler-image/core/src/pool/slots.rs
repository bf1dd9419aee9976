//! The process's account of slots in PostgreSQL's connection table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A (database, user) pool, the same number in all loops of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// An event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopId(pub u16);

/// One loop's part of one pool.
pub type Cell = (LoopId, PoolId);

/// How many slots the process may hold, which parts of which pools hold them, and who lacks one.
#[derive(Debug)]
pub struct Slots {
    limit: u32,
    held: u32,
    closing: u32,
    cells: BTreeMap<Cell, Account>,
    pool_sizes: BTreeMap<PoolId, u32>,
    barred: BTreeMap<PoolId, Bar>,
}

/// Since when PostgreSQL lets a pool have no more connections.
#[derive(Debug)]
struct Bar {
    since: Instant,
    /// When it last said so.
    last: Instant,
}

/// Nobody has tried for so long: what PostgreSQL said then means nothing.
const BAR_FORGOTTEN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Account {
    held: u32,
    /// Clients that wait for a connection for which there was no slot.
    wants: u32,
}

/// Whether a slot could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The slot is taken.
    Slot,
    /// The process holds all that it may hold.
    NoneFree,
    /// The pool has as many as it may have.
    PoolFull,
}

/// What becomes of a connection that could be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays where it is.
    Keep,
    /// Its slot is needed elsewhere, or is one too many.
    Close,
    /// This loop needs it for the same pool.
    Lend(LoopId),
}

/// Whether [`Slots::verdict`] could say anything but [`Verdict::Keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// It could not.
    None,
    /// Not for connections of this cell: only it lacks some.
    Only(Cell),
    /// It could.
    Some,
}

impl Slots {
    /// An account of `limit` slots.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            held: 0,
            closing: 0,
            cells: BTreeMap::new(),
            pool_sizes: BTreeMap::new(),
            barred: BTreeMap::new(),
        }
    }

    /// PostgreSQL lets the pool's role or database have no more connections: a slot would not help those who wait,
    /// but one of the pool's own connections would. Returns since when it has been so.
    pub fn bar(&mut self, pool: PoolId, now: Instant) -> Instant {
        let bar = self.barred.entry(pool).or_insert(Bar { since: now, last: now });
        if now.saturating_duration_since(bar.last) > BAR_FORGOTTEN {
            bar.since = now;
        }
        bar.last = now;
        bar.since
    }

    /// The pool got a connection.
    pub fn unbar(&mut self, pool: PoolId) {
        self.barred.remove(&pool);
    }

    /// See [`Self::bar`].
    pub fn is_barred(&self, pool: PoolId) -> bool {
        self.barred.contains_key(&pool)
    }

    /// Most slots that may be held.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Slots held now, logins and closing connections included.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// A new limit. Held slots above it are given back as connections close.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Most connections of one pool, over all loops.
    pub fn set_pool_size(&mut self, pool: PoolId, size: Option<u32>) {
        match size {
            Some(size) => self.pool_sizes.insert(pool, size),
            None => self.pool_sizes.remove(&pool),
        };
    }

    /// Takes a slot for a connection that is about to be opened.
    #[must_use]
    pub fn take(&mut self, cell: Cell) -> Taken {
        if self.pool_excess(cell.1) >= 0 {
            return Taken::PoolFull;
        }
        if self.held + self.owed_to_others(cell) >= self.limit {
            return Taken::NoneFree;
        }
        self.held += 1;
        self.cells.entry(cell).or_default().held += 1;
        Taken::Slot
    }

    /// Slots that others lack who have fewer: whoever is quickest must not take them away again.
    fn owed_to_others(&self, cell: Cell) -> u32 {
        let mine = self.cells.get(&cell).map_or(0, |account| account.held);
        self.cells
            .iter()
            .filter(|(other, account)| **other != cell && account.held < mine && self.has_room(other.1))
            .map(|(_, account)| account.wants)
            .sum()
    }

    /// How many connections a pool has above its size; negative: room for so many.
    fn pool_excess(&self, pool: PoolId) -> i64 {
        let Some(size) = self.pool_sizes.get(&pool) else { return i64::MIN };
        let held: u32 = self.cells.iter().filter(|((_, id), _)| *id == pool).map(|(_, one)| one.held).sum();
        i64::from(held) - i64::from(*size)
    }

    /// The pool may have more connections: a slot would help those who want one.
    fn has_room(&self, pool: PoolId) -> bool {
        self.pool_excess(pool) < 0 && !self.is_barred(pool)
    }

    /// A connection is being closed: its slot will come back.
    pub fn closing(&mut self) {
        self.closing += 1;
    }

    /// Gives back the slot of a connection whose end was read, after [`Self::closing`]. Returns the loop that lacks one most.
    pub fn give_back(&mut self, cell: Cell) -> Option<LoopId> {
        self.closing = self.closing.saturating_sub(1);
        self.held = self.held.saturating_sub(1);
        if let Some(account) = self.cells.get_mut(&cell) {
            account.held = account.held.saturating_sub(1);
        }
        if self.held >= self.limit { None } else { self.neediest() }
    }

    fn neediest(&self) -> Option<LoopId> {
        self.cells
            .iter()
            .filter(|((_, pool), one)| one.wants > 0 && self.has_room(*pool))
            .min_by_key(|(_, one)| one.held)
            .map(|((id, _), _)| *id)
    }

    /// A connection goes to another loop with its slot.
    pub fn lend(&mut self, (from, pool): Cell, to: LoopId) {
        if let Some(account) = self.cells.get_mut(&(from, pool)) {
            account.held = account.held.saturating_sub(1);
        }
        let account = self.cells.entry((to, pool)).or_default();
        account.held += 1;
        account.wants = account.wants.saturating_sub(1);
    }

    /// Says how many clients wait in vain.
    pub fn want(&mut self, cell: Cell, clients: u32) {
        self.cells.entry(cell).or_default().wants = clients;
    }

    /// Connections to close before the process is back at its limit.
    pub fn excess(&self) -> u32 {
        self.held.saturating_sub(self.closing).saturating_sub(self.limit)
    }

    /// As many connections are being closed as this cell lacks.
    pub fn is_enough_closing(&self, cell: Cell) -> bool {
        let over = self.held.saturating_sub(self.limit);
        self.cells.get(&cell).is_none_or(|account| self.closing >= account.wants + over)
    }

    /// Whether anybody could need a connection that somebody else has.
    pub fn pressure(&self) -> Pressure {
        if self.held > self.limit {
            return Pressure::Some;
        }
        let mut wanting = self.cells.iter().filter(|(_, one)| one.wants > 0).map(|(cell, _)| *cell);
        match (wanting.next(), wanting.next()) {
            (None, _) => Pressure::None,
            (Some(cell), None) => Pressure::Only(cell),
            (Some(_), Some(_)) => Pressure::Some,
        }
    }

    /// What a loop should do with a connection that it has just finished with.
    /// `spare`: nobody waits for it there. Otherwise only who has clearly fewer gets it, so that it does not come back.
    pub fn verdict(&self, cell: Cell, spare: bool) -> Verdict {
        if self.excess() > 0 || self.pool_excess(cell.1) > 0 {
            return Verdict::Close;
        }
        let mine = self.cells.get(&cell).map_or(0, |account| account.held);
        let needs = |other: &Cell, account: &Account| {
            *other != cell && account.wants > 0 && (spare || mine > account.held + 1)
        };
        let lend = self
            .cells
            .iter()
            .filter(|(other, account)| other.1 == cell.1 && needs(other, account))
            .min_by_key(|(_, account)| account.held);
        if let Some(((to, _), _)) = lend {
            return Verdict::Lend(*to);
        }
        let needed: u32 = self
            .cells
            .iter()
            .filter(|(other, one)| needs(other, one) && self.has_room(other.1))
            .map(|(_, one)| one.wants)
            .sum();
        if needed > self.closing { Verdict::Close } else { Verdict::Keep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PoolId = PoolId(7);
    const Q: PoolId = PoolId(8);
    const A: Cell = (LoopId(0), P);
    const B: Cell = (LoopId(1), P);
    const AQ: Cell = (LoopId(0), Q);

    fn held(limit: u32, cells: &[(Cell, u32)]) -> Slots {
        let mut slots = Slots::new(limit);
        for (cell, count) in cells {
            assert!((0..*count).all(|_| slots.take(*cell) == Taken::Slot));
        }
        slots
    }

    #[test]
    fn never_more_than_the_limit_over_all_loops_and_pools() {
        let mut slots = held(2, &[(A, 1), (B, 1)]);
        assert_eq!([slots.take(A), slots.take(AQ)], [Taken::NoneFree; 2]);
    }

    #[test]
    fn a_pool_has_its_size_over_all_loops() {
        let mut slots = held(9, &[(A, 1), (B, 1)]);
        slots.set_pool_size(P, Some(2));
        assert_eq!(slots.take(A), Taken::PoolFull);
        assert_eq!(slots.take(AQ), Taken::Slot);
        slots.set_pool_size(P, Some(1));
        assert_eq!(slots.verdict(A, false), Verdict::Close);
    }

    #[test]
    fn a_slot_given_back_goes_to_the_loop_that_lacks_one() {
        let mut slots = held(1, &[(A, 1)]);
        slots.want(B, 3);
        slots.closing();
        assert_eq!(slots.give_back(A), Some(B.0));
    }

    #[test]
    fn a_smaller_limit_is_reached_as_connections_close() {
        let mut slots = held(3, &[(A, 3)]);
        slots.set_limit(2);
        slots.want(A, 1);
        assert_eq!(slots.verdict(A, false), Verdict::Close);
        slots.closing();
        assert_eq!(slots.verdict(A, false), Verdict::Keep, "one closing is enough");
        assert_eq!(slots.give_back(A), None);
        assert_eq!(slots.take(A), Taken::NoneFree);
    }

    #[test]
    fn a_busy_cell_gives_only_what_evens_out_and_an_idle_one_what_it_spares() {
        let mut slots = held(4, &[(A, 3), (B, 1)]);
        slots.want(B, 5);
        assert_eq!(slots.pressure(), Pressure::Only(B));
        assert_eq!(slots.verdict(A, false), Verdict::Lend(B.0));
        slots.lend(A, B.0);
        assert_eq!(slots.verdict(A, false), Verdict::Keep);
        assert_eq!(slots.verdict(A, true), Verdict::Lend(B.0));
        assert_eq!(slots.held(), 4);
    }

    #[test]
    fn a_full_pool_gets_no_slots_of_others_but_its_own_connections_move_between_loops() {
        let mut slots = held(9, &[(A, 1), (AQ, 3)]);
        slots.set_pool_size(P, Some(1));
        slots.want(B, 1);
        assert_eq!(slots.verdict(AQ, true), Verdict::Keep, "a slot would not help");
        assert_eq!(slots.verdict(A, true), Verdict::Lend(B.0));
    }

    #[test]
    fn a_pool_whose_role_is_at_its_limit_is_helped_by_its_own_connections_alone() {
        let mut slots = held(9, &[(A, 1), (AQ, 3)]);
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        assert_eq!([slots.bar(P, now), slots.bar(P, later)], [now, now]);
        slots.want(B, 1);
        assert_eq!(slots.verdict(AQ, true), Verdict::Keep);
        assert_eq!(slots.verdict(A, true), Verdict::Lend(B.0));
        let much_later = later + BAR_FORGOTTEN * 2;
        assert_eq!(slots.bar(P, much_later), much_later);
    }

    #[test]
    fn no_more_connections_are_closed_for_another_pool_than_it_lacks() {
        let mut slots = held(5, &[(A, 5)]);
        slots.want(AQ, 1);
        assert_eq!(slots.verdict(A, false), Verdict::Close);
        slots.closing();
        assert_eq!(slots.verdict(A, false), Verdict::Keep);
    }
}
