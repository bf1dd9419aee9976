//! The process's account of slots in PostgreSQL's connection table.
//!
//! While pools lack connections, each is *due* so many of them ([`shares`]), for one turn; a connection changes hands when
//! its client has finished with it and its pool has more than it is due, or at once when nobody there waits for it.

mod bars;
mod shares;
mod terms;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bars::Bars;
use shares::{Claim, Deficits};
pub use terms::{PoolSize, PoolTerms, Terms};

/// A (database, user) pool, the same number in all loops of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// An event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopId(pub u16);

/// One loop's part of one pool.
pub type Cell = (LoopId, PoolId);

/// How long a pool has what it is due; then it may be another's turn. Long enough that connections are not opened and
/// closed all the time, short enough that whoever waits for a turn does not wait long.
pub const TURN: Duration = Duration::from_millis(200);

/// Of turns in which nobody looked, no more count: it was quiet then.
const MOST_TURNS: u32 = 5;

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
    deficits: Deficits,
    dues: Dues,
}

/// Whether what pools are due is known.
#[derive(Debug, Clone, Copy)]
enum Dues {
    /// Since then, for a turn.
    Known(Instant),
    /// Something has changed; they were known last since then.
    Stale(Option<Instant>),
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
    terms: PoolTerms,
    /// Clients on all loops for which there was no slot.
    wants: u32,
    /// Connections that it keeps.
    kept: u32,
    /// Connections that it may have while others wait.
    due: u32,
    ahead: Ahead,
}

/// Whether connections are opened that nobody waits for yet, as far as the pool keeps some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ahead {
    /// They cannot be: the pool is paused, or its user cannot log in.
    #[default]
    No,
    /// They are: others leave the slots for them.
    Yes,
}

#[derive(Debug, Default)]
struct Account {
    held: u32,
    /// Clients that wait for a connection for which there was no slot.
    wants: u32,
    /// Since when the first of them has waited; nothing, when it has just been served.
    since: Option<Instant>,
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
            deficits: Deficits::default(),
            dues: Dues::Stale(None),
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

    /// A connection goes to another loop with its slot.
    pub fn lend(&mut self, (from, pool): Cell, to: LoopId) {
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
        let before = std::mem::replace(&mut account.wants, clients);
        account.since = since;
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

    /// Whether anybody could need a connection that somebody else has.
    pub fn pressure(&self) -> Pressure {
        let over = |account: &PoolAccount| account.to_close(self.terms.part) > 0;
        let short = |pool: &PoolId| self.held >= self.terms.limit && self.shortage(*pool) > 0;
        if self.held > self.terms.limit || self.pools.values().any(over) || self.pools.keys().any(short) {
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
        let mine = self.cells.get(&cell).map_or(0, |account| account.held);
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
                let wants = if self.has_room(*other) { one.wants } else { 0 };
                let lacks = if all { wants } else { wants.min(one.due.saturating_sub(one.live())) };
                lacks.max(self.shortage(*other))
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
                let others = self.pools.keys().filter(|pool| **pool != cell.1);
                others.map(|pool| self.shortage(*pool)).sum()
            }
            (false, false) => 0,
        };
        within + pools
    }

    fn neediest(&self) -> Option<LoopId> {
        let lacks = |(cell, one): &(&Cell, &Account)| one.wants > 0 && self.has_room(cell.1);
        let wanting = self.cells.iter().filter(lacks);
        let rank = |(cell, one): &(&Cell, &Account)| {
            let deficit = self.deficits.of(cell.1);
            (self.surplus(cell.1).min(0), std::cmp::Reverse(deficit), one.since.is_none(), one.since)
        };
        wanting.min_by_key(rank).map(|((id, _), _)| *id)
    }
}

/// What pools are due.
impl Slots {
    fn changed(&mut self) {
        if let Dues::Known(since) = self.dues {
            self.dues = Dues::Stale(Some(since));
        }
    }

