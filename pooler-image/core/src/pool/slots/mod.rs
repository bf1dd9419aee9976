//! The process's account of slots in PostgreSQL's connection table.
//!
//! While pools lack connections, each is *due* so many of them ([`shares`]), for one turn; a connection changes hands when
//! its client has finished with it and its pool has more than it is due, or at once when nobody there waits for it.

mod accounts;
mod bars;
mod dues;
mod shares;
mod terms;

use std::collections::BTreeMap;
use std::time::Instant;

pub use accounts::Ahead;
use accounts::{Account, PoolAccount};
use bars::Bars;
use dues::Dues;
pub use dues::TURN;
use shares::Claim;
pub use terms::{PoolSize, PoolTerms, Terms};

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
    bars: Bars,
    dues: Dues,
    /// What dues are worked out in.
    claims: Vec<Claim>,
    /// As long as it is known.
    pressure: Option<Pressure>,
}

/// How far the connection has come that a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Being opened.
    Login,
    /// Logged in.
    Open,
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

/// The account: what is held.
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
            bars: Bars::default(),
            dues: Dues::Stale(None),
            claims: Vec::new(),
            pressure: None,
        }
    }

    /// PostgreSQL lets the pool's role or database have no more connections: a slot would not help those who wait,
    /// but one of the pool's own connections would. Returns since when it has been so.
    pub fn bar(&mut self, pool: PoolId, now: Instant) -> Instant {
        self.changed();
        self.bars.bar(pool, now)
    }

    /// The pool got a connection.
    pub fn unbar(&mut self, pool: PoolId) {
        self.bars.unbar(pool);
    }

    /// See [`Self::bar`].
    pub fn is_barred(&self, pool: PoolId) -> bool {
        self.bars.contains(pool)
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
        let changed = std::mem::replace(&mut self.terms, terms) != terms;
        if changed {
            self.share_minimums();
        }
        changed
    }

    /// What a pool may have.
    pub fn set_pool(&mut self, pool: PoolId, terms: PoolTerms) {
        let account = self.pools.entry(pool).or_default();
        if account.terms != terms {
            account.terms = terms;
            self.share_minimums();
        }
    }

    /// Takes a slot for a connection that is about to be opened.
    #[must_use]
    pub fn take(&mut self, cell: Cell, now: Instant) -> Taken {
        if self.pool_excess(cell.1) >= 0 {
            return Taken::PoolFull;
        }
        self.settle(now);
        if self.held + self.owed_to_others(cell) >= self.terms.limit {
            return Taken::NoneFree;
        }
        if self.terms.unknown_server.is_some_and(|most| self.held - self.open >= most) {
            return Taken::Unknown;
        }
        self.held += 1;
        self.pressure = None;
        let account = self.cells.entry(cell).or_default();
        account.held += 1;
        account.since = None;
        self.pools.entry(cell.1).or_default().held += 1;
        Taken::Slot
    }

    /// Takes a slot for a connection that nobody waits for yet, if the pool has fewer than it keeps. `ahead`: whether
    /// it could be opened.
    #[must_use]
    pub fn take_ahead(&mut self, cell: Cell, ahead: Ahead, now: Instant) -> bool {
        let Some(account) = self.pools.get_mut(&cell.1) else { return false };
        if std::mem::replace(&mut account.ahead, ahead) != ahead {
            self.pressure = None;
            self.changed();
        }
        self.shortage(cell.1) > 0 && self.take(cell, now) == Taken::Slot
    }

    /// The connection that a slot was taken for has logged in, and its server is known.
    pub fn opened(&mut self) {
        self.open += 1;
    }

    /// A connection of the pool is being closed: its slot will come back.
    pub fn closing(&mut self, pool: PoolId) {
        self.pressure = None;
        self.closing += 1;
        self.pools.entry(pool).or_default().closing += 1;
    }

    /// Gives back the slot of a connection whose end was read, after [`Self::closing`]. Returns the loop that lacks one most.
    pub fn give_back(&mut self, cell: Cell, stage: Stage) -> Option<LoopId> {
        self.pressure = None;
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

    /// A connection goes to another loop with its slot.
    pub fn lend(&mut self, (from, pool): Cell, to: LoopId) {
        self.pressure = None;
        if let Some(account) = self.cells.get_mut(&(from, pool)) {
            account.held = account.held.saturating_sub(1);
        }
        let account = self.cells.entry((to, pool)).or_default();
        account.held += 1;
        account.since = None;
        let served = account.wants.min(1);
        account.wants -= served;
        let pool = self.pools.entry(pool).or_default();
        pool.wants = pool.wants.saturating_sub(served);
    }

    /// Says how many clients wait in vain, the first of them since then.
    pub fn want(&mut self, cell: Cell, clients: u32, since: Option<Instant>) {
        let account = self.cells.entry(cell).or_default();
        account.since = since;
        let before = std::mem::replace(&mut account.wants, clients);
        if before == clients {
            return;
        }
        self.pressure = None;
        let pool = self.pools.entry(cell.1).or_default();
        let newly = pool.wants == 0 && clients > 0;
        pool.wants = (pool.wants + clients).saturating_sub(before);
        if newly {
            self.changed();
        }
    }
}

