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
    terms: Terms,
    held: u32,
    /// Held by connections that have logged in.
    open: u32,
    closing: u32,
    cells: BTreeMap<Cell, Account>,
    pools: BTreeMap<PoolId, PoolAccount>,
    barred: BTreeMap<PoolId, Bar>,
}

/// What the process may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Slots.
    pub limit: u32,
    /// Most connections that may be logging in: set while nobody knows which server they come to. Those that are open
    /// are on the server that was known, or closed already.
    pub unknown_server: Option<u32>,
    /// The process may have so many of so many slots of all pods; none: it is the only one.
    pub part: Option<(u32, u32)>,
}

impl From<u32> for Terms {
    fn from(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }
}

/// Most connections of a pool, over all loops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// In this process.
    pub own: Option<u32>,
    /// Over all pods: the process has a part of it as of all slots, but one at least.
    pub total: Option<u32>,
}

impl PoolSize {
    /// Most connections of the pool, should the process be the only one.
    pub fn most(self) -> Option<u32> {
        self.in_force(None)
    }

    fn in_force(self, part: Option<(u32, u32)>) -> Option<u32> {
        let share = |total: u32| match part {
            None => total,
            Some((mine, all)) => {
                let share = u64::from(total) * u64::from(mine) / u64::from(all.max(1));
                share.clamp(1, u64::from(total.max(1))) as u32
            }
        };
        [self.own, self.total.map(share)].into_iter().flatten().min()
    }
}

/// How far the connection has come that a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Being opened.
    Login,
    /// Logged in.
    Open,
}