    /// Works out what pools are due, when that has changed or their turn is over.
    fn settle(&mut self, now: Instant) {
        let turns = |since: Instant| {
            let passed = now.saturating_duration_since(since).as_millis() / TURN.as_millis();
            u32::try_from(passed).unwrap_or(u32::MAX)
        };
        let (since, turns) = match self.dues {
            Dues::Known(since) if turns(since) == 0 => return,
            Dues::Stale(Some(since)) if turns(since) == 0 => (since, 0),
            Dues::Known(since) | Dues::Stale(Some(since)) => (now, turns(since).min(MOST_TURNS)),
            Dues::Stale(None) => (now, 0),
        };
        let claims = self.claims();
        let due = self.deficits.turn(self.terms.limit, &claims, turns);
        self.pools.values_mut().for_each(|account| account.due = 0);
        for (claim, due) in claims.iter().zip(due) {
            if let Some(account) = self.pools.get_mut(&claim.pool) {
                account.due = due;
            }
        }
        self.dues = Dues::Known(since);
    }

    fn claims(&self) -> Vec<Claim> {
        let claim = |(pool, one): (&PoolId, &PoolAccount)| {
            let most = if self.has_room(*pool) { one.live() + one.wants } else { one.live() };
            let size = one.terms.size.in_force(self.terms.part).unwrap_or(u32::MAX);
            let least = if one.ahead == Ahead::Yes { one.kept } else { one.kept.min(most) };
            Claim {
                pool: *pool,
                weight: one.terms.weight.max(1),
                least,
                most: most.min(size).max(least),
                live: one.live(),
                waits: one.wants > 0,
            }
        };
        self.pools.iter().map(claim).filter(|claim| claim.most > 0).collect()
    }

    /// Works out what pools keep: all their minimums, or as much of them as there is. One connection is left to those
    /// that keep none: they could not be served otherwise.
    fn share_minimums(&mut self) {
        self.changed();
        let part = self.terms.part;
        let claims: Vec<Claim> = self.pools.iter().map(|(pool, one)| one.minimum(*pool, part)).collect();
        let limit = self.terms.limit;
        let mut kept = shares::kept(limit, &claims);
        if kept.contains(&0) && kept.iter().sum::<u32>() == limit {
            kept = shares::kept(limit.saturating_sub(1), &claims);
        }
        for (account, kept) in self.pools.values_mut().zip(kept) {
            account.kept = kept;
        }
    }

    /// Connections that the pool keeps, and has not got; none, while they cannot be opened.
    fn shortage(&self, pool: PoolId) -> u32 {
        match self.pools.get(&pool) {
            Some(account) if account.ahead == Ahead::Yes => account.kept.saturating_sub(account.live()),
            _ => 0,
        }
    }

    /// How many connections a pool has above its size, closing ones included; negative: room for so many.
    fn pool_excess(&self, pool: PoolId) -> i64 {
        let Some(account) = self.pools.get(&pool) else { return i64::MIN };
        account.excess(self.terms.part)
    }

    /// The pool may have more connections: a slot would help those who want one.
    fn has_room(&self, pool: PoolId) -> bool {
        self.pool_excess(pool) < 0 && !self.is_barred(pool)
    }
}

impl PoolAccount {
    /// Its connections that are not being closed.
    fn live(&self) -> u32 {
        self.held.saturating_sub(self.closing)
    }

    fn excess(&self, part: Option<(u32, u32)>) -> i64 {
        self.terms.size.in_force(part).map_or(i64::MIN, |size| i64::from(self.held) - i64::from(size))
    }

    fn to_close(&self, part: Option<(u32, u32)>) -> u32 {
        self.live().saturating_sub(self.terms.size.in_force(part).unwrap_or(u32::MAX))
    }

    fn minimum(&self, pool: PoolId, part: Option<(u32, u32)>) -> Claim {
        let size = self.terms.size.in_force(part).unwrap_or(u32::MAX);
        let least = self.terms.minimum.at_least(part).min(size);
        Claim { pool, weight: self.terms.weight.max(1), least, most: least, live: 0, waits: false }
    }
}

#[cfg(test)]
mod tests;