/// What there is too much of, and for whom.
impl Slots {
    /// Connections to close before the process is back at its limit.
    pub fn excess(&self) -> u32 {
        self.held.saturating_sub(self.closing).saturating_sub(self.terms.limit)
    }

    /// Connections of a pool to close before it is back at its size.
    pub fn excess_of(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(0, |account| account.to_close(self.terms.part))
    }

    /// How many more connections a pool could use, if the process had all slots of all pods.
    pub fn room(&self, pool: PoolId) -> u32 {
        let Some(account) = self.pools.get(&pool) else { return u32::MAX };
        let most = account.terms.size.in_force(None).unwrap_or(u32::MAX);
        if self.is_barred(pool) { 0 } else { most.saturating_sub(account.held) }
    }

    /// Connections that a pool has beyond those that it keeps.
    pub fn beyond_kept(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(0, |account| account.live().saturating_sub(account.kept))
    }

    /// Connections that a pool has beyond those that it is due; negative: that it lacks.
    pub fn surplus(&self, pool: PoolId) -> i64 {
        self.pools.get(&pool).map_or(0, |account| i64::from(account.live()) - i64::from(account.due))
    }

    /// As many connections are being closed as this cell lacks.
    pub fn is_enough_closing(&self, cell: Cell) -> bool {
        let over = self.held.saturating_sub(self.terms.limit);
        self.cells.get(&cell).is_none_or(|account| self.closing >= account.wants + over)
    }

    /// Whether anybody could need a connection that somebody else has. Worked out only when something has changed.
    pub fn pressure(&mut self) -> Pressure {
        let pressure = self.pressure.unwrap_or_else(|| self.feel_pressure());
        debug_assert_eq!(pressure, self.feel_pressure(), "something has changed without a word");
        self.pressure = Some(pressure);
        pressure
    }

    fn feel_pressure(&self) -> Pressure {
        let full = self.held >= self.terms.limit;
        let strained =
            |account: &PoolAccount| account.to_close(self.terms.part) > 0 || full && account.shortage() > 0;
        if self.held > self.terms.limit || self.pools.values().any(strained) {
            return Pressure::Some;
        }
        let mut wanting = self.cells.iter().filter(|(_, one)| one.wants > 0).map(|(cell, _)| *cell);
        match (wanting.next(), wanting.next()) {
            (None, _) => Pressure::None,
            (Some(cell), None) => Pressure::Only(cell),
            (Some(_), Some(_)) => Pressure::Some,
        }
    }