#[derive(Debug, Default)]
struct PoolAccount {
    held: u32,
    closing: u32,
    size: PoolSize,
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
    /// A slot is free, but others who log in must see first which server they come to.
    Unknown,
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
    /// An account on these terms, or of so many slots.
    pub fn new(terms: impl Into<Terms>) -> Self {
        Self {
            terms: terms.into(),
            held: 0,
            open: 0,
            closing: 0,
            cells: BTreeMap::new(),
            pools: BTreeMap::new(),
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
        self.terms.limit
    }

    /// Slots held now, logins and closing connections included.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// What may be held from now on; whether that is anything new. Held slots above it are given back as connections
    /// close.
    pub fn set_terms(&mut self, terms: Terms) -> bool {
        std::mem::replace(&mut self.terms, terms) != terms
    }

    /// Most connections of one pool.
    pub fn set_pool_size(&mut self, pool: PoolId, size: PoolSize) {
        self.pools.entry(pool).or_default().size = size;
    }

    /// Takes a slot for a connection that is about to be opened.
    #[must_use]
    pub fn take(&mut self, cell: Cell) -> Taken {
        if self.pool_excess(cell.1) >= 0 {
            return Taken::PoolFull;
        }
        if self.held + self.owed_to_others(cell) >= self.terms.limit {
            return Taken::NoneFree;
        }
        if self.terms.unknown_server.is_some_and(|most| self.held - self.open >= most) {
            return Taken::Unknown;
        }
        self.held += 1;
        self.cells.entry(cell).or_default().held += 1;
        self.pools.entry(cell.1).or_default().held += 1;
        Taken::Slot
    }

    /// The connection that a slot was taken for has logged in, and its server is known.
    pub fn opened(&mut self) {
        self.open += 1;
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

    /// How many connections a pool has above its size, closing ones included; negative: room for so many.
    fn pool_excess(&self, pool: PoolId) -> i64 {
        let Some(account) = self.pools.get(&pool) else { return i64::MIN };
        account.excess(self.terms.part)
    }

    /// Connections of a pool to close before it is back at its size.
    pub fn excess_of(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(0, |account| account.to_close(self.terms.part))
    }

    /// How many more connections a pool could use, if the process had all slots of all pods.
    pub fn room(&self, pool: PoolId) -> u32 {
        let Some(account) = self.pools.get(&pool) else { return u32::MAX };
        let most = account.size.in_force(None).unwrap_or(u32::MAX);
        if self.is_barred(pool) { 0 } else { most.saturating_sub(account.held) }
    }

    /// The pool may have more connections: a slot would help those who want one.
    fn has_room(&self, pool: PoolId) -> bool {
        self.pool_excess(pool) < 0 && !self.is_barred(pool)
    }

    /// A connection of the pool is being closed: its slot will come back.
    pub fn closing(&mut self, pool: PoolId) {
        self.closing += 1;
        self.pools.entry(pool).or_default().closing += 1;
    }

    /// Gives back the slot of a connection whose end was read, after [`Self::closing`]. Returns the loop that lacks one most.
    pub fn give_back(&mut self, cell: Cell, stage: Stage) -> Option<LoopId> {
        self.closing = self.closing.saturating_sub(1);
        self.held = self.held.saturating_sub(1);
        self.open = self.open.saturating_sub(u32::from(stage == Stage::Open)).min(self.held);
        if let Some(account) = self.cells.get_mut(&cell) {
            account.held = account.held.saturating_sub(1);
        }
        if let Some(account) = self.pools.get_mut(&cell.1) {
            account.held = account.held.saturating_sub(1);
            account.closing = account.closing.saturating_sub(1);
        }
        if self.held >= self.terms.limit { None } else { self.neediest() }
    }

    /// No connection is logged in.
    pub fn none_open(&self) -> bool {
        self.open == 0
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
        self.held.saturating_sub(self.closing).saturating_sub(self.terms.limit)
    }

    /// As many connections are being closed as this cell lacks.
    pub fn is_enough_closing(&self, cell: Cell) -> bool {
        let over = self.held.saturating_sub(self.terms.limit);
        self.cells.get(&cell).is_none_or(|account| self.closing >= account.wants + over)
    }

    /// Whether anybody could need a connection that somebody else has.
    pub fn pressure(&self) -> Pressure {
        let over = |account: &PoolAccount| account.to_close(self.terms.part) > 0;
        if self.held > self.terms.limit || self.pools.values().any(over) {
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
        if self.excess() > 0 || self.excess_of(cell.1) > 0 {
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

impl PoolAccount {
    fn excess(&self, part: Option<(u32, u32)>) -> i64 {
        self.size.in_force(part).map_or(i64::MIN, |size| i64::from(self.held) - i64::from(size))
    }

    fn to_close(&self, part: Option<(u32, u32)>) -> u32 {
        let size = self.size.in_force(part).unwrap_or(u32::MAX);
        self.held.saturating_sub(self.closing).saturating_sub(size)
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

    fn size(own: u32) -> PoolSize {
        PoolSize { own: Some(own), total: None }
    }

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
        slots.set_pool_size(P, size(2));
        assert_eq!(slots.take(A), Taken::PoolFull);
        assert_eq!(slots.take(AQ), Taken::Slot);
        slots.set_pool_size(P, size(1));
        assert_eq!(slots.verdict(A, false), Verdict::Close);
    }

    #[test]
    fn a_slot_given_back_goes_to_the_loop_that_lacks_one() {
        let mut slots = held(1, &[(A, 1)]);
        slots.want(B, 3);
        slots.closing(P);
        assert_eq!(slots.give_back(A, Stage::Open), Some(B.0));
    }

    #[test]
    fn a_smaller_limit_is_reached_as_connections_close() {
        let mut slots = held(3, &[(A, 3)]);
        slots.set_terms(Terms { limit: 2, ..Terms::default() });
        slots.want(A, 1);
        assert_eq!(slots.verdict(A, false), Verdict::Close);
        slots.closing(P);
        assert_eq!(slots.verdict(A, false), Verdict::Keep, "one closing is enough");
        assert_eq!(slots.give_back(A, Stage::Open), None);
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
        slots.set_pool_size(P, size(1));
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
        slots.closing(P);
        assert_eq!(slots.verdict(A, false), Verdict::Keep);
    }

    #[test]
    fn a_pool_has_its_part_of_what_all_pods_may_have_but_one_at_least() {
        let total = PoolSize { own: None, total: Some(10) };
        assert_eq!(total.in_force(None), Some(10));
        assert_eq!(total.in_force(Some((7, 20))), Some(3));
        assert_eq!(total.in_force(Some((1, 100))), Some(1));
        assert_eq!(total.in_force(Some((5, 0))), Some(10));
        assert_eq!(PoolSize { own: Some(2), total: Some(10) }.in_force(None), Some(2));
        let mut slots = held(20, &[(A, 6)]);
        slots.set_pool_size(P, total);
        assert_eq!((slots.pressure(), slots.excess_of(P)), (Pressure::None, 0));
        assert!(slots.set_terms(Terms { limit: 20, part: Some((10, 20)), unknown_server: None }));
        assert_eq!((slots.pressure(), slots.excess_of(P)), (Pressure::Some, 1));
        assert_eq!(slots.verdict(A, false), Verdict::Close);
        slots.closing(P);
        assert_eq!(slots.verdict(A, false), Verdict::Keep, "one closing is enough");
        assert_eq!(slots.room(P), 4, "with more of all slots it could have more");
    }

    #[test]
    fn on_a_server_that_nobody_knows_few_log_in_until_it_is_known() {
        let mut slots = held(9, &[(A, 2)]);
        slots.opened();
        slots.opened();
        let unknown = Terms { limit: 9, unknown_server: Some(2), part: None };
        slots.set_terms(unknown);
        assert_eq!([A, A, A].map(|cell| slots.take(cell)), [Taken::Slot, Taken::Slot, Taken::Unknown]);
        slots.closing(P);
        slots.give_back(A, Stage::Open);
        assert_eq!(slots.take(B), Taken::Unknown, "what was open has gone, what logs in has not");
        slots.closing(P);
        slots.give_back(A, Stage::Login);
        assert_eq!(slots.take(B), Taken::Slot);
        slots.opened();
        slots.set_terms(Terms { unknown_server: None, ..unknown });
        assert_eq!(slots.take(B), Taken::Slot);
        assert!(!slots.set_terms(Terms { unknown_server: None, ..unknown }), "nothing new");
    }
}