    /// What a loop should do with a connection that it has just finished with. `waits`: since when the first client in
    /// the pool's queue there has waited, if anybody does.
    pub fn verdict(&mut self, cell: Cell, waits: Option<Instant>, now: Instant) -> Verdict {
        self.settle(now);
        if self.excess() > 0 && self.beyond_kept(cell.1) > 0 || self.excess_of(cell.1) > 0 {
            return Verdict::Close;
        }
        if let Some(to) = self.borrower(cell, waits) {
            return Verdict::Lend(to);
        }
        let spare = waits.is_none();
        let may_go = if spare { self.beyond_kept(cell.1) > 0 } else { self.surplus(cell.1) > 0 };
        if may_go && self.lacked_beside(cell.1, spare) > self.coming_free() {
            Verdict::Close
        } else {
            Verdict::Keep
        }
    }

    /// The loop that should have a connection of the same pool. If somebody waits here too, only who has clearly fewer
    /// gets it, so that it does not come back, or who has none and waits longer by a turn.
    fn borrower(&self, cell: Cell, waits: Option<Instant>) -> Option<LoopId> {
        let mine = self.cells.get(&cell);
        let elsewhere = self.pools.get(&cell.1).map_or(0, |pool| pool.wants);
        if elsewhere <= mine.map_or(0, |account| account.wants) {
            return None;
        }
        let mine = mine.map_or(0, |account| account.held);
        let starves = |one: &Account| {
            let longer = |since| waits.is_some_and(|waits| waits.saturating_duration_since(since) >= TURN);
            one.held == 0 && one.since.is_some_and(longer)
        };
        let needs = |one: &Account| one.wants > 0 && (waits.is_none() || mine > one.held + 1 || starves(one));
        self.cells
            .iter()
            .filter(|(other, one)| other.1 == cell.1 && other.0 != cell.0 && needs(one))
            .min_by_key(|(_, one)| (one.since.is_none(), one.since))
            .map(|((to, _), _)| *to)
    }

    /// Connections that other pools lack: all that they could use, or those that they are due.
    fn lacked_beside(&self, pool: PoolId, all: bool) -> u32 {
        let others = self.pools.iter().filter(|(other, _)| **other != pool);
        others
            .map(|(other, one)| {
                let lacks = if all { one.wants } else { one.wants.min(one.due.saturating_sub(one.live())) };
                let lacks = if lacks > 0 && self.has_room(*other) { lacks } else { 0 };
                lacks.max(one.shortage())
            })
            .sum()
    }

    /// Slots that are free, or will be without anybody doing anything for it.
    fn coming_free(&self) -> u32 {
        (self.terms.limit + self.closing).saturating_sub(self.held)
    }

    /// Slots that others lack who have a better claim: whoever is quickest must not take them away again.
    fn owed_to_others(&self, cell: Cell) -> u32 {
        let mine = self.cells.get(&cell).map_or(0, |account| account.held);
        let beside = |other: &Cell, one: &Account| other.1 == cell.1 && other.0 != cell.0 && one.held < mine;
        let loops = self.cells.iter().filter(|(other, one)| beside(other, one));
        let within: u32 = if self.has_room(cell.1) { loops.map(|(_, one)| one.wants).sum() } else { 0 };
        let has_due = self.surplus(cell.1) >= 0;
        let has_kept = self.pools.get(&cell.1).is_some_and(|account| account.live() >= account.kept);
        let pools = match (has_due, has_kept) {
            (true, _) => self.lacked_beside(cell.1, false),
            (false, true) => {
                let others = self.pools.iter().filter(|(pool, _)| **pool != cell.1);
                others.map(|(_, one)| one.shortage()).sum()
            }
            (false, false) => 0,
        };
        within + pools
    }

    fn neediest(&self) -> Option<LoopId> {
        let lacks = |(cell, one): &(&Cell, &Account)| one.wants > 0 && self.has_room(cell.1);
        let wanting = self.cells.iter().filter(lacks);
        let rank = |(cell, one): &(&Cell, &Account)| {
            let deficit = self.pools.get(&cell.1).map_or(0, |account| account.deficit);
            (self.surplus(cell.1).min(0), std::cmp::Reverse(deficit), one.since.is_none(), one.since)
        };
        wanting.min_by_key(rank).map(|((id, _), _)| *id)
    }
}

#[cfg(test)]
mod tests;
